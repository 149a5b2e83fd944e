"""The cut and the pixels of the data set distillation literature, as options of the digits."""

import pytest
import torch
from sklearn.datasets import load_digits

from engine.errors import SpecError
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.digits.card import Options
from engine.tasks.task import Task

PROTOCOL = {"split": "random", "split_seed": 0, "parts": "1097-200-500", "pixels": "fixed"}


def digits(**options: object) -> Task:
    return catalog.load_task("digits")(Options(**options), torch.device("cpu"))


def test_the_cut_is_one_permutation_of_1097_200_and_500_rows():
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    labels = torch.from_numpy(load_digits().target)

    found = digits(**PROTOCOL).splits

    assert torch.equal(found["train"].targets, labels[order[:1097]])
    assert torch.equal(found["validation"].targets, labels[order[1097:1297]])
    assert torch.equal(found["test"].targets, labels[order[1297:]])


def test_fixed_pixels_are_sixteenths_less_three_tenths_over_037():
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    raw = torch.from_numpy(load_digits().images).float()[order[1300]]

    task = digits(**PROTOCOL)

    assert torch.allclose(task.splits["test"].inputs[3, 0], (raw / 16 - 0.3) / 0.37, atol=1e-6)
    assert task.picture("test", 3) == (raw / 16 * 255).round().int().tolist()


def test_an_epoch_of_the_smaller_part_is_one_of_its_own_rows():
    fields = {"method": "supervised", "task": "digits", "budget": {"epochs": 2}}

    whole = RunSpec.parse({**fields, "task_options": PROTOCOL})
    limited = RunSpec.parse({**fields, "task_options": {**PROTOCOL, "train_limit": 100}})
    usual = RunSpec.parse(fields)

    assert whole.task_options["train_limit"] == 1097
    assert (whole.total_steps, limited.total_steps, usual.total_steps) == (2 * 18, 2 * 2, 2 * 19)
    assert usual.task_options["train_limit"] is None


def test_a_limit_beyond_the_smaller_part_is_all_of_it():
    assert len(digits(**PROTOCOL, train_limit=1200).splits["train"]) == 1097


def test_a_cut_that_does_not_exist_is_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "supervised", "task": "digits", "task_options": {"parts": "1-2-3"}})

    assert str(refused.value) == "task_options.parts: must be one of '1200-297-300' or '1097-200-500'; got '1-2-3'."
