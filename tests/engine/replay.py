"""Makes the recorded runs again, in a process whose arithmetic does not depend on the processor: `python -m tests.engine.replay FOLDER`.

Prints one JSON object: for each recorded run the hashes of the student that a whole run exports (`whole`), and of the one that the recorded
checkpoint leads to (`resumed`); for a run that fails, its reason.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec

RECORDED = Path(__file__).parent / "recorded"
ANY_PROCESSOR = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "NEHALEM",
    "OMP_NUM_THREADS": "1",
}
"""The kernels that every x86-64 processor has, so that bits recorded on one machine are those of another."""


def recorded_runs() -> dict[str, Any]:
    """By method: the specification, its hash, the step of its checkpoint, and the student's hashes."""
    runs: dict[str, Any] = json.loads((RECORDED / "runs.json").read_text(encoding="utf-8"))
    return runs


def recorded_variants() -> dict[str, Any]:
    """By name: runs of `supervised` with every schedule and optimizer, and with a batch in pieces. They have no checkpoint."""
    variants: dict[str, Any] = json.loads((RECORDED / "more_runs.json").read_text(encoding="utf-8"))
    return variants


def is_unchanged(run: Mapping[str, Any]) -> bool:
    """Whether the method still has the version with which the run was recorded, and so still owes the same bits."""
    return bool(catalog.methods()[run["spec"]["method"]].version == run["spec"]["method_version"])


def student_of(run: Mapping[str, Any], workdir: Path, *, resume: Path | None = None) -> dict[str, str]:
    """The files of the student that the run exports, by their SHA-256; the reason under "failed" when there is none."""
    models = {ref: RECORDED / "models" / name for ref, name in run.get("models", {}).items()}
    workdir.parent.mkdir(exist_ok=True)
    outcome = execute(RunSpec.parse(run["spec"]), lambda event: None, workdir, models=models, resume=resume)
    if outcome.status != "succeeded":
        return {"failed": outcome.reason}
    files = (workdir / "student" / name for name in ("model.safetensors", "records.json"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def main(folder: Path) -> None:
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, run in recorded_runs().items():
        if is_unchanged(run):
            checkpoint = RECORDED / "stopped" / name / f"checkpoints/step-{run['checkpoint_step']:09d}"
            found[name] = {
                "whole": student_of(run, folder / name / "whole"),
                "resumed": student_of(run, folder / name / "resumed", resume=checkpoint),
            }
    for name, run in recorded_variants().items():
        found[name] = {"whole": student_of(run, folder / name)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
