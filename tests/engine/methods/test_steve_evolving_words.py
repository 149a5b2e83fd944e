"""Experiences and rules in words and views, and the edges of memory, tracks and wording, by hand."""

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.methods.steve_evolving.anchoring import diagnosed, experience_of, query_for, weights_of
from engine.methods.steve_evolving.card import Settings
from engine.methods.steve_evolving.distillation import EVIDENCE, REMEDIES
from engine.methods.steve_evolving.early_warnings import early_warnings
from engine.methods.steve_evolving.endpoint import LONGEST_REMEDY, question_of, still, worded
from engine.methods.steve_evolving.episodes import EpisodeTally
from engine.methods.steve_evolving.experience import CAUSES, ExperienceMemory, Query, condition_text, difference, score
from engine.methods.steve_evolving.pictures import behind_the_rules, course, replay
from engine.methods.steve_evolving.recall import recalled_for
from engine.methods.steve_evolving.wording import held_in, one_line, result_of
from engine.models.build import build
from engine.models.knowledge import Guardrail, KnowledgeRecords, Skill
from engine.worlds.crafting import WorldState, step
from engine.worlds.planner import PlannedAction, Situation, SubgoalAttempt
from tests.engine.methods.crafting_runs import CONFIG, attempt, document, fed
from tests.engine.methods.test_steve_evolving import episode

SEEN = {"held.log": 2, "held.plank": 1, "x": 0, "y": 0, "z": 0, "biome": "plains", "tool_tier": 1, "lava": False}
FAILED = {"outcome": "fail", "cause": "missing_material", "item": "ore"}


def told(number: int, **more: Any) -> dict[str, Any]:
    plan = {"wanted": "smelt", "chain": ["ingot", "ore"], "blocked": None, "replanned": False, "fallback": False}
    return document(number, **{"before": SEEN, "after": {**SEEN, "lava": True}, "episode": 3, "plan": plan, **more})


def rule(**changes: Any) -> Guardrail:
    given_values = {"action": "smelt", "cause": "death", "trigger": ["lava", "tier<2"], "remedy": "Wait.", "granularity": "subgoal"}
    return Guardrail(**{**given_values, "failures": 2, "evidence": [0, 1], "born": 1, **changes})


def skill(**changes: Any) -> Skill:
    given_values = {"action": "smelt", "preconditions": ["ore>=1", "tier>=1"], "steps": ["smelt"], "verification": [], "gains": {}}
    return Skill(**{**given_values, "confidence": 0.5, "successes": 2, "evidence": [0], "born": 1, **changes})


def tried(action: str = "chop", *, number: int = 0, before: WorldState | None = None, **plan: Any) -> SubgoalAttempt:
    state = before or WorldState()
    after, event = step(state, action, Random(0))
    return SubgoalAttempt(number, state, PlannedAction(**{"action": action, "wanted": action, "chain": (), **plan}), event, after)


# Words


def test_an_experience_in_a_line_says_what_was_held_and_how_it_ended():
    assert one_line(told(0)) == "smelt holding 2 log 1 plank: success"
    assert one_line(told(0, before={"lava": True}, diagnosis=FAILED)) == "smelt holding nothing: missing_material: ore"
    assert result_of(told(0, diagnosis={"outcome": "fail", "cause": "death"})) == "death"
    assert held_in({"held.log": 2, "upheld.log": 5, "log": 1}) == "2 log"


def test_a_question_lists_skills_guardrails_and_attempts_under_their_heads():
    knowledge = build("knowledge_base", CONFIG)
    long = rule(trigger=[f"atom{number}" for number in range(10)], cause="timeout", remedy="Hurry.")
    knowledge.replace(
        KnowledgeRecords(skills=[skill(preconditions=["ore>=1", "tier<2"]), skill(action="chop", preconditions=["x<9"])], guardrails=[long])
    )
    state = WorldState()._replace(counts=(3, *WorldState().counts[1:]))

    lines = question_of(Situation("ingot", state, "smelt", 2, ("chop",)), knowledge, ["first", "second"]).splitlines()

    assert lines[1].startswith("You hold 3 ") and lines[1].endswith("; lava is not near.")
    assert lines[4:] == [
        "Skills:",
        "- smelt succeeds with ore>=1",
        "- chop succeeds with nothing",
        "Guardrails:",
        "- not smelt where atom0 atom1 atom2 atom3 atom4 atom5 atom6 atom7: timeout. Hurry.",
        "Earlier attempts:",
        "- first",
        "- second",
    ]


@pytest.mark.parametrize(
    "draft",
    [
        rule(action="chop", trigger=["lava"]),
        rule(cause="timeout", trigger=["lava"]),
        rule(trigger=["lava", "night"]),
        rule(trigger=[]),
        rule(trigger=["lava"], remedy="x" * (LONGEST_REMEDY + 1)),
    ],
)
def test_a_wording_of_another_rule_or_with_more_or_no_conditions_leaves_the_rule_as_it_is(draft: Guardrail):
    assert worded(rule(), draft) == rule()


def test_a_wording_changes_remedy_and_conditions_alone_in_the_order_of_the_rule():
    draft = rule(trigger=["tier<2", "lava"], remedy="x" * LONGEST_REMEDY, failures=99, evidence=[7], born=9, granularity="task")

    assert worded(rule(), draft) == rule(remedy="x" * LONGEST_REMEDY)
    assert worded(skill(), skill(preconditions=["tier>=1"], confidence=1.0, steps=[])) == skill(preconditions=["tier>=1"])
    assert worded(skill(), skill(action="chop", preconditions=["tier>=1"])) == skill()


def test_an_earlier_wording_keeps_the_conditions_that_the_rule_still_has():
    assert still(rule(trigger=["lava"]), rule(trigger=["tier<2", "lava"])).trigger == ["lava"]
    assert still(skill(preconditions=["a"]), skill(preconditions=["b", "a"])).preconditions == ["a"]


# Views


def test_the_replay_names_the_episode_from_one_and_what_was_recalled_by_number():
    rows = [told(4), told(5, diagnosis=FAILED, plan={**told(0)["plan"], "blocked": "death"})]

    found = replay(rows, {5: [1, 3]})

    assert found["title"] == "Episode 4: ingot"
    assert found["cells"][0] == [1, "smelt", "ingot ← ore", None, "smelt", "success", "2 log 1 plank", True, ""]
    assert found["cells"][1][3:6] == ["death", "smelt", "missing_material: ore"] and found["cells"][1][-1] == "#1 #3"
    assert replay([], {})["title"] == "No episode yet" and replay([], {})["cells"] == []


def test_of_each_rule_the_first_five_experiences_are_shown_once_and_in_order():
    rows = [told(number) for number in range(9)]
    records = KnowledgeRecords(skills=[skill(evidence=[7, 2])], guardrails=[rule(evidence=[2, 3, 4, 5, 6, 8])])

    found = behind_the_rules(records, rows)

    assert [row[0] for row in found["cells"]] == ["#2", "#3", "#4", "#5", "#6", "#7"]
    assert found["cells"][0] == ["#2", 4, "ingot", "smelt", "2 log 1 plank", 1, False, "success", "s"]


def test_the_course_has_a_curve_for_each_cause_and_levels_for_halves_that_had_episodes():
    one, other = ({**episode(success=1, failures=3), "causes": {"death": 2}, "skills": 1, "guardrails": 0}, episode(blocked=4))
    other |= {"causes": {"timeout": 1}, "skills": 2, "guardrails": 5}

    found, alone = course([one, other]), course([one])

    assert found["causes"]["series"] == {"death": {"x": [1, 2], "y": [2.0, 1.0]}, "timeout": {"x": [1, 2], "y": [0.0, 0.5]}}
    assert found["success"]["levels"] == {"first half": 1.0, "last half": 0.0}
    assert alone["success"]["levels"] == {"last half": 1.0}
    assert found["rules"]["series"]["guardrails, active"]["y"] == [0, 5]
    assert found["repeats"]["series"]["blocked by a guardrail"]["y"] == [0.0, 2.0]
    assert found["repeats"]["series"]["failures"]["y"] == [3.0, 1.5]


def test_what_is_recalled_is_kept_by_the_experience_it_was_recalled_for():
    found, milliseconds = recalled_for([told(3), told(7)], lambda each: [told(each["id"] - 1), told(each["id"] - 2)])

    assert found == {3: [2, 1], 7: [6, 5]}
    assert milliseconds >= 0


# Anchoring


def test_an_experience_has_the_keys_of_the_indices_and_what_the_planner_wanted():
    one = tried("chop", wanted="plank", chain=("table", "plank"), blocked=rule(), fallback=True)

    found = experience_of(one, number=4, episode=2, goal="table", budget=10, states=[one.after], settings=Settings())

    assert (found["id"], found["time"], found["episode"], found["task"], found["subgoal"], found["actions"]) == (
        4,
        4,
        2,
        "table",
        "chop",
        ["chop"],
    )
    assert found["plan"] == {"wanted": "plank", "chain": ["table", "plank"], "blocked": "death", "replanned": False, "fallback": True}
    assert found["tags"] == sorted({"table", "chop", found["condition"]["target"]})
    query = query_for(one.before, "chop", goal="table", time=9, settings=Settings())
    assert (query.signature, list(query.cell), sorted(query.tags), query.time) == (found["signature"], found["cell"], found["tags"], 9)


def test_progress_is_at_most_one_and_steps_are_counted_from_one_over_the_budget():
    goal = next(iter(tried("chop").after.inventory))
    rich = WorldState()._replace(counts=tuple(5 for _ in WorldState().counts))

    many = diagnosed(tried("chop", number=2, before=rich), goal=goal, budget=8, states=[], settings=Settings())
    none = diagnosed(tried("move"), goal=goal, budget=8, states=[], settings=Settings())

    assert (many.progress, many.steps) == (1.0, 3 / 8)
    assert (none.progress, none.steps, none.distance, none.stagnation, none.loop) == (0.0, 1 / 8, None, False, False)


def test_each_setting_of_the_recall_is_its_own_weight():
    chosen = Settings(signature_weight=0.9, tag_weight=0.8, place_weight=0.7, recency_weight=0.65, recall_length=3.0, half_life=40.0)

    assert tuple(weights_of(chosen)) == (0.9, 0.8, 0.7, 0.65, 3.0, 40.0)


def test_a_score_falls_with_the_distance_of_cells_and_halves_with_age():
    near, far = document(0, cell=(0, 0, 0)), document(0, cell=(3, 4, 0))
    place = weights_of(Settings(signature_weight=0.0, tag_weight=0.0, place_weight=1.0, recency_weight=0.0, recall_length=5.0))
    recency = weights_of(Settings(signature_weight=0.0, tag_weight=0.0, place_weight=0.0, recency_weight=1.0, half_life=10.0))
    query = Query("other", (0, 0, 0), frozenset(), 10)

    assert score(far, query, place) == pytest.approx(math.exp(-1) * score(near, query, place))
    assert score(near, query, recency) == pytest.approx(0.5)


# Memory and tracks


def test_a_summary_names_the_three_most_frequent_causes_and_of_equal_ones_the_first_by_name():
    memory = ExperienceMemory()
    causes = ["timeout", "death", "death", "unreachable", "blocked_path", None]
    for number, cause in enumerate(causes):
        outcome = "success" if cause is None else "fail"
        memory.add(document(number, diagnosis={"outcome": outcome, "cause": cause}, actions=["smelt"] * (number + 1)))

    [found] = memory.summaries()

    assert found.line == "1 of 6 succeeded; death ×2, blocked_path ×1, timeout ×1"
    assert (found.attempts, found.successes, found.mean_steps, found.last_outcome, found.last_time) == (6, 1, 3.5, "success", 5)
    assert list(found.causes) == sorted(found.causes) and found.ids == list(range(6))


def test_an_attempt_repeats_a_failure_of_the_same_cause_under_the_same_signature_alone():
    memory = ExperienceMemory()
    memory.add(document(0, signature="a", diagnosis=FAILED))

    asked = [("a", "missing_material:ore"), ("a", "missing_material:log"), ("b", "missing_material:ore")]

    assert [memory.failed_before(*each) for each in asked] == [True, False, False]


def test_recall_of_none_is_none_and_of_more_than_there_are_is_all():
    memory, query = ExperienceMemory(), Query("s", (0, 0, 0), frozenset(), 2)

    assert memory.recall(query, k=3) == []
    for number in range(2):
        memory.add(document(number))
    assert [each["id"] for each in memory.recall(query, k=9)] == [1, 0]
    assert memory.recall(query, k=0) == []


counts = st.dictionaries(st.sampled_from(["held.a", "held.b", "x"]), st.integers(-3, 3))
words = st.dictionaries(st.sampled_from(["biome", "lava"]), st.booleans() | st.sampled_from(["plains", "snow"]))


@settings(max_examples=60)
@given(held=st.tuples(counts, counts), said=st.tuples(words, words))
def test_a_difference_takes_the_state_before_to_the_state_after_and_names_nothing_else(held: Any, said: Any):
    before, after = ({**held[at], **said[at]} for at in range(2))

    found = difference(before, after)

    for key in held[0].keys() | held[1].keys():
        assert before.get(key, 0) + found.get(key, 0) == after.get(key, 0)
    for key in said[0].keys() | said[1].keys():
        assert found.get(key) == (None if before.get(key) == after.get(key) else [before.get(key), after.get(key)])
    assert difference(before, before) == {} and 0 not in [value for value in found.values() if not isinstance(value, list)]


def test_a_conditions_text_is_sorted_by_its_keys():
    assert condition_text({"b": 2, "a": None, "c": "x"}) == "a=None|b=2|c=x"


def test_every_cause_has_a_remedy_and_that_of_a_missing_material_names_it():
    assert set(REMEDIES) == set(CAUSES)

    missing = [attempt(number, "a", cause="missing_material") for number in range(2)]
    for each, _ in missing:
        each["diagnosis"]["item"] = "coal"
    [found] = fed(*missing).guardrails(m_min=2, episode=1, known={})

    assert (found.cause, found.remedy) == ("missing_material:coal", "Get coal first.")


def test_a_rule_keeps_the_earliest_of_its_evidence_whatever_the_order_and_a_retired_one_the_episode_of_its_end():
    numbers = [*range(EVIDENCE, 2 * EVIDENCE), *range(EVIDENCE)]
    tracks = fed(*(attempt(number, "a", cause="death") for number in numbers), attempt(99, "a"))
    old = rule(action="smelt", cause="death", retired=4, born=2)

    [found] = tracks.guardrails(m_min=2, episode=9, known={("smelt", "death"): old})

    assert found.evidence == list(range(EVIDENCE))
    assert (found.born, found.retired, found.trigger, found.failures) == (2, 4, [], 2 * EVIDENCE)


def test_a_skill_keeps_the_episode_of_its_birth_and_what_appeared_after_every_success():
    tracks = fed()
    for number, after in enumerate(({"a", "b", "c"}, {"a", "b", "d"})):
        changes = {"held.plank": 4, "held.log": -1, f"held.x{number}": 1}
        tracks.take(document(number, diagnosis={"changes": changes}), before=frozenset({"a"}), after=frozenset(after))

    [found] = tracks.skills(n_min=2, episode=8, known={"smelt": skill(born=3)})

    assert (found.born, found.preconditions, found.verification, found.gains) == (3, ["a"], ["b"], {"plank": 4})
    assert tracks.skills(n_min=3, episode=8, known={}) == []


# Episodes


def test_a_blocked_action_counts_as_rightly_blocked_where_it_would_have_failed():
    tally = EpisodeTally(goal="plank")
    for wanted in ("chop", "plank"):  # the first would have succeeded with nothing in hand, the second not
        one = tried("move", wanted=wanted, blocked=rule(), fallback=wanted == "plank")
        tally.count(one, told(0), repeats=True)
    tally.count(tried("plank"), told(1, diagnosis=FAILED), repeats=True)

    assert tally.counts() == {"success": 0, "actions": 3, "failures": 1, "repeated": 1, "blocked": 2, "rightly": 1, "fallbacks": 1}
    assert tally.causes == {"missing_material": 1}


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (episode(repeated=0), episode(repeated=0)),
        (episode(fallbacks=3, actions=100), episode(fallbacks=3, actions=100)),
        (episode(blocked=10, rightly=9), episode(blocked=10, rightly=9)),
        (episode(success=1), episode(success=1)),
    ],
)
def test_what_is_at_its_limit_is_not_warned_of(first: dict[str, int], last: dict[str, int]):
    assert early_warnings([first] * 10 + [last] * 10, total=20) == []


def test_halves_are_compared_when_all_is_played_and_guardrails_after_ten_episodes():
    worse, blind = [episode(success=1)] * 10 + [episode()] * 10, episode(fallbacks=5)

    assert early_warnings(worse, total=21) == []
    assert early_warnings(worse[1:], total=19) == []
    assert len(early_warnings(worse, total=20)) == 1
    assert early_warnings([blind] * 9, total=100) == []
    assert len(early_warnings([blind] * 10, total=100)) == 1
