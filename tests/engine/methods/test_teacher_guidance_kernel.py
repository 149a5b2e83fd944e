"""Iterated self-distillation in kernel ridge regression: the closed forms against each other and against the notebook, and runs."""

import pytest
import torch
from torch import Tensor

from engine.events import Evaluation, Log
from engine.methods.teacher_guidance import toy
from engine.methods.teacher_guidance.chain import GRID, Ridge, best_alpha, diagonal, grid_errors, mixed, next_diagonal, squared_error
from engine.methods.teacher_guidance.kernel_chain import median_gamma
from engine.models.build import build
from engine.models.kernel import KernelRidge, rbf
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from tests.engine.tiny import Watcher, student_bytes

ALPHAS = (0.0, 0.25, 0.6, 1.0)
GUIDED = "teacher-guidance"


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(seed: int = 0, *, rows: int = 14, ridge: float = 0.3) -> tuple[Tensor, Tensor, Ridge]:
    """K, Y and the ridge of a small regression."""
    x, labels = drawn(seed, rows, 3), drawn(seed + 1, rows, 2)
    kernel = rbf(x, x, 0.5)
    return kernel, labels, Ridge.of(kernel, ridge)


def iterated(ridge: Ridge, labels: Tensor, alpha: float, fits: int) -> list[Tensor]:
    """Y¹, Y², … one fit after the other."""
    values, found = labels, []
    for _ in range(fits):
        values = ridge.smoothed(mixed(labels, values, alpha))
        found.append(values)
    return found


# The chain of ridge regressions


def test_the_smoother_and_the_coefficients_solve_the_ridge_regression():
    kernel, labels, ridge = problem()
    solved = torch.linalg.solve(kernel + 0.3 * torch.eye(14, dtype=torch.float64), labels)

    assert torch.allclose(ridge.coefficients(labels), solved, atol=1e-10)
    assert torch.allclose(ridge.smoothed(labels), kernel @ solved, atol=1e-10)
    assert (ridge.d.diff() <= 0).all()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_each_fit_minimizes_its_penalized_error(alpha: float):
    kernel, labels, ridge = problem()
    previous = iterated(ridge, labels, alpha, 1)[0]
    coefficients = ridge.coefficients(mixed(labels, previous, alpha)).requires_grad_()

    values = kernel @ coefficients
    loss = alpha / 2 * (values - labels).square().sum() + (1 - alpha) / 2 * (values - previous).square().sum()
    loss = loss + 0.3 / 2 * (coefficients * values).sum()
    loss.backward()

    assert coefficients.grad.abs().max() < 1e-10


@pytest.mark.parametrize("alpha", ALPHAS)
def test_recursion_iteration_and_geometric_series_agree(alpha: float):
    _, labels, ridge = problem()
    a, b = ridge.shrinkage, torch.ones(14, dtype=torch.float64)

    for fit, values in enumerate(iterated(ridge, labels, alpha, 6), start=1):
        b = next_diagonal(a, b, alpha)
        assert torch.allclose(b, diagonal(a, fit, alpha), atol=1e-10)
        assert torch.allclose(ridge.v @ (b[:, None] * (ridge.v.T @ labels)), values, atol=1e-10)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_chain_tends_to_its_limit_which_is_a_ridge_regression_with_a_larger_penalty(alpha: float):
    kernel, labels, ridge = problem()

    limit = iterated(ridge, labels, alpha, 3000)[-1]

    assert torch.allclose(limit, ridge.limit(labels, alpha), atol=1e-8)
    assert torch.allclose(kernel @ ridge.limit_coefficients(labels, alpha), ridge.limit(labels, alpha), atol=1e-8)
    if alpha:
        assert torch.allclose(ridge.limit(labels, alpha), Ridge.of(kernel, 0.3 / alpha).smoothed(labels), atol=1e-8)
    else:
        assert not ridge.limit_coefficients(labels, 0.0).any()


def test_with_the_ground_truth_alone_nothing_changes_and_without_it_the_smoother_is_applied_again_and_again():
    _, labels, ridge = problem()
    once, s = ridge.smoothed(labels), ridge.v @ (ridge.shrinkage[:, None] * ridge.v.T)

    alone, without = iterated(ridge, labels, 1.0, 4), iterated(ridge, labels, 0.0, 4)

    assert all(torch.allclose(values, once, atol=1e-12) for values in alone)
    assert all(
        torch.allclose(values, torch.linalg.matrix_power(s, fit) @ labels, atol=1e-12) for fit, values in enumerate(without, start=1)
    )
    norms = [values.norm() for values in without]
    assert norms == sorted(norms, reverse=True)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_what_is_kept_of_a_direction_shrinks_and_the_ratios_stay_above_those_of_the_first_fit(alpha: float):
    _, _, ridge = problem()
    a = ridge.shrinkage
    kept = [torch.ones_like(a)]
    for _ in range(8):
        kept.append(next_diagonal(a, kept[-1], alpha))
    ratios = [each[:-1] / each[1:] for each in kept[1:]]

    assert all(((each >= 0) & (each <= 1)).all() for each in kept)
    assert all((after <= before + 1e-15).all() for before, after in zip(kept[1:], kept[2:], strict=False))
    assert all((each >= ratios[0] - 1e-9).all() for each in ratios)
    if alpha == 0:
        assert all((after >= before * (1 - 1e-12)).all() for before, after in zip(ratios, ratios[1:], strict=False))


def test_rows_in_another_order_are_the_same_rows():
    x, labels = drawn(3, 14, 3), drawn(4, 14, 2)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    plain, turned = (Ridge.of(rbf(rows, rows, 0.5), 0.3) for rows in (x, x[order]))

    assert torch.allclose(iterated(plain, labels, 0.25, 4)[-1][order], iterated(turned, labels[order], 0.25, 4)[-1], atol=1e-10)


# The best share of the ground truth


def test_the_best_alpha_is_where_the_error_has_no_slope():
    first, pure, truth = drawn(0, 9, 3), drawn(1, 9, 3), drawn(2, 9, 3)
    alpha = best_alpha(first=first, pure=pure, truth=truth).requires_grad_()

    squared_error(mixed(first, pure, alpha), truth).backward()

    assert alpha.grad.abs() < 1e-12
    column = [best_alpha(first=first[:, [c]], pure=pure[:, [c]], truth=truth[:, [c]]).item() for c in range(3)]
    assert abs(alpha.item() - sum(column) / 3) > 1e-3  # one number for all entries, no mean of columns


def test_the_clipped_best_alpha_is_as_good_as_any_of_the_grid():
    for seed in range(20):
        first, pure, truth = drawn(seed, 9, 3), drawn(seed + 50, 9, 3), drawn(seed + 100, 9, 3)
        used = best_alpha(first=first, pure=pure, truth=truth).clamp(0, 1)

        assert squared_error(mixed(first, pure, used), truth) <= grid_errors(first=first, pure=pure, truth=truth).min() + 1e-12


def test_the_grid_has_21_points_from_0_to_1_and_equal_fits_give_1():
    same = drawn(0, 5, 2)

    assert len(GRID) == 21 and GRID[0] == 0 and GRID[-1] == 1 and GRID[5] == 0.25
    assert best_alpha(first=same, pure=same, truth=drawn(1, 5, 2)).item() == 1.0


def test_for_a_linear_smoother_the_formula_is_that_of_the_closed_form():
    """Networks are reported apart by their outputs alone: where the outputs are those of ridge regressions, so is α."""
    _, labels, ridge = problem()
    cross, truth = drawn(7, 6, 14), drawn(8, 6, 2)
    previous = ridge.smoothed(labels)
    outputs = {alpha: cross @ ridge.coefficients(mixed(labels, previous, alpha)) for alpha in (0.0, 1.0)}

    found = best_alpha(first=outputs[1.0], pure=outputs[0.0], truth=truth).item()

    errors = {
        shift: squared_error(cross @ ridge.coefficients(mixed(labels, previous, found + shift)), truth) for shift in (-1e-3, 0.0, 1e-3)
    }
    assert errors[0.0] < min(errors[-1e-3], errors[1e-3])


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_the_toy_gives_the_notebooks_numbers(alpha: float):
    assert toy.errors(alpha) == pytest.approx(list(toy.PUBLISHED[alpha]), abs=5.1e-6)


# The kernel's product


def test_the_fit_is_saved_with_its_rows_and_says_probabilities():
    fit = build("kernel_ridge", {"rows": 5, "inputs": 3, "classes": 2, "gamma": 0.5})
    x = drawn(0, 5, 3)
    fit.support.copy_(x)
    fit.coefficients.copy_(drawn(1, 5, 2))
    inputs = drawn(2, 4, 3)

    values, probs = fit.values(inputs), fit(inputs).softmax(dim=1)

    assert isinstance(fit, KernelRidge) and not any(each.requires_grad for each in fit.parameters())
    assert torch.allclose(values, torch.exp(-0.5 * torch.cdist(inputs, x) ** 2) @ fit.coefficients, atol=1e-12)
    cut = values.clamp(min=1e-6)
    assert torch.allclose(probs.double(), cut / cut.sum(dim=1, keepdim=True), atol=1e-6)


def test_gamma_is_one_over_the_median_squared_distance_of_different_rows():
    x = torch.tensor([[0.0], [1.0], [3.0]])  # squared distances 1, 4, 9

    assert median_gamma(x) == 0.25


def kernel_spec(**settings: object) -> RunSpec:
    return RunSpec.parse(
        {
            "method": GUIDED,
            "task": "digits",
            "task_options": {"train_limit": 60, "label_noise": 0.3},
            "settings": {"variant": "kernel", "fits": 4, "ridge": 0.1, **settings},
            "budget": {"steps": 4},
            "cadence": {"evaluate": 1000, "checkpoint": 1},
            "threads": 1,
        }
    )


def final(watcher: Watcher, split: str) -> dict[str, float | None]:
    return next(event.metrics for event in watcher.of(Evaluation) if event.final and event.split == split)


@pytest.mark.parametrize("estimator", ["closed_form", "grid", "fixed"])
def test_a_kernel_run_stopped_between_fits_goes_on_as_if_nothing_had_been(estimator: str, tmp_path):
    whole, stopped, resumed = Watcher(), Watcher(), Watcher()
    spec = kernel_spec(estimator=estimator)

    execute(spec, whole, tmp_path / "whole")
    execute(spec, stopped, tmp_path / "stopped", stop=stopped.stop_after(2))
    outcome = execute(spec, resumed, tmp_path / "resumed", resume=tmp_path / "stopped" / "checkpoints/step-000000002")

    assert outcome.status == "succeeded", outcome.reason
    assert stopped.terms() + resumed.terms() == whole.terms()
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")
    assert (tmp_path / "resumed/tensors/fits.safetensors").read_bytes() == (tmp_path / "whole/tensors/fits.safetensors").read_bytes()


def test_a_kernel_run_ships_its_last_fit_and_tells_the_course(tmp_path):
    watcher = Watcher()

    assert execute(kernel_spec(), watcher, tmp_path).status == "succeeded"

    model, meta = load_model(tmp_path / "student")
    found = final(watcher, "validation")
    assert (meta["builder"], meta["parameters"], meta["kind"]) == ("kernel_ridge", 60 * 64 + 60 * 10, "classifier")
    assert isinstance(model, KernelRidge)
    assert final(watcher, "test")["accuracy"] > 0.4
    assert found["validation_mse"] == pytest.approx(watcher.terms()[-1][1]["validation_mse"])
    assert found["above_grid"] <= 1e-9
    assert 0 < found["degrees_of_freedom"] < 60


def test_a_fixed_share_of_one_makes_every_fit_the_first(tmp_path):
    watcher = Watcher()

    execute(kernel_spec(estimator="fixed", alpha=[1.0]), watcher, tmp_path)

    errors = [terms["validation_mse"] for _, terms in watcher.terms()]
    assert errors == pytest.approx([errors[0]] * 4, rel=1e-12)
    assert final(watcher, "validation")["limit_mse"] == pytest.approx(errors[0], rel=1e-9)


@pytest.mark.parametrize(("ridge", "said"), [(10.0, True), (0.1, False)])
def test_a_penalty_that_leaves_nothing_to_gain_is_said(ridge: float, said: bool, tmp_path):
    watcher = Watcher()

    execute(kernel_spec(ridge=ridge, fits=6), watcher, tmp_path)

    unclipped = [terms["alpha_unclipped"] for _, terms in watcher.terms()][1:]
    assert all(alpha < 0 or alpha > 1 for alpha in unclipped) == said
    assert any("nothing to gain" in line.text for line in watcher.of(Log)) == said
