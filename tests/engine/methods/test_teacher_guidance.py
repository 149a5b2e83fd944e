"""Iterated self-distillation: the closed forms against each other and against the notebook, the loss of a generation, and what a run does."""

import json
import math

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.events import Evaluation, Log
from engine.methods.teacher_guidance import toy
from engine.methods.teacher_guidance.chain import GRID, Ridge, best_alpha, diagonal, grid_errors, mixed, next_diagonal, squared_error
from engine.methods.teacher_guidance.generations import check_renewable, generation_loss, penalty, renew
from engine.methods.teacher_guidance.method import median_gamma
from engine.models.build import build
from engine.models.kernel import KernelRidge, rbf
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from tests.engine.methods.harness import network, new_method, one_step, weights
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
    """Networks are told apart by their outputs alone: where the outputs are those of ridge regressions, so is α."""
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


# Networks


def test_the_loss_mixes_squared_errors_to_labels_and_to_the_generation_before():
    z, labels, p = drawn(0, 5, 3), torch.tensor([0, 2, 1, 1, 0]), drawn(1, 5, 3).softmax(dim=1)
    q, one_hot = z.softmax(dim=1), torch.eye(3, dtype=torch.float64)[labels]

    found = generation_loss(logits=z, labels=labels, teacher_probs=p, alpha=0.3)

    slow = sum(0.3 * (q[i, c] - one_hot[i, c]) ** 2 + 0.7 * (q[i, c] - p[i, c]) ** 2 for i in range(5) for c in range(3)) / 15
    assert found.item() == pytest.approx(slow.item(), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_its_gradient_is_that_of_finite_differences(alpha: float):
    labels, p = torch.tensor([0, 2, 1]), drawn(1, 3, 3).softmax(dim=1)

    assert torch.autograd.gradcheck(
        lambda z: generation_loss(logits=z, labels=labels, teacher_probs=p, alpha=alpha), drawn(0, 3, 3).requires_grad_()
    )


def test_without_ground_truth_labels_have_no_say_and_with_it_alone_the_teacher_has_none():
    z, p = drawn(0, 4, 3), drawn(1, 4, 3).softmax(dim=1)
    one, other = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 2, 0, 1])

    def loss(labels: Tensor, probs: Tensor, alpha: float) -> float:
        return generation_loss(logits=z, labels=labels, teacher_probs=probs, alpha=alpha).item()

    assert loss(one, p, 0.0) == loss(other, p, 0.0)
    assert loss(one, p, 1.0) == loss(one, p.flip(1), 1.0)
    assert loss(one, p, 0.5) != loss(other, p, 0.5)


def test_norms_are_summed_over_tensors_unsquared_or_squared_and_a_zero_tensor_has_no_slope():
    tensors = [
        torch.nn.Parameter(torch.tensor([3.0, 4.0])),
        torch.nn.Parameter(torch.zeros(2)),
        torch.nn.Parameter(torch.tensor([[12.0, 5.0]])),
    ]

    plain, squared = penalty(tensors, kind="norm"), penalty(tensors, kind="squared")
    plain.backward()

    assert (plain.item(), squared.item()) == (18.0, 194.0)
    assert tensors[0].grad.tolist() == pytest.approx([0.6, 0.8])
    assert tensors[1].grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("builder", "config"),
    [
        ("mlp", {"inputs": 4, "hidden": [6, 5], "classes": 3}),
        ("narrow_cnn", {"channels": 1, "widths": [4, 6], "classes": 3}),
        ("resnet", {"channels": 1, "widths": [4, 8], "blocks": 1, "classes": 3}),
        ("word_bag", {"vocabulary": 20, "width": 4, "classes": 3}),
        ("bert", {"vocabulary": 20, "width": 4, "layers": 1, "heads": 2, "mlp_width": 8, "length": 6, "classes": 3}),
    ],
)
def test_a_network_made_new_in_place_is_the_one_that_its_seed_builds(builder: str, config: dict):
    network = build(builder, config)
    before, tensors = weights(network), [id(each) for each in network.parameters()]

    renew(network, 5, torch.device("cpu"))

    with torch.random.fork_rng():
        torch.manual_seed(5)
        built = build(builder, config)
    assert torch.equal(weights(network), weights(built))
    assert not torch.equal(weights(network), before)
    assert [id(each) for each in network.parameters()] == tensors


def test_making_a_network_new_draws_nothing_from_the_run():
    state = torch.get_rng_state()

    renew(network(1), 5, torch.device("cpu"))

    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_cannot_be_made_new_is_refused():
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

    with pytest.raises(SpecError) as refused:
        check_renewable(Odd())

    assert str(refused.value) == "student: its layer Odd can't be made new, and every generation starts anew."


def test_the_first_generation_learns_from_labels_and_the_norms():
    method = new_method(GUIDED, {"reg_coef": 0.01, "learning_rate": 0.1, "estimator": "fixed", "fits": 2})
    split, student = method.task.splits["train"], method.student
    q = student(split.inputs).softmax(dim=1)
    error = (q - torch.eye(3, dtype=torch.float64)[split.targets]).square().mean()
    expected = error + 0.01 * (student.weight.norm() + student.bias.norm())
    slope = torch.autograd.grad(expected, list(student.parameters()))
    before = weights(student)

    terms = one_step(method)

    assert terms["loss"] == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(weights(student), before - 0.1 * torch.cat([each.flatten() for each in slope]), atol=1e-12)


def test_later_generations_start_anew_and_learn_from_the_one_before():
    method = new_method(GUIDED, {"reg_coef": 0.0, "learning_rate": 0.5, "estimator": "fixed", "alpha": [0.3], "fits": 3})
    split = method.task.splits["train"]
    batch = split.take(torch.arange(len(split)))
    object.__setattr__(method.task, "judge", lambda *args, **more: _Judged())
    phases = list(method.phases())
    phases[0].begin()
    phases[0].step(batch)
    taught = method.student(split.inputs).softmax(dim=1).detach()
    phases[0].end()
    trained = weights(method.student)

    phases[1].begin()
    fresh = weights(method.student)
    q = method.student(split.inputs).softmax(dim=1)
    terms = phases[1].step(batch)

    one_hot = torch.eye(3, dtype=torch.float64)[split.targets]
    expected = 0.3 * (q - one_hot).square().mean() + 0.7 * (q - taught).square().mean()
    assert [phase.name for phase in phases] == ["generation 0", "generation 1", "generation 2"]
    assert not torch.equal(fresh, trained)
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.equal(weights(method.previous), trained)
    assert not any(each.requires_grad for each in method.previous.parameters()) and not method.previous.training


class _Judged:
    metrics = {"accuracy": 0.5, "nll": 1.0, "ece": 0.1}
    tables: dict = {}


def test_the_formulas_share_comes_from_the_first_network_and_a_probe_without_ground_truth():
    method = new_method(GUIDED, {"reg_coef": 0.0, "learning_rate": 0.5, "fits": 2})
    split = method.task.splits["train"]
    batch = split.take(torch.arange(len(split)))
    object.__setattr__(method.task, "judge", lambda *args, **more: _Judged())
    first, probe, second = method.phases()
    first.begin(), first.step(batch), first.end()
    probe.begin(), probe.step(batch)
    u, v = (each(split.inputs).softmax(dim=1).detach() for each in (method.first, method.probe))
    truth = torch.eye(3, dtype=torch.float64)[split.targets]

    probe.end()
    second.begin()
    terms = second.step(batch)

    expected = float(((u - v) * (truth - v)).sum() / (u - v).square().sum())
    assert [phase.name for phase in (first, probe, second)] == ["generation 0", "probe 1", "generation 1"]
    assert method.unclipped == [None, pytest.approx(expected, rel=1e-9)]
    assert terms["alpha"].item() == pytest.approx(min(max(expected, 0), 1), rel=1e-6)


def test_every_generation_is_kept_and_the_best_is_named(tmp_path):
    watcher = Watcher()
    spec = RunSpec.parse(
        {
            "method": GUIDED,
            "task": "digits",
            "task_options": {"train_limit": 150},
            "settings": {"fits": 3, "estimator": "fixed", "alpha": [1.0, 0.5, 0.0]},
            "budget": {"epochs": 2},
            "cadence": {"evaluate": 1000},
            "threads": 1,
        }
    )

    assert execute(spec, watcher, tmp_path).status == "succeeded"

    table = json.loads((tmp_path / "tables/generations.json").read_text())
    assert [row[:2] for row in table["cells"]] == [[0, 1.0], [1, 0.5], [2, 0.0]]
    assert sum(row[-1] for row in table["cells"]) == 1
    kept = sorted(path.name for path in (tmp_path / "tensors").iterdir())
    assert kept == [f"generation-{number}.safetensors" for number in range(3)]
    assert [terms["alpha"] for _, terms in watcher.terms()][::6] == [1.0, 0.5, 0.0]
    assert all(math.isfinite(row[6]) for row in table["cells"][1:])


# What is refused


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"settings": {"estimator": "grid"}},
            "settings.estimator: must be closed_form or fixed for networks: a grid would train 21 of them in each generation; got 'grid'.",
        ),
        ({"settings": {"alpha": [0.1, 0.2]}}, "settings.alpha: must have one number, or one for each of the 5 fits; got 2."),
        (
            {"student": "run:00000000-0000-4000-8000-000000000001"},
            "student: must be an architecture, because every generation starts from random weights; got run:00000000-0000-4000-8000-000000000001.",
        ),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": GUIDED, "task": "digits", **fields})

    assert str(refused.value) == sentence
