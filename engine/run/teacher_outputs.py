"""Whether a frozen teacher puts out NaN or infinity: then it is to blame for a loss that is not finite, and not the learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import NonFiniteError, SpecError
from engine.method import Method
from engine.spec.run_spec import ModelRef


class TeacherOutputs:
    """Notes the largest number in each output of each teacher. It is read only when a loss is not finite, so no step waits for a GPU.

    −∞ is no fault: it is the logit of what is impossible.
    """

    def __init__(self, method: Method, refs: Sequence[ModelRef]) -> None:
        trained = method.card.teachers is not None and method.card.teachers.access == "trained"
        self._noted: dict[str, tuple[ModelRef, list[Tensor]]] = {}
        for index, teacher in enumerate(() if trained else method.teachers):
            largest: list[Tensor] = []
            self._noted[f"teachers.{index}"] = (refs[index], largest)
            teacher.register_forward_hook(_noting(teacher, largest))
        self._kept = dict.fromkeys(self._noted, 0)

    def forget(self) -> None:
        """What was noted so far was of steps that went well."""
        for field, (_, largest) in self._noted.items():
            del largest[self._kept[field] :]

    def keep(self) -> None:
        """What was noted so far stays: it was asked before the steps that learn from it."""
        self._kept = {field: len(largest) for field, (_, largest) in self._noted.items()}

    def blame(self, error: NonFiniteError) -> None:
        """Raises SpecError at a teacher's field where one was not finite since `forget`."""
        for field, (ref, largest) in self._noted.items():
            if largest and not bool(torch.stack([each.float() for each in largest]).isfinite().all()):
                raise SpecError.at(
                    field,
                    f"{ref} put out NaN or infinity by step {error.step}, and so {error.term} became {error.value}; choose another teacher, "
                    f"or float32 as precision where it is lower.",
                ) from error


def _noting(teacher: nn.Module, largest: list[Tensor]) -> Any:
    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        if module is teacher:  # a copy that a method makes of its teacher takes the hook along
            largest.extend(each.detach().amax() for each in _tensors(output) if each.is_floating_point() and each.numel())

    return note


def _tensors(output: Any) -> list[Tensor]:
    match output:
        case Tensor():
            return [output]
        case Mapping():
            return [each for each in output.values() if isinstance(each, Tensor)]
        case tuple() | list():
            return [each for each in output if isinstance(each, Tensor)]
    return []
