"""Data that can't be learned from is named before the first step: the split, and the row."""

from pathlib import Path

import pytest
import torch

from engine.errors import DataError
from engine.events import Outcome
from engine.run.export import save_model
from engine.spec.run_spec import ModelRef
from engine.tasks.task import Split, checked
from tests.engine.tiny import FEATURES, ROWS, Taught, TinyTask, run_tiny, tiny_spec

TEACHER = "run:00000000-0000-4000-8000-000000000001"


def spoiled(*rows: int, value: float = float("nan")) -> Split:
    inputs = torch.zeros(30, 2, 3)
    for row in rows:
        inputs[row, 1, 2] = value
    return Split(inputs, torch.zeros(30, dtype=torch.int64))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_row_with_a_number_that_is_not_finite_is_named(value: float) -> None:
    with pytest.raises(DataError, match=r"^Row 17 of the training split has NaN or infinity in its inputs; mend the data\.$"):
        checked("train", spoiled(17, value=value))


def test_further_rows_are_counted() -> None:
    with pytest.raises(DataError, match=r"^Row 0 of the test split has NaN or infinity in its inputs, and 2 more rows; mend the data\.$"):
        checked("test", spoiled(0, 3, 29))


def test_a_split_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match=r"^The validation split has no rows; it must have at least one\.$"):
        checked("validation", Split(torch.zeros(0, 4), None))


@pytest.mark.parametrize("split", [spoiled(), Split(torch.zeros(3, 5, dtype=torch.int64), None), Split(torch.zeros(1), None)])
def test_what_is_whole_is_the_split_itself(split: Split) -> None:
    assert checked("train", split) is split


class Holed(TinyTask):
    def load(self) -> dict[str, Split]:
        splits = super().load()
        splits["train"].inputs[5, 0] = float("nan")
        return splits


def test_a_run_on_such_data_is_refused_and_blames_no_learning_rate(tmp_path: Path) -> None:
    outcome = run_tiny(tmp_path, task_class=Holed)

    sentence = "Row 5 of the training split has NaN or infinity in its inputs; mend the data."
    assert (outcome, ROWS) == (Outcome("failed", 0, sentence, refused=True), 20)


def test_a_teacher_whose_weights_are_not_finite_is_named(tmp_path: Path) -> None:
    card = TinyTask.card.architectures["net"]
    teacher = TinyTask(TinyTask.card.options(), torch.device("cpu")).new_model("net", card.config)
    with torch.no_grad():
        next(parameter for name, parameter in teacher.named_parameters() if name.endswith("bias"))[0] = float("inf")
    meta = {"kind": "classifier", "task": "tiny", "builder": card.builder, "config": card.config, "architecture": "net", "classes": 3}
    save_model(tmp_path / "model", teacher, {**meta, "input_shape": [FEATURES]})

    outcome = run_tiny(
        tmp_path / "run", Taught, spec=tiny_spec(Taught, teachers=[ModelRef.model_validate(TEACHER)]), models={TEACHER: tmp_path / "model"}
    )

    assert outcome.reason.startswith("teachers.0: The weight ") and outcome.refused
    assert outcome.reason.endswith(f".bias of {TEACHER} has NaN or infinity in it; choose another model.")
