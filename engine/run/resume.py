"""Whether a run may go on from a checkpoint: only from one of a run that would have trained in the same way."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from engine.errors import CheckpointError
from engine.spec.earlier_names import upgraded
from engine.spec.run_spec import RunSpec

MAY_DIFFER: Final = ("cadence", "device", "devices", "threads")
"""What no weight depends on beyond rounding."""


def check_same_run(spec: RunSpec, written: Mapping[str, Any], *, folder: Path) -> None:
    """Raises CheckpointError, naming the first field that differs, when the checkpoint in `folder` was written by a run of another spec."""
    there, here = _by_path(upgraded(written)), _by_path(upgraded(spec.model_dump(mode="json")))
    for field in sorted(there.keys() | here.keys()):
        if field.partition(".")[0] not in MAY_DIFFER and there.get(field) != here.get(field):
            raise CheckpointError(
                f"The checkpoint at {folder} is of another run: its {field} is {there.get(field)!r:.80}, this run's is {here.get(field)!r:.80}."
            )


def _by_path(value: Any, at: str = "") -> dict[str, Any]:
    """`{"settings": {"alpha": 1}}` → `{"settings.alpha": 1}`; a list is one value."""
    if not isinstance(value, dict):
        return {at: value}
    return {path: leaf for key, item in value.items() for path, leaf in _by_path(item, f"{at}.{key}" if at else key).items()}
