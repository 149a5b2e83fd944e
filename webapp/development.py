"""Development settings: plain HTTP and static files from where they lie. Off unless somebody asks.

The programs that a developer starts ask by themselves (`make serve` and `make demo`, which listen on this machine only, manage.py, tests and
benchmarks), but never where somebody has said how this installation is to run.
"""

import os

CONFIGURED_BY = ("STILLHOUSE_DEBUG", "STILLHOUSE_SECRET_KEY")


def is_on() -> bool:
    return os.environ.get("STILLHOUSE_DEBUG", "").strip().lower() in {"1", "true", "yes", "on"}


def ask_unless_configured() -> None:
    """For this process and those that it starts. A secret of their own says that somebody runs it for others."""
    if not any(os.environ.get(name) for name in CONFIGURED_BY):
        os.environ["STILLHOUSE_DEBUG"] = "on"
