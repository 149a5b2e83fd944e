"""What can go wrong in the engine, as one tree.

EngineError
├── SpecError          the user's spec is wrong; names the fields
├── ModelError         a model's folder is missing, damaged, or of another kind
├── CheckpointError    a checkpoint is missing, truncated, or of another run
├── DataError          a task's data is not installed
├── StorageError       a file of the run could not be written
├── NonFiniteError     a loss term became NaN or infinite
└── StateError         a method keeps state that can't be saved (the author's mistake)

The docstring of a class is its general message; an instance adds field, value and remedy.
"""

from dataclasses import dataclass


class EngineError(Exception):
    """The engine could not go on."""


@dataclass(frozen=True)
class Problem:
    """One refused field: its path (`settings.temperature`) and one sentence that says what would be right."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class SpecError(EngineError):
    """The run's specification is not valid."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    @classmethod
    def at(cls, field: str, message: str) -> "SpecError":
        """One refused field. `message` is a sentence that says what would be right and what was given."""
        return cls([Problem(field, message)])


class ModelError(EngineError):
    """A model can't be loaded."""


class CheckpointError(EngineError):
    """A checkpoint can't be read."""


class DataError(EngineError):
    """A task's data is not on this machine."""


class StorageError(EngineError):
    """A file of the run can't be written. `full` where there is no room for it."""

    def __init__(self, sentence: str, *, full: bool = False) -> None:
        self.full = full
        super().__init__(sentence)


class NonFiniteError(EngineError):
    """A loss term is not a finite number."""

    def __init__(self, *, term: str, step: int, value: float) -> None:
        self.term, self.step, self.value = term, step, value
        super().__init__(
            f"{term} became {value} at step {step}. The last good checkpoint is kept; try a lower learning rate or gradient clipping."
        )


class StateError(EngineError):
    """A method keeps state that a checkpoint can't hold."""
