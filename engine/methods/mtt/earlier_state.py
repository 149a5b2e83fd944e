"""Checkpoints of `mtt` and `ftd` that were written while the method itself held what its experts, its best set and its outer loop hold today.

All code up to 13af1dd (November 29, 2026) wrote them.
"""

from collections.abc import Mapping
from typing import Final

from engine.run.serializer import JsonValue, packed_dict, packed_items

EXPERTS: Final = {"buffer": "trajectories", "cosines": "cosines"}
BEST: Final = ("best", "best_accuracy")
COURSE: Final = ("losses", "rates", "starts", "image_gradient", "iterations")


def upgraded(saved: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """The state by today's attributes; one that is by them already, as it is."""
    if "buffer" not in saved:
        return saved
    return {
        **{name: state for name, state in saved.items() if name not in (*EXPERTS, *BEST, *COURSE)},
        "experts": {"state_dict": _experts(saved)},
        "best": _best(saved),
        "course": {"state_dict": packed_dict({name: saved[name]["value"] for name in COURSE})},
    }


def _experts(saved: Mapping[str, JsonValue]) -> JsonValue:
    """Snapshots were not counted and steps not timed, so such experts never count as complete: they are not kept for later runs."""
    tensors = {name: saved[earlier]["value"] for earlier, name in EXPERTS.items()}
    return packed_dict({**tensors, "recorded": 0, "steps": 0, "seconds": 0.0, "reused": "", "remark": ""})


def _best(saved: Mapping[str, JsonValue]) -> JsonValue:
    """The best set is a part of a module now, which holds the set's accuracy too. There is none where a run keeps the last set."""
    if "module" not in saved["best"]:
        return saved["best"]
    of_set = packed_items(saved["best"]["module"])
    tensors = {
        part: {f"set.{name}": tensor for name, tensor in packed_items(of_set[part]).items()} for part in ("state", "buffers", "grads")
    }
    tensors["state"]["accuracy"] = saved["best_accuracy"]["value"]
    names = {"eval": ["", "set"] if of_set["eval"] else [], "frozen": [f"set.{name}" for name in of_set["frozen"]]}
    return {"module": packed_dict({**{part: packed_dict(held) for part, held in tensors.items()}, **names})}
