"""A line of the doctor's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Remark:
    """What was looked at, how it is, and where it is not well what to do."""

    level: Level
    about: str
    words: str
    remedy: str = ""


Look = Callable[[], Iterator[Remark]]


def graded(about: str, words: str, *, warning: str = "", problem: str = "") -> Remark:
    """A problem where there is a remedy for one, else a warning, else well."""
    return Remark("problem" if problem else "warning" if warning else "ok", about, words, problem or warning)
