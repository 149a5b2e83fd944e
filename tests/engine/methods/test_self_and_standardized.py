"""Edges of distillation by probabilities: banks of few classes, schedules beyond their end, rows without spread, views, and many teachers."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import SpecError
from engine.losses.spread import mean_logit_std
from engine.methods.logit_standardization import losses
from engine.methods.logit_standardization.method import LearnedTemperature
from engine.methods.logit_standardization.views import strong_view
from engine.methods.ps_kd.bank import TargetBank
from engine.methods.ps_kd.suspects import histogram_of, likely_label_errors
from engine.methods.vanilla_kd.method import distillation_loss
from engine.spec.run_spec import RunSpec
from tests.engine.methods.harness import data, network, new_method, one_step, train, weights

TEACHER = "run:00000000-0000-4000-8000-000000000001"


def drawn(seed: int, *shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def probs(seed: int, rows: int, classes: int) -> Tensor:
    return drawn(seed, rows, classes).softmax(dim=1)


def self_taught(chosen: dict[str, Any], **more: Any) -> Any:
    return new_method("ps-kd", {"nesterov": False, **chosen}, **more)


# Progressive self-distillation


@settings(max_examples=40)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 6), k=st.integers(1, 8))
def test_a_bank_of_any_size_holds_distributions_that_keep_the_largest_probabilities(seed: int, classes: int, k: int):
    bank, written = TargetBank(torch.zeros(3, dtype=torch.int64), classes, dtype=torch.float64, top_k=k), probs(seed, 2, classes)

    bank.write(torch.tensor([2, 0]), written)

    found = bank.read(torch.tensor([2, 0]))
    assert torch.allclose(found.sum(dim=1), torch.ones(2, dtype=torch.float64), atol=1e-12)
    assert (found >= 0).all()
    kept = min(k, classes)
    for row in range(2):
        largest = written[row].topk(kept)
        assert torch.equal(found[row][largest.indices], largest.values)
        rest = [value for place, value in enumerate(found[row].tolist()) if place not in largest.indices.tolist()]
        assert rest == pytest.approx([(1 - float(largest.values.sum())) / len(rest)] * len(rest)) if rest else kept == classes
    assert bank.all()[1].tolist() == [1.0, *[0.0] * (classes - 1)]


def test_a_row_whose_kept_probabilities_round_above_one_leaves_nothing_below_zero():
    bank = TargetBank(torch.tensor([0]), 4, dtype=torch.float32, top_k=2)

    bank.write(torch.tensor([0]), torch.tensor([[0.7, 0.3000002, 0.0, 0.0]]))

    assert bank.all().min() == 0.0


def test_what_is_written_carries_no_graph_and_is_of_the_banks_own_precision():
    bank = TargetBank(torch.tensor([0, 1]), 3, dtype=torch.float64)
    written = drawn(0, 1, 3).float().softmax(dim=1).requires_grad_()

    bank.write(torch.tensor([1]), written)

    assert bank.values.dtype == torch.float64 and not bank.values.requires_grad
    assert set(bank.state_dict()) == {"values", "classes_of"}


@pytest.mark.parametrize(("schedule", "first"), [("linear", 0.4), ("step", 0.0)])
def test_an_epoch_beyond_the_last_has_the_share_of_the_last(schedule: str, first: float):
    method = self_taught({"alpha_T": 0.8, "alpha_schedule": schedule}, steps=6, steps_per_epoch=3)
    found = []

    for epoch in (5, 0):
        method.position.epoch = epoch
        found.append(method.alpha())

    assert found == pytest.approx([0.8, first])


def test_the_copy_of_last_epochs_weights_stays_as_it_is_within_an_epoch():
    student = network(1)
    method = self_taught({"target_source": "previous_checkpoint"}, student=student)
    before, split = weights(student), method.task.splits["train"]

    seen = []
    for step in range(3):
        method.position.epoch, method.position.step_in_epoch = 1, step
        method.step(split.take(torch.arange(4)))
        seen.append(weights(method.previous))

    assert torch.equal(seen[0], before) and torch.equal(seen[2], before)
    assert not torch.equal(weights(student), before)
    assert not any(parameter.requires_grad for parameter in method.previous.parameters())


@pytest.mark.parametrize("keep", [True, False])
def test_the_bank_is_left_as_an_artifact_only_where_asked_for(keep: bool):
    method = self_taught({"keep_bank": keep})

    method.finish()

    left = method._context.save_table.__self__
    assert set(left) == ({"likely_label_errors", "target_bank"} if keep else {"likely_label_errors"})
    if keep:
        assert (left["target_bank"]["n"], left["target_bank"]["split"], len(left["target_bank"]["rows"])) == (12, "train", 12)


def test_the_fifty_rows_believed_least_are_listed_and_of_equal_ones_the_earlier_first():
    predictions = torch.tensor([[0.5, 0.5]]).repeat(60, 1)
    predictions[58] = torch.tensor([0.9, 0.1])

    found = likely_label_errors(predictions, torch.ones(60, dtype=torch.int64), lambda row: f"text {row}")

    assert [cells[0] for cells in found["cells"]] == [58, *range(49)]
    assert found["cells"][0] == [58, "text 58", 1, 0, pytest.approx(0.1)]
    assert found["note"] == "train, n = 60"


def test_probabilities_of_zero_and_one_are_counted_in_the_outer_bins():
    found = histogram_of(torch.tensor([0.0, 1.0, 1.0, 0.049, 0.051], dtype=torch.float64))

    counts = found["counts"]["rows"]
    assert (counts[0], counts[1], counts[-1], sum(counts), len(counts)) == (2, 1, 2, 5, 20)
    assert (found["edges"][0], found["edges"][-1], found["note"]) == (0.0, 1.0, "train, n = 5")


# Standardized logits


def test_the_gradients_of_decoupled_and_correlated_losses_are_those_of_finite_differences():
    student, teacher, labels = drawn(0, 3, 4).requires_grad_(), drawn(1, 3, 4), torch.tensor([3, 0, 1])

    def decoupled(z: Tensor) -> Tensor:
        return sum(losses.decoupled_kl(student_z=losses.standardized(z), teacher_z=teacher, labels=labels, temperature=2.0)).sum()

    def correlated(z: Tensor) -> Tensor:
        pair = {"student_logits": z, "teacher_logits": teacher, "temperature": 2.0}
        return losses.class_correlation(**pair) + losses.batch_correlation(**pair)

    assert torch.autograd.gradcheck(decoupled, (student,))
    assert torch.autograd.gradcheck(correlated, (student,))


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_correlations_of_classes_see_no_order_of_rows_and_those_of_rows_no_names_of_classes(seed: int):
    student, teacher = drawn(seed, 4, 3), drawn(seed + 1, 4, 3)
    generator = torch.Generator().manual_seed(seed)
    rows, classes = torch.randperm(4, generator=generator), torch.randperm(3, generator=generator)

    for loss in (losses.class_correlation, losses.batch_correlation):
        found = float(loss(student_logits=student, teacher_logits=teacher, temperature=3.0))
        moved = {"student_logits": student[rows][:, classes], "teacher_logits": teacher[rows][:, classes]}
        assert float(loss(**moved, temperature=3.0)) == pytest.approx(found, rel=1e-9)
        assert float(loss(student_logits=teacher, teacher_logits=student, temperature=3.0)) == pytest.approx(found, rel=1e-9)


def test_correlations_keep_their_precision_where_matrix_products_are_cut_to_half_of_it():
    student, teacher = drawn(0, 4, 3).float(), drawn(1, 4, 3).float()
    plain = losses.batch_correlation(student_logits=student, teacher_logits=teacher, temperature=2.0)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses.batch_correlation(student_logits=student, teacher_logits=teacher, temperature=2.0)

    assert found.dtype == torch.float32
    assert torch.equal(found, plain)


@pytest.mark.parametrize("label", [0, 1, 3])
def test_the_other_classes_are_told_apart_without_the_labels_whatever_its_place(label: int):
    student, teacher = drawn(0, 1, 4), drawn(1, 1, 4)
    others, labels = [place for place in range(4) if place != label], torch.tensor([label])

    _, found = losses.decoupled_kl(student_z=student, teacher_z=teacher, labels=labels, temperature=1.0)
    changed = student.clone()
    changed[0, label] += 5.0
    _, again = losses.decoupled_kl(student_z=changed, teacher_z=teacher, labels=labels, temperature=1.0)

    p, q = (z[:, others].softmax(dim=1) for z in (teacher, student))
    assert found.item() == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-10)
    assert again.item() == pytest.approx(found.item(), rel=1e-12)


def test_a_temperature_that_is_learned_stays_between_one_and_twenty_one():
    temperature = LearnedTemperature()
    found = []

    for theta in (-1e4, 0.0, 1e4):
        temperature.theta.data.fill_(theta)
        found.append(temperature().item())

    assert found == pytest.approx([1.0, 11.0, 21.0])


@pytest.mark.parametrize("base", ["dkd", "ctkd"])
def test_rows_of_equal_logits_are_counted_and_left_out_of_every_base(base: str):
    split, teacher = data(), network(5)
    rows = split.inputs.clone()
    rows[3:5] = 0.0
    teacher.bias.data.zero_()
    method = new_method("logit-standardization", {"base_method": base}, teachers=(teacher,), split=type(split)(rows, split.targets))

    terms = one_step(method)

    assert terms["rows_left_out"] == 2.0
    assert all(math.isfinite(value) for value in terms.values())


def test_the_strong_view_fills_its_border_with_zeros_and_adds_noise_of_a_tenth():
    pictures = torch.ones(2000, 1, 3, 3, dtype=torch.float64)

    found = strong_view(pictures, torch.Generator().manual_seed(0))

    middle, corner = found[:, 0, 1, 1], found[:, 0, 0, 0]
    assert float(middle.std()) == pytest.approx(0.1, abs=0.01) and float(middle.mean()) == pytest.approx(1.0, abs=0.01)
    # A corner is filled unless neither row nor column moved away from it: 2/3 of each.
    assert float((corner > 0.5).double().mean()) == pytest.approx(4 / 9, abs=0.04)


def test_a_view_shifts_all_channels_of_a_picture_alike():
    gray = torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 100

    found = strong_view(gray.expand(50, 3, 4, 4), torch.Generator().manual_seed(0))

    assert float((found[:, 0] - found[:, 2]).abs().max()) < 1.5


# Softened probabilities


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.5, 10))
def test_no_name_of_a_class_and_no_order_of_teachers_matters_and_the_gradient_sums_to_zero(seed: int, temperature: float):
    student, first, second = (drawn(seed + each, 4, 3) for each in range(3))
    turned, logits = torch.randperm(3, generator=torch.Generator().manual_seed(seed)), student.clone().requires_grad_()

    found = distillation_loss(student_logits=logits, teacher_logits=[first, second], temperature=temperature, weights=[0.3, 0.7])
    found.sum().backward()
    other = distillation_loss(
        student_logits=student[:, turned], teacher_logits=[second[:, turned], first[:, turned]], temperature=temperature, weights=[0.7, 0.3]
    )

    assert torch.allclose(other, found.detach(), rtol=1e-9, atol=1e-12)
    assert logits.grad.sum(dim=1).abs().max() < 1e-10
    assert (found > -1e-12).all()


def test_three_teachers_without_weights_count_alike_token_by_token():
    teachers, student = [drawn(seed, 2, 3, 4) for seed in range(3)], drawn(9, 2, 3, 4)

    found = distillation_loss(student_logits=student, teacher_logits=teachers, temperature=2.0)

    p = sum((each / 2).softmax(dim=-1) for each in teachers) / 3
    expected = 4 * (p * (p.log() - (student / 2).log_softmax(dim=-1))).sum(dim=-1)
    assert found.shape == (2, 3)
    assert torch.allclose(found, expected, atol=1e-12)


def test_the_spread_of_several_teachers_is_the_mean_of_theirs_and_targets_are_those_of_their_average():
    split, teachers = data(), (network(5), network(6))
    method = new_method("vanilla-kd", {"temperature": 2.0, "teacher_weights": [0.25, 0.75]}, teachers=teachers, split=split)

    with torch.no_grad():
        found = method.diagnostics().metrics
        logits = [teacher(split.inputs) for teacher in teachers]
    p = 0.25 * (logits[0] / 2).softmax(dim=1) + 0.75 * (logits[1] / 2).softmax(dim=1)

    assert found["teacher_logit_std"] == pytest.approx(sum(float(each.std(dim=1).mean()) for each in logits) / 2)
    assert found["target_entropy"] == pytest.approx(-float((p * p.log()).sum(dim=1).mean()))


def test_the_spread_of_half_precision_logits_is_measured_in_single_precision():
    logits = torch.tensor([[0.0, 1.0, 3.0]], dtype=torch.float16)

    assert mean_logit_std(logits) == pytest.approx((7 / 3) ** 0.5, rel=1e-6)  # in half precision 1.527


def test_the_student_never_moves_the_teacher():
    teachers = (network(5), network(6))
    before = [weights(teacher) for teacher in teachers]

    for method_id in ("vanilla-kd", "logit-standardization"):
        train(new_method(method_id, teachers=teachers if method_id == "vanilla-kd" else teachers[:1]))

    assert all(torch.equal(weights(teacher), was) for teacher, was in zip(teachers, before, strict=True))


def test_targets_are_not_cached_of_rows_that_look_different_each_time():
    fields = {"settings": {"cache_targets": True}, "task_options": {"augment_noise": 0.1}, "teachers": [TEACHER]}

    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "vanilla-kd", "task": "digits", **fields})

    assert str(refused.value) == (
        "settings.cache_targets: must be false with task_options.augment_noise: the student sees a new view of each row, "
        "and the teacher has to see the same."
    )
