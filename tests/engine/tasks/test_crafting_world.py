"""Knowledge is judged by episodes that are the same for every run."""

import json

import pytest
import torch

from engine.models.knowledge import Guardrail, Habits, KnowledgeBase, KnowledgeRecords, Skill
from engine.tasks.crafting_world.card import Options
from engine.tasks.crafting_world.task import CraftingWorld
from engine.worlds.crafting import GOALS, RECIPES


def task(**options: int) -> CraftingWorld:
    return CraftingWorld(Options(**options), torch.device("cpu"))


def judged(model: KnowledgeBase, split: str = "test", **options: int) -> dict[str, float | None]:
    return dict(task(**options).judge(model.eval(), split, teacher=None, final=True).metrics)


def all_knowing() -> KnowledgeBase:
    """The recipes as skills, and what follows from them as guardrails: what an agent could know at best."""
    skills = []
    for action, recipe in RECIPES.items():
        needs = [f"{item}>={count}" for item, count in recipe.needs.items()]
        needs += [f"tier>={recipe.tier}"] * bool(recipe.tier) + ["no_lava"] * recipe.fears_lava
        skills.append(
            Skill(
                action=action,
                preconditions=needs,
                steps=[action],
                verification=[],
                gains={},
                confidence=1,
                successes=9,
                evidence=[],
                born=0,
            )
        )
    base = KnowledgeBase(Habits(follow=1.0))
    base.replace(KnowledgeRecords(skills=skills, successes=dict.fromkeys(RECIPES, 9)))
    return base


def test_who_knows_every_recipe_succeeds_and_who_knows_none_hardly_ever():
    knowing, ignorant = judged(all_knowing()), judged(KnowledgeBase(Habits()))

    assert knowing["success"] == 1.0
    assert knowing["failed_actions"] == 0.0
    assert knowing["actions_used"] < 60
    assert ignorant["success"] < 0.2


def test_numbers_repeat_and_each_split_has_draws_of_its_own():
    model = KnowledgeBase(Habits())

    assert judged(model) == judged(model)
    assert judged(model, "validation")["failed_actions"] != judged(model, "test")["failed_actions"]


def test_judging_learns_nothing_and_draws_nothing_of_torchs():
    model, before = all_knowing(), torch.get_rng_state()
    known = json.dumps(model.get_extra_state())

    judged(model, episodes=5)

    assert json.dumps(model.get_extra_state()) == known
    assert torch.equal(torch.get_rng_state(), before)


def test_goals_come_in_turn_and_fewer_actions_leave_fewer_successes():
    judgement = task(episodes=10).judge(all_knowing(), "test", teacher=None, final=True)

    assert judgement.tables["success_by_goal"]["labels"] == list(GOALS)
    assert judgement.tables["success_by_goal"]["series"]["success"] == [1.0] * 5
    assert judged(all_knowing(), actions=15)["success"] <= 0.2


def test_rules_are_shown_with_their_evidence_and_those_that_hold_first():
    model = all_knowing()
    rule = {"action": "smelt", "trigger": ["ore<1"], "remedy": "", "granularity": "subgoal", "failures": 2, "evidence": [3, 5], "born": 1}
    retired = Guardrail(**{**rule, "cause": "death", "trigger": [], "retired": 4})
    active = Guardrail(**rule, cause="missing_material:ore")
    model.replace(model.records.model_copy(update={"guardrails": [retired, active]}))

    tables = task(episodes=5).judge(model, "test", teacher=None, final=True).tables

    shown = [dict(zip(tables["guardrails"]["columns"], row, strict=True)) for row in tables["guardrails"]["cells"]]
    assert [(row["cause"], row["retired"], row["evidence"]) for row in shown] == [
        ("missing_material: ore", None, "#3 #5"),
        ("death", 4, "#3 #5"),
    ]
    assert len(tables["skills"]["cells"]) == len(RECIPES)


@pytest.mark.parametrize(("successes", "where"), [({}, "all of coal < 1, no_lava"), ({"smelt": 3}, "any of coal < 3, no_lava")])
def test_of_many_bounds_of_one_thing_the_one_that_says_all_is_shown(successes, where):
    model = all_knowing()
    trigger = ["coal<1", "coal<2", "coal<3", "no_lava"]
    rule = {"action": "smelt", "cause": "missing_material:coal", "remedy": "", "granularity": "subgoal", "failures": 2, "evidence": [3]}
    model.replace(model.records.model_copy(update={"guardrails": [Guardrail(**rule, trigger=trigger, born=1)], "successes": successes}))

    table = task(episodes=5).judge(model, "test", teacher=None, final=True).tables["guardrails"]

    assert [row[table["columns"].index("where")] for row in table["cells"]] == [where]


def test_another_module_is_no_knowledge():
    with pytest.raises(AssertionError, match="judges a KnowledgeBase; got a Linear"):
        task().judge(torch.nn.Linear(1, 1), "test", teacher=None, final=True)
