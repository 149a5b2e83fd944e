"""Which models that nobody here trained may be opened, by the `hf:` name that a spec gives.

Two variables of the environment say it: STILLHOUSE_MODEL_ROOTS, folders with `:` between them, and STILLHOUSE_HUB_MODELS, patterns of hub names
with commas between them (`Qwen/*`). Where neither is set whatever the account can read may be opened, as at the command line, where a person
opens what is theirs. Workers set both, to nothing unless their operator says more: there a name comes from anybody who may launch a run.
"""

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from engine.errors import ModelError

ROOTS, HUB = "STILLHOUSE_MODEL_ROOTS", "STILLHOUSE_HUB_MODELS"
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def policy_of_workers(environment: Mapping[str, str]) -> dict[str, str]:
    """Both variables as a worker's children have them."""
    return {name: environment.get(name, "") for name in (ROOTS, HUB)}


def allowed(name: str) -> str:
    """The folder, file or hub name that may be opened for `hf:<name>`, links followed. Raises ModelError, in the same words whether there is
    something at a place outside or not."""
    roots, patterns = os.environ.get(ROOTS), os.environ.get(HUB)
    if roots is None and patterns is None:
        return name
    if HUB_NAME.fullmatch(name) and any(fnmatchcase(name, pattern.strip()) for pattern in (patterns or "").split(",")):
        return name
    if name.startswith("/") and "\0" not in name:
        place = Path(name).resolve()
        for root in (Path(each).resolve() for each in (roots or "").split(os.pathsep) if each):
            if place.is_relative_to(root):
                _check_inside(place, root, name)
                return str(place)
    raise ModelError(
        f"hf:{name} may not be opened on this machine: its operator allows folders below {ROOTS} and hub names that match {HUB}."
    )


def _check_inside(place: Path, root: Path, name: str) -> None:
    """Raises ModelError where what is opened would lead out of the root, or is a pipe or a device, which would be waited for."""
    for path in (place, *(place.rglob("*") if place.is_dir() else ())):
        found = path.resolve()
        if not found.is_relative_to(root):
            raise ModelError(f"hf:{name} holds {path.name}, a link that leads out of {ROOTS}; put the file itself there.")
        if found.exists() and not (found.is_file() or found.is_dir()):
            raise ModelError(f"hf:{name} holds {path.name}, which is no file; take it away.")
