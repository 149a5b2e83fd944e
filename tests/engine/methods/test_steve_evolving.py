"""Runs of a few episodes: what they leave, what they say of themselves, and what is refused."""

import json
from typing import Any

import pytest
import torch

from engine.errors import ModelError
from engine.events import Log
from engine.methods.steve_evolving.early_warnings import early_warnings
from engine.methods.steve_evolving.episodes import halves, online_metrics, share
from engine.methods.steve_evolving.experience import cause_of
from engine.methods.steve_evolving.pictures import moving_mean
from engine.models.build import build
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from tests.engine.methods.crafting_runs import CONFIG, Played, parsed

# Runs


def test_each_attempt_is_an_experience_and_a_blocked_one_is_none(played):
    assert [each["id"] for each in played.documents] == list(range(len(played.documents)))
    taken = [each for each in played.documents if each["plan"]["blocked"] is not None]
    assert taken
    assert all(each["subgoal"] != each["plan"]["wanted"] for each in taken)


def test_knowledge_of_one_track_is_all_that_an_arm_has(tmp_path):
    no_rules = Played(tmp_path / "a", steps=5, distill_guardrails=False).records
    no_skills = Played(tmp_path / "b", steps=5, distill_skills=False).records

    assert no_rules.guardrails == [] and no_rules.skills
    assert no_skills.skills == [] and no_skills.guardrails


def test_without_memory_the_run_is_the_one_whose_stores_stay_empty(tmp_path):
    without = Played(tmp_path / "a", steps=10, distill_skills=False, distill_guardrails=False)
    never_enough = Played(tmp_path / "b", steps=10, n_min=10_000, m_min=10_000)

    assert without.documents == never_enough.documents
    assert without.metrics("test") == never_enough.metrics("test")


def test_nothing_is_trained(played):
    model = build("knowledge_base", CONFIG)
    before = torch.get_rng_state()

    model.replace(played.records)

    assert list(model.parameters()) == [] and list(model.buffers()) == []
    assert torch.equal(torch.get_rng_state(), before)


def test_records_that_are_none_are_refused(played):
    model = build("knowledge_base", CONFIG)

    with pytest.raises(ModelError, match="These are no records of a knowledge base: guardrails"):
        model.set_extra_state({**played.records.model_dump(), "guardrails": [{"action": "smelt"}]})


def test_rules_of_one_observation_are_warned_of(tmp_path):
    lines = [[event.text for event in Played(tmp_path / f"{n}", steps=1, m_min=n).events if isinstance(event, Log)] for n in (1, 2)]

    assert lines == [["Rules will be born from one observation: n_min or m_min is 1."], []]


def test_the_habits_of_the_settings_are_those_of_the_exported_knowledge(tmp_path):
    Played(tmp_path, steps=2, patience=5, follow=0.5)

    meta = json.loads((tmp_path / "student/model.json").read_text())

    assert meta["config"] == {"patience": 5, "follow": 0.5, "temporary_rules": False}
    assert meta["parameters"] == 0


def test_a_knowledge_base_that_already_knows_something_is_refused(tmp_path):
    Played(tmp_path / "a", steps=3)
    ref = "run:00000000-0000-4000-8000-000000000001"
    spec = RunSpec.parse({**parsed(steps=3).model_dump(mode="json"), "student": ref})

    outcome = execute(spec, lambda event: None, tmp_path / "b", models={ref: tmp_path / "a/student"})

    assert outcome.reason == "student: steve-evolving begins with an empty knowledge base; choose the architecture knowledge."


def test_online_numbers_are_those_of_the_log(played):
    metrics = played.metrics("validation")
    last = [each for each in played.documents if each["episode"] >= 10]
    seen: set[tuple[str, str]] = set()
    repeated = 0
    for each in played.documents:
        if each["diagnosis"]["cause"] is not None:
            key = (each["signature"], cause_of(each["diagnosis"]))
            repeated += key in seen and each["episode"] >= 10
            seen.add(key)
    goals = {each["episode"] for each in played.documents if each["diagnosis"]["progress"] == 1.0}

    assert metrics["repeated_failures"] == pytest.approx(repeated / len(last))
    assert metrics["success_first_half"] == len([e for e in goals if e < 10]) / 10
    assert metrics["success_last_half"] == len([e for e in goals if e >= 10]) / 10


def test_the_views_show_the_last_episode_and_documents_behind_the_rules(played):
    tables = played.tables("validation")
    last = [each for each in played.documents if each["episode"] == 19]

    assert [row[4] for row in tables["replay"]["cells"]] == [each["subgoal"] for each in last]
    assert tables["replay"]["cells"][-1][-1].startswith("#")
    shown = {row[0] for row in tables["evidence"]["cells"]}
    named = {f"#{number}" for rule in played.records.guardrails for number in rule.evidence[:5]}
    assert named <= shown
    assert len(json.dumps(tables)) < 200_000


def test_a_moving_mean_begins_with_what_there_is():
    assert moving_mean([1.0, 0.0, 0.0, 1.0], window=2) == [1.0, 0.5, 0.0, 0.5]


def episode(**more: int) -> dict[str, Any]:
    return {"success": 0, "actions": 10, "failures": 0, "repeated": 0, "blocked": 0, "rightly": 0, "fallbacks": 0, "retired": 0, **more}


def test_shares_over_nothing_are_undefined_and_an_odd_middle_belongs_to_the_second_half():
    assert share([], "success") is None
    assert online_metrics([episode(success=1)])["guardrail_precision"] is None
    assert [len(half) for half in halves([episode()] * 5)] == [2, 3]


@pytest.mark.parametrize(
    ("first", "last", "warning"),
    [
        (episode(success=1), episode(), "Success fell from 1.00 in the first half to 0.00 in the last half of the episodes."),
        (
            episode(repeated=1),
            episode(repeated=2),
            "Actions that repeat an earlier failure did not become fewer: 0.100 of all in the first half, then 0.200.",
        ),
        (episode(fallbacks=1), episode(), "Guardrails forbid every action in more than 3% of the steps; raise m_min."),
        (
            episode(blocked=5, rightly=4),
            episode(),
            "More than 10% of the actions that guardrails blocked would have succeeded; raise m_min.",
        ),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(first, last, warning):
    assert early_warnings([first] * 10 + [last] * 10, total=20) == [warning]
    assert early_warnings([episode()] * 20, total=20) == []
