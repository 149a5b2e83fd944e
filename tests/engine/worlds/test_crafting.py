"""The crafting world, its facts, and the planner that plays it."""

from random import Random

import pytest

from engine.models.knowledge import Guardrail, Habits, KnowledgeBase, KnowledgeRecords, Skill
from engine.worlds.crafting import (
    ACTIONS,
    COUNTS,
    ITEMS,
    RECIPES,
    RawEvent,
    WorldState,
    observe,
    outcome_of,
    predicates,
    recognize,
    start,
    step,
)
from engine.worlds.planner import Planner, play


def held(lava: bool = False, **counts: int) -> WorldState:
    return WorldState(tuple(counts.get(item, 0) for item in ITEMS), lava)


def skill(action: str, *preconditions: str) -> Skill:
    return Skill(
        action=action,
        preconditions=list(preconditions),
        steps=[action],
        verification=[],
        gains={},
        confidence=0.5,
        successes=2,
        evidence=[0, 1],
        born=1,
    )


def rule(action: str, *trigger: str, failures: int = 2, retired: int | None = None) -> Guardrail:
    return Guardrail(
        action=action,
        cause="tool_insufficient",
        trigger=list(trigger),
        remedy="",
        granularity="subgoal",
        failures=failures,
        evidence=[0],
        born=1,
        retired=retired,
    )


def knowing(
    *, skills: tuple[Skill, ...] = (), rules: tuple[Guardrail, ...] = (), successes: dict[str, int] | None = None, follow: float = 1.0
):
    base = KnowledgeBase(Habits(2, follow, False))
    base.replace(KnowledgeRecords(skills=list(skills), guardrails=list(rules), successes=successes or {}))
    return base


# The world


def test_there_are_fourteen_actions_and_thirteen_items():
    assert len(ACTIONS) == 14
    assert len(ITEMS) == 13


def test_a_pick_is_made_of_what_the_table_says_and_leaves_the_table():
    after, event = step(held(plank=3, stick=2, table=1), "wood_pick", Random(0))

    assert event.succeeded
    assert after == held(table=1, wood_pick=1)


@pytest.mark.parametrize(
    ("state", "action", "event"),
    [
        (held(), "mine_iron", RawEvent("tool_insufficient")),
        (held(lava=True), "mine_iron", RawEvent("tool_insufficient")),  # the tier is looked at before lava
        (held(lava=True, stone_pick=1), "mine_iron", RawEvent("hazard_damage")),
        (held(lava=True, wood_pick=1), "mine_stone", RawEvent()),
        (held(ore=1), "smelt", RawEvent("missing_material", "coal")),  # the first missing one in the table's order
        (held(), "smelt", RawEvent("missing_material", "ore")),
        (held(stone=7, table=1), "furnace", RawEvent("missing_material", "stone")),
    ],
)
def test_requirements_are_checked_in_their_order(state, action, event):
    assert outcome_of(state, action) == event


def test_lava_takes_the_inventory_and_other_failures_take_nothing():
    burnt, _ = step(held(lava=True, iron_pick=1, log=5), "mine_diamond", Random(0))
    kept, _ = step(held(log=5), "stick", Random(0))

    assert burnt == held(lava=True)
    assert kept == held(log=5)


def test_moving_redraws_the_lava_flag_evenly_and_leads_into_the_next_cell():
    draw = Random(1)

    states = [step(held(log=1), "move", draw)[0] for _ in range(2000)]

    assert abs(sum(state.lava for state in states) / 2000 - 0.5) < 4 * 0.5 / 2000**0.5
    assert {state.position for state in states} == {(16, 0, 0)}
    assert {state.inventory["log"] for state in states} == {1}


def test_the_facts_hold_exactly_one_of_each_pair():
    facts = predicates(held(lava=True, plank=3, stone_pick=1))

    assert {"plank>=3", "plank<4", "plank<8", "tier>=2", "tier<3", "lava_near", "diamond<1"} <= facts
    assert len(facts) == len(ITEMS) * len(COUNTS) + 3 + 1
    assert "no_lava" not in facts and "plank>=4" not in facts


def test_counts_beyond_the_largest_that_is_asked_for_have_equal_facts():
    assert predicates(held(log=8)) == predicates(held(log=1000))


def test_an_observation_gives_the_state_back():
    state = WorldState(held(log=3, ore=1).counts, True, 4)

    assert recognize(observe(state)) == state


# The planner


def test_it_chains_backward_through_unmet_preconditions():
    base = knowing(skills=(skill("stone_pick", "stone>=3", "stick>=2"), skill("stick", "plank>=2"), skill("plank", "log>=1")))

    found = Planner(base, "stone_pick").next_subgoal(predicates(held()))

    assert found == ("chop", ("stone_pick", "stick", "plank", "log"))  # "stick>=2" sorts before "stone>=3"


def test_a_tier_asks_for_its_pick_and_lava_for_another_place():
    base = knowing(skills=(skill("mine_iron", "tier>=2", "no_lava", "coal<1"), skill("smelt", "ore>=1")))

    assert Planner(base, "ore").next_subgoal(predicates(held(coal=2))) == ("stone_pick", ("ore", "stone_pick"))
    assert Planner(base, "ore").next_subgoal(predicates(held(lava=True))) == ("move", ("ore",))


def test_what_is_already_on_the_way_is_not_asked_for_again():
    base = knowing(skills=(skill("plank", "log>=1"), skill("chop", "plank>=1")))

    assert Planner(base, "plank").next_subgoal(predicates(held())) == ("chop", ("plank", "log"))


def test_a_blocked_action_is_never_taken_while_another_is_allowed():
    base = knowing(rules=(rule("mine_diamond", "tier<3"), rule("smelt", "lava_near")))
    planner, draw = Planner(base, "diamond"), Random(0)

    choices = [planner.choose(held(), draw) for _ in range(300)]

    assert {choice.wanted for choice in choices} == {"mine_diamond"}
    assert all(choice.blocked == base.records.guardrails[0] for choice in choices)
    assert {choice.action for choice in choices} == set(ACTIONS) - {"mine_diamond"}


def test_a_trigger_must_hold_whole_until_the_action_has_succeeded_and_then_any_atom_will_do():
    never = knowing(rules=(rule("smelt", "ore<1", "coal<1"),))
    once = knowing(rules=(rule("smelt", "ore<1", "coal<1"),), successes={"smelt": 1})
    half = predicates(held(ore=1))

    assert never.blocking("smelt", half) is None
    assert once.blocking("smelt", half) is not None
    assert never.blocking("smelt", predicates(held())) is not None


def test_a_retired_rule_forbids_nothing():
    base = knowing(rules=(rule("smelt", "ore<1", retired=3),))

    assert base.blocking("smelt", predicates(held())) is None
    assert base.active == []


def test_where_all_is_forbidden_the_rule_with_the_least_evidence_gives_way():
    rules = tuple(rule(action, "no_lava", failures=2 if action == "table" else 9) for action in ACTIONS)
    planner, draw = Planner(knowing(rules=rules), "diamond"), Random(0)

    choices = [planner.choose(held(), draw) for _ in range(20)]

    assert {choice.action for choice in choices} == {"table"}
    assert all(choice.fallback for choice in choices)


def test_after_two_failures_in_a_row_it_does_something_else_until_a_success():
    planner, draw = Planner(knowing(), "diamond"), Random(0)

    before = planner.choose(held(), draw)
    for _ in range(2):
        planner.note("mine_diamond", RawEvent("tool_insufficient"))
    failing = [planner.choose(held(), draw) for _ in range(100)]
    planner.note("mine_diamond", RawEvent())
    after = planner.choose(held(), draw)

    assert before.action == after.action == "mine_diamond"
    assert all(choice.replanned for choice in failing)
    assert len({choice.action for choice in failing}) > 5


def test_temporary_rules_forbid_the_failed_action_in_that_state_alone():
    base = KnowledgeBase(Habits(2, 1.0, True))
    planner, draw = Planner(base, "diamond"), Random(0)
    for _ in range(2):
        planner.note("mine_diamond", RawEvent("tool_insufficient"))

    choices = [planner.choose(held(), draw) for _ in range(200)]

    assert "mine_diamond" not in {choice.action for choice in choices}
    assert "mine_diamond" in planner.allowed(predicates(held(log=1)))
    assert Planner(base, "diamond").temporary == []  # the next episode begins without


def test_empty_stores_draw_the_same_numbers_as_no_memory():
    empty, with_other_counts = knowing(follow=0.85), knowing(follow=0.85, successes={"chop": 3})

    first = list(play(Planner(empty, "furnace"), actions=120, draw=Random(5)))
    second = list(play(Planner(with_other_counts, "furnace"), actions=120, draw=Random(5)))

    assert first == second


def test_an_episode_ends_when_the_goal_is_held():
    base = knowing(skills=(skill("plank", "log>=1"),))

    attempts = list(play(Planner(base, "plank"), actions=50, draw=Random(0)))

    assert [attempt.choice.action for attempt in attempts] == ["chop", "plank"]
    assert attempts[-1].after.count("plank") == 4


def test_an_adviser_is_followed_only_where_it_is_allowed():
    base = knowing(rules=(rule("smelt", "no_lava"),))
    advised = {
        advice: Planner(base, "table", lambda situation, advice=advice: advice).choose(held(), Random(0)).action
        for advice in ("move", "smelt", "fly")
    }

    assert advised == {"move": "move", "smelt": "table", "fly": "table"}


def test_recipes_ask_for_what_some_action_gives():
    assert {item for recipe in RECIPES.values() for item in (*recipe.needs, *recipe.consumes)} <= set(ITEMS)
    assert all(recipe.consumes.items() <= recipe.needs.items() for recipe in RECIPES.values())
    assert {start(Random(seed)).lava for seed in range(20)} == {True, False}
