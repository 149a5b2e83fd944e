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
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "link").symlink_to(tmp_path / "runs")

    with pytest.raises(ValueError, match="is not within the attempt's folder"):
        within("runs/a", "link/b")
