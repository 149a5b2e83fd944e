"""From whatever went wrong in a run to the outcome that people read: one sentence, and the field, loss term or nothing that it is about."""

from dataclasses import dataclass

import torch

from engine.errors import CheckpointError, DataError, EngineError, ModelError, NonFiniteError, SpecError, StorageError
from engine.events import Outcome
from engine.run.memory import TooLargeError
from engine.run.storage import FULL

CPU_IS_FULL = "can't allocate memory"
"""Torch has no class of its own for it."""

MEMORY_WAS_FULL = "The run had used all the memory that it may have at step {step}; try a smaller batch_size or model, or more gradient_accumulation_steps."


@dataclass
class CurrentStep:
    """The step that is being made and its phase; the runner moves it."""

    phase: str = ""
    step: int = 0


def failure(error: Exception, at: CurrentStep) -> Outcome:
    """The outcome of a run that ended with `error`, whatever a method, a model or the disk raised."""
    refused = not at.phase
    match error:
        case NonFiniteError():
            return Outcome("failed", at.step, str(error), error.term)
        case SpecError():
            return Outcome("failed", at.step, str(error), error.problems[0].field, refused)
        case TooLargeError():
            return Outcome("failed", at.step, str(error), refused=True, needed=error.needed)
        case torch.OutOfMemoryError():
            return Outcome(
                "failed",
                at.step,
                f"The GPU's memory was full at step {at.step}; try a smaller batch_size, or more gradient_accumulation_steps.",
            )
        case MemoryError() | RuntimeError() if isinstance(error, MemoryError) or CPU_IS_FULL in str(error):
            return Outcome("failed", at.step, MEMORY_WAS_FULL.format(step=at.step))
        case StorageError(full=True):
            return Outcome("failed", at.step, f"{error} Make room there, then start or resume the run.")
        case StorageError():
            return Outcome("failed", at.step, str(error), machine=True)
        case torch.AcceleratorError():
            return Outcome("failed", at.step, f"The GPU failed at step {at.step}: {_first_line(error)}", machine=True)
        case ModelError() | DataError() | CheckpointError():
            return Outcome("failed", at.step, str(error), refused=refused)
        case EngineError():
            return Outcome("failed", at.step, str(error))
        case OSError():
            return Outcome(
                "failed", at.step, f"A file could not be read or written at step {at.step}: {error}.", machine=error.errno not in FULL
            )
    where = f" at step {at.step} of phase {at.phase}" if at.phase else ""
    return Outcome("failed", at.step, f"The method failed{where}: {type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
