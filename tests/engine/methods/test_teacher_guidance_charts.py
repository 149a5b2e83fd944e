"""What generations and fits show of themselves, and the edges of their formulas: equal fits, zero tensors, rows that are all alike."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.errors import SpecError
from engine.methods.teacher_guidance import charts, generations
from engine.methods.teacher_guidance.chain import GRID, Ridge, best_alpha, diagonal, grid_errors
from engine.methods.teacher_guidance.kernel_chain import median_gamma
from engine.methods.teacher_guidance.rows import labeled_rows
from engine.models.kernel import rbf
from engine.tasks.task import Split
from tests.engine.methods.harness import CLASSES, RowsTask, data, network, new_method


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generation(number: int, accuracy: float | None, **changes: Any) -> dict[str, Any]:
    facts = {"generation": number, "alpha": 0.25, "unclipped": None, "accuracy": accuracy, "nll": 1.5, "ece": 0.1}
    others = {"agreement_previous": 0.5 + number / 10, "agreement_first": 0.5 + number / 20} if number else {}
    return {**facts, "agreement_previous": None, "agreement_first": None, **others, **changes}


def course(count: int, *, rows: int = 25) -> dict[str, Any]:
    """Views of so many fits, whose α is 0, 0.1, 0.2, … and whose numbers name their fit."""
    numbers = [float(fit) for fit in range(1, count + 1)]
    facts = {name: [each * (place + 1) for each in numbers] for place, name in enumerate(charts.FACTS)}
    grids = torch.tensor(numbers, dtype=torch.float64)[:, None].expand(-1, len(GRID))
    diagonals = torch.tensor(numbers, dtype=torch.float64)[:, None] / 3 + torch.zeros(rows, dtype=torch.float64)
    return charts.fits(facts, diagonals, grids, limit=None if count == 1 else 0.5)


# Views of generations


def test_the_table_has_a_row_for_each_generation_and_marks_the_most_accurate_the_first_of_equal_ones():
    story = [generation(0, 0.5, alpha=1.0), generation(1, 0.75, unclipped=1.5), generation(2, 0.75), generation(3, None)]

    found = charts.table(story)

    assert [row[-1] for row in found["cells"]] == [False, True, False, False]
    assert found["cells"][0] == [0, 1.0, None, 0.5, 1.5, 0.1, None, None, False]
    assert found["cells"][1] == [1, 0.25, 1.5, 0.75, 1.5, 0.1, 0.6, 0.55, True]
    assert len(found["columns"]) == len(found["cells"][0])


def test_agreement_begins_with_the_generation_after_the_first():
    found = charts.generations([generation(0, 0.5), generation(1, 0.6), generation(2, 0.7)])

    assert found["quality"]["series"]["accuracy"] == {"x": [0, 1, 2], "y": [0.5, 0.6, 0.7]}
    assert found["agreement"]["series"] == {
        "with the one before": {"x": [1, 2], "y": [0.6, 0.7]},
        "with generation 0": {"x": [1, 2], "y": [0.55, 0.6]},
    }
    assert set(found) == {"quality", "agreement", "generations"}


def test_the_first_generation_alone_has_no_agreement_to_show():
    found = charts.generations([generation(0, 0.5)])

    assert [series["x"] for series in found["agreement"]["series"].values()] == [[], []]
    json.dumps(found, allow_nan=False)


# Views of fits


def test_the_last_eight_fits_are_drawn_with_at_most_twenty_directions():
    found = course(10)

    assert list(found["freedom"]["series"]["tr(B)"]["x"]) == list(range(1, 11))
    assert list(found["diagonals"]["series"]) == [f"fit {number}" for number in range(3, 11)]
    assert found["diagonals"]["labels"] == [str(direction) for direction in range(1, 21)]
    assert found["diagonals"]["series"]["fit 4"] == [1.33333] * 20
    assert list(found["parabolas"]["series"]) == [*(f"fit {number}" for number in range(3, 11)), "used α"]


def test_fewer_directions_than_twenty_are_all_drawn():
    assert course(2, rows=3)["diagonals"]["labels"] == ["1", "2", "3"]


def test_shares_of_the_ground_truth_are_drawn_from_the_second_fit_on():
    found = course(3)

    # FACTS: alpha, alpha_unclipped, validation_mse, train_mse, degrees_of_freedom, one, two, … five times the fit's number.
    assert found["alphas"]["series"]["used"] == {"x": [2, 3], "y": [2.0, 3.0]}
    assert found["alphas"]["series"]["formula, unclipped"] == {"x": [2, 3], "y": [4.0, 6.0]}
    assert found["parabolas"]["series"]["used α"] == {"x": [2.0, 3.0], "y": [6.0, 9.0]}
    assert found["errors"]["series"]["training"] == {"x": [1, 2, 3], "y": [4.0, 8.0, 12.0]}
    assert found["errors"]["levels"] == {"limit at the last α": 0.5}


def test_the_first_fit_has_no_parabola_and_no_limit():
    found = course(1)

    assert found["parabolas"]["series"] == {}
    assert found["errors"]["levels"] == {}


# Formulas at their edges


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_no_other_share_has_a_lower_error_than_the_formulas(seed: int):
    first, pure, truth = drawn(seed, 6, 2), drawn(seed + 1, 6, 2), drawn(seed + 2, 6, 2)

    alpha = float(best_alpha(first=first, pure=pure, truth=truth))

    def error(share: float) -> float:
        return float((pure + share * (first - pure) - truth).square().mean())

    assert error(alpha) <= min(error(alpha - 1e-3), error(alpha + 1e-3))
    assert error(alpha) <= float(grid_errors(first=first, pure=pure, truth=truth).min()) + 1e-12


def test_two_fits_that_differ_by_rounding_alone_have_the_share_one():
    values = drawn(0, 5, 2)

    assert float(best_alpha(first=values, pure=values + 1e-8, truth=drawn(1, 5, 2))) == 1.0
    assert float(best_alpha(first=values, pure=values + 1e-5, truth=drawn(1, 5, 2))) != 1.0


def test_a_kernel_with_eigenvalues_below_zero_by_rounding_shrinks_no_direction_below_zero():
    x = torch.zeros(6, 2, dtype=torch.float64)
    ridge = Ridge.of(rbf(x, x, 1.0) - 1e-9 * torch.eye(6, dtype=torch.float64), 1e-9)

    assert float(ridge.d.min()) == 0.0
    assert (ridge.d.diff() <= 0).all()
    assert ((ridge.shrinkage >= 0) & (ridge.shrinkage <= 1)).all()


def test_the_limit_without_ground_truth_is_zero_at_every_point():
    x, labels = drawn(0, 5, 2), drawn(1, 5, 3)
    ridge = Ridge.of(rbf(x, x, 0.5), 0.1)

    assert torch.equal(ridge.limit_coefficients(labels, 0.0), torch.zeros(5, 3, dtype=torch.float64))
    assert torch.equal(ridge.limit(labels, 0.0), torch.zeros(5, 3, dtype=torch.float64))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_first_fit_keeps_of_each_direction_what_the_ridge_keeps_whatever_the_share(alpha: float):
    a = torch.tensor([0.9, 0.5, 0.0], dtype=torch.float64)

    assert torch.allclose(diagonal(a, 1, alpha), a, atol=1e-15)


def test_gamma_counts_each_pair_of_rows_once_and_equal_rows_have_gamma_one():
    assert median_gamma(torch.full((4, 3), 2.0)) == 1.0
    # Squared distances 1, 1, 4, 4, 9, 16: torch's median of an even number is the lower one.
    assert median_gamma(torch.tensor([[0.0], [1.0], [2.0], [4.0]])) == pytest.approx(1 / 4)


def test_rows_are_flat_and_labels_one_hot_in_double_precision():
    split = Split(torch.arange(12.0).reshape(2, 2, 3), torch.tensor([2, 0]))

    inputs, labels = labeled_rows(RowsTask(split), "validation")

    assert inputs.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert labels.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert inputs.dtype == labels.dtype == torch.float64


# Networks


def test_norms_leave_out_what_is_not_trained():
    trained, frozen = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.ones(5), requires_grad=False)

    assert float(generations.penalty([trained, frozen], kind="norm").detach()) == 5.0
    assert float(generations.penalty([trained, frozen, trained], kind="squared").detach()) == 50.0


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_a_generation_of_half_precision_logits_is_compared_in_single_precision(alpha: float):
    logits, labels, p = drawn(0, 4, CLASSES).bfloat16(), torch.tensor([0, 1, 2, 0]), drawn(1, 4, CLASSES).softmax(dim=1).float()

    found = generations.generation_loss(logits=logits, labels=labels, teacher_probs=p, alpha=alpha)

    q, one_hot = logits.float().softmax(dim=1), torch.eye(CLASSES)[labels]
    expected = alpha * (q - one_hot).square().mean() + (1 - alpha) * (q - p).square().mean()
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_agreement_is_measured_in_eval_mode_and_leaves_the_mode_as_it_was():
    inputs = data(rows=40).inputs
    dropping = nn.Sequential(nn.Dropout(0.9), network(1)).train()

    found = generations.agreement(dropping, dropping[1], inputs)

    assert found == 1.0
    assert dropping.training
    assert generations.agreement(network(1), network(2), inputs) == pytest.approx(
        float((network(1)(inputs).argmax(dim=1) == network(2)(inputs).argmax(dim=1)).double().mean())
    )


def test_a_layer_that_can_not_be_made_new_is_named():
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

    with pytest.raises(SpecError) as inside:
        generations.check_renewable(nn.Sequential(nn.Linear(2, 2), Scale()))
    with pytest.raises(SpecError) as itself:
        generations.check_renewable(Scale())

    assert str(inside.value) == "student: its layer 1 can't be made new, and every generation starts anew."
    assert str(itself.value) == "student: its layer Scale can't be made new, and every generation starts anew."


def test_weights_of_two_seeds_differ_and_of_one_seed_are_the_same_to_the_bit():
    made = [network(9) for _ in range(3)]

    for each, seed in zip(made, (1, 1, 2), strict=True):
        generations.renew(each, seed, torch.device("cpu"))

    assert torch.equal(made[0].weight, made[1].weight) and not torch.equal(made[0].weight, made[2].weight)


def test_every_generation_and_probe_has_a_seed_of_its_own_from_the_runs():
    method = new_method("teacher-guidance", {"variant": "deep", "fits": 3})

    seeds = {method.seed_of(what, number) for what in ("probe", "generation") for number in range(1, 3)}
    method.generator.manual_seed(1)

    assert len(seeds) == 4
    assert method.seed_of("probe", 1) not in seeds


def test_before_the_first_generation_ends_nothing_is_shown_or_told():
    method = new_method("teacher-guidance", {"variant": "deep", "fits": 2})

    found = method.diagnostics()
    method.finish()

    assert found.metrics == {"generation": 0.0} and found.tables == {}
    assert method._context.save_table.__self__ == {}
