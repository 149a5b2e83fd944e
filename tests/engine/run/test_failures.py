"""Whatever a method, a model or the disk raises, a person reads one sentence, and the page knows the field or the term that it is about."""

import pytest
import torch

from engine.errors import CheckpointError, DataError, ModelError, NonFiniteError, Problem, SpecError, StateError, StorageError
from engine.events import Outcome
from engine.run.failures import CurrentStep, failure


class Strange(Exception):
    def __str__(self) -> str:
        return "first line\nsecond line"


@pytest.mark.parametrize(
    ("error", "reason", "about"),
    [
        (
            NonFiniteError(term="loss/teacher", step=7, value=float("-inf")),
            "loss/teacher became -inf at step 7. The last good checkpoint is kept; try a lower learning rate or gradient clipping.",
            "loss/teacher",
        ),
        (SpecError.at("settings.levels", "must descend."), "settings.levels: must descend.", "settings.levels"),
        (
            SpecError([Problem("student", "is too large."), Problem("", "give less.")]),
            "student: is too large.\ngive less.",
            "student",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nprocess 7 has 3 GiB"),
            "The GPU's memory was full at step 9; try a smaller batch_size, or more gradient_accumulation_steps.",
            "",
        ),
        (ModelError("The model at x is damaged."), "The model at x is damaged.", ""),
        (CheckpointError("There is no checkpoint at x."), "There is no checkpoint at x.", ""),
        (DataError("Install it."), "Install it.", ""),
        (StateError("M.x is a set."), "M.x is a set.", ""),
        (OSError(28, "No space left on device"), "A file could not be read or written at step 9: [Errno 28] No space left on device.", ""),
        (Strange(), "The method failed at step 9 of phase distill: Strange: first line", ""),
        (ZeroDivisionError(), "The method failed at step 9 of phase distill: ZeroDivisionError: ", ""),
        (RuntimeError("shape\rerror"), "The method failed at step 9 of phase distill: RuntimeError: shape", ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_went_wrong_is_told_in_one_sentence(error: Exception, reason: str, about: str) -> None:
    assert failure(error, CurrentStep("distill", 9)) == Outcome("failed", 9, reason, about)


def test_before_the_first_phase_no_step_is_blamed() -> None:
    assert failure(KeyError("width"), CurrentStep()) == Outcome("failed", 0, "The method failed: KeyError: 'width'")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            StorageError("The run's folder could not be written: Input/output error."),
            "The run's folder could not be written: Input/output error.",
        ),
        (OSError(5, "Input/output error"), "A file could not be read or written at step 9: [Errno 5] Input/output error."),
        (
            torch.AcceleratorError("CUDA error: an illegal memory access\nmore"),
            "The GPU failed at step 9: CUDA error: an illegal memory access",
        ),
    ],
    ids=["the store", "a disk", "a GPU"],
)
def test_a_machine_that_fails_is_told_from_a_run_that_does(error: Exception, reason: str) -> None:
    assert failure(error, CurrentStep("distill", 9)) == Outcome("failed", 9, reason, machine=True)


def test_a_store_without_room_is_no_one_machines_fault() -> None:
    outcome = failure(StorageError("No room on the store.", full=True), CurrentStep("distill", 9))

    assert not outcome.machine
