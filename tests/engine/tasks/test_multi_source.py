"""The multi-source task: one cut, a target with few labels, and source tasks with other classes, whose models fit where they should."""

import pytest
import torch
from sklearn.datasets import load_digits

from engine.errors import SpecError
from engine.events import Evaluation
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.multi_source.card import HIGH, POOL
from tests.engine.tiny import Watcher

PARTS = {"target": 5, "all": 10, "high": 5, "permuted": 10, "random": 5}


def new(**options: object):
    return catalog.load_task("multi-source")(catalog.tasks()["multi-source"].options.model_validate(options), torch.device("cpu"))


def spec(part: str, **fields: object) -> RunSpec:
    return RunSpec.parse({"method": "supervised", "task": "multi-source", "task_options": {"part": part}, **fields})


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(110))
    return torch.from_numpy(bunch.images).float()[order] / 16, torch.from_numpy(bunch.target).long()[order]


def test_the_target_takes_its_digits_after_the_pool_in_order(digits):
    _, labels = digits
    low = labels[POOL:][labels[POOL:] < 5]

    task = new(split_seed=110)

    sizes = {name: len(split) for name, split in task.splits.items()}
    assert sizes == {"train": 20, "validation": 100, "test": len(low) - 320, "transfer": 220}
    assert torch.equal(task.splits["train"].targets, low[:20])
    assert torch.equal(task.splits["validation"].targets, low[220:320])
    assert torch.equal(task.splits["test"].targets, low[320:])


def test_the_transfer_rows_are_the_labeled_ones_and_the_unlabeled_without_targets():
    task = new(split_seed=110)

    assert task.splits["transfer"].targets is None
    assert torch.equal(task.splits["transfer"].inputs[:20], task.splits["train"].inputs)
    assert not any(torch.equal(row, other) for row in task.splits["transfer"].inputs for other in task.splits["test"].inputs)


@pytest.mark.parametrize("part", PARTS)
def test_pixels_are_standardized_with_the_pool_in_every_part(part: str, digits):
    pixels, _ = digits
    pool = pixels[:POOL]

    task = new(part=part, split_seed=110)

    row = task.splits["test"].inputs[0, 0] if part != "permuted" else None
    if row is not None:
        restored = row * (pool.std(dim=0) + 0.1) + pool.mean(dim=0)
        assert (restored - pixels).abs().amax(dim=(1, 2)).min() < 1e-5
    assert task.splits["train"].targets.max() < PARTS[part]


def test_no_source_learns_from_a_row_of_the_target():
    target = torch.cat([new(split_seed=110).splits[name].inputs for name in ("transfer", "validation", "test")]).flatten(1)

    for part in ("all", "high", "random"):
        learned = new(part=part, split_seed=110).splits["train"].inputs.flatten(1)
        assert torch.cdist(target, learned).min() > 1e-3, part


def test_sources_have_their_own_labels_and_rows(digits):
    _, labels = digits

    parts = {part: new(part=part, split_seed=110).splits["train"] for part in PARTS}

    assert torch.equal(parts["all"].targets, labels[:POOL])
    assert torch.equal(parts["high"].targets, labels[:POOL][labels[:POOL] >= 5][:HIGH] - 5)
    assert torch.equal(parts["permuted"].inputs.flatten(1).sort(dim=1).values, parts["all"].inputs.flatten(1).sort(dim=1).values)
    assert not torch.equal(parts["permuted"].inputs, parts["all"].inputs)
    assert (parts["random"].targets.bincount() - 180).abs().max() < 50
    assert torch.equal(parts["random"].inputs, parts["all"].inputs)


def test_a_permuted_pictures_pixels_are_the_original_ones():
    shuffled, plain = new(part="permuted"), new(part="all")

    gray = [sorted(torch.tensor(task.picture("test", 3)).flatten().tolist()) for task in (shuffled, plain)]
    assert gray[0] == gray[1] and shuffled.picture("test", 3) != plain.picture("test", 3)


@pytest.mark.parametrize(("part", "classes"), PARTS.items())
def test_the_card_has_the_classes_and_rows_of_its_part(part: str, classes: int):
    parsed, task = spec(part), new(part=part)

    assert parsed.task_card.classes == task.card.classes == classes
    assert parsed.task_card.train_rows == task.card.train_rows == len(task.splits["train"])
    assert task.new_model("mlp-128-64", {})(task.splits["test"].inputs).shape == (len(task.splits["test"]), classes)
    assert parsed.total_steps == 60 * -(-len(task.splits["train"]) // 64)


def test_classes_that_are_not_the_parts_are_refused():
    with pytest.raises(SpecError) as refused:
        spec("all", student={"name": "mlp-32", "config": {"classes": 5}})

    assert str(refused.value) == "student.config.classes: must be 10 for the task multi-source; got 5. Leave it out."


def test_the_other_tasks_cards_have_no_changes():
    assert catalog.tasks()["digits"].under({"train_limit": 5}) is catalog.tasks()["digits"]


def test_a_source_is_exported_with_its_own_classes_and_is_refused_as_a_teacher_of_the_target(tmp_path):
    watcher = Watcher()
    source = f"run:{'0' * 8}-0000-4000-8000-{'0' * 11}1"
    outcome = execute(spec("all", budget={"epochs": 2}, student="mlp-128-64"), watcher, tmp_path / "source")
    assert outcome.status == "succeeded", outcome.reason

    _, meta = load_model(tmp_path / "source" / "student")
    taught = RunSpec.parse({"method": "vanilla-kd", "task": "multi-source", "teachers": [source]})
    refused = execute(taught, Watcher(), tmp_path / "taught", models={source: tmp_path / "source" / "student"})

    assert meta["classes"] == 10
    assert next(event.metrics["accuracy"] for event in watcher.of(Evaluation) if event.split == "test") > 0.3
    assert refused.status == "failed" and "has 10 classes; the task multi-source has 5." in refused.reason
