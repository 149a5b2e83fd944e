"""The methods in the runner: stopped in the middle of an epoch and resumed, in micro-batches, and in half precision."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.events import Checkpoint, Event, Metrics, Outcome
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec

TEACHERS = ("run:00000000-0000-4000-8000-000000000001", "run:00000000-0000-4000-8000-000000000002")
ROWS, BATCH, EPOCHS = 72, 32, 3  # three batches an epoch, the last of eight rows: nine steps

VARIANTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "vanilla-kd with cached targets": ("vanilla-kd", {"cache_targets": True}, 1),
    "vanilla-kd with two teachers": ("vanilla-kd", {"teacher_weights": [0.3, 0.7]}, 2),
    "logit-standardization dkd": ("logit-standardization", {"base_method": "dkd", "warmup_epochs": 2}, 1),
    "logit-standardization ctkd": ("logit-standardization", {"base_method": "ctkd"}, 1),
    "logit-standardization mlkd": ("logit-standardization", {"base_method": "mlkd"}, 1),
    "ps-kd with a bank": ("ps-kd", {}, 0),
    "ps-kd with the largest probabilities": ("ps-kd", {"bank_top_k": 3, "alpha_schedule": "constant"}, 0),
    "ps-kd with the previous weights": ("ps-kd", {"target_source": "previous_checkpoint"}, 0),
}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory) -> dict[str, Path]:
    folders = {}
    for seed, ref in enumerate(TEACHERS):
        workdir = tmp_path_factory.mktemp(f"teacher-{seed}")
        spec = RunSpec.parse(
            {"method": "supervised", "task": "digits", "student": "mlp-64-64", "seed": seed, "budget": {"epochs": 1}, "threads": 1}
        )
        assert execute(spec, lambda event: None, workdir).status == "succeeded"
        folders[ref] = workdir / "student"
    return folders


def spec_of(variant: str, **changes: Any) -> RunSpec:
    method, settings, count = VARIANTS[variant]
    data = {
        "method": method,
        "settings": {"batch_size": BATCH, **settings, **changes.pop("settings", {})},
        "task": "digits",
        "task_options": {"train_limit": ROWS, "label_noise": 0.1},
        "teachers": list(TEACHERS[:count]),
        "budget": {"epochs": EPOCHS},
        "cadence": {"evaluate": 1000, "checkpoint": 1000},
        "threads": 1,
        **changes,
    }
    return RunSpec.parse(data)


def run(spec: RunSpec, workdir: Path, models: dict[str, Path], **more: Any) -> tuple[Outcome, list[Event]]:
    events: list[Event] = []
    needed = {str(ref): models[str(ref)] for ref in spec.teachers}
    return execute(spec, events.append, workdir, models=needed, **more), events


def weights_in(workdir: Path) -> Tensor:
    model, _ = load_model(workdir / "student")
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_stopped_in_the_middle_of_an_epoch_and_resumed_ends_with_the_same_weights(variant, tmp_path, teachers):
    undisturbed, _ = run(spec_of(variant), tmp_path / "whole", teachers)
    asked = iter(range(1000))

    stopped, events = run(spec_of(variant), tmp_path / "parts", teachers, stop=lambda: next(asked) >= 4)
    (checkpoint,) = [event for event in events if isinstance(event, Checkpoint) and event.step == stopped.step]
    resumed, _ = run(spec_of(variant), tmp_path / "parts", teachers, resume=tmp_path / "parts" / checkpoint.path)

    assert (undisturbed.status, stopped.status, resumed.status) == ("succeeded", "stopped", "succeeded")
    assert 3 < stopped.step < 6  # inside the second epoch, whose bank holds rows of two epochs
    assert torch.equal(weights_in(tmp_path / "parts"), weights_in(tmp_path / "whole"))


@pytest.mark.parametrize("variant", [name for name in VARIANTS if not name.endswith("mlkd")])
def test_cutting_a_batch_into_pieces_gives_the_weights_of_the_whole_batch(variant, tmp_path, teachers):
    run(spec_of(variant, settings={"optimizer": "sgd"}), tmp_path / "whole", teachers)

    run(spec_of(variant, settings={"optimizer": "sgd", "gradient_accumulation_steps": 4}), tmp_path / "pieces", teachers)

    whole, pieces = weights_in(tmp_path / "whole"), weights_in(tmp_path / "pieces")
    assert (whole - pieces).norm() < 1e-5 * whole.norm()


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_changes_the_loss_a_little_and_its_dtype_not_at_all(variant, tmp_path, teachers):
    def first_terms(precision: str) -> dict[str, Any]:
        _, events = run(spec_of(variant, precision=precision), tmp_path / precision, teachers)
        return dict(next(event.values for event in events if isinstance(event, Metrics) and "loss" in event.values))

    full, half = first_terms("float32"), first_terms("bfloat16")

    assert float(half["loss"]) == pytest.approx(float(full["loss"]), rel=0.05)
    assert all(not isinstance(value, Tensor) or value.dtype == torch.float32 for value in half.values())
