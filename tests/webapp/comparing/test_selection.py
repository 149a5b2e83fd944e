"""The bar of selected runs under the table knows how many may be compared from the comparison itself."""

import re

from django.contrib.auth.models import User
from django.urls import reverse

from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project
from webapp.comparing.comparison import LEAST_COMPARED, MOST_COMPARED


def test_the_table_of_runs_carries_the_bounds_of_a_comparison_and_its_address(project: Project, viewer: User) -> None:
    page = text_of(as_(viewer).get(reverse("runs", args=[project.slug])))

    (bar,) = re.findall(r'<div class="selection"[^>]*>', page)
    bounds = dict(re.findall(r'data-(least|most)="(\d+)"', bar))
    assert bounds == {"least": str(LEAST_COMPARED), "most": str(MOST_COMPARED)}
    assert f'data-compare="{reverse("compare", args=[project.slug])}"' in bar
