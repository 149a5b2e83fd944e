"""References to models in words: `mlp-16` (an architecture of the task), `run:<uuid>` (the student of a run), `hf:<folder or org/name>`.

This is how people type them and how pages, names and errors show them; `engine.spec.run_spec.ModelRef` reads them back.
"""

from collections.abc import Mapping
from typing import Any

BUILTIN, RUN = "builtin", "run"


def reference_text(model: Mapping[str, Any]) -> str:
    """A ModelRef's JSON as a reference: an architecture's name alone, any other model with its source before it."""
    source, name = model.get("source", BUILTIN), model.get("name", "")
    return str(name) if source == BUILTIN else f"{source}:{name}"


def described_reference(model: Mapping[str, Any]) -> str:
    """The reference with what was changed of the architecture: `mlp-16 (hidden=32, init seed 7)`."""
    changes = [f"{key}={value}" for key, value in (model.get("config") or {}).items()]
    seed = [] if model.get("init_seed") is None else [f"init seed {model['init_seed']}"]
    more = ", ".join([*changes, *seed])
    return f"{reference_text(model)} ({more})" if more else reference_text(model)


def run_reference(run_id: object) -> str:
    """The reference to the student of the run with this id."""
    return f"{RUN}:{run_id}"


def run_named_by(text: str) -> str | None:
    """The id of the run that a reference names, also one with changes described behind it; None where it names none."""
    reference, _, _ = text.partition(" ")
    return reference.removeprefix(f"{RUN}:") if reference.startswith(f"{RUN}:") else None
