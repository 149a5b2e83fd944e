"""The two tracks, against slow versions that read the whole log."""

import random
from typing import Any

import pytest

from engine.methods.steve_evolving.distillation import EVIDENCE, Tracks, wilson_lower_bound
from engine.methods.steve_evolving.experience import cause_of
from engine.models.build import build
from engine.models.knowledge import KnowledgeBase
from tests.engine.methods.crafting_runs import CONFIG, attempt, document, facts_of, fed, tracks_of

# The two tracks, against the whole log


def distilled(documents: list[dict[str, Any]], n_min: int = 2, m_min: int = 2) -> tuple[Any, Any]:
    tracks = tracks_of(documents)
    return tracks.skills(n_min=n_min, episode=1, known={}), tracks.guardrails(m_min=m_min, episode=1, known={})


def test_skills_are_the_intersections_of_all_successes(played):
    skills, _ = distilled(played.documents)

    for skill in skills:
        tried = [each for each in played.documents if each["subgoal"] == skill.action]
        won = [each for each in tried if each["diagnosis"]["outcome"] == "success"]
        always = frozenset.intersection(*(facts_of(each["before"]) for each in won))
        fitting = [each for each in tried if always <= facts_of(each["before"])]
        assert skill.preconditions == sorted(always)
        assert skill.successes == len(won) >= 2
        assert skill.evidence == [each["id"] for each in won][:EVIDENCE]
        assert skill.confidence == pytest.approx(wilson_lower_bound(len(won), len(fitting)))
    assert {skill.action for skill in skills} >= {"chop", "move", "plank", "stick", "table"}


def test_a_skill_says_what_every_success_gained(played):
    skills = {skill.action: skill for skill in distilled(played.documents)[0]}

    assert skills["plank"].gains == {"plank": 4}
    assert skills["plank"].steps == ["plank"]
    assert skills["chop"].gains == {"log": 1}
    assert skills["move"].gains == {}


def test_guardrails_are_what_all_failures_had_and_no_success(played):
    _, rules = distilled(played.documents)

    for rule in rules:
        tried = [each for each in played.documents if each["subgoal"] == rule.action]
        failed = [each for each in tried if each["diagnosis"]["cause"] is not None and cause_of(each["diagnosis"]) == rule.cause]
        won = [facts_of(each["before"]) for each in tried if each["diagnosis"]["outcome"] == "success"]
        trigger = frozenset.intersection(*(facts_of(each["before"]) for each in failed)) - frozenset().union(*won)
        assert rule.trigger == sorted(trigger) and trigger
        assert rule.failures == len(failed) >= 2
    assert ("plank", "missing_material:log") in {(rule.action, rule.cause) for rule in rules}


def test_no_recorded_success_would_have_been_blocked_by_the_knowledge_of_the_end(played):
    base = KnowledgeBase(build("knowledge_base", CONFIG).habits)
    base.replace(played.records)
    won = [each for each in played.documents if each["diagnosis"]["outcome"] == "success"]

    assert len(base.active) >= 5
    assert [each["id"] for each in won if base.blocking(each["subgoal"], facts_of(each["before"])) is not None] == []


def test_distillation_does_not_depend_on_the_order_and_is_idempotent(played):
    shuffled = list(played.documents)
    random.Random(3).shuffle(shuffled)
    tracks = tracks_of(played.documents)
    skills, rules = tracks.skills(n_min=2, episode=1, known={}), tracks.guardrails(m_min=2, episode=1, known={})

    assert distilled(shuffled) == (skills, rules)
    assert tracks.skills(n_min=2, episode=9, known={each.action: each for each in skills}) == skills
    assert tracks.guardrails(m_min=2, episode=9, known={(each.action, each.cause): each for each in rules}) == rules


def test_preconditions_shrink_as_successes_are_added(played):
    tracks, before = Tracks(), {}
    for each in played.documents[:800]:
        tracks.take(each, before=facts_of(each["before"]), after=facts_of(each["after"]))
        now = {action: track.always for action, track in tracks.successes.items() if track.n}
        assert all(now[action] <= always for action, always in before.items())
        before = now
    assert before


def test_causes_are_not_mixed_and_one_observation_is_no_rule():
    tracks = fed(attempt(0, "a", "x", cause="death"), attempt(1, "b", "x", cause="timeout"), attempt(2, "b", "y", cause="timeout"))

    rules = tracks.guardrails(m_min=2, episode=1, known={})

    assert [(rule.cause, rule.trigger) for rule in rules] == [("timeout", ["b"])]


def test_failures_that_no_state_explains_make_no_rule():
    tracks = fed(attempt(0, "a", cause="death"), attempt(1, "a", cause="death"), attempt(2, "a", "b"))

    assert tracks.guardrails(m_min=2, episode=1, known={}) == []


def test_a_success_under_the_trigger_takes_its_atoms_and_retires_the_rule_when_none_is_left():
    failed = [attempt(0, "a", "b", cause="death"), attempt(1, "a", "b", cause="death")]
    born = fed(*failed).guardrails(m_min=2, episode=1, known={})
    known = {(rule.action, rule.cause): rule for rule in born}

    smaller = fed(*failed, attempt(2, "a")).guardrails(m_min=2, episode=2, known=known)
    gone = fed(*failed, attempt(2, "a"), attempt(3, "b")).guardrails(m_min=2, episode=3, known=known)

    assert (born[0].trigger, born[0].retired) == (["a", "b"], None)
    assert (smaller[0].trigger, smaller[0].retired, smaller[0].born) == (["b"], None, 1)
    assert (gone[0].trigger, gone[0].retired, gone[0].born) == ([], 3, 1)


def test_a_rule_that_arises_in_two_tasks_by_itself_belongs_to_the_task_level():
    one = [attempt(0, "a", cause="death"), attempt(1, "a", cause="death")]
    same = [attempt(2, "a", cause="death", task="furnace"), attempt(3, "a", cause="death", task="furnace")]
    single = same[:1]

    levels = [fed(*attempts).guardrails(m_min=2, episode=1, known={})[0].granularity for attempts in (one, one + single, one + same)]

    assert levels == ["subgoal", "subgoal", "task"]


def test_the_shortest_sequence_is_kept_and_ties_go_to_the_earliest():
    late = document(1, subgoal="smelt", actions=["chop", "smelt"])
    early = document(0, subgoal="smelt", actions=["move", "smelt"])
    long = document(2, subgoal="smelt", actions=["move", "move", "smelt"])

    [skill] = fed(*((each, frozenset()) for each in (late, long, early))).skills(n_min=2, episode=1, known={})

    assert skill.steps == ["move", "smelt"]


def test_the_wilson_bound_is_that_of_the_formula_and_stays_below_the_share():
    # p = 0.5, n = 4, z² = 3.8416: (0.5 + 0.4802 − 1.96·√(0.0625 + 0.060025)) / 1.9604 = 0.150036
    assert wilson_lower_bound(2, 4) == pytest.approx(0.150036, abs=1e-5)
    assert wilson_lower_bound(0, 0) == 0.0
    for n in (1, 2, 7, 100):
        bounds = [wilson_lower_bound(s, n) for s in range(n + 1)]
        assert bounds == sorted(bounds) and len(set(bounds)) == n + 1
        assert all(0 <= bound <= s / n for s, bound in enumerate(bounds))
