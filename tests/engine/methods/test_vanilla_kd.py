"""Vanilla distillation: the loss by hand and by its invariants, and what a step does with it."""

import math

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.losses.divergences import entropy, softened_log_probs
from engine.method import Batch
from engine.methods.vanilla_kd.card import card
from engine.methods.vanilla_kd.method import distillation_loss
from engine.spec.run_spec import RunSpec
from tests.engine.methods.harness import data, network, new_method, one_step, train, weights

DIVERGENCES = ["forward_kl", "reverse_kl", "jeffreys", "js", "soft_ce", "mse_logits", "mse_probs"]
TEACHER = "run:00000000-0000-4000-8000-000000000001"


def logits(seed: int, *, rows: int = 5, classes: int = 4) -> Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss_and_gradient(student: Tensor, teacher: Tensor, temperature: float, divergence: str = "forward_kl") -> tuple[Tensor, Tensor]:
    z = student.clone().requires_grad_()
    loss = distillation_loss(student_logits=z, teacher_logits=[teacher], temperature=temperature, divergence=divergence).mean()
    loss.backward()
    return loss.detach(), z.grad


def test_the_teachers_term_is_the_divergence_worked_out_by_hand_times_the_temperature_squared():
    # At T = 2 the logits 2·ln 3 and 0 give the teacher (3/4, 1/4); equal ones give the student (1/2, 1/2).
    teacher = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)
    student = torch.tensor([[7.0, 7.0]], dtype=torch.float64)

    loss = distillation_loss(student_logits=student, teacher_logits=[teacher], temperature=2.0)

    # 0.75·ln 1.5 + 0.25·ln 0.5 = 0.1308, four times that at T = 2.
    assert loss.tolist() == pytest.approx([4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))], abs=1e-15)


def test_the_squared_errors_are_means_over_the_classes_without_the_temperature_squared():
    # Probabilities at T = 2: (3/4, 1/4) and (1/2, 1/2), so the squared error is 1/16 for both classes.
    teacher = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)
    student = torch.tensor([[1.0, 1.0]], dtype=torch.float64)

    probs = distillation_loss(student_logits=student, teacher_logits=[teacher], temperature=2.0, divergence="mse_probs")
    raw = distillation_loss(student_logits=student, teacher_logits=[teacher], temperature=2.0, divergence="mse_logits")

    assert probs.item() == pytest.approx(1 / 16, abs=1e-15)
    assert raw.item() == pytest.approx(((2 * math.log(3) - 1) ** 2 + 1) / 2, abs=1e-14)


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jeffreys", "js", "mse_probs"])
def test_a_student_equal_to_its_teacher_up_to_a_constant_in_each_row_has_neither_loss_nor_gradient(divergence):
    teacher = logits(0)
    student = teacher + torch.arange(5, dtype=torch.float64)[:, None]

    loss, gradient = loss_and_gradient(student, teacher, 4.0, divergence)

    assert abs(loss) < 1e-13
    assert gradient.abs().max() < 1e-14


def test_the_gradient_is_the_difference_of_the_softened_probabilities_times_t_over_the_batch():
    student, teacher = logits(1), logits(2)

    _, gradient = loss_and_gradient(student, teacher, 4.0)

    expected = 4.0 / 5 * ((student / 4).softmax(dim=1) - (teacher / 4).softmax(dim=1))
    assert torch.allclose(gradient, expected, atol=1e-14)
    assert gradient.sum(dim=1).abs().max() < 1e-14


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_gradient_of_each_divergence_agrees_with_finite_differences(divergence):
    student, teacher = logits(1).requires_grad_(), logits(2)

    def loss(z: Tensor) -> Tensor:
        return distillation_loss(student_logits=z, teacher_logits=[teacher], temperature=3.0, divergence=divergence)

    assert torch.autograd.gradcheck(loss, (student,), atol=1e-7)


def test_a_very_high_temperature_leaves_the_difference_of_the_centered_logits():
    student, teacher = logits(1), logits(2)

    _, gradient = loss_and_gradient(student, teacher, 1e4)

    centered = (student - student.mean(dim=1, keepdim=True)) - (teacher - teacher.mean(dim=1, keepdim=True))
    expected = centered / (5 * 4)
    assert (gradient - expected).norm() < 1e-3 * expected.norm()


def test_the_gradient_does_not_shrink_with_the_temperature():
    student, teacher = logits(1), logits(2)

    at = {temperature: loss_and_gradient(student, teacher, temperature)[1].norm() for temperature in (10.0, 100.0)}

    # Without T² it would be a hundred times smaller at the higher one.
    assert 0.5 < at[100.0] / at[10.0] < 2


def test_soft_cross_entropy_differs_from_the_divergence_by_a_constant_of_the_teacher():
    teacher = logits(2)

    gaps = [
        distillation_loss(student_logits=logits(seed), teacher_logits=[teacher], temperature=3.0, divergence="soft_ce")
        - distillation_loss(student_logits=logits(seed), teacher_logits=[teacher], temperature=3.0)
        for seed in (1, 3)
    ]

    assert torch.allclose(gaps[0], gaps[1], atol=1e-12)
    assert torch.allclose(gaps[0], 9 * entropy(softened_log_probs(teacher, 3.0)), atol=1e-12)


def test_a_step_adds_the_terms_with_their_weights_and_reports_them_without():
    method = new_method("vanilla-kd", {"ce_weight": 0.3, "kd_weight": 2.0}, teachers=(network(5),))

    terms = one_step(method)

    assert terms["loss"] == pytest.approx(0.3 * terms["loss/labels"] + 2.0 * terms["loss/teacher"], abs=1e-14)
    assert terms["loss/teacher"] > 0.01


def test_the_step_follows_the_closed_form_gradient_and_leaves_the_teacher_alone():
    split, teacher, student = data(), network(5), network(1)
    before_teacher, before = weights(teacher), student.weight.detach().clone()
    method = new_method(
        "vanilla-kd", {"ce_weight": 0.0, "kd_weight": 1.0, "learning_rate": 0.5}, student=student, teachers=(teacher,), split=split
    )

    one_step(method)

    z_s, z_t = split.inputs @ before.T + network(1).bias.detach(), teacher(split.inputs)
    gradient = 4.0 / 12 * ((z_s / 4).softmax(dim=1) - (z_t / 4).softmax(dim=1)).T @ split.inputs
    assert torch.allclose(student.weight.detach(), before - 0.5 * gradient, atol=1e-14)
    assert torch.equal(weights(teacher), before_teacher)


def test_with_no_weight_on_the_teacher_it_trains_as_supervised_training_does():
    distilled, supervised = network(1), network(1)

    train(new_method("vanilla-kd", {"ce_weight": 1.0, "kd_weight": 0.0}, student=distilled, teachers=(network(5),)))
    train(new_method("supervised", student=supervised))

    assert torch.equal(weights(distilled), weights(supervised))


def test_the_teachers_term_changes_what_the_student_becomes():
    distilled, supervised = network(1), network(1)

    train(new_method("vanilla-kd", {"ce_weight": 1.0, "kd_weight": 1.0}, student=distilled, teachers=(network(5),)))
    train(new_method("supervised", student=supervised))

    assert (weights(distilled) - weights(supervised)).norm() > 1e-3


def test_rows_without_labels_still_learn_from_the_teacher():
    split = data()
    unlabeled = Batch(split.inputs, torch.full((len(split),), -100), torch.arange(len(split)))
    student = network(1)
    method = new_method("vanilla-kd", student=student, teachers=(network(5),), split=split)

    terms = one_step(method, unlabeled)

    assert terms["loss/labels"] == 0.0
    assert (weights(student) - weights(network(1))).norm() > 0


def test_two_teachers_teach_the_average_of_their_probabilities():
    split = data()
    first, second = network(5), network(6)
    method = new_method("vanilla-kd", {"teacher_weights": [0.25, 0.75], "ce_weight": 0.0}, teachers=(first, second), split=split)
    z = network(1)(split.inputs)

    terms = one_step(method)

    p = 0.25 * (first(split.inputs) / 4).softmax(dim=1) + 0.75 * (second(split.inputs) / 4).softmax(dim=1)
    expected = 16 * (p * (p.log() - (z / 4).log_softmax(dim=1))).sum(dim=1).mean()
    assert terms["loss/teacher"] == pytest.approx(expected.item(), rel=1e-12)


def test_fidelity_to_several_teachers_is_measured_against_their_average():
    split = data()
    first, second = network(5), network(6)
    method = new_method("vanilla-kd", {"teacher_weights": [0.25, 0.75]}, teachers=(first, second), split=split)

    average = method.reference()(split.inputs).softmax(dim=1)

    expected = 0.25 * first(split.inputs).softmax(dim=1) + 0.75 * second(split.inputs).softmax(dim=1)
    assert torch.allclose(average, expected, atol=1e-14)


def test_cached_targets_give_the_same_terms_as_asking_the_teacher_at_each_step():
    asked = train(new_method("vanilla-kd", teachers=(network(5), network(6))))

    cached = train(new_method("vanilla-kd", {"cache_targets": True}, teachers=(network(5), network(6))))

    assert [terms["loss"] for terms in cached] == pytest.approx([terms["loss"] for terms in asked], rel=1e-12)


def test_cached_targets_are_taken_from_the_rows_of_the_batch():
    split = data()
    method = new_method("vanilla-kd", {"cache_targets": True}, teachers=(network(5),), split=split)
    rows = torch.tensor([7, 2, 11])

    found = method.teacher_logits(split.take(rows))

    assert torch.allclose(found[0], network(5)(split.inputs[rows]), atol=1e-14)


def test_diagnostics_tell_the_spread_of_the_logits_and_the_entropy_of_the_targets():
    split, student, teacher = data(), network(1), network(5)
    method = new_method("vanilla-kd", student=student, teachers=(teacher,), split=split)

    with torch.no_grad():
        found = method.diagnostics().metrics

    p = (teacher(split.inputs) / 4).softmax(dim=1)
    assert found["student_logit_std"] == pytest.approx(student(split.inputs).std(dim=1).mean().item())
    assert found["teacher_logit_std"] == pytest.approx(teacher(split.inputs).std(dim=1).mean().item())
    assert found["target_entropy"] == pytest.approx(-(p * p.log()).sum(dim=1).mean().item())


def test_squared_errors_of_probabilities_are_taken_at_temperature_one_unless_set():
    def temperature(**settings: object) -> float:
        spec = RunSpec.parse({"method": "vanilla-kd", "task": "digits", "teachers": [TEACHER], "settings": settings})
        return card.settings.model_validate(RunSpec.parse(spec.to_json()).settings).used_temperature

    assert temperature(divergence="mse_probs") == temperature(divergence="mse_probs", temperature=None) == 1.0
    assert temperature(divergence="mse_probs", temperature=4.0) == 4.0
    assert temperature() == 4.0


@pytest.mark.parametrize(
    ("settings", "teachers", "sentence"),
    [
        ({"temperature": 0}, 1, "settings.temperature: must be greater than 0; got 0."),
        ({"kd_weight": -1}, 1, "settings.kd_weight: must be at least 0; got -1."),
        ({"teacher_weights": [0.5, 0.6]}, 2, "settings.teacher_weights: must sum to 1; got a sum of 1.1."),
        (
            {"teacher_weights": [0.5, 0.5]},
            1,
            "settings.teacher_weights: must have one weight for each of the 1 teachers, or be empty; got 2.",
        ),
        (
            {"divergence": "mse_logits"},
            2,
            "settings.divergence: mse_logits compares logits, and 2 teachers have only probabilities in common; choose another, or one teacher.",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_path(settings, teachers, sentence):
    spec = {"method": "vanilla-kd", "task": "digits", "settings": settings, "teachers": [f"{TEACHER[:-1]}{k}" for k in range(teachers)]}

    with pytest.raises(SpecError) as refused:
        RunSpec.parse(spec)

    assert str(refused.value) == sentence
