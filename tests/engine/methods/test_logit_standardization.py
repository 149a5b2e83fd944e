"""Logit standardization: Z by hand and by its invariants, and each base method against a slow version."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.losses.reversal import reversed_gradient
from engine.methods.logit_standardization import losses
from engine.methods.logit_standardization.card import card, check
from engine.methods.logit_standardization.method import LearnedTemperature, reversal, warm_up
from engine.spec.run_spec import RunSpec
from tests.engine.methods.harness import data, network, new_method, one_step, train, weights

TEACHER = "run:00000000-0000-4000-8000-000000000001"


def logits(seed: int, *, rows: int = 5, classes: int = 4) -> Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def z_kd(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    keep = losses.rows_with_spread(student, teacher)
    student_z, teacher_z = (losses.standardized(losses.with_safe_rows(each, keep)) for each in (student, teacher))
    return losses.mean_of_kept(losses.softened_kl(student_z=student_z, teacher_z=teacher_z, temperature=temperature), keep)


def gradient_of(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    z = student.clone().requires_grad_()
    z_kd(z, teacher, temperature).backward()
    return z.grad


def test_standardized_logits_have_the_values_worked_out_by_hand():
    # Mean 2, deviations −1, 0, 1, unbiased standard deviation √(2/2) = 1.
    found = losses.standardized(torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64), epsilon=0.0)

    assert found.tolist() == [[-1.0, 0.0, 1.0]]


def test_rows_of_z_have_mean_zero_and_the_unbiased_deviation_that_epsilon_leaves():
    z = logits(0)

    found = losses.standardized(z, epsilon=1e-3)

    sigma = z.std(dim=1)
    assert found.mean(dim=1).abs().max() < 1e-14
    assert torch.allclose(found.std(dim=1), 1 / (1 + 1e-3 / sigma), atol=1e-14)


def test_the_loss_is_that_of_the_slow_version():
    student, teacher = logits(1), logits(2)

    found = z_kd(student, teacher, 2.0)

    total = 0.0
    for row_s, row_t in zip(student.tolist(), teacher.tolist(), strict=True):
        soft = []
        for row in (row_s, row_t):
            mean = sum(row) / 4
            std = math.sqrt(sum((x - mean) ** 2 for x in row) / 3)
            powers = [math.exp((x - mean) / (std + 1e-7) / 2) for x in row]
            soft.append([x / sum(powers) for x in powers])
        total += sum(t * math.log(t / s) for s, t in zip(*soft, strict=True))
    assert found.item() == pytest.approx(4 * total / 5, rel=1e-12)


def test_scaling_and_shifting_either_network_changes_nothing():
    student, teacher = logits(1), logits(2)
    scale = torch.tensor([[0.5], [2.0], [10.0], [0.1], [3.0]], dtype=torch.float64)

    plain, changed = z_kd(student, teacher), z_kd(student * scale + 7, teacher * 10 - scale)

    assert changed.item() == pytest.approx(plain.item(), rel=1e-6)


def test_a_student_that_is_a_scaled_and_shifted_teacher_has_no_loss_and_no_gradient():
    teacher = logits(2)

    assert abs(z_kd(0.3 * teacher + 5, teacher)) < 1e-12
    assert gradient_of(0.3 * teacher + 5, teacher).abs().max() < 1e-6


def test_the_students_gradient_is_orthogonal_to_ones_and_to_its_centered_logits():
    student, teacher = logits(1), logits(2)

    gradient = gradient_of(student, teacher)

    centered = student - student.mean(dim=1, keepdim=True)
    assert gradient.sum(dim=1).abs().max() < 1e-12
    assert (gradient * centered).sum(dim=1).abs().max() < 1e-6


def test_a_very_high_temperature_leaves_the_squared_distance_of_the_standardized_logits():
    student, teacher = logits(1), logits(2)
    z = student.clone().requires_grad_()
    (0.5 * (losses.standardized(z) - losses.standardized(teacher)).square().sum(dim=1) / 4).mean().backward()

    gradient = gradient_of(student, teacher, 1e4)

    assert (gradient - z.grad).norm() < 1e-3 * z.grad.norm()


def test_the_gradient_agrees_with_finite_differences():
    assert torch.autograd.gradcheck(lambda z: z_kd(z, logits(2)), (logits(1).requires_grad_(),))


def test_rows_of_equal_logits_are_left_out_and_the_rest_is_divided_by_the_rows_kept():
    student, teacher = logits(1), logits(2)
    flat_student, flat_teacher = student.clone(), teacher.clone()
    flat_student[1], flat_teacher[3] = 2.0, 0.0
    kept = [0, 2, 4]

    loss, gradient = z_kd(flat_student, flat_teacher), gradient_of(flat_student, flat_teacher)

    assert loss.item() == pytest.approx(z_kd(student[kept], teacher[kept]).item(), rel=1e-14)
    assert torch.equal(gradient[[1, 3]], torch.zeros(2, 4, dtype=torch.float64))
    assert torch.isfinite(gradient).all()


def test_a_batch_of_equal_logits_only_has_a_loss_of_zero_with_a_graph():
    student = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)

    loss = z_kd(student, logits(2, rows=3))
    loss.backward()

    assert loss.item() == 0.0
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_a_step_weighs_standardized_distillation_and_cross_entropy_of_the_raw_logits():
    split, teacher = data(), network(5)
    z = network(1)(split.inputs)
    method = new_method("logit-standardization", teachers=(teacher,), split=split)

    terms = one_step(method)

    ce = torch.nn.functional.cross_entropy(z, split.targets)
    assert terms["loss/labels"] == pytest.approx(ce.item(), rel=1e-12)
    assert terms["loss/teacher"] == pytest.approx(z_kd(z, teacher(split.inputs)).item(), rel=1e-12)
    assert terms["loss"] == pytest.approx(0.1 * terms["loss/labels"] + 9.0 * terms["loss/teacher"], rel=1e-12)
    assert terms["rows_left_out"] == 0.0


def test_ten_times_the_teachers_logits_train_the_same_student_here_and_another_one_in_vanilla_distillation():
    def trained(method_id: str, factor: float) -> Tensor:
        student, teacher = network(1), network(5)
        with torch.no_grad():
            for parameter in teacher.parameters():
                parameter.mul_(factor)
        train(new_method(method_id, student=student, teachers=(teacher,)))
        return weights(student)

    assert (trained("logit-standardization", 10) - trained("logit-standardization", 1)).abs().max() < 1e-5
    assert (trained("vanilla-kd", 10) - trained("vanilla-kd", 1)).abs().max() > 1e-3


def test_with_no_weight_on_the_teacher_it_trains_as_supervised_training_does():
    distilled, supervised = network(1), network(1)

    train(new_method("logit-standardization", {"kd_weight": 0.0, "ce_weight": 1.0}, student=distilled, teachers=(network(5),)))
    train(new_method("supervised", student=supervised))

    assert torch.equal(weights(distilled), weights(supervised))


# Decoupled distillation


def test_decoupled_parts_equal_the_slow_version():
    student, teacher, labels = logits(1), logits(2), torch.tensor([0, 3, 1, 2, 2])

    target, others = losses.decoupled_kl(student_z=student, teacher_z=teacher, labels=labels, temperature=2.0)

    p, q = (teacher / 2).softmax(dim=1), (student / 2).softmax(dim=1)
    for row, label in enumerate(labels.tolist()):
        pt, qt = p[row, label].item(), q[row, label].item()
        pair = pt * math.log(pt / qt) + (1 - pt) * math.log((1 - pt) / (1 - qt))
        rest = [k for k in range(4) if k != label]
        ph, qh = p[row, rest] / (1 - pt), q[row, rest] / (1 - qt)
        assert target[row].item() == pytest.approx(4 * pair, rel=1e-10)
        assert others[row].item() == pytest.approx(4 * (ph * (ph / qh).log()).sum().item(), rel=1e-10)


def test_the_decoupled_parts_weighted_by_the_teachers_doubt_add_up_to_the_whole_divergence():
    # Zhao et al. (2022), equation 4: KL = TCKD + (1 − p_target)·NCKD.
    student, teacher, labels = logits(1), logits(2), torch.tensor([0, 3, 1, 2, 2])

    target, others = losses.decoupled_kl(student_z=student, teacher_z=teacher, labels=labels, temperature=2.0)

    doubt = 1 - (teacher / 2).softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    whole = losses.softened_kl(student_z=student, teacher_z=teacher, temperature=2.0)
    assert torch.allclose(target + doubt * others, whole, atol=1e-12)


def test_a_decoupled_step_has_its_warm_up_its_weights_and_the_labels_in_full():
    method = new_method("logit-standardization", {"base_method": "dkd"}, teachers=(network(5),))
    method.position.epoch = 4  # the fifth epoch: 5/20 of the full weight

    terms = one_step(method)

    teacher = terms["loss/target"] + 8 * terms["loss/others"]
    assert terms["loss/teacher"] == pytest.approx(teacher, rel=1e-12)
    assert terms["loss"] == pytest.approx(1.0 * terms["loss/labels"] + 9 * 0.25 * teacher, rel=1e-12)


def test_the_warm_up_counts_epochs_from_one_and_stays_at_one():
    assert [warm_up(epoch, epochs=20) for epoch in (0, 9, 19, 200)] == [1 / 20, 0.5, 1.0, 1.0]
    assert warm_up(0, epochs=0) == 1.0


# Curriculum temperature


def test_the_learned_temperature_begins_at_one_plus_twenty_times_the_sigmoid_of_one():
    assert LearnedTemperature()().item() == pytest.approx(1 + 20 / (1 + math.exp(-1)), rel=1e-6)  # 15.6


def test_the_reversal_grows_as_half_a_cosine_over_its_epochs_counted_from_one():
    assert reversal(4, epochs=10) == pytest.approx(0.5)
    assert reversal(9, epochs=10) == pytest.approx(1.0)
    assert reversal(99, epochs=10) == pytest.approx(1.0)
    assert reversal(0, epochs=10) == pytest.approx(0.5 * (1 - math.cos(math.pi / 10)))


def test_a_reversed_gradient_keeps_the_value_to_the_bit_and_turns_the_direction_by_its_strength():
    theta = torch.tensor(0.3, requires_grad=True)

    value = reversed_gradient(theta * 5, 0.25)
    (2 * value).backward()

    assert torch.equal(value.detach(), (theta * 5).detach())
    assert theta.grad.item() == pytest.approx(-0.25 * 2 * 5)


def test_the_curriculum_temperature_climbs_the_loss_that_the_student_descends():
    split, teacher, student = data(), network(5), network(1)
    settings = {"base_method": "ctkd", "learning_rate": 0.1, "ce_weight": 0.0}
    method = new_method("logit-standardization", settings, student=student, teachers=(teacher,), split=split)
    method.position.epoch = 9
    theta = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    student_z, teacher_z = losses.standardized(network(1)(split.inputs).detach()), losses.standardized(teacher(split.inputs))
    (9 * losses.softened_kl(student_z=student_z, teacher_z=teacher_z, temperature=1 + 20 * theta.sigmoid()).mean()).backward()

    terms = one_step(method)

    assert method.temperature.theta.item() == pytest.approx(1.0 + 0.1 * theta.grad.item(), rel=1e-5)
    assert terms["reversal"] == 1.0
    assert terms["temperature"] == pytest.approx(1 + 20 / (1 + math.exp(-1)), rel=1e-6)


# Settings


def test_labels_count_in_full_with_decoupled_distillation_unless_set():
    def ce_weight(**settings: object) -> float:
        spec = RunSpec.parse({"method": "logit-standardization", "task": "digits", "teachers": [TEACHER], "settings": settings})
        return card.settings.model_validate(RunSpec.parse(spec.to_json()).settings).used_ce_weight

    assert ce_weight(base_method="dkd") == ce_weight(base_method="dkd", ce_weight=None) == 1.0
    assert ce_weight(base_method="dkd", ce_weight=0.1) == 0.1
    assert ce_weight() == 0.1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"base_temperature": 0}, "settings.base_temperature: must be greater than 0; got 0."),
        ({"base_method": "at"}, "settings.base_method: must be one of 'kd', 'dkd', 'ctkd' or 'mlkd'; got 'at'."),
        (
            {"base_method": "mlkd", "gradient_accumulation_steps": 2},
            "settings.gradient_accumulation_steps: must be 1 with mlkd, which compares the rows of a batch with each other; got 2.",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_path(settings, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "logit-standardization", "task": "digits", "settings": settings, "teachers": [TEACHER]})

    assert str(refused.value) == sentence


def test_a_task_with_two_classes_is_refused():
    class TwoClasses(RunSpec):
        @property
        def task_card(self):  # the catalog has no such task
            return replace(super().task_card, classes=2)

    spec = RunSpec.parse({"method": "logit-standardization", "task": "digits", "teachers": [TEACHER]})

    (problem,) = check(TwoClasses.model_construct(**dict(spec)))

    assert (
        str(problem)
        == "task: logit-standardization needs at least 3 classes, for with 2 every standardized pair is the same; digits has 2."
    )


def test_diagnostics_show_one_row_before_and_after():
    split, student, teacher = data(), network(1), network(5)
    method = new_method("logit-standardization", student=student, teachers=(teacher,), split=split)

    with torch.no_grad():
        found = method.diagnostics()

    assert found.tables["logits_raw"]["series"]["student"] == pytest.approx(student(split.inputs)[0].tolist())
    assert found.tables["logits_standardized"]["series"]["teacher"] == pytest.approx(losses.standardized(teacher(split.inputs))[0].tolist())
    assert found.metrics["teacher_logit_std"] == pytest.approx(teacher(split.inputs).std(dim=1).mean().item())
    assert 0 < found.metrics["target_entropy"] < math.log(3)
