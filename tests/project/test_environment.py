"""What environment variables mean: reported by the docs, or by the card of the method or task that reads them."""

from dataclasses import replace

import pytest

from docs.environment import ENVIRONMENT
from docs.generate import environment_variables, meanings
from engine.spec import catalog

CARDS = [*catalog.methods().values(), *catalog.tasks().values()]


def test_variables_of_methods_and_tasks_are_told_by_their_cards() -> None:
    reported = meanings(CARDS)

    assert reported.keys() == environment_variables().keys()
    assert {name for card in CARDS for name in card.environment}.isdisjoint(ENVIRONMENT)
    assert reported["STILLHOUSE_PLANNER_KEY"] == catalog.methods()["steve-evolving"].environment["STILLHOUSE_PLANNER_KEY"]


def test_two_meanings_of_one_variable_are_refused() -> None:
    digits = catalog.tasks()["digits"]

    with pytest.raises(SystemExit) as refused:
        meanings([replace(digits, environment={"STILLHOUSE_STORE": "Something else."})])

    assert str(refused.value) == "The card of digits describes STILLHOUSE_STORE otherwise than another place does."
