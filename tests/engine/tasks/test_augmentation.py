"""Augmented training rows: the same picture, shifted and noisy, anew in every batch and the same again after a resume."""

import pytest
import torch

from engine.errors import SpecError
from engine.method import Phase, Position
from engine.run.loader import Loader
from engine.run.process_group import ProcessGroup
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.augmentation import jittered


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits(**options: object):
    return catalog.load_task("digits")(catalog.tasks()["digits"].options.model_validate(options), torch.device("cpu"))


def batch_of(task, step: int, *, data: str = "train", seed: int = 0) -> torch.Tensor:
    phase = Phase("train", lambda batch: {}, 100, data)
    loader = Loader(
        phase,
        0,
        splits=task.splits,
        batch_size=64,
        seed=seed,
        device=torch.device("cpu"),
        process_group=ProcessGroup(),
        augment=task.augmentation(),
    )
    return loader.batch(Position(phase_step=step)).inputs


def test_a_shifted_picture_is_a_crop_of_the_one_with_its_edge_repeated():
    picture = torch.arange(9.0).view(1, 1, 3, 3)
    padded = torch.nn.functional.pad(picture, (1, 1, 1, 1), mode="replicate")[0, 0]
    crops = [padded[i : i + 3, j : j + 3] for i in range(3) for j in range(3)]

    views = jittered(picture.expand(300, -1, -1, -1), generator(), shift=1, noise=0.0)

    counts = [sum(torch.equal(view[0], crop) for view in views) for crop in crops]
    assert sum(counts) == 300
    assert min(counts) > 15  # all nine alike: 33 each


def test_noise_has_the_standard_deviation_that_was_asked_for():
    noisy = jittered(torch.zeros(100, 1, 8, 8), generator(), shift=0, noise=0.8)

    assert noisy.mean().abs() < 0.03
    assert noisy.std().item() == pytest.approx(0.8, abs=0.03)


def test_a_batch_is_augmented_by_its_step_alone():
    task = digits(augment_shift=1, augment_noise=0.5)

    first, again, later = batch_of(task, 3), batch_of(task, 3), batch_of(task, 3 + 19)  # the same rows' step in the next epoch

    assert torch.equal(first, again)
    assert not torch.equal(first, batch_of(task, 3, seed=1))
    assert first.shape == later.shape and not torch.equal(first, later)


def test_only_training_rows_are_augmented():
    task = digits(augment_shift=1, augment_noise=0.5)

    assert not torch.equal(batch_of(task, 0).sort(dim=0).values, batch_of(digits(), 0).sort(dim=0).values)
    assert torch.equal(batch_of(task, 0, data="validation"), batch_of(digits(), 0, data="validation"))
    assert torch.equal(task.splits["train"].inputs, digits().splits["train"].inputs)


def test_without_options_rows_are_taken_as_they_are():
    assert digits().augmentation() is None


def test_cached_targets_are_refused_with_augmented_rows():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse(
            {
                "method": "vanilla-kd",
                "task": "digits",
                "teachers": ["run:00000000-0000-4000-8000-000000000001"],
                "settings": {"cache_targets": True},
                "task_options": {"augment_noise": 0.5},
            }
        )

    assert (
        str(refused.value)
        == "settings.cache_targets: must be false with task_options.augment_noise: the student sees a new view of each row, and the teacher has to see the same."
    )
