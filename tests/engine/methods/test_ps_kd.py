"""Progressive self-distillation: targets, bank and schedules by hand, and what a run does with them."""

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.methods.ps_kd.bank import TargetBank
from engine.methods.ps_kd.method import entropy_of, mixed_targets, prediction_share
from engine.spec.run_spec import RunSpec
from tests.engine.methods.harness import data, network, new_method, one_step, train, weights

EXACT = {"bank_dtype": "float64", "weight_decay": 0.0, "nesterov": False, "learning_rate": 0.01}


def new(settings: dict | None = None, **more):
    return new_method("ps-kd", {**EXACT, **(settings or {})}, **more)


def probs(seed: int, *, rows: int = 4, classes: int = 3) -> Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(dim=1)


def test_the_share_grows_linearly_from_the_first_epoch_to_the_last():
    shares = [prediction_share(epoch, epochs=4, alpha_T=0.8) for epoch in range(4)]

    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_the_other_schedules_hold_the_share_or_begin_at_half_of_the_epochs():
    constant = [prediction_share(epoch, epochs=5, alpha_T=0.8, schedule="constant") for epoch in range(5)]
    step = [prediction_share(epoch, epochs=5, alpha_T=0.8, schedule="step") for epoch in range(5)]

    assert constant == [0.8] * 5
    assert step == [0.0, 0.0, 0.0, 0.8, 0.8]  # epoch 2 is before 5/2


def test_targets_mix_label_and_prediction_and_still_sum_to_one():
    one_hot, previous = torch.eye(3, dtype=torch.float64)[[0, 2]], torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], dtype=torch.float64)

    soft = mixed_targets(one_hot, previous, 0.4)

    assert soft.flatten().tolist() == pytest.approx([0.8, 0.1, 0.1, 0.04, 0.08, 0.88])
    assert torch.allclose(soft.sum(dim=1), torch.ones(2, dtype=torch.float64), atol=1e-15)


def test_a_prediction_equal_to_the_label_leaves_the_label_bit_for_bit():
    one_hot = torch.eye(3)

    assert all(torch.equal(mixed_targets(one_hot, one_hot, alpha), one_hot) for alpha in (0.0, 0.013, 0.4, 0.7999))


def test_the_bank_begins_with_the_labels_and_keeps_what_is_written_under_its_index():
    bank = TargetBank(torch.tensor([2, 0, 1]), 3, dtype=torch.float64)
    written = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)

    bank.write(torch.tensor([1]), written)

    assert bank.all().tolist() == [[0, 0, 1], [0.2, 0.3, 0.5], [0, 1, 0]]


def test_a_bank_of_the_largest_probabilities_spreads_the_rest_evenly():
    bank = TargetBank(torch.tensor([0, 1]), 4, dtype=torch.float64, top_k=2)

    bank.write(torch.tensor([1]), torch.tensor([[0.1, 0.5, 0.06, 0.34]], dtype=torch.float64))

    assert bank.read(torch.tensor([0])).tolist() == [[1, 0, 0, 0]]
    assert bank.read(torch.tensor([1]))[0].tolist() == pytest.approx([0.08, 0.5, 0.08, 0.34])


def test_a_bank_of_all_classes_is_the_full_one():
    full, limited = (TargetBank(torch.tensor([0, 1, 2, 0]), 3, dtype=torch.float64, top_k=k) for k in (None, 3))

    full.write(torch.arange(4), probs(0))
    limited.write(torch.arange(4), probs(0))

    assert torch.equal(full.all(), limited.all())


def test_without_a_share_it_trains_as_cross_entropy_does():
    self_taught, supervised = network(1), network(1)
    settings = {"weight_decay": 0.0}

    train(new({"alpha_T": 0.0}, student=self_taught))
    train(new_method("supervised", settings, student=supervised))

    assert torch.allclose(weights(self_taught), weights(supervised), atol=1e-14)


def test_the_share_changes_what_the_network_becomes():
    self_taught, supervised = network(1), network(1)

    train(new({"alpha_T": 0.8}, student=self_taught))
    train(new_method("supervised", {"weight_decay": 0.0}, student=supervised))

    assert (weights(self_taught) - weights(supervised)).norm() > 1e-3


@pytest.mark.parametrize("source", ["bank", "previous_checkpoint"])
@pytest.mark.parametrize("schedule", ["linear", "constant", "step"])
def test_the_first_epoch_is_cross_entropy_whatever_the_share(source, schedule):
    self_taught, supervised = network(1), network(1)
    settings = {"alpha_T": 0.9, "target_source": source, "alpha_schedule": schedule}

    ours = train(new(settings, student=self_taught, steps=6))[:3]
    theirs = train(new_method("supervised", {"weight_decay": 0.0}, student=supervised, steps=3))

    assert [terms["loss"] for terms in ours] == pytest.approx([terms["loss"] for terms in theirs], rel=1e-13)


def test_each_epoch_writes_every_row_once_with_the_prediction_before_the_step():
    split, student = data(), network(1)
    method = new({}, student=student, split=split)
    order = torch.tensor([5, 0, 9, 3])
    before = student(split.inputs[order]).softmax(dim=1).detach()

    one_step(method, split.take(order))

    assert torch.allclose(method.bank.read(order), before, atol=1e-15)
    untouched = [row for row in range(12) if row not in order.tolist()]
    assert torch.equal(method.bank.read(torch.tensor(untouched)), torch.eye(3, dtype=torch.float64)[split.targets[untouched]])


def test_after_an_epoch_the_bank_holds_predictions_that_sum_to_one_for_every_row():
    split = data()
    method = new({}, split=split, steps=3)
    labels = torch.eye(3, dtype=torch.float64)[split.targets]

    train(method)

    assert torch.allclose(method.bank.all().sum(dim=1), torch.ones(12, dtype=torch.float64), atol=1e-14)
    assert (method.bank.all() - labels).abs().amax(dim=1).min() > 1e-3


def test_a_bank_that_already_holds_the_current_prediction_shrinks_the_gradient_to_its_label_share():
    split, student = data(), network(1)
    method = new({"alpha_T": 0.8, "alpha_schedule": "constant", "learning_rate": 0.5}, student=student, split=split)
    method.position.epoch = 1
    prediction = student(split.inputs).softmax(dim=1).detach()
    method.bank.write(torch.arange(12), prediction)
    before = student.weight.detach().clone()

    one_step(method)

    gradient = 0.2 * (prediction - torch.eye(3, dtype=torch.float64)[split.targets]).T @ split.inputs / 12
    assert torch.allclose(student.weight.detach(), before - 0.5 * gradient, atol=1e-14)


def test_targets_come_from_the_epoch_before_in_both_sources():
    split = data()
    trained = {
        source: new({"target_source": source}, student=network(1), split=split, steps=6) for source in ("bank", "previous_checkpoint")
    }
    after_one_epoch = network(1)
    train(new_method("supervised", {"weight_decay": 0.0}, student=after_one_epoch, split=split, steps=3))

    for method in trained.values():
        train(method)

    # In the second epoch the copy holds the weights at the end of the first, which had no soft targets.
    copy = trained["previous_checkpoint"].previous
    assert torch.allclose(weights(copy), weights(after_one_epoch), atol=1e-14)
    assert not copy.training
    assert trained["bank"].previous is None and trained["previous_checkpoint"].bank is None


def test_the_reported_terms_are_those_of_the_slow_version():
    split, student = data(), network(1)
    method = new({"alpha_T": 0.6}, student=student, split=split, steps=6)
    method.position.epoch = 0
    method.bank.write(torch.arange(12), probs(3, rows=12))
    log_probs = student(split.inputs).log_softmax(dim=1)

    terms = one_step(method)

    soft = 0.7 * torch.eye(3, dtype=torch.float64)[split.targets] + 0.3 * probs(3, rows=12)
    assert terms["alpha"] == pytest.approx(0.3)  # the first of two epochs
    assert terms["loss"] == pytest.approx(-(soft * log_probs).sum(dim=1).mean().item(), rel=1e-12)
    assert terms["target_entropy"] == pytest.approx(-(soft * soft.log()).sum(dim=1).mean().item(), rel=1e-12)


def test_the_entropy_of_a_certain_target_is_zero():
    assert entropy_of(torch.eye(3)).tolist() == [0.0, 0.0, 0.0]


def test_diagnostics_find_the_rows_whose_label_the_network_believes_least():
    split = data()
    method = new({"alpha_T": 0.5, "alpha_schedule": "constant"}, split=split)
    method.bank.write(torch.arange(12), torch.full((12, 3), 0.05, dtype=torch.float64).scatter(1, split.targets[:, None], 0.9))
    wrong = (split.targets[7] + 1) % 3
    method.bank.write(torch.tensor([7]), torch.full((1, 3), 0.1, dtype=torch.float64).scatter(1, wrong[None, None], 0.8))

    found = method.diagnostics()

    first = found.tables["likely_label_errors"]["cells"][0]
    assert first == [7, None, int(split.targets[7]), int(wrong), pytest.approx(0.1)]
    assert found.metrics["own_label_probability"] == pytest.approx((11 * 0.9 + 0.1) / 12)
    counts = found.tables["own_label_probability"]["counts"]["rows"]
    assert sum(counts) == 12 and counts[2] + counts[1] == 1


def test_without_a_bank_diagnostics_ask_the_weights_of_now_and_not_those_of_the_epoch_before():
    split, student = data(), network(1)
    method = new({"target_source": "previous_checkpoint", "keep_bank": True}, student=student, split=split, steps=6)
    train(method)
    now = student(split.inputs).softmax(dim=1).detach()
    own = now.gather(1, split.targets[:, None]).squeeze(1)

    found = method.diagnostics()
    method.finish()

    tables = method._context.save_table.__self__
    assert found.metrics["own_label_probability"] == pytest.approx(own.mean().item(), rel=1e-12)
    assert found.tables["likely_label_errors"]["cells"][0][-1] == pytest.approx(own.min().item(), rel=1e-12)
    assert torch.allclose(torch.tensor(tables["target_bank"]["rows"], dtype=torch.float64), now, atol=1e-14)


def test_a_budget_that_ends_inside_an_epoch_is_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "ps-kd", "task": "digits", "budget": {"steps": 50}})

    assert (
        str(refused.value)
        == "budget.steps: must be whole epochs of 19 steps, because the targets change between epochs; got 50, choose 38 or 57."
    )


def test_a_budget_shorter_than_an_epoch_is_refused_with_the_shortest_that_will_do():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "ps-kd", "task": "digits", "budget": {"steps": 5}, "task_options": {"train_limit": 400}})

    assert (
        str(refused.value) == "budget.steps: must be whole epochs of 7 steps, because the targets change between epochs; got 5, choose 7."
    )


def test_whole_epochs_are_accepted_in_steps_and_in_epochs():
    in_steps = RunSpec.parse({"method": "ps-kd", "task": "digits", "budget": {"steps": 38}})
    in_epochs = RunSpec.parse({"method": "ps-kd", "task": "digits", "budget": {"epochs": 2}})

    assert in_steps.total_steps == in_epochs.total_steps == 38


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("alpha_T", 1.0, "settings.alpha_T: must be less than 1; got 1.0."),
        ("bank_top_k", 11, "settings.bank_top_k: must be at most the task's 10 classes, or empty; got 11."),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_path(field, value, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "ps-kd", "task": "digits", "settings": {field: value}})

    assert str(refused.value) == sentence
