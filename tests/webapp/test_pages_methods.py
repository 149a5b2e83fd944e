"""The pages of methods."""

import pytest
from django.urls import reverse

from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_a_methods_page_shows_its_readme_settings_and_presets(project: Project, viewer: User) -> None:
    page = text_of(as_(viewer).get(reverse("method-detail", args=[project.slug, "vanilla-kd"])))

    assert "<math" in page and "<code>temperature</code>" in page and "?method=vanilla-kd&amp;preset=paper" in page
