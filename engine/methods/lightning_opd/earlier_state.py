"""Checkpoints of `lightning-opd` that were written while the method itself held what its `TeacherCalls` and its `Stopwatch` hold today.

All code up to 13af1dd (November 29, 2026) wrote them.
"""

from collections.abc import Mapping
from typing import Final

from engine.run.serializer import JsonValue, packed_dict

MOVED: Final = ("calls", "tokens", "seconds", "asking")


def upgraded(saved: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """The state by today's attributes; one that is by them already, as it is.

    The counts go on from what they were, although not all decoding was counted then. `asking` is left out: between steps it never said more
    than that nothing was under way.
    """
    if "asking" not in saved:
        return saved
    return {
        **{name: state for name, state in saved.items() if name not in MOVED},
        "asked": {"state_dict": packed_dict({name: saved[name]["value"] for name in ("calls", "tokens")})},
        "clock": {"state_dict": saved["seconds"]["value"]},
    }
