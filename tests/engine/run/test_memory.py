"""What a run needs in memory at least, and what becomes of one that needs too much."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.events import Event, Outcome
from engine.run.failures import CurrentStep, failure
from engine.run.memory import MemoryNeeds, TooLargeError, check, needs_of
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec

TEACHER = "run:00000000-0000-0000-0000-000000000001"


def supervised(hidden: list[int], **changes: Any) -> RunSpec:
    """A perceptron on digits: 64 inputs, 10 classes."""
    body = {"method": "supervised", "task": "digits", "student": {"name": "mlp-16", "config": {"hidden": hidden}}, "device": "cpu"}
    return RunSpec.parse(body | changes)


def test_weights_and_gradients_of_a_perceptron_by_hand() -> None:
    numbers = (64 * 16 + 16) + (16 * 10 + 10)

    needs = needs_of(supervised([16]), {})

    assert needs.weights == 2 * 4 * numbers


def test_what_a_batch_leaves_for_the_backward_pass_by_hand() -> None:
    """Of one hidden layer: its input, and what ReLU gave, which the next layer reads too."""
    rows = 32

    needs = needs_of(supervised([16], settings={"batch_size": rows}), {})

    assert needs.activations == 4 * rows * (64 + 16)


def test_a_batch_in_parts_leaves_no_more_than_one_part() -> None:
    whole = needs_of(supervised([16], settings={"batch_size": 64}), {})

    parts = needs_of(supervised([16], settings={"batch_size": 64, "gradient_accumulation_steps": 4}), {})

    assert parts.activations == whole.activations // 4


def test_a_batch_has_no_more_rows_than_there_are() -> None:
    few = needs_of(supervised([16], settings={"batch_size": 4096}, task_options={"train_limit": 100}), {})

    assert few.activations == 4 * 100 * (64 + 16)


def test_a_teachers_weights_count_once_and_those_of_a_trained_one_by_its_files(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1000)}, tmp_path / "model.safetensors")
    spec = RunSpec.parse({"method": "vanilla-kd", "task": "digits", "teachers": [TEACHER], "student": "mlp-16"})
    alone = needs_of(supervised([16]), {})

    needs = needs_of(spec, {TEACHER: tmp_path})

    assert needs.weights == alone.weights + (tmp_path / "model.safetensors").stat().st_size > alone.weights + 4000


@pytest.mark.parametrize(
    ("method", "task"), [("supervised", "stdlib-text"), ("denoising", "digits-images"), ("supervised", "stdlib-topics")]
)
def test_networks_that_take_text_or_noise_are_counted_with_a_batch(method: str, task: str) -> None:
    needs = needs_of(RunSpec.parse({"method": method, "task": task}), {})

    assert needs.weights > 10_000
    assert needs.activations > 100_000


@pytest.mark.parametrize(
    "method", [card.id for card in catalog.methods().values() if card.teachers is None and not card.student.trained_weights]
)
def test_every_method_that_starts_from_nothing_fits_into_a_gigabyte_as_it_comes(method: str) -> None:
    task = catalog.methods()[method].task

    check(RunSpec.parse({"method": method, "task": task}), {}, 10**9)


def test_counting_allocates_nothing_and_draws_nothing() -> None:
    spec, before = supervised([60_000, 60_000, 60_000]), torch.get_rng_state()

    needs = needs_of(spec, {})

    assert needs.weights > 50 * 10**9
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_that_can_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(TooLargeError) as refused:
        check(supervised([60_000, 60_000]), {}, 5 * 10**9)

    assert refused.value.needed > 28 * 10**9
    assert str(refused.value) == (
        "The run needs at least 28.9 GB of memory and may have 5.0 GB here: 28.8 GB for weights and gradients, 30.7 MB for one batch. "
        "Choose a smaller model or batch_size, or a machine with more."
    )


def test_a_run_that_just_fits_is_not_refused() -> None:
    spec = supervised([16])
    needs = needs_of(spec, {})

    check(spec, {}, needs.total)
    with pytest.raises(TooLargeError):
        check(spec, {}, needs.total - 1)


def test_the_run_itself_ends_before_it_begins_and_says_what_it_needs(tmp_path: Path) -> None:
    events: list[Event] = []

    outcome = execute(supervised([60_000, 60_000]), events.append, tmp_path / "run", memory_limit=10**9)

    assert (outcome.status, outcome.refused, outcome.step) == ("failed", True, 0)
    assert outcome.needed > 28 * 10**9
    assert events[-1] == outcome
    assert not (tmp_path / "run").exists()


def test_within_its_limit_a_run_trains_to_the_same_weights_as_without_one(tmp_path: Path) -> None:
    spec = supervised([16], budget={"steps": 3})

    for name, limit in {"limited": 10**9, "unlimited": None}.items():
        assert execute(spec, lambda event: None, tmp_path / name, memory_limit=limit).status == "succeeded"

    limited, unlimited = (next((tmp_path / name).rglob("*.safetensors")).read_bytes() for name in ("limited", "unlimited"))
    assert limited == unlimited


def test_memory_that_ran_out_on_the_cpu_is_said_in_one_sentence() -> None:
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(10**15)

    outcomes = [failure(error, CurrentStep("train", 7)) for error in (torchs.value, MemoryError())]

    sentence = "The run had used all the memory that it may have at step 7; try a smaller batch_size or model, or more gradient_accumulation_steps."
    assert outcomes == [Outcome("failed", 7, sentence)] * 2


def test_what_is_needed_is_weights_and_a_batch() -> None:
    assert MemoryNeeds(weights=3, activations=4).total == 7
