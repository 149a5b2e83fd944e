"""How often a teacher is asked, and about how many tokens, by what for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from engine.method import Phase
from engine.models.language import CausalLM

EVALUATION = "evaluation"
P = ParamSpec("P")
R = TypeVar("R")


class TeacherCalls:
    """Counts each forward pass and each step of decoding of the models that it watches, whoever makes it.

    A call counts for the innermost purpose that is under way, and for `evaluation` where none is. A method hands its phases through `counted`,
    so that a call in one counts there even if nobody meant to make it. `calls` and `tokens` are by purpose; tokens are those that were read,
    padding included.
    """

    def __init__(self, *purposes: str) -> None:
        self.calls = dict.fromkeys((*purposes, EVALUATION), 0)
        self.tokens = dict.fromkeys(self.calls, 0)
        self._purpose = EVALUATION

    def watch(self, model: CausalLM) -> None:
        """From here on this model's calls are counted."""
        decode = model.decode

        def counted(ids: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
            self._count(ids)
            return decode(ids, mask, cache)

        model.register_forward_pre_hook(lambda module, arguments: self._count(arguments[0]))
        model.decode = counted  # type: ignore[method-assign]  # hooks are for forward alone, and decoding goes another way

    @contextmanager
    def during(self, purpose: str) -> Iterator[None]:
        """What is asked inside counts for this."""
        before, self._purpose = self._purpose, purpose
        try:
            yield
        finally:
            self._purpose = before

    def counted(self, phase: Phase) -> Phase:
        """The phase, during whose begin, batches, steps and end all that is asked counts for its name."""
        batches = self._inside(phase.name, phase.data) if callable(phase.data) else phase.data
        begin, end = (act if act is None else self._inside(phase.name, act) for act in (phase.begin, phase.end))
        return replace(phase, step=self._inside(phase.name, phase.step), data=batches, begin=begin, end=end)

    def _inside(self, purpose: str, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def counted(*arguments: P.args, **options: P.kwargs) -> R:
            with self.during(purpose):
                return function(*arguments, **options)

        return counted

    def state_dict(self) -> dict[str, dict[str, int]]:
        return {"calls": dict(self.calls), "tokens": dict(self.tokens)}

    def load_state_dict(self, state: dict[str, dict[str, int]]) -> None:
        self.calls, self.tokens = dict(state["calls"]), dict(state["tokens"])

    def _count(self, ids: Tensor) -> None:
        self.calls[self._purpose] += 1
        self.tokens[self._purpose] += ids.numel()
