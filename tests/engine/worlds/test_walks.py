"""What holds along every walk through the crafting world, and for a planner whatever it believes."""

import json
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.models.knowledge import Guardrail, Habits, KnowledgeBase, KnowledgeRecords, Skill
from engine.worlds.crafting import (
    ACTIONS,
    COUNTS,
    GOALS,
    ITEMS,
    PICKS,
    RECIPES,
    RawEvent,
    WorldState,
    observe,
    outcome_of,
    predicates,
    recognize,
    step,
)
from engine.worlds.planner import Planner, item_of
from tests.engine.worlds.test_crafting import rule, skill

states = st.builds(
    WorldState, st.tuples(*[st.integers(0, 12)] * len(ITEMS)), st.booleans(), st.integers(0, 50)
)  # fmt: skip
walks = st.lists(st.sampled_from(ACTIONS), max_size=40)
atoms = st.sampled_from(
    [*(f"{item}>={count}" for item in ITEMS for count in COUNTS), *(f"tier>={tier}" for tier in PICKS), "no_lava", "lava_near", "log<1"]
)


@pytest.mark.parametrize("action", ACTIONS)
@settings(max_examples=40)
@given(before=states, seed=st.integers(0, 5))
def test_an_action_changes_what_its_recipe_says_and_nothing_else(action: str, before: WorldState, seed: int) -> None:
    after, event = step(before, action, Random(seed))

    recipe = RECIPES[action]
    missing = [item for item, count in recipe.needs.items() if before.count(item) < count]
    assert event == outcome_of(before, action)
    if event.cause == "hazard_damage":
        assert recipe.fears_lava and before.lava and after == before._replace(counts=(0,) * len(ITEMS))
    elif not event.succeeded:
        assert after == before
        assert before.tier < recipe.tier or event == RawEvent("missing_material", missing[0])
    elif action == "move":
        assert (after.counts, after.moves) == (before.counts, before.moves + 1)
    else:
        changes = {item: -count for item, count in recipe.consumes.items()}
        changes[str(recipe.gives)] = changes.get(str(recipe.gives), 0) + recipe.amount
        assert {item: after.count(item) - before.count(item) for item in ITEMS} == {item: changes.get(item, 0) for item in ITEMS}
        assert (after.lava, after.moves) == (before.lava, before.moves)
        assert not missing and before.tier >= recipe.tier and not (recipe.fears_lava and before.lava)


@given(walks, st.integers(0, 1000))
def test_a_walk_never_owes_anything_repeats_with_its_seed_and_is_known_by_what_is_seen(walk: list[str], seed: int) -> None:
    visited = []
    for _ in range(2):
        state, draw = WorldState(), Random(seed)
        visited.append([state := step(state, action, draw)[0] for action in walk])

    assert visited[0] == visited[1]
    for state in visited[0]:
        assert min(state.counts) >= 0
        assert recognize(json.loads(json.dumps(observe(state)))) == state
        assert all(count for count in state.inventory.values())


@given(states)
def test_the_facts_of_a_state_are_those_of_a_slow_version(state: WorldState) -> None:
    held = dict(zip(ITEMS, state.counts, strict=True))
    tier = max([number for number, pick in PICKS.items() if held[pick]], default=0)

    slow = {f"{item}{'>=' if held[item] >= count else '<'}{count}" for item in ITEMS for count in COUNTS}
    slow |= {f"tier{'>=' if tier >= number else '<'}{number}" for number in PICKS}
    slow |= {"lava_near" if state.lava else "no_lava"}

    assert predicates(state) == slow
    assert predicates(state._replace(lava=not state.lava)) == slow ^ {"lava_near", "no_lava"}
    assert state.tier == tier


@pytest.mark.parametrize(
    ("atom", "item"),
    [("log>=4", "log"), ("tier>=2", "stone_pick"), ("tier>=3", "iron_pick"), ("log<4", None), ("no_lava", None), ("tier<1", None)],
)
def test_an_atom_is_made_true_by_its_item_or_by_none(atom: str, item: str | None) -> None:
    assert item_of(atom) == item


# The planner


def believing(
    preconditions: dict[str, list[str]], rules: list[Guardrail], *, follow: float = 1.0, temporary: bool = False, patience: int = 2
) -> KnowledgeBase:
    base = KnowledgeBase(Habits(patience, follow, temporary))
    skills: list[Skill] = [skill(action, *atoms) for action, atoms in preconditions.items()]
    base.replace(KnowledgeRecords(skills=skills, guardrails=rules))
    return base


beliefs = st.dictionaries(st.sampled_from(ACTIONS), st.lists(atoms, max_size=4), max_size=8)
rule_lists = st.lists(st.tuples(st.sampled_from(ACTIONS), st.lists(atoms, max_size=2)), max_size=20)


@given(beliefs, rule_lists, states, st.sampled_from(GOALS), st.floats(0, 1), st.integers(0, 9))
@example({}, [(action, []) for action in ACTIONS], WorldState(), "furnace", 1.0, 0)
@example({"furnace": ["log>=1"], "chop": ["plank>=1"], "plank": ["log>=1"]}, [], WorldState(), "furnace", 1.0, 0)
def test_whatever_it_believes_it_finds_an_action_that_nothing_forbids_unless_all_are_forbidden(
    preconditions: dict[str, list[str]], rules: list[tuple[str, list[str]]], state: WorldState, goal: str, follow: float, seed: int
) -> None:
    base = believing(preconditions, [rule(action, *trigger) for action, trigger in rules], follow=follow)

    chosen = Planner(base, goal).choose(state, Random(seed))

    forbidden = base.forbidden(predicates(state))
    assert chosen.fallback == (forbidden == set(ACTIONS))
    assert chosen.action not in forbidden or chosen.fallback
    assert (chosen.blocked is not None) == (chosen.wanted in forbidden)
    assert chosen.chain[0] == goal and len(set(chosen.chain)) == len(chosen.chain)
    assert chosen.action == chosen.wanted or chosen.blocked is not None or follow < 1


@given(beliefs, states, st.sampled_from(GOALS))
def test_what_it_wants_makes_the_last_item_of_its_chain_or_leads_away_from_lava(
    preconditions: dict[str, list[str]], state: WorldState, goal: str
) -> None:
    wanted, chain = Planner(believing(preconditions, []), goal).next_subgoal(predicates(state))

    for made, needed in zip(chain, chain[1:], strict=False):
        [maker] = [action for action, recipe in RECIPES.items() if recipe.gives == made]
        assert needed in [item_of(atom) for atom in set(preconditions[maker]) - predicates(state)]
    assert wanted == "move" or RECIPES[wanted].gives == chain[-1]


@pytest.mark.parametrize(("patience", "temporary"), [(1, False), (3, False), (2, True)])
def test_failures_count_until_a_success_and_patience_says_how_many(patience: int, temporary: bool) -> None:
    planner = Planner(believing({}, [], patience=patience, temporary=temporary), "furnace")
    state, failed = WorldState(), RawEvent("missing_material", "stone")

    replanned = []
    for _ in range(patience + 1):
        replanned.append(planner.choose(state, Random(0)).replanned)
        planner.note("furnace", failed)
    planner.note("furnace", RawEvent())

    assert replanned == [False] * patience + [True]
    assert not planner.choose(state, Random(0)).replanned
    assert (len(planner.temporary) == 1) == temporary
    assert ("furnace" not in planner.allowed(predicates(state))) == temporary
    assert "furnace" in planner.allowed(predicates(state._replace(lava=True)))
