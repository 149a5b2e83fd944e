"""A setting's type and bounds, in the words that reference, pages and forms share."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from engine.spec import catalog
from engine.spec.run_spec import Budget, ModelRef
from engine.spec.setting_words import helpful_limits, limits_of, schemas_of, type_words


class Every(BaseModel):
    whole: int = Field(1, ge=1, le=65536)
    share: float = Field(0.5, gt=0, lt=1)
    free: float | None = Field(None, gt=0, le=1e6)
    flag: bool = False
    text: str = Field("", max_length=200)
    choice: Literal["a", "b"] = "a"
    numbers: list[float] = Field(default_factory=list, max_length=64)
    models: list[ModelRef] = Field(default_factory=list)
    budget: Budget | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    anything: Any = None
    one: Literal[1] = 1


WORDS = {
    "whole": "whole number",
    "share": "number",
    "free": "number or empty",
    "flag": "true or false",
    "text": "text",
    "choice": "`a`, `b`",
    "numbers": "list of number",
    "models": "list of ModelRef",
    "budget": "Budget or empty",
    "config": "object",
    "anything": "anything",
    "one": "`1`",
}


@pytest.mark.parametrize("name", WORDS)
def test_a_type_in_words(name: str) -> None:
    assert type_words(schemas_of(Every)[name], quote="`") == WORDS[name]


def test_who_ticks_a_box_says_yes_or_no() -> None:
    assert type_words(schemas_of(Every)["flag"], truth="yes or no") == "yes or no"


@pytest.mark.parametrize(
    ("name", "signs", "words"),
    [
        ("whole", ["≥ 1", "≤ 65,536"], ["at least 1", "at most 65,536"]),
        ("share", ["> 0", "< 1"], ["over 0", "under 1"]),
        ("free", ["> 0", "≤ 1,000,000"], ["over 0"]),  # a limit that large helps nobody to choose
        ("text", ["length ≤ 200"], []),
        ("numbers", ["length ≤ 64"], []),
        ("flag", [], []),
    ],
)
def test_the_limits_in_signs_and_in_words(name: str, signs: list[str], words: list[str]) -> None:
    schema = schemas_of(Every)[name]

    assert [limit.in_signs for limit in limits_of(schema)] == signs
    assert [limit.in_words for limit in helpful_limits(schema)] == words


def test_every_setting_of_every_method_and_task_has_words() -> None:
    models = [card.settings for card in catalog.methods().values()] + [card.options for card in catalog.tasks().values()]

    silent = [
        f"{model.__module__}.{name}"
        for model in models
        for name, schema in schemas_of(model).items()
        if type_words(schema) in {"", "anything", "object"}
    ]

    assert silent == []
