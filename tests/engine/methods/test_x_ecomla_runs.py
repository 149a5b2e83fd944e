"""X-EcoMLA in runs: what is exported is a latent model whose cache is smaller, and a converted model is not converted again."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.events import Artifact, Evaluation, Log
from engine.models.latent_attention import latent_layers
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from tests.engine.tiny import Watcher


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A source and a larger teacher, trained for a few steps, by reference."""
    folder, found = tmp_path_factory.mktemp("source"), {}
    for place, student in enumerate(("llama-2x64", "llama-3x96"), start=1):
        settings = {"learning_rate": 3e-3, "batch_size": 8}
        outcome = execute(spec("supervised", settings, student=student, budget={"steps": 12}), Watcher(), folder / student)
        assert outcome.status == "succeeded", outcome.reason
        found[f"run:{uuid.UUID(int=place)}"] = folder / student / "student"
    return found


def spec(method: str, settings: Mapping[str, Any], **fields: Any) -> RunSpec:
    options = {"evaluation_prompts": 4, "completion_tokens": 4}
    base = {"method": method, "task": "stdlib-source", "task_options": options, "settings": dict(settings), "threads": 1}
    return RunSpec.parse({**base, "cadence": {"evaluate": 1000}, **fields})


def test_a_run_ends_with_a_latent_model_whose_cache_is_smaller_than_its_teachers(models, tmp_path):
    watcher, (student, teacher) = Watcher(), models
    settings = {"rank_choice": "energy", "kv_energy": 0.9, "q_energy": 0.95, "batch_size": 4, "compared_ranks": [8]}

    outcome = execute(
        spec("x-ecomla", settings, student=student, teachers=[teacher], budget={"steps": 4}), watcher, tmp_path, models=models
    )

    assert outcome.status == "succeeded", outcome.reason
    model, meta = load_model(tmp_path / "student")
    latent, cached = latent_layers(model), sum(sizes["kv_rank"] + sizes["rope"] for sizes in meta["config"]["latent"])
    assert (meta["builder"], sorted(latent)) == ("latent_llama", [0, 1])
    assert all(layer.sizes.kv_rank % 8 == 0 for layer in latent.values())
    [last] = [event for event in watcher.of(Evaluation) if (event.subject, event.split) == ("student", "test")]
    assert last.metrics["kv_bytes_per_token"] == last.metrics["kv_bytes_per_token_measured"] == 2 * cached
    # The teacher has three layers with three pairs of keys and values of sixteen numbers.
    assert last.metrics["kv_compression"] == pytest.approx(3 * 3 * 32 / cached)
    [validation] = [event for event in watcher.of(Evaluation) if (event.subject, event.split) == ("student", "validation")]
    assert validation.metrics["source_compression"] == pytest.approx(2 * 64 / cached)
    assert {event.name for event in watcher.of(Artifact)} >= {"conversion", "compression_quality", "spectrum_kv", "student"}
    assert next(event.text for event in watcher.of(Log)).startswith("Converted 2 layers: ")


def test_a_student_that_is_already_converted_ends_the_run_with_a_sentence(models, tmp_path):
    student, _ = models
    fields = {"teachers": [student], "budget": {"steps": 1}}
    settings = {"compared_ranks": [], "batch_size": 4}
    execute(spec("x-ecomla", settings, student=student, **fields), Watcher(), tmp_path / "first", models=models)
    again = f"run:{uuid.UUID(int=9)}"

    outcome = execute(
        spec("x-ecomla", settings, student=again, **fields),
        Watcher(),
        tmp_path / "second",
        models={**models, again: tmp_path / "first" / "student"},
    )

    assert (outcome.status, outcome.error) == ("failed", "student")
    assert outcome.reason == "student: has latent attention already, first in layer 0; choose the model that it was made from."
