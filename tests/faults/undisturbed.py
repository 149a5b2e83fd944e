"""What a run must come to, whatever happened to it: the same spec, trained by the engine alone, with nothing around it."""

from pathlib import Path
from typing import Any

import torch
from django.conf import settings

from engine.events import Event, Metrics
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from tests.runs import history_of
from webapp.runs.models import Artifact, Run, State


class Undisturbed:
    """The reference of one spec: `weights` are the bytes of the student's file, `history` the steps and values of each series."""

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        torch.set_num_threads(1)
        events: list[Event] = []
        outcome = execute(RunSpec.parse(spec), events.append, folder)
        assert outcome.status == "succeeded", outcome
        self.weights = (folder / "student" / "model.safetensors").read_bytes()
        self.history: dict[str, dict[int, float]] = {}
        for event in events:
            if isinstance(event, Metrics):
                for name, value in event.values.items():
                    self.history.setdefault(name, {})[event.step] = float(value)

    def check(self, run: Run) -> None:
        """Fails unless the run succeeded, its history has every step once with the same values, and its weights are equal bit for bit."""
        assert not (found := self.differences(run)), found

    def differences(self, run: Run) -> dict[str, str]:
        """What is otherwise than it must be, under the words that `benchmarks/faults.py` counts by; empty when all is well."""
        if run.state != State.SUCCEEDED:
            return {"lost": f"{run.state}: {run.reason}"}
        found = {}
        history = history_of(run.pk)
        for name in sorted(set(history) | set(self.history)):
            steps, values = history.get(name, ([], []))
            expected = self.history.get(name, {})
            if steps != list(expected) or not (name.endswith("latency_ms") or values == list(expected.values())):
                found["histories that differ"] = f"{name}: {len(steps)} points, {len(expected)} were expected"
        student = Artifact.objects.get(run=run, attempt=run.attempt, kind="model")
        if (Path(settings.STORE) / student.path / "model.safetensors").read_bytes() != self.weights:
            found["weights that differ"] = student.path
        return found
