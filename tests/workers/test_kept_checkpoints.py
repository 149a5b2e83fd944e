"""Checkpoints that the child can't delete, and paths that lead nowhere."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from webapp.store import path_in_store
from workers import kept_checkpoints
from workers.store import within


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    """The folder of a run's second attempt, with one checkpoint."""
    folder = tmp_path / "run" / "attempt-2"
    write(folder / "checkpoints" / "step-10")
    return folder


def write(checkpoint: Path) -> Path:
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text("{}")
    (checkpoint / "tensors.safetensors").write_bytes(b"weights")
    return checkpoint


def test_a_kept_checkpoint_outlives_the_childs_own(attempt: Path) -> None:
    kept = kept_checkpoints.keep(attempt / "checkpoints" / "step-10", attempt)
    assert kept is not None

    shutil.rmtree(attempt / "checkpoints")

    assert (kept / "tensors.safetensors").read_bytes() == b"weights"


def test_keeping_twice_is_keeping_once(attempt: Path) -> None:
    first = kept_checkpoints.keep(attempt / "checkpoints" / "step-10", attempt)

    second = kept_checkpoints.keep(attempt / "checkpoints" / "step-10", attempt)

    assert first == second == attempt / "kept" / "step-10"


def test_a_checkpoint_that_the_child_has_deleted_can_no_longer_be_kept(attempt: Path) -> None:
    kept = kept_checkpoints.keep(attempt / "checkpoints" / "step-5", attempt)

    assert kept is None
    assert list((attempt / "kept").iterdir()) == []


@pytest.mark.parametrize("gone", [["state.json"], ["tensors.safetensors"], ["state.json", "tensors.safetensors"]])
def test_one_that_is_being_deleted_while_it_is_read_is_not_kept_in_part(gone: list[str], attempt: Path) -> None:
    for name in gone:
        (attempt / "checkpoints" / "step-10" / name).unlink()

    kept = kept_checkpoints.keep(attempt / "checkpoints" / "step-10", attempt)

    assert kept is None
    assert list((attempt / "kept").iterdir()) == []


def test_what_is_no_longer_needed_is_deleted_and_the_current_attempts_own_is_left_to_it(attempt: Path) -> None:
    earlier = attempt.with_name("attempt-1")
    write(earlier / "checkpoints" / "step-4")
    write(earlier / "kept" / "step-4")
    write(attempt / "kept" / "step-8")
    kept = kept_checkpoints.keep(attempt / "checkpoints" / "step-10", attempt)
    assert kept is not None

    kept_checkpoints.forget_all_but(kept)

    left = sorted(str(path.relative_to(attempt.parent)) for path in attempt.parent.glob("*/*/*"))
    assert left == ["attempt-2/checkpoints/step-10", "attempt-2/kept/step-10"]


@pytest.mark.parametrize("path", ["../other", "/etc/passwd", "a/../../b", "", "nul\x00"])
def test_a_path_out_of_the_attempts_folder_is_refused(path: str, settings: Any, tmp_path: Path) -> None:
    settings.STORE = tmp_path

    with pytest.raises(ValueError, match="is not within the attempt's folder"):
        within("runs/x/attempt-1", path)


def test_a_link_out_of_the_store_is_refused(settings: Any, tmp_path: Path) -> None:
    settings.STORE = tmp_path / "store"
    (settings.STORE / "runs").mkdir(parents=True)
    (settings.STORE / "runs" / "link").symlink_to("/etc")

    with pytest.raises(ValueError, match="is not in the store"):
        path_in_store("runs/link/passwd")


def test_a_link_out_of_the_attempts_folder_is_refused(settings: Any, tmp_path: Path) -> None:
    settings.STORE = tmp_path
    (tmp_path / "runs" / "a" / "attempt-2").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "attempt-2" / "link").symlink_to(tmp_path / "runs" / "a")

    with pytest.raises(ValueError, match="is not within the attempt's folder"):
        within("runs/a/attempt-2", "link/attempt-1")


def test_what_an_interrupted_attempt_to_keep_has_left_is_no_checkpoint_and_is_replaced(attempt: Path) -> None:
    half = attempt / "kept" / ".step-10"
    half.mkdir(parents=True)
    (half / "stale.json").write_text("half a file")

    kept = kept_checkpoints.keep(attempt / "checkpoints" / "step-10", attempt)

    assert kept is not None
    assert sorted(path.name for path in kept.iterdir()) == ["state.json", "tensors.safetensors"]
    assert [path.name for path in kept.parent.iterdir()] == ["step-10"]


def test_a_kept_file_takes_no_room_of_its_own(attempt: Path) -> None:
    kept = kept_checkpoints.keep(attempt / "checkpoints" / "step-10", attempt)

    assert kept is not None
    assert (kept / "tensors.safetensors").samefile(attempt / "checkpoints" / "step-10" / "tensors.safetensors")


def test_folders_of_a_checkpoint_are_kept_with_what_is_in_them(attempt: Path) -> None:
    deep = attempt / "checkpoints" / "step-10" / "memory" / "pages"
    deep.mkdir(parents=True)
    (deep / "one").write_bytes(b"1")

    kept = kept_checkpoints.keep(attempt / "checkpoints" / "step-10", attempt)

    assert kept is not None
    assert (kept / "memory" / "pages" / "one").read_bytes() == b"1"


def test_other_runs_and_what_is_no_checkpoint_are_left_alone(attempt: Path) -> None:
    other = write(attempt.parent.with_name("other-run") / "attempt-1" / "kept" / "step-3")
    student = attempt.with_name("attempt-1") / "student"
    student.mkdir(parents=True)
    kept = kept_checkpoints.keep(attempt / "checkpoints" / "step-10", attempt)
    assert kept is not None

    kept_checkpoints.forget_all_but(kept)
    kept_checkpoints.forget_all_but(kept)

    assert other.exists() and student.exists() and kept.exists()


@pytest.mark.parametrize(("path", "relative"), [("a/b.json", "a/b.json"), ("./a//b", "a/b"), ("..a/b..", "..a/b.."), ("ä b", "ä b")])
def test_a_path_within_the_attempts_folder_is_told_from_the_store_on(path: str, relative: str, settings: Any, tmp_path: Path) -> None:
    settings.STORE = tmp_path

    assert within("runs/x/attempt-1", path) == f"runs/x/attempt-1/{relative}"
