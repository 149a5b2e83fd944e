"""What is started again when it ends, until it does nothing but end."""

import time
from dataclasses import dataclass, field
from pathlib import Path

SHORT_LIFE_SECONDS = 5.0
SHORT_LIVES = 5


class ServeError(Exception):
    """Stillhouse can't be served: a sentence for the person who started it."""


@dataclass
class Lives:
    """How often in a row something has ended right after its start."""

    name: str
    log: Path
    started: float = field(default=0.0, init=False)
    short: int = field(default=0, init=False)

    def begin(self) -> None:
        self.started = time.monotonic()

    def end(self) -> None:
        """It has ended. Raises ServeError, with the end of its log, when that has become a habit."""
        lived = time.monotonic() - self.started
        self.short = self.short + 1 if lived < SHORT_LIFE_SECONDS else 0
        if self.short >= SHORT_LIVES:
            raise ServeError(
                f"{self.name} ended {SHORT_LIVES} times in a row right after its start. The end of {self.log}:\n{end_of(self.log)}"
            )


def end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
