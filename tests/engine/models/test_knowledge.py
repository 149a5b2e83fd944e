"""What a knowledge base knows is its records, whole and nothing else, wherever they come from."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from engine.errors import ModelError
from engine.models.build import build
from engine.models.knowledge import Guardrail, KnowledgeBase, KnowledgeRecords, Skill

SKILL: dict[str, Any] = {
    "action": "smelt",
    "preconditions": ["ore>=1", "coal>=1"],
    "steps": ["mine_iron", "smelt"],
    "verification": ["ingot>=1"],
    "gains": {"ingot": 1},
    "confidence": 0.25,
    "successes": 3,
    "evidence": [1, 5, 9],
    "born": 2,
}
RULE: dict[str, Any] = {
    "action": "smelt",
    "cause": "missing_material:coal",
    "trigger": ["coal<1", "no_lava"],
    "remedy": "mine_coal",
    "granularity": "subgoal",
    "failures": 2,
    "evidence": [3],
    "born": 1,
    "retired": None,
}
FACTS = ("coal<1", "no_lava", "lava_near", "tier>=1")


def new() -> Any:
    return build("knowledge_base", {})


def knowing(*rules: dict[str, Any], successes: dict[str, int] | None = None) -> KnowledgeBase:
    base: KnowledgeBase = new()
    base.replace(KnowledgeRecords(guardrails=[Guardrail.model_validate(rule) for rule in rules], successes=successes or {}))
    return base


def test_its_records_are_all_its_state_and_no_number_of_it_is_trained() -> None:
    base, other = new(), new()
    records = {"skills": [SKILL], "guardrails": [RULE], "summaries": [], "successes": {"smelt": 3}}
    base.replace(KnowledgeRecords.model_validate(records))

    other.load_state_dict(base.state_dict())

    assert list(base.parameters()) == [] and list(base.state_dict()) == ["_extra_state"]
    assert json.loads(json.dumps(other.get_extra_state())) == records
    assert other.preconditions("smelt") == {"ore>=1", "coal>=1"}
    assert isinstance(base, nn.Module) and base.get_extra_state()["skills"] == [SKILL]


def test_what_it_knew_before_is_gone_when_its_records_are_replaced() -> None:
    base = knowing(RULE, successes={"smelt": 1})
    base.replace(KnowledgeRecords(skills=[Skill.model_validate(SKILL)]))

    base.replace(KnowledgeRecords(guardrails=[Guardrail.model_validate({**RULE, "action": "move"})]))

    assert base.preconditions("smelt") == frozenset()
    assert base.blocking("smelt", frozenset(FACTS)) is None
    assert base.forbidden(frozenset(FACTS)) == {"move"}


def test_the_first_rule_that_applies_is_named_and_those_that_are_retired_never_do() -> None:
    retired, other, wide = {**RULE, "retired": 0}, {**RULE, "trigger": ["lava_near"], "born": 5}, {**RULE, "trigger": [], "born": 6}

    base = knowing(retired, other, wide)

    found = [base.blocking("smelt", frozenset(facts)) for facts in (["lava_near"], ["no_lava", "coal<1"])]
    assert [rule.born for rule in found if rule is not None] == [5, 6]
    assert [rule.born for rule in base.active] == [5, 6]
    assert base.forbidden(frozenset()) == {"smelt"}
    assert knowing(retired).forbidden(frozenset(FACTS)) == set()


@given(st.sets(st.sampled_from(FACTS)), st.lists(st.sampled_from(FACTS), max_size=3), st.sampled_from([None, 0, 1, 7]))
def test_a_trigger_must_hold_whole_until_the_first_success_and_then_in_part(facts: set[str], trigger: list[str], count: int | None) -> None:
    base = knowing({**RULE, "trigger": trigger}, successes={} if count is None else {"smelt": count})

    blocked = base.blocking("smelt", frozenset(facts)) is not None

    assert blocked == (any(atom in facts for atom in trigger) if count else all(atom in facts for atom in trigger))


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ({"skill": []}, "These are no records of a knowledge base: skill: Extra inputs are not permitted."),
        (
            {"guardrails": [{**RULE, "failures": 0}]},
            "These are no records of a knowledge base: guardrails.0.failures: Input should be greater than or equal to 1.",
        ),
        (
            {"skills": [{**SKILL, "confidence": "high"}]},
            "These are no records of a knowledge base: skills.0.confidence: Input should be a valid number.",
        ),
        (
            {"guardrails": [RULE, {**RULE, "granularity": "world"}]},
            "These are no records of a knowledge base: guardrails.1.granularity: Input should be 'subgoal' or 'task'.",
        ),
        ({"successes": {"smelt": 1.5}}, "These are no records of a knowledge base: successes.smelt: Input should be a valid integer."),
    ],
)
def test_what_is_no_record_is_refused_by_its_place_and_changes_nothing(records: dict[str, Any], sentence: str) -> None:
    base = knowing(RULE)

    with pytest.raises(ModelError) as refused:
        base.set_extra_state(records)

    assert str(refused.value) == sentence
    assert base.forbidden(frozenset(FACTS)) == {"smelt"}


def test_its_habits_are_those_of_its_configuration() -> None:
    assert new().habits == (2, 0.85, False)
    chosen = build("knowledge_base", {"patience": 5, "follow": 1.0, "temporary_rules": True})
    assert isinstance(chosen, KnowledgeBase) and chosen.habits == (5, 1.0, True)
    assert torch.equal(torch.tensor([parameter.numel() for parameter in chosen.parameters()]), torch.tensor([]))
