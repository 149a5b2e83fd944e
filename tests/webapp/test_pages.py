"""Every page, by who may see it and what they see there."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.conftest import METRICS, RunMaker
from webapp.accounts.models import ApiToken, Membership, Project, User
from webapp.catalog.models import ModelRecord
from webapp.runs.models import MetricPoint, MetricSeries, Run, State
from webapp.runs.templatetags.shown import metric, signed

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

HTMX = {"HTTP_HX_REQUEST": "true"}


def as_(user: User | None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def text_of(response: Any) -> str:
    return response.content.decode()


def pages_of(run: Run) -> list[str]:
    slug = run.project.slug
    names = ["runs", "models", "methods", "members", "tokens", "trash"]
    whole = [reverse(name, args=[slug]) for name in names] + [reverse("method-detail", args=[slug, "vanilla-kd"])]
    parts = [f"{reverse('run-status', args=[run.pk])}?part={part}" for part in ("header", "evaluations", "activity")]
    return [*whole, reverse("run-detail", args=[run.pk]), reverse("run-curves", args=[run.pk]), *parts]


def test_every_page_asks_a_visitor_to_sign_in(finished_run: RunMaker) -> None:
    addresses = [*pages_of(finished_run()), reverse("home")]

    answers = [as_(None).get(address) for address in addresses]

    assert {answer.status_code for answer in answers} == {302}
    assert all(answer["Location"].startswith("/sign-in/?next=") for answer in answers)


def test_no_page_of_a_project_exists_for_a_stranger(finished_run: RunMaker, stranger: User) -> None:
    answers = [as_(stranger).get(address) for address in pages_of(finished_run())]

    assert {answer.status_code for answer in answers} == {404}


def test_a_viewer_sees_every_page_but_no_button_that_changes_a_run(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run()

    answers = [as_(viewer).get(address) for address in pages_of(run)]

    assert {answer.status_code for answer in answers} == {200}
    assert reverse("run-delete", args=[run.pk]) not in text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))


@pytest.mark.parametrize("name", ["run-stop", "run-resume", "run-retry", "run-clone", "run-delete", "run-restore", "run-edit"])
def test_a_viewer_changes_nothing(name: str, finished_run: RunMaker, viewer: User) -> None:
    answer = as_(viewer).post(reverse(name, args=[finished_run().pk]))

    assert answer.status_code == 403


def test_a_viewer_can_not_launch(project: Project, viewer: User) -> None:
    assert as_(viewer).get(reverse("launch", args=[project.slug])).status_code == 403


def test_someone_with_one_project_is_taken_to_it(project: Project, viewer: User) -> None:
    answer = as_(viewer).get(reverse("home"))

    assert answer["Location"] == reverse("runs", args=[project.slug])


def test_the_list_of_projects_counts_runs_and_those_under_way(finished_run: RunMaker, running_run: RunMaker, viewer: User) -> None:
    finished_run(), running_run()

    page = text_of(as_(viewer).get(reverse("home") + "?all=1"))

    assert "2 runs" in page and "1 under way" in page


# The table of runs


def test_the_table_shows_each_run_with_its_state_and_newest_metrics(finished_run: RunMaker, running_run: RunMaker, viewer: User) -> None:
    finished_run(name="the good one"), running_run(name="the young one")

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"])))

    assert "the good one" in page and "the young one" in page
    assert "0.9000" in page and "succeeded" in page and "running" in page


def test_the_table_sorts_by_a_metric(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="worse", metrics={"accuracy": 0.5}), finished_run(name="better", metrics={"accuracy": 0.8})

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]) + "?sort=-accuracy"))

    assert page.index("better") < page.index("worse")
    assert 'aria-sort="descending"' in page


def test_a_filter_that_finds_nothing_says_so_and_offers_to_clear_it(finished_run: RunMaker, viewer: User) -> None:
    finished_run()

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]) + "?q=nowhere"))

    assert "No run matches" in page and "Clear filters" in page


def test_filters_that_were_left_empty_ask_for_nothing(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="the wanted one"), finished_run(name="another")

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]) + "?q=wanted&state=&method=&task=&tag=&sort="))

    assert "the wanted one" in page and "another" not in page and 'class="notice error"' not in page


def test_a_sort_that_makes_no_sense_is_explained_and_the_table_still_shown(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="still here")

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]) + "?sort=nonsense"))

    assert "there is nothing to sort by with the name" in page and "still here" in page


def test_htmx_gets_the_table_alone(finished_run: RunMaker, viewer: User) -> None:
    finished_run()

    fragment = text_of(as_(viewer).get(reverse("runs", args=["distillery"]), **HTMX))

    assert "<html" not in fragment and "runs-table" in fragment


def test_the_browsers_back_button_gets_the_whole_page(finished_run: RunMaker, viewer: User) -> None:
    finished_run()

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]), HTTP_HX_HISTORY_RESTORE_REQUEST="true", **HTMX))

    assert "<html" in page


def test_the_choice_of_columns_is_in_the_address_and_remembered(finished_run: RunMaker, viewer: User) -> None:
    finished_run()
    client, address = as_(viewer), reverse("runs", args=["distillery"])

    chosen = text_of(client.get(address + "?columns=brier&columns=by&remember=1"))
    later = text_of(client.get(address))

    assert 'data-columns="brier,by"' in chosen and 'data-columns="brier,by"' in later


def test_a_shared_address_does_not_change_what_its_reader_has_chosen(finished_run: RunMaker, viewer: User) -> None:
    finished_run()
    client, address = as_(viewer), reverse("runs", args=["distillery"])

    shared = text_of(client.get(address + "?columns=brier"))
    later = text_of(client.get(address))

    assert 'data-columns="brier"' in shared and 'data-columns="brier"' not in later


def test_the_live_refresh_holds_the_cells_of_runs_under_way_and_of_those_that_just_ended(
    finished_run: RunMaker, running_run: RunMaker, viewer: User
) -> None:
    old, ended, young = finished_run(name="old"), finished_run(name="just ended"), running_run()

    fragment = text_of(as_(viewer).get(reverse("runs", args=["distillery"]) + f"?live=1&active={ended.pk}&active={young.pk}", **HTMX))

    assert f'id="state-{young.pk}" hx-swap-oob="true"' in fragment
    assert f'id="state-{ended.pk}" hx-swap-oob="true"' in fragment
    assert str(old.pk) not in fragment
    assert 'hx-trigger="every 3s"' in fragment


def test_a_table_in_which_nothing_is_under_way_stops_asking(finished_run: RunMaker, viewer: User) -> None:
    finished_run()

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"])))

    assert "every 3s" not in page


def test_more_runs_cost_no_more_statements(finished_run: RunMaker, viewer: User, django_assert_num_queries: Any) -> None:
    client, address = as_(viewer), reverse("runs", args=["distillery"])
    finished_run()

    with django_assert_num_queries(10):  # session, user, project, and the seven of the page
        client.get(address)
    finished_run(), finished_run()
    with django_assert_num_queries(10):
        client.get(address)


def test_an_empty_project_offers_to_train_the_teacher(project: Project, operator: User) -> None:
    page = text_of(as_(operator).get(reverse("runs", args=[project.slug])))

    assert "No runs yet" in page and "?recipe=teacher" in page


# One run


def test_a_name_is_text_and_nothing_else(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run(name="<script>alert(1)</script>")

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page


def test_the_student_stands_beside_its_teacher(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run(metrics=METRICS, teacher_metrics=METRICS | {"accuracy": 0.95})

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert "0.9000" in page and "0.9500" in page and "−0.0500" in page


def test_bins_of_few_examples_that_carry_the_error_are_warned_of(finished_run: RunMaker, viewer: User) -> None:
    # 2 of 100 examples, 0.5 away: they carry 0.01 of an ECE of 0.05, a fifth.
    bins = [
        {"low": 0.0, "high": 0.5, "count": 2, "conf": 0.4, "acc": 0.9},
        {"low": 0.5, "high": 1.0, "count": 98, "conf": 0.9, "acc": 0.86},
    ]
    run = finished_run(tables={"reliability": {"n": 100, "n_bins": 2, "split": "test", "temperature": 1.0, "bins": bins}})

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert "1 bin with fewer than 10 examples carries more than 5 % of the ECE" in page


def test_a_silent_run_is_shown_as_one(running_run: RunMaker, viewer: User) -> None:
    run = running_run()
    run.attempts.update(silent_since=run.created_at)

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert 'class="badge silent"' in page and "Nothing was heard from worker-1 for a while." in page


def test_a_run_offers_what_its_state_allows(running_run: RunMaker, finished_run: RunMaker, operator: User) -> None:
    running, finished = running_run(), finished_run()

    of_running = text_of(as_(operator).get(reverse("run-detail", args=[running.pk])))
    of_finished = text_of(as_(operator).get(reverse("run-detail", args=[finished.pk])))

    assert reverse("run-stop", args=[running.pk]) in of_running and reverse("run-delete", args=[running.pk]) not in of_running
    assert reverse("run-stop", args=[finished.pk]) not in of_finished and reverse("run-delete", args=[finished.pk]) in of_finished


def test_what_is_not_allowed_comes_back_as_a_sentence(finished_run: RunMaker, operator: User) -> None:
    run = finished_run()

    page = text_of(as_(operator).post(reverse("run-stop", args=[run.pk]), follow=True))

    assert 'class="notice error"' in page and "succeeded" in page


def test_a_deleted_run_waits_in_the_trash_and_can_be_restored(finished_run: RunMaker, operator: User) -> None:
    run, client = finished_run(name="not needed"), as_(operator)

    client.post(reverse("run-delete", args=[run.pk]))
    table, trash = (text_of(client.get(reverse(name, args=["distillery"]))) for name in ("runs", "trash"))
    client.post(reverse("run-restore", args=[run.pk]))

    assert "not needed" not in re.sub(r'<div class="notice.*?</div>', "", table) and "not needed" in trash
    assert "not needed" in text_of(client.get(reverse("runs", args=["distillery"])))


def test_editing_refuses_an_empty_name_with_a_sentence(finished_run: RunMaker, operator: User) -> None:
    run = finished_run(name="before")

    page = text_of(
        as_(operator).post(reverse("run-edit", args=[run.pk]), {"name": " ", "tags": "", "notes": "", "priority": "0"}, follow=True)
    )

    assert "name: " in page and Run.objects.get(pk=run.pk).name == "before"


def test_curves_come_as_panels_with_the_mark_to_go_on_from(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run()
    series = MetricSeries.objects.create(run=run, name="loss", last_step=3, points=3)
    MetricPoint.objects.bulk_create(
        [MetricPoint(series=series, step=step, value=value) for step, value in [(1, 3.0), (2, float("nan")), (3, 1.0)]]
    )

    answer = as_(viewer).get(reverse("run-curves", args=[run.pk])).json()

    (panel,) = answer["panels"]
    assert panel["id"] == "loss" and panel["shown"] is True
    assert panel["figure"]["data"][0]["x"] == [1, 2, 3]
    assert panel["figure"]["data"][0]["y"] == [3.0, None, 1.0]
    assert answer["mark"] == f"0~0~{run.evaluations.get().pk}"


# Launching


FORM = {
    "method": "supervised", "task": "digits", "student": "mlp-16", "settings.learning_rate": "0.02", "budget.steps": "20", "seed": "0",
    "seeds": "1", "name": "by form", "tags": "one, two", "priority": "0", "devices": "1", "device": "cpu", "precision": "float32", "cadence.log": "1",
}  # fmt: skip


def complete(client: Client, slug: str, **changes: str) -> dict[str, str]:
    """What a browser would send: every control of the page, with these changes."""
    page = text_of(client.post(reverse("launch-fields", args=[slug]), FORM, HTTP_HX_TRIGGER_NAME="task", **HTMX))
    sent = {}
    for name, value in re.findall(r'<input[^>]* name="([^"]+)" value="([^"]*)"(?![^>]*type="checkbox")', page):
        sent.setdefault(name, value)
    return sent | FORM | changes


def test_the_form_launches_what_was_typed(project: Project, operator: User) -> None:
    client = as_(operator)

    answer = client.post(reverse("launch", args=[project.slug]), complete(client, project.slug))

    run = Run.objects.get()
    assert answer["Location"] == reverse("run-detail", args=[run.pk])
    assert (run.name, run.tags, run.state) == ("by form", ["one", "two"], State.QUEUED)
    assert run.spec["settings"]["learning_rate"] == 0.02 and run.spec["budget"]["steps"] == 20


def test_the_same_form_sent_twice_launches_once(project: Project, operator: User) -> None:
    client = as_(operator)
    form = complete(client, project.slug, idempotency_key="abc")

    answers = [client.post(reverse("launch", args=[project.slug]), form) for _ in range(2)]

    assert Run.objects.count() == 1
    assert answers[0]["Location"] == answers[1]["Location"]


def test_a_form_changed_after_going_back_launches_again(project: Project, operator: User) -> None:
    client = as_(operator)

    for name in ("first", "second"):
        client.post(reverse("launch", args=[project.slug]), complete(client, project.slug, idempotency_key="abc", name=name))

    assert set(Run.objects.values_list("name", flat=True)) == {"first", "second"}


def test_an_error_stands_beside_its_field_and_the_input_is_kept(project: Project, operator: User) -> None:
    client = as_(operator)
    form = complete(client, project.slug, **{"settings.learning_rate": "-3", "settings.batch_size": "many", "name": "kept name"})

    answer = client.post(reverse("launch", args=[project.slug]), form)

    page = text_of(answer)
    assert answer.status_code == 400 and not Run.objects.exists()
    field = page[page.index('id="f-settings-learning_rate"') :]
    assert 'value="-3"' in field[:200] and field.index("must be greater than 0; got -3.") < field.index('class="field')
    assert 'value="many"' in page and "must be a whole number; got &#x27;many&#x27;." in page
    assert 'value="kept name"' in page


def test_another_method_keeps_what_was_typed_over_a_default(project: Project, operator: User) -> None:
    form = {
        "method": "ps-kd",
        "shown_method": "supervised",
        "task": "digits",
        "settings.learning_rate": "0.5",
        "settings.batch_size": "64",
        "name": "mine",
    }

    page = text_of(as_(operator).post(reverse("launch-fields", args=[project.slug]), form, HTTP_HX_TRIGGER_NAME="method", **HTMX))

    assert re.search(r'name="settings.learning_rate" value="0.5"', page)
    assert 'name="settings.alpha_T"' in page and 'value="mine"' in page


def test_a_preset_fills_in_settings_and_budget(project: Project, operator: User) -> None:
    form = {
        "method": "vanilla-kd",
        "shown_method": "vanilla-kd",
        "task": "digits",
        "preset": "paper",
        "settings.learning_rate": "9",
        "name": "mine",
    }

    page = text_of(as_(operator).post(reverse("launch-fields", args=[project.slug]), form, HTTP_HX_TRIGGER_NAME="preset", **HTMX))

    assert 'name="settings.learning_rate" value="0.05"' in page
    assert 'name="budget.epochs" value="240"' in page and 'value="mine"' in page


def test_without_a_trained_model_the_form_leads_to_the_default_teacher(project: Project, operator: User) -> None:
    page = text_of(as_(operator).get(reverse("launch", args=[project.slug]) + "?method=vanilla-kd"))

    assert "No trained model for this task yet." in page and "Train the default teacher (mlp-128-128) first" in page


def test_the_recipe_of_the_default_teacher_fills_the_form(project: Project, operator: User) -> None:
    page = text_of(as_(operator).get(reverse("launch", args=[project.slug]) + "?recipe=teacher&task=digits"))

    assert '<option value="mlp-128-128" selected>' in page
    assert 'name="settings.learning_rate" value="0.003"' in page and 'name="budget.epochs" value="40"' in page


def test_trained_models_of_the_task_can_be_chosen_as_teachers(finished_run: RunMaker, operator: User) -> None:
    teacher = finished_run(name="the teacher")

    page = text_of(as_(operator).get(reverse("launch", args=["distillery"]) + "?method=vanilla-kd"))

    assert re.search(rf'value="run:{teacher.pk}"\s+checked', page) and re.search(r"the teacher #\d+ \(mlp-16", page)


def test_a_clone_fills_the_form(finished_run: RunMaker, operator: User) -> None:
    run = finished_run(name="original", settings={"learning_rate": 0.125}, seed=7)

    page = text_of(as_(operator).get(reverse("launch", args=["distillery"]) + f"?clone={run.pk}"))

    assert "Clone of original" in page
    assert 'name="settings.learning_rate" value="0.125"' in page and 'name="seed" value="7"' in page


def test_seeds_and_baseline_are_launched_together(project: Project, operator: User) -> None:
    client, form = (
        as_(operator),
        complete(as_(operator), project.slug, method="ps-kd", seeds="2", with_baseline="true", **{"budget.steps": "19"}),
    )

    answer = client.post(reverse("launch", args=[project.slug]), form)

    assert answer["Location"] == reverse("runs", args=[project.slug])
    assert sorted(Run.objects.values_list("method_id", "seed")) == [("ps-kd", 0), ("ps-kd", 1), ("supervised", 0), ("supervised", 1)]


def test_json_is_launched_as_it_is(project: Project, operator: User) -> None:
    text = '{"method": "supervised", "task": "digits", "budget": {"steps": 5}, "name": "pasted"}'

    as_(operator).post(reverse("launch", args=[project.slug]), {"json": text})

    assert Run.objects.get().name == "pasted"


def test_json_with_errors_is_shown_again_with_each_path(project: Project, operator: User) -> None:
    client, text = as_(operator), '{"method": "supervised", "task": "digits", "settings": {"nonsense": 1}}'

    broken = text_of(client.post(reverse("launch", args=[project.slug]), {"json": "{"}))
    wrong = text_of(client.post(reverse("launch", args=[project.slug]), {"json": text}))

    assert "This is not JSON (line 1, column 2:" in broken
    assert "settings.nonsense" in wrong and "is not a known field" in wrong and "&quot;nonsense&quot;: 1" in wrong


# Comparing


def test_the_comparison_shows_differences_to_the_pinned_run(finished_run: RunMaker, viewer: User) -> None:
    plain = finished_run(name="plain", metrics={"accuracy": 0.80}, seed=1)
    better = finished_run(name="better", metrics={"accuracy": 0.85}, settings={"learning_rate": 0.5})

    page = text_of(as_(viewer).get(reverse("compare", args=["distillery"]) + f"?runs={plain.pk},{better.pk}&baseline={plain.pk}"))

    assert "+0.0500" in page and "settings.learning_rate" in page and "settings.momentum" not in page


def test_seeds_are_grouped_until_each_is_asked_for(finished_run: RunMaker, viewer: User) -> None:
    runs = [finished_run(name=f"seed {seed}", metrics={"accuracy": accuracy}, seed=seed) for seed, accuracy in [(0, 0.8), (1, 0.9)]]
    other = finished_run(name="other", settings={"learning_rate": 0.5})
    address = reverse("compare", args=["distillery"]) + "?runs=" + ",".join(str(run.pk) for run in [*runs, other])

    grouped, each = (text_of(as_(viewer).get(address + more)) for more in ("", "&grouped=0"))

    assert "n = 2" in grouped and "0.8500" in grouped and "± 0.0707" in grouped
    assert "n = 2" not in each and "0.8000" in each


def test_a_comparison_of_one_run_goes_back_with_a_sentence(finished_run: RunMaker, viewer: User) -> None:
    page = text_of(as_(viewer).get(reverse("compare", args=["distillery"]) + f"?runs={finished_run().pk}", follow=True))

    assert "runs: must name 2 to 20 different runs; got 1." in page


def test_no_run_of_another_project_enters_a_comparison(finished_run: RunMaker, elsewhere: Project, viewer: User) -> None:
    mine, theirs = finished_run(), finished_run(of=elsewhere)

    answer = as_(viewer).get(reverse("compare", args=["distillery"]) + f"?runs={mine.pk},{theirs.pk}")

    assert answer.status_code == 404


def test_the_curves_of_a_comparison_have_one_line_a_run(finished_run: RunMaker, viewer: User) -> None:
    runs = [finished_run(name=name, seed=seed) for seed, name in enumerate(["a", "b"])]
    for run in runs:
        series = MetricSeries.objects.create(run=run, name="loss", last_step=1, points=1)
        MetricPoint.objects.create(series=series, step=1, value=1.0)

    answer = as_(viewer).get(reverse("compare-curves", args=["distillery"]) + f"?runs={runs[0].pk},{runs[1].pk}&grouped=0").json()

    (panel,) = answer["panels"]
    assert [line["name"] for line in panel["figure"]["data"]] == ["a", "b"]


# People, tokens, methods


def test_a_token_is_shown_once(project: Project, viewer: User) -> None:
    client, address = as_(viewer), reverse("tokens", args=[project.slug])

    made = text_of(client.post(address, {"name": "notebook", "scope": "read", "days": "30"}))
    again = text_of(client.get(address))

    token = re.search(r"shp_[\w-]{40,}", made)
    assert token is not None
    assert token[0] not in again and ApiToken.objects.get().prefix in again


def test_a_token_for_too_long_is_refused_beside_the_field(project: Project, viewer: User) -> None:
    answer = as_(viewer).post(reverse("tokens", args=[project.slug]), {"name": "notebook", "scope": "read", "days": "9999"})

    assert answer.status_code == 400 and not ApiToken.objects.exists()
    assert "less than or equal to 366" in text_of(answer) and 'value="notebook"' in text_of(answer)


def test_a_revoked_token_stays_in_the_list_as_revoked(project: Project, viewer: User) -> None:
    client, address = as_(viewer), reverse("tokens", args=[project.slug])
    client.post(address, {"name": "notebook", "scope": "read", "days": "30"})

    client.post(reverse("token-revoke", args=[project.slug, ApiToken.objects.get().pk]))

    assert "revoked 20" in text_of(client.get(address))


def test_an_owner_adds_a_member(project: Project, owner: User) -> None:
    User.objects.create_user("nora")

    as_(owner).post(reverse("member-put", args=[project.slug]), {"username": "nora", "role": "operator"})

    assert Membership.objects.get(user__username="nora", project=project).role == "operator"


def test_only_an_owner_changes_members(project: Project, owner: User, reviewer: User) -> None:
    answer = as_(reviewer).post(reverse("member-remove", args=[project.slug]), {"username": owner.username})

    assert answer.status_code == 403 and Membership.objects.filter(user=owner).exists()


@pytest.mark.parametrize(("view", "role"), [("member-remove", ""), ("member-put", "viewer")])
def test_a_project_keeps_an_owner(view: str, role: str, project: Project, owner: User) -> None:
    page = text_of(as_(owner).post(reverse(view, args=[project.slug]), {"username": owner.username, "role": role}, follow=True))

    assert "olga is the only owner of Distillery; make somebody else an owner first." in page
    assert Membership.objects.get(user=owner).role == "owner"


def test_a_methods_page_shows_its_readme_settings_and_presets(project: Project, viewer: User) -> None:
    page = text_of(as_(viewer).get(reverse("method-detail", args=[project.slug, "vanilla-kd"])))

    assert "<math" in page and "<code>temperature</code>" in page and "?method=vanilla-kd&amp;preset=paper" in page


def test_pages_allow_no_inline_script_or_style_without_the_nonce(finished_run: RunMaker, viewer: User) -> None:
    answer = as_(viewer).get(reverse("run-detail", args=[finished_run().pk]))

    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy
    nonce = re.search(r"style-src 'self' 'nonce-([^']+)'", policy)
    assert nonce is not None
    elements = re.findall(r"<style[^>]*>", text_of(answer))
    assert elements and all(f'nonce="{nonce[1]}"' in element for element in elements)
    assert not re.search(r"<[^>]+\s(style|onclick)=", text_of(answer))


def test_plotlys_bundle_may_be_kept_forever_under_its_version(db: None) -> None:
    from webapp.figures.plotly import VERSION

    found, other = (Client().get(reverse("plotly", args=[version]), HTTP_ACCEPT_ENCODING="gzip") for version in (VERSION, "0.0.1"))

    assert found["Cache-Control"] == "public, max-age=31536000, immutable" and found["Content-Encoding"] == "gzip"
    assert other.status_code == 404


def test_signing_in_with_a_wrong_password_says_so(db: None) -> None:
    User.objects.create_user("nora", password="a long enough password")

    page = text_of(Client().post(reverse("sign-in"), {"username": "nora", "password": "wrong"}))

    assert 'role="alert"' in page and "Please enter a correct username and password" in page


def test_signing_in_leads_to_where_one_wanted_to_go(db: None) -> None:
    User.objects.create_user("nora", password="a long enough password")

    answer = Client().post(reverse("sign-in"), {"username": "nora", "password": "a long enough password", "next": "/p/x/launch/"})

    assert answer["Location"] == "/p/x/launch/"


def test_the_largest_teacher_is_offered_first_with_its_accuracy(finished_run: RunMaker, operator: User) -> None:
    large = finished_run(name="large", metrics={"accuracy": 0.9})
    small = finished_run(name="small", metrics={"accuracy": 0.95})
    ModelRecord.objects.filter(run=large).update(parameters=2_000)
    ModelRecord.objects.filter(run=small).update(parameters=1_000)

    page = text_of(as_(operator).get(reverse("launch", args=[large.project.slug]) + "?method=vanilla-kd&task=digits"))

    assert page.index("large #1") < page.index("small #2")
    assert "accuracy 0.9500)" in page and "epochs unless set" in page


def test_a_number_of_a_diverged_run_is_written_as_a_power() -> None:
    shown = (metric(4.476e24, "nll"), signed(-4.476e24, "nll"), signed(200.0, "parameters"), metric(0.25, "nll"))

    assert shown == ("4.476e+24", "−4.476e+24", "+200", "0.2500")
