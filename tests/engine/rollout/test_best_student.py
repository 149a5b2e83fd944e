"""Which of a run's students is kept beside the last one."""

import math

import pytest
import torch

from engine.rollout.best_student import METRIC, BestStudent
from tests.engine.methods.harness import weights
from tests.engine.methods.language import gpt2


def named(value: float | None) -> dict[str, float | None]:
    return {METRIC: value, "nll": 1.0}


def seen(*values: float | None) -> BestStudent:
    """After a student of each value, made of its own seed, at steps 10, 20, …"""
    best = BestStudent()
    for at, value in enumerate(values, start=1):
        best.see(gpt2(at), named(value), step=10 * at)
    return best


def test_it_is_chosen_by_what_a_language_model_is_told_by_first():
    assert METRIC == "rollout_kl_student_teacher"


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ((2.0, 1.0, 1.5), 2),
        ((1.0, 1.0), 1),  # the first of equals
        ((None, 3.0, math.nan, math.inf), 2),
        ((math.nan, 3.0), 2),
    ],
)
def test_the_one_with_the_lowest_divergence_is_kept(values, kept):
    best = seen(*values)

    model = gpt2(7)
    model.load_state_dict(best.weights)
    assert torch.equal(weights(model), weights(gpt2(kept)))
    assert best.facts() == {"metric": f"validation/{METRIC}", "value": values[kept - 1], "step": 10 * kept}


def test_without_a_value_nothing_is_kept():
    best = seen(None, math.nan)
    best.see(gpt2(1), {"nll": 1.0}, step=30)

    assert best.weights == {} and best.value is None


def test_what_is_kept_does_not_move_with_the_student():
    model, best = gpt2(1), BestStudent()
    best.see(model, named(1.0), step=10)

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)

    model.load_state_dict(best.weights)
    assert torch.equal(weights(model), weights(gpt2(1)))


def test_it_comes_back_from_its_state():
    best, restored = seen(2.0, 1.0), BestStudent()

    restored.load_state_dict(best.state_dict())
    restored.see(gpt2(3), named(1.5), step=30)

    assert restored.facts() == best.facts()
    assert all(torch.equal(restored.weights[name], best.weights[name]) for name in best.weights)
