"""Experts that an earlier run trained: who takes them over, what they must not change, and what is done with a damaged file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.events import Artifact, Evaluation, Log, PhaseStarted
from engine.methods.mtt.card import TINY
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from tests.engine.distilled_sets.matcher import finished, new_matcher
from tests.engine.tiny import Watcher, student_bytes

SMALL = TINY | {"networks": 1, "baselines": "small"}
EXPERT_STEPS = 2 * 3 * 2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where buffers are kept."""
    monkeypatch.setenv("STILLHOUSE_BUFFERS", str(tmp_path / "buffers"))
    return tmp_path / "buffers"


def spec(method: str = "mtt", *, seed: int = 0, limit: int = 150, **settings: Any) -> RunSpec:
    return RunSpec.parse(
        {
            "method": method,
            "task": "digits",
            "task_options": {"train_limit": limit},
            "student": {"name": "convnet", "config": {"width": 4}},
            "settings": {**SMALL, **({"flatness_epochs": [3]} if method == "ftd" else {}), **settings},
            "seed": seed,
            "budget": {"steps": 5},
            "cadence": {"evaluate": 1000, "checkpoint": 1},
            "threads": 1,
        }
    )


def run(workdir: Path, of: RunSpec, **options: Any) -> Watcher:
    watcher = Watcher()
    outcome = execute(of, watcher, workdir, **options)
    assert outcome.status == "succeeded", outcome.reason
    return watcher


def said(watcher: Watcher) -> list[str]:
    return [line.text for line in watcher.of(Log)]


def steps_of_experts(watcher: Watcher) -> int:
    return next(phase.steps for phase in watcher.of(PhaseStarted) if phase.name == "experts")


def experts_table(watcher: Watcher) -> dict[str, Any]:
    return next(each.tables["experts"] for each in watcher.of(Evaluation) if each.final and each.split == "validation")


# Who takes them over


@pytest.mark.parametrize("method", ["mtt", "ftd"])
def test_a_run_that_takes_experts_over_ends_with_the_weights_and_numbers_of_one_that_trains_its_own(
    method: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(tmp_path / "first", spec(method, seed=1))

    reusing = run(tmp_path / "second", spec(method, seed=2))
    monkeypatch.delenv("STILLHOUSE_BUFFERS")
    alone = run(tmp_path / "alone", spec(method, seed=2))

    assert (steps_of_experts(reusing), steps_of_experts(alone)) == (0, EXPERT_STEPS * (3 if method == "ftd" else 2) // 2)
    assert student_bytes(tmp_path / "second") == student_bytes(tmp_path / "alone")
    mine, others = ({each.split: dict(each.metrics) for each in watcher.of(Evaluation) if each.final} for watcher in (reusing, alone))
    assert mine == others
    assert "expert_accuracy" in mine["validation"]


def test_the_buffer_is_named_in_the_log_and_its_steps_and_seconds_stand_in_the_table(folder: Path, tmp_path: Path):
    first = run(tmp_path / "first", spec(held_out_seed=7))
    second = run(tmp_path / "second", spec(held_out_seed=7, image_rate=5.0))

    [file] = folder.iterdir()
    recipe = next(each.meta["recipe"] for each in second.of(Artifact) if each.name == "experts")
    assert file.name == f"{recipe}.safetensors"
    assert any(text.startswith(f"The experts are those of the buffer {file.name}, whose 18 steps took ") for text in said(second))
    own, taken = experts_table(first), experts_table(second)
    saved = [(row[0], row[1], row[2], row[taken["columns"].index("steps saved")]) for row in taken["cells"]]
    assert saved == [("matched", 2, "0 to 1", 12), ("held out", 1, "7", 6)]
    assert all(row[taken["columns"].index("seconds saved")] >= 0 for row in taken["cells"])
    assert taken["note"] == f"Taken over from the buffer {file.name} of an earlier run."
    assert [row[:4] for row in own["cells"]] == [row[:4] for row in taken["cells"]]
    assert [row[4:] for row in own["cells"]] == [[0, 0.0], [0, 0.0]] and own["note"] == "Trained by this run."


@pytest.mark.parametrize("other", [spec("ftd", held_out_seed=None), spec("mtt", limit=140)], ids=["other steps", "other rows"])
def test_experts_of_another_recipe_are_not_taken_over(other: RunSpec, folder: Path, tmp_path: Path):
    run(tmp_path / "first", spec())

    watcher = run(tmp_path / "second", other)

    assert steps_of_experts(watcher) > 0
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("mtt", {"experts": 1}),
        ("mtt", {"expert_learning_rate": 0.02}),
        ("mtt", {"expert_seed": 5}),
        ("mtt", {"held_out_seed": 5}),
        ("mtt", {"augmentation": ["crop"]}),
        ("ftd", {"rho": 0.3}),
        ("ftd", {"alpha": 0.0}),
        ("ftd", {"adaptive": False}),
    ],
)
def test_what_changes_an_expert_changes_the_recipe(method: str, settings: dict[str, Any]):
    assert new_matcher(method, settings).experts.recipe_hash != new_matcher(method).experts.recipe_hash


@pytest.mark.parametrize(
    "settings", [{"image_rate": 1.0}, {"max_start_epoch": 1}, {"ema_decay": 0.5}, {"labels": "expert"}, {"networks": 1}]
)
def test_what_changes_the_set_alone_leaves_the_recipe(settings: dict[str, Any]):
    assert new_matcher("mtt", settings, seed=3).experts.recipe_hash == new_matcher("mtt").experts.recipe_hash


def test_without_a_folder_each_run_trains_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("STILLHOUSE_BUFFERS", raising=False)

    watchers = [run(tmp_path / name, spec()) for name in ("first", "second")]

    assert [steps_of_experts(each) for each in watchers] == [EXPERT_STEPS] * 2
    assert not any("buffer" in text for watcher in watchers for text in said(watcher))


# Stopped and resumed


def test_a_run_that_took_experts_over_goes_on_bit_for_bit_where_the_buffer_is_gone(folder: Path, tmp_path: Path):
    run(tmp_path / "whole", spec())
    stopped = Watcher()
    execute(spec(), stopped, tmp_path / "stopped", stop=stopped.stop_after(3))  # 1 of the start, 2 iterations
    [file] = folder.iterdir()
    file.unlink()

    resumed = run(tmp_path / "resumed", spec(), resume=tmp_path / "stopped/checkpoints/step-000000003")

    assert steps_of_experts(stopped) == 0
    assert [phase.name for phase in resumed.of(PhaseStarted)] == ["distill"]
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")
    assert experts_table(resumed)["note"] == f"Taken over from the buffer {file.name} of an earlier run."


def test_a_run_stopped_while_it_trained_its_experts_trains_on_though_others_have_them_by_now(folder: Path, tmp_path: Path):
    stopped = Watcher()
    execute(spec(), stopped, tmp_path / "stopped", stop=stopped.stop_after(5))
    assert not folder.exists()  # half of a buffer is none
    run(tmp_path / "whole", spec())

    resumed = run(tmp_path / "resumed", spec(), resume=tmp_path / "stopped/checkpoints/step-000000005")

    assert len(stopped.terms()) + len(resumed.terms()) == EXPERT_STEPS + 1 + 5
    assert steps_of_experts(resumed) == EXPERT_STEPS
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")
    assert not any("buffer" in text for text in said(resumed))


def test_experts_that_the_budget_cut_short_are_not_kept(folder: Path, tmp_path: Path):
    short = RunSpec.parse(spec().model_dump(mode="json") | {"budget": {"steps": 5, "seconds": 1e-6}})

    run(tmp_path, short)

    assert not folder.exists()


# Damaged files


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def with_a_changed_weight(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def without_its_facts(file: Path) -> None:
    save_file(load_file(file), file)


def under_another_name(file: Path) -> None:
    method = finished(new_matcher(settings={"expert_learning_rate": 0.5}))
    other = method.experts.file
    assert other is not None
    other.rename(file)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, "it can't be read (SafetensorError"),
        (with_a_changed_weight, "its tensors do not have the SHA-256 that was written beside them"),
        (without_its_facts, "it can't be read (KeyError"),
        (under_another_name, "it was made by another recipe"),
    ],
)
def test_a_damaged_buffer_is_passed_over_with_a_line_in_the_log_and_replaced(damage: Any, reason: str, folder: Path, tmp_path: Path):
    run(tmp_path / "first", spec())
    [file] = folder.iterdir()
    whole = {name: tensor.clone() for name, tensor in load_file(file).items()}  # not the file's own pages
    damage(file)

    second = run(tmp_path / "second", spec())

    assert steps_of_experts(second) == EXPERT_STEPS
    assert any(text.startswith(f"The buffer {file.name} is not used, and its experts are trained again: {reason}") for text in said(second))
    assert student_bytes(tmp_path / "second") == student_bytes(tmp_path / "first")
    assert [each.name for each in folder.iterdir()] == [file.name]
    assert all(torch.equal(tensor, whole[name]) for name, tensor in load_file(file).items())


def test_a_folder_that_can_not_be_written_does_not_fail_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("STILLHOUSE_BUFFERS", str(tmp_path / "file"))

    watcher = run(tmp_path / "run", spec())

    assert any(
        text.startswith("The experts are not kept for later runs: The buffer of experts could not be written: ") for text in said(watcher)
    )
