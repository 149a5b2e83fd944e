"""Diagnosis, index, recall, and what a checkpoint holds of the log."""

import json

import pytest

from engine.methods.steve_evolving.experience import (
    CAUSES,
    ExperienceMemory,
    Query,
    Weights,
    cause_of,
    cell_of,
    condition_of,
    difference,
    flags_of,
    jaccard,
    score,
    signature_of,
)
from tests.engine.methods.crafting_runs import document

# Diagnosis


def test_a_difference_has_numbers_that_changed_and_pairs_of_what_differs():
    before = {"held.log": 2, "held.ore": 1, "biome": "plains", "lava": False, "z": 0}
    after = {"held.log": 2, "held.plank": 4, "biome": "volcanic", "lava": True, "z": 0}

    assert difference(before, after) == {"held.ore": -1, "held.plank": 4, "biome": ["plains", "volcanic"], "lava": [False, True]}
    assert difference({"name": "a"}, {}) == {"name": ["a", None]}


@pytest.mark.parametrize(
    ("states", "flags"),
    [
        ("aaaaa", (False, False)),  # fewer than the window
        ("aaaaaa", (True, False)),
        ("baaaaaa", (True, False)),
        ("ababab", (False, True)),
        ("abcdef", (False, False)),
        ("aabbcd", (False, False)),
        ("aaaaab", (False, True)),
    ],
)
def test_stagnation_is_a_window_of_one_state_and_a_loop_one_that_returns(states, flags):
    assert flags_of(states, window=6, repeats=3) == flags


def test_there_are_eleven_causes_and_a_missing_material_says_which():
    assert len(CAUSES) == len(set(CAUSES)) == 11
    assert cause_of({"cause": "missing_material", "item": "ore"}) == "missing_material:ore"
    assert cause_of({"cause": "death", "item": None}) == "death"


# Index and recall


def test_the_signature_does_not_depend_on_the_order_of_keys():
    condition = condition_of(subgoal="smelt", target="ingot", tool_tier=2, biome="plains", depth_band="surface")
    turned = dict(reversed(condition.items()))

    # sha1("biome=plains|depth_band=surface|subgoal=smelt|target=ingot|tool_tier=2")
    assert signature_of(condition) == signature_of(turned) == "92eb4ca631a6"
    assert signature_of({**condition, "tool_tier": 3}) != signature_of(condition)


def test_cells_are_rounded_downward():
    assert cell_of((-0.1, 15.9, 16.0)) == (-1, 0, 1)
    assert cell_of((-0.1, 5.0), size=2.5) == (-1, 2)


def test_the_score_adds_signature_tags_nearness_and_recency():
    query = Query("s", (3, 0, 0), frozenset({"a", "b"}), time=100)
    found = score(document(50, cell=(0, 4, 0), tags=("b", "c")), query, Weights())

    # 1 + 0.6·1/3 + 0.4·exp(−5/2) + 0.3·2^(−50/50) = 1 + 0.2 + 0.0328340 + 0.15
    assert found == pytest.approx(1.382834, abs=1e-6)
    assert jaccard((), frozenset()) == 0.0


def test_recall_takes_the_best_of_those_that_share_something_and_ties_go_to_the_earlier():
    memory = ExperienceMemory()
    for number, (signature, tags) in enumerate([("x", ("far",)), ("q", ()), ("x", ("t",)), ("x", ("t",)), ("y", ())]):
        memory.add({**document(number, signature=signature, cell=(9, 9, number), tags=tags), "time": 0})
    query = Query("q", (0, 0, 0), frozenset({"t"}), time=10)

    found = [each["id"] for each in memory.recall(query, k=5, weights=Weights(place=0.0))]

    assert found == [1, 2, 3]  # fewer than five: the others share nothing, and are not candidates


def test_recall_falls_back_to_all_experiences_when_none_shares_anything():
    memory = ExperienceMemory()
    for number in range(3):
        memory.add(document(number, signature="x", cell=(number, 0, 0)))

    found = memory.recall(Query("q", (7, 7, 7), frozenset(), time=3), k=2)

    assert [each["id"] for each in found] == [2, 1]  # nearest and latest first


def test_the_log_only_grows_and_in_order():
    memory = ExperienceMemory()
    memory.add(document(0))

    with pytest.raises(AssertionError, match="append-only"):
        memory.add(document(0))


def test_what_a_checkpoint_holds_gives_the_same_log_index_and_summaries(played):
    memory = ExperienceMemory()
    for each in played.documents:
        memory.add(each)
    again = ExperienceMemory()

    again.load_state_dict(json.loads(json.dumps(memory.state_dict())))

    assert again.documents == memory.documents == played.documents
    assert again.index == memory.index and again.rows == memory.rows
    assert again.summaries() == memory.summaries() == played.records.summaries


def test_a_checkpoint_of_the_log_is_much_smaller_than_the_log(played):
    memory = ExperienceMemory()
    for each in played.documents:
        memory.add(each)

    assert len(json.dumps(memory.state_dict())) < 0.2 * len(json.dumps(played.documents))
