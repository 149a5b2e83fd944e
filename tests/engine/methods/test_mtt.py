"""Matching training trajectories: experts, set and outer steps against slow versions, and what is reported of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.distilled_sets.flat import FlatNetwork, fresh_weights
from engine.distilled_sets.matching import full_gradient
from engine.errors import SpecError
from engine.methods.mtt.card import TINY
from engine.metrics.cards import METRICS
from engine.models.build import build
from engine.models.synthetic_set import SyntheticSet
from engine.run.export import load_model
from engine.run.runner import execute
from engine.run.serializer import StateSerializer
from engine.run.state import capture, restore
from engine.seeds import derived_seed
from engine.spec.run_spec import RunSpec
from tests.engine.distilled_sets.matcher import BLUEPRINT, digits, finished, new_matcher, walk
from tests.engine.distilled_sets.small import everything
from tests.engine.tiny import Watcher, student_bytes

CPU = torch.device("cpu")


def before_distilling(**more: Any) -> Any:
    """A method whose experts are trained and whose pictures are real rows."""
    method = new_matcher(**more)
    for _ in walk(method, until="distill"):
        pass
    return method


# Experts


def test_an_expert_is_trained_as_torchs_sgd_does_and_recorded_after_each_epoch():
    method = before_distilling()

    module = build(BLUEPRINT["builder"], BLUEPRINT["config"])
    nn.utils.vector_to_parameters(fresh_weights(BLUEPRINT, 1, CPU), module.parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.03)
    train, recorded = digits().splits["train"], [nn.utils.parameters_to_vector(module.parameters()).detach().clone()]
    for epoch in range(3):
        order = torch.randperm(150, generator=torch.Generator().manual_seed(derived_seed(1, "expert", epoch)))
        for rows in order.split(75):
            optimizer.zero_grad()
            F.cross_entropy(module(train.inputs[rows]), train.targets[rows]).backward()
            optimizer.step()
        recorded.append(nn.utils.parameters_to_vector(module.parameters()).detach().clone())
    assert method.experts.trajectories.shape == (2, 4, len(recorded[0]))
    assert torch.allclose(method.experts.trajectories[1], torch.stack(recorded), atol=1e-6)


def test_experts_are_those_of_their_own_seeds_whatever_the_runs_seed():
    one, other = before_distilling(seed=1), before_distilling(seed=2)

    assert torch.equal(one.experts.trajectories, other.experts.trajectories)
    assert not torch.equal(one.initial, other.initial)
    assert one.experts.recipe_hash == other.experts.recipe_hash


def test_the_buffer_is_left_with_the_seeds_and_a_hash_of_its_recipe():
    method = before_distilling(settings={"held_out_seed": 7})
    longer = new_matcher(settings={"held_out_seed": 7, "expert_learning_rate": 0.1})

    tensors, facts = method.left["experts"]
    assert torch.equal(tensors["trajectories"], method.experts.trajectories)
    assert facts["seeds"] == [0, 1, 7]
    assert facts["recipe"] == method.experts.recipe_hash != longer.experts.recipe_hash


def test_a_held_out_expert_is_never_matched():
    method = before_distilling(settings={"held_out_seed": 7})
    method.experts.trajectories[2] = float("nan")

    losses = [method.distill(None)["outer_loss"] for _ in range(4)]

    assert all(bool(loss.isfinite()) for loss in losses)


def test_the_accuracy_of_the_experts_leaves_the_held_out_one_out_and_its_own_stands_beside_it():
    method = before_distilling(settings={"held_out_seed": 7})
    method.expert_accuracy.copy_(torch.tensor([0.5, 0.7, 0.0]))

    found = method.diagnostics()

    assert found.metrics["expert_accuracy"] == pytest.approx(0.6)
    assert [row[:4] for row in found.tables["experts"]["cells"]] == [
        ["matched", 2, "0 to 1", pytest.approx(0.6)],
        ["held out", 1, "7", 0.0],
    ]


def test_the_log_says_the_accuracy_of_the_matched_experts():
    method = before_distilling(settings={"held_out_seed": 7, "expert_batch_size": 10})

    one, other, held_out = method.expert_accuracy.tolist()
    assert held_out != pytest.approx((one + other) / 2, abs=1e-3)  # else it could not be reported from the mean over all
    assert method.said == [f"The experts get {(one + other) / 2:.1%} of the validation rows right after 3 epochs."]


# The set


def test_pictures_begin_as_different_real_rows_of_their_class_in_the_order_of_the_classes():
    method = before_distilling(settings={"images_per_class": 3})
    product, train = method.product(), digits().splits["train"]

    assert product.labels.tolist() == [each for each in range(10) for _ in range(3)]
    assert torch.equal(train.targets[product.source], product.labels)
    assert torch.equal(product.images, train.inputs[product.source])
    assert len(product.source.unique()) == 30


def test_noise_has_the_mean_and_deviation_of_the_real_pixels_and_no_source():
    method = before_distilling(settings={"initial": "noise", "images_per_class": 12})
    real, images = digits().splits["train"].inputs, method.product().images.detach()

    assert abs(images.mean() - real.mean()) < 0.05
    assert images.std() == pytest.approx(float(real.std()), rel=0.05)
    assert method.product().source.tolist() == [-1] * 120


def test_more_pictures_than_a_class_has_rows_are_refused():
    with pytest.raises(SpecError) as refused:
        new_matcher(settings={"images_per_class": 100})

    fewest = digits().splits["train"].targets.bincount()[0]
    assert (
        str(refused.value)
        == f"settings.images_per_class: must be at most the rows of each class; got 100, and class 0 has {fewest} training rows."
    )


# The outer loop


def test_a_step_moves_pictures_and_rate_along_the_gradient_of_one_loss():
    method = before_distilling(settings={"experts": 1, "max_start_epoch": 1, "image_rate": 7.0, "learned_rate_rate": 1e-5})
    before = method.initial.clone()
    found = full_gradient(
        method.network,
        start=method.experts.trajectories[0, 0],
        target=method.experts.trajectories[0, 1],
        images=before,
        labels=method.set.labels,
        rate=torch.tensor(0.03),
        plan=everything(2),
    )

    terms = method.distill(None)

    assert terms["outer_loss"] == found.loss
    assert torch.allclose(method.set.images.detach(), before - 7.0 * found.images, atol=1e-7)
    assert method.rate().item() == pytest.approx(0.03 - 1e-5 * found.rate.item(), rel=1e-5)


def test_both_outer_optimizers_have_momentum():
    settings = {"experts": 1, "max_start_epoch": 1, "image_rate": 1.0}
    with_momentum, without = (before_distilling(settings={**settings, "outer_momentum": m}) for m in (0.5, 0.0))

    for method in (with_momentum, without):
        method.distill(None)
    first = with_momentum.set.images.detach().clone()
    with_momentum.distill(None)

    buffer = with_momentum.image_optimizer.state[with_momentum.set.images]["momentum_buffer"]
    assert torch.equal(first, without.set.images)
    assert torch.allclose(with_momentum.set.images.detach(), first - buffer, atol=1e-7)


def test_the_learned_rate_never_falls_below_its_lowest():
    method = finished(
        new_matcher(settings={"learned_rate_start": 1e-4, "learned_rate_rate": 100.0, "max_start_epoch": 1, "inner_steps": 1})
    )

    assert min(method.course.rates.tolist()) >= 1e-4 * (1 - 1e-6)


def test_starts_and_experts_are_drawn_from_all_that_are_allowed_and_no_others():
    method = finished(new_matcher(settings={"inner_steps": 1, "max_start_epoch": 3}, steps=30))

    assert set(method.course.starts.tolist()) == {0, 1, 2}


def test_the_outer_loss_falls():
    settings = {"expert_batch_size": 15, "inner_steps": 8, "max_start_epoch": 2, "image_rate": 50.0}

    metrics = finished(new_matcher(settings=settings, steps=40)).diagnostics().metrics

    assert metrics["outer_loss_end"] < 0.8 * metrics["outer_loss_start"]


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_the_moving_average_has_its_closed_form(decay):
    method = before_distilling(settings={"ema_decay": decay})
    seen = [method.initial.clone()]
    for _ in range(4):
        method.distill(None)
        seen.append(method.set.last.detach().clone())

    expected = decay**4 * seen[0] + (1 - decay) * sum(decay ** (4 - at) * seen[at] for at in range(1, 5))
    assert torch.allclose(method.product().images.detach(), expected, atol=1e-6)
    if decay == 0:
        assert torch.equal(method.product().images, method.product().last)


def test_averaging_changes_what_is_read_and_nothing_of_the_training():
    averaged, plain = finished(new_matcher(settings={"ema_decay": 0.9})), finished(new_matcher())

    assert torch.equal(averaged.set.last, plain.set.images)
    assert not torch.equal(averaged.set.images, plain.set.images)


def test_expert_labels_are_the_target_snapshots_probabilities_on_the_pictures_before_the_step():
    method = before_distilling(settings={"labels": "expert", "experts": 1, "max_start_epoch": 1})

    method.distill(None)

    module = build(BLUEPRINT["builder"], BLUEPRINT["config"])
    nn.utils.vector_to_parameters(method.experts.trajectories[0, 1], module.parameters())
    assert torch.allclose(method.product().labels, module(method.initial).softmax(dim=1).detach(), atol=1e-6)
    assert torch.allclose(method.product().labels.sum(dim=1), torch.ones(10), atol=1e-6)
    assert not method.product().labels.requires_grad


def test_the_best_set_is_kept_beside_the_last_one():
    method = before_distilling(settings={"keep": "best", "keep_every": 1, "network_steps": 20, "image_rate": 3000.0}, steps=6)
    accuracies, sets = [], []
    for _ in range(6):
        method.distill(None)
        [first, second] = [trained_accuracy(method, seed) for seed in (1000, 1001)]
        accuracies.append((first + second) / 2)
        sets.append(method.set.images.detach().clone())

    method.finish()

    best = max(range(6), key=lambda at: (accuracies[at], -at))
    assert torch.equal(method.product().images, sets[best])
    assert method.best.accuracy.item() == pytest.approx(accuracies[best])
    assert torch.equal(method.left["last-set"][0]["images"], sets[-1])
    assert len(set(accuracies)) > 1


def trained_accuracy(method: Any, seed: int) -> float:
    """On the validation rows, of a module that learned from the set with torch's own SGD."""
    module = build(BLUEPRINT["builder"], BLUEPRINT["config"])
    nn.utils.vector_to_parameters(fresh_weights(BLUEPRINT, seed, CPU), module.parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    for step in range(20):
        optimizer.param_groups[0]["lr"] = 0.03 if step < 10 else 0.003
        optimizer.zero_grad()
        F.cross_entropy(module(method.set.images.detach()), method.set.labels).backward()
        optimizer.step()
    rows = digits().splits["validation"]
    return module(rows.inputs).argmax(dim=1).eq(rows.targets).float().mean().item()


# What is reported


def test_all_numbers_and_pictures_are_there_once_pictures_moved_and_fit_into_json():
    method = finished(new_matcher("mtt", {"held_out_seed": 7, "flatness_epochs": [1, 3], "ema_decay": 0.9}, steps=5))

    found = method.diagnostics()

    text = json.dumps([found.metrics, found.tables], allow_nan=False)
    assert len(text) < 100_000
    assert {"outer_loss_start", "outer_loss_end", "expert_accuracy", "trajectory_error", "loss_rise_3"} <= set(found.metrics)
    grid = found.tables["set_images"]
    assert [row["name"] for row in grid["rows"]] == ["initial", "now", "before averaging", "difference"]
    assert grid["columns"] == [str(each) for each in range(10)]
    assert sum(sum(curve["y"] != [] for curve in [each]) for each in found.tables["outer_loss"]["series"].values()) >= 1
    assert sum(found.tables["start_epochs"]["series"]["iterations"]) == 5
    assert len(found.tables["trajectory_error"]["series"]["trained on the set"]["x"]) == 3
    assert [row[:2] for row in found.tables["sharpness"]["cells"]] == [[0, 1], [0, 3], [1, 1], [1, 3]]


def test_before_the_first_iteration_only_the_experts_are_reported():
    method = new_matcher()

    assert method.diagnostics().metrics == {"expert_accuracy": 0.0}
    assert method.warnings() == []


def test_a_gradient_that_reaches_nothing_and_a_rate_at_its_lowest_are_warned_of():
    method = finished(new_matcher(settings={"learned_rate_start": 1e-4, "learned_rate_rate": 0.0}))
    near_one = method.warnings()
    method.course.image_gradient.zero_()

    assert near_one[0].startswith("The outer loss ends at ") and near_one[1] == "The learned rate is at its lowest, 0.0001."
    assert method.warnings()[0] == "The gradient of the pictures is exactly 0: nothing reaches them."


def test_compared_numbers_have_cards():
    method = finished(new_matcher(settings={"held_out_seed": 7}))
    judged = digits().judge(method.product(), "test", teacher=None, final=True).metrics

    own = {"image_gradient", "image_change"}
    assert set(judged) | set(method.diagnostics().metrics) <= set(METRICS) | own


# Checkpoints of earlier code


def written_earlier(method: Any, serializer: StateSerializer) -> dict[str, Any]:
    """The state of a method before experts, best set and outer loop had objects of their own."""
    experts, best, course = method.experts, method.best, method.course
    moved = {
        "buffer": experts.trajectories,
        "cosines": experts.cosines,
        "best_accuracy": torch.tensor(-1.0) if best is None else best.accuracy,
        **{name: getattr(course, name) for name in ("losses", "rates", "starts", "image_gradient", "iterations")},
    }
    method.best = None if best is None else best.set
    saved = {name: state for name, state in capture(method, serializer).items() if name not in ("experts", "course", *ADDED_BY_THE_TEST)}
    method.best = best
    return saved | {name: {"value": serializer.pack(value, name)} for name, value in moved.items()}


def brought_back(method: Any, settings: dict[str, Any]) -> Any:
    """A new method with the state of the given one, by way of an earlier checkpoint."""
    serializer, again = StateSerializer(), new_matcher(settings=settings)
    saved = written_earlier(method, serializer)
    for name in ADDED_BY_THE_TEST:
        del again.__dict__[name]
    restore(again, saved, serializer.tensors)
    return again


ADDED_BY_THE_TEST = ("left", "said")
SETTINGS = {"the last set": {}, "the best set": {"keep": "best", "keep_every": 2, "labels": "expert", "ema_decay": 0.5}}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_checkpoint_of_earlier_code_brings_back_all_that_it_held(settings: dict[str, Any]):
    method = finished(new_matcher(settings=settings))

    again = brought_back(method, settings)

    assert torch.equal(again.experts.trajectories, method.experts.trajectories)
    assert torch.equal(again.experts.cosines, method.experts.cosines)
    assert again.course.iterations == 4
    for name in ("losses", "rates", "starts", "image_gradient"):
        assert torch.equal(getattr(again.course, name), getattr(method.course, name))
    for name, tensor in method.product().state_dict().items():
        assert torch.equal(again.product().state_dict()[name], tensor)


@pytest.mark.parametrize("training", [True, False])
def test_a_best_set_comes_back_with_its_accuracy_and_its_mode(training: bool):
    settings = SETTINGS["the best set"]
    method = finished(new_matcher(settings=settings))
    method.best.train(training)

    again = brought_back(method, settings)

    assert again.best.accuracy == method.best.accuracy > 0
    assert again.best.training == again.best.set.training == training


def test_experts_whose_seconds_nobody_measured_are_not_kept_for_later_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    method = finished(new_matcher())
    monkeypatch.setenv("STILLHOUSE_BUFFERS", str(tmp_path))

    brought_back(method, {}).end_experts()

    assert list(tmp_path.iterdir()) == []


# In the runner

VARIANTS = {
    "chunks in constant memory": {"inner_batch": 4, "gradient": "constant_memory"},
    "augmented": {"augmentation": ["crop", "cutout", "scale", "rotate"], "expert_momentum": 0.5},
    "soft labels and the best": {"labels": "expert", "keep": "best", "keep_every": 2, "ema_decay": 0.5},
}


def spec_of(settings: dict[str, Any], **more: Any) -> RunSpec:
    data = {
        "method": "mtt",
        "task": "digits",
        "task_options": {"train_limit": 150},
        "student": {"name": "convnet", "config": {"width": 4}},
        "settings": {**TINY, "networks": 1, "baselines": "small", **settings},
        "budget": {"steps": 5},
        "cadence": {"evaluate": 1000, "checkpoint": 1000},
        "threads": 1,
    }
    return RunSpec.parse({**data, **more})


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_stopped_among_its_iterations_and_resumed_equals_the_uninterrupted_one(variant, tmp_path: Path):
    spec, watcher = spec_of(VARIANTS[variant]), Watcher()
    assert execute(spec, Watcher(), tmp_path / "whole").status == "succeeded"

    execute(spec, watcher, tmp_path / "stopped", stop=watcher.stop_after(16))  # 12 of experts, 1 of the start, 3 iterations
    [folder] = [path for path in (tmp_path / "stopped/checkpoints").glob("step-*") if path.name.endswith("16")]
    outcome = execute(spec, Watcher(), tmp_path / "resumed", resume=folder)

    assert outcome.status == "succeeded", outcome.reason
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")


def test_the_product_is_a_set_for_the_architecture_that_was_chosen(tmp_path: Path):
    assert execute(spec_of({}), Watcher(), tmp_path).status == "succeeded"

    product, meta = load_model(tmp_path / "student")

    assert isinstance(product, SyntheticSet)
    assert (meta["kind"], meta["builder"], meta["architecture"]) == ("dataset", "synthetic_set", "set for convnet")
    assert product.config.network.config["width"] == 4
    assert FlatNetwork.of(build(product.config.network.builder, product.config.network.config)) is not None


def test_the_usual_student_is_the_network_that_sets_are_distilled_for():
    distilled = RunSpec.parse({"method": "mtt", "task": "digits"})
    classifier = RunSpec.parse({"method": "ps-kd", "task": "digits"})

    assert (str(distilled.student), distilled.kind, distilled.total_steps) == ("convnet", "dataset", 200)
    assert (str(classifier.student), classifier.kind) == ("mlp-16", "classifier")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"settings": {"max_start_epoch": 12}},
            "settings.max_start_epoch: must be at most 11, so that each start has 2 of the experts' 12 epochs after it; got 12.",
        ),
        ({"settings": {"matched_epochs": 13}}, "settings.matched_epochs: must be at most the experts' 12 epochs; got 13."),
        ({"settings": {"held_out_seed": 3}}, "settings.held_out_seed: must not be one of the experts' seeds 0 to 3; got 3."),
        ({"settings": {"flatness_epochs": [4, 13]}}, "settings.flatness_epochs.1: must be from 0 to the experts' 12 epochs; got 13."),
        ({"precision": "bfloat16"}, "precision: must be float32, because gradients of gradients lose too much in less; got bfloat16."),
        (
            {"student": "run:00000000-0000-4000-8000-000000000001"},
            "student: must be an architecture of the task, of which fresh networks are made; got run:00000000-0000-4000-8000-000000000001.",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_field(fields, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "mtt", "task": "digits", **fields})

    assert str(refused.value) == sentence


def test_an_unseen_architecture_that_the_task_does_not_have_is_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "mtt", "task": "digits", "settings": {"unseen": ["mlp-64", "vgg"]}})

    assert str(refused.value).startswith("settings.unseen.1: must be one of ")
    assert str(refused.value).endswith("; got 'vgg'.")
