"""An installation in use, and an empty one beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installations import Installation, empty_installation
from tests.runs import queued_run
from tests.webapp.batches import write_points
from tests.webapp.conftest import RunMaker
from webapp.accounts.models import Project, User
from webapp.runs import lifecycle
from webapp.runs.models import Artifact, Run


def put(store: Path, path: str, content: bytes = b"content") -> Path:
    """A file of the store."""
    file = store / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def leave_table(run: Run, store: Path, name: str = "report", content: bytes = b"[1, 2]", sha256: str | None = None) -> Artifact:
    """An artifact of the run's attempt, in the store and in the database."""
    from hashlib import sha256 as digest

    path = f"{lifecycle.attempt_folder(run.pk, run.attempt)}/tables/{name}.json"
    put(store, path, content)
    return Artifact.objects.create(
        run=run, attempt=run.attempt, name=name, kind="table", path=path, bytes=len(content), sha256=sha256 or digest(content).hexdigest()
    )


def leave_checkpoint(run: Run, store: Path, step: int = 10) -> Path:
    """A checkpoint that the run can go on from, as a worker keeps it, and the child's own beside it. Not one that torch could read."""
    import json
    from hashlib import sha256 as digest

    folder = lifecycle.attempt_folder(run.pk, run.attempt)
    for place in ("checkpoints", "kept"):
        tensors = put(store, f"{folder}/{place}/step-{step:09d}/tensors.safetensors", b"w" * 1000)
        body = json.dumps({"step": step, "tensors": {"bytes": 1000, "sha256": digest(tensors.read_bytes()).hexdigest()}})
        sealed = {"format": 1, "sha256": digest(body.encode()).hexdigest(), "body": body}
        put(store, f"{folder}/{place}/step-{step:09d}/state.json", json.dumps(sealed).encode())
    path = f"{folder}/kept/step-{step:09d}"
    Run.objects.filter(pk=run.pk).update(checkpoint_step=step, checkpoint_path=path)
    return store / path


@pytest.fixture
def here(transactional_db: None, process_environment: dict[str, str], store: Path) -> Installation:
    """The session's database with the test's store, as processes see them."""
    return Installation(process_environment, store)


@pytest.fixture
def in_use(here: Installation, project: Project, owner: User, finished_run: RunMaker, running_run: RunMaker, store: Path) -> Installation:
    """With a finished run, one that a worker holds, and one that waits; what they left is in the store."""
    finished, held = finished_run(), running_run()
    for run in (finished, held):
        write_points(run, (1, 0.5), (2, float("nan")), (3, 1e-300))
        leave_table(run, store)
    put(store, f"{lifecycle.attempt_folder(finished.pk, 1)}/student/model.safetensors", b"s")
    put(store, f"{lifecycle.attempt_folder(finished.pk, 1)}/student/model.json", b"{}")
    leave_checkpoint(held, store)
    queued_run(project, name="line\nbreak\ttab\\N “ß”")
    return here


@pytest.fixture
def elsewhere_installed(process_environment: dict[str, str], tmp_path: Path) -> Iterator[Installation]:
    """Another installation, with nothing in it."""
    with empty_installation(process_environment, tmp_path / "elsewhere" / "store", "elsewhere") as there:
        yield there


@pytest.fixture
def days(settings: Any) -> Any:
    """Retention with times of the test's own: a week in the trash, ten days for checkpoints, a hundred for logs."""
    settings.TRASH_DAYS, settings.CHECKPOINT_DAYS, settings.LOG_DAYS = 7, 10, 100
    return settings
