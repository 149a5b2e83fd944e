"""A store that is not as the database says, and what is said of it."""

import tracemalloc
from pathlib import Path
from uuid import uuid4

import pytest

from tests.installations import Installation
from tests.runs import new_run
from tests.webapp.conftest import RunMaker
from tests.webapp.operate.conftest import leave_checkpoint, leave_table, put
from webapp.operate.integrity import findings
from webapp.runs import lifecycle
from webapp.runs.models import Artifact, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture
def run(finished_run: RunMaker, store: Path) -> Run:
    """A finished run whose student, table and checkpoint are whole."""
    import hashlib

    made = finished_run()
    folder = f"{lifecycle.attempt_folder(made.pk, 1)}/student"
    put(store, f"{folder}/model.safetensors", b"weights")
    put(store, f"{folder}/model.json", b"{}")
    Artifact.objects.filter(name="student").update(bytes=7, sha256=hashlib.sha256(b"weights").hexdigest())
    leave_table(made, store)
    leave_checkpoint(made, store)
    put(store, f"{lifecycle.attempt_folder(made.pk, 1)}/output.log")
    return made


def told(*, deep: bool = False) -> list[tuple[str, str]]:
    return [(finding.kind, finding.sentence) for finding in findings(deep=deep)]


def test_nothing_is_said_of_a_whole_store(run: Run) -> None:
    assert told(deep=True) == []


def test_a_missing_file_is_found(run: Run, store: Path) -> None:
    next(store.rglob("report.json")).unlink()

    assert told() == [("missing", f"table of run {run.pk}")]


def test_a_model_without_its_weights_is_found(run: Run, store: Path) -> None:
    next(store.rglob("model.safetensors")).unlink()

    assert [kind for kind, _ in told()] == ["missing"]


def test_a_truncated_file_is_found_without_reading_it(run: Run, store: Path) -> None:
    next(store.rglob("model.safetensors")).write_bytes(b"wei")

    assert told() == [("truncated", f"model of run {run.pk}: model.safetensors has 3 bytes, not 7")]


def test_a_changed_file_of_the_same_size_is_found_by_reading_it(run: Run, store: Path) -> None:
    next(store.rglob("report.json")).write_bytes(b"[1, 3]")

    assert told() == []
    assert told(deep=True) == [("changed", f"table of run {run.pk}: report.json is not what it was when it was written")]


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [("tensors.safetensors", b"w" * 999, "truncated"), ("state.json", b"{", "changed"), ("state.json", b'{"body": "[]"}', "changed")],
)
def test_a_damaged_checkpoint_is_found(file: str, content: bytes, kind: str, run: Run, store: Path) -> None:
    (next(store.rglob("kept/step-*")) / file).write_bytes(content)

    assert [found for found, _ in told()] == [kind]


def test_what_no_row_names_is_found_but_not_what_lies_beside_a_checkpoint(run: Run, store: Path) -> None:
    put(store, f"runs/{uuid4()}/attempt-1/tables/x.json", b"12345")
    put(store, f"{lifecycle.attempt_folder(run.pk, 1)}/tables/needed-to-go-on.json")

    assert told() == [("orphaned", "no row names it; 5 bytes, which retention removes after a day")]


def test_what_an_ended_run_without_a_checkpoint_left_is_found_file_by_file(run: Run, store: Path) -> None:
    Run.objects.update(checkpoint_path="", checkpoint_step=None)
    put(store, f"{lifecycle.attempt_folder(run.pk, 1)}/tables/forgotten.json")

    found = sorted(finding.path for finding in findings())

    folder = store / lifecycle.attempt_folder(run.pk, 1)
    assert found == sorted(str(folder / name) for name in ("kept", "checkpoints", "tables/forgotten.json"))


def test_what_a_run_under_way_has_in_hand_is_left_alone(running_run: RunMaker, store: Path) -> None:
    run = running_run()
    put(store, f"{lifecycle.attempt_folder(run.pk, 1)}/tables/about-to-be-named.json")
    leave_table(run, store, content=b"newer than its row", sha256="0" * 64)

    assert told(deep=True) == []


def test_what_is_not_stillhouses_is_told_apart_from_what_is_lost(run: Run, store: Path, process_environment: dict[str, str]) -> None:
    put(store, "thesis/chapter-1.txt")
    put(store, "buffers/experts.safetensors")
    put(store, ".stillhouse-store")

    assert told() == [("unknown", "it is not Stillhouse's; move it out of the store, or delete it")]


def test_a_row_that_leads_out_of_the_store_is_missing_and_nothing_there_is_read(run: Run, store: Path) -> None:
    Artifact.objects.filter(name="report").update(path="../../../etc/passwd")

    assert ("missing", f"table of run {run.pk}") in told(deep=True)


@pytest.mark.django_db(transaction=True)
def test_the_command_ends_with_1_when_something_is_lost_and_with_0_when_not(run: Run, here: Installation, store: Path) -> None:
    whole = here.did("check_store", "--deep")
    next(store.rglob("report.json")).unlink()
    damaged = here.manage("check_store")

    assert whole == "All is as it should be.\n"
    assert damaged.returncode == 1 and damaged.stdout.decode().splitlines()[-1] == "1 missing"


def test_memory_does_not_grow_with_the_number_of_files(run: Run, store: Path) -> None:
    others = new_run(run.project)

    def peak(count: int) -> int:
        Artifact.objects.exclude(run=run).delete()
        Artifact.objects.bulk_create(
            [
                Artifact(run=others, attempt=1, name=f"t{number}", kind="table", path=f"runs/gone/{number}", bytes=1, sha256="0" * 64)
                for number in range(count)
            ],
            batch_size=2000,
        )
        tracemalloc.start()
        assert sum(finding.kind == "missing" for finding in findings()) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # what is loaded once

    assert peak(3000) < 2 * peak(600)


def test_the_store_of_a_run_that_never_wrote_is_no_error(project: object, store: Path) -> None:
    store.rmdir()

    assert told() == []
