"""What a method hears of its evaluations."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.events import Artifact, Evaluation
from engine.method import Diagnostics
from tests.engine.tiny import Plain, Watcher, run_tiny, student_bytes, tiny_card, tiny_spec


class Heard(Plain):
    """Keeps what it hears."""

    card = tiny_card("plain")

    def build(self) -> None:
        super().build()
        self.heard: list[list[Any]] = []

    def judged(self, metrics: Mapping[str, float | None], *, final: bool) -> None:
        self.heard.append([self.position.step, metrics["accuracy"], final])
        if final:
            self.save_table("heard", self.heard)

    def diagnostics(self) -> Diagnostics:
        return Diagnostics({"times": float(len(self.heard))})


def test_a_method_hears_each_evaluation_on_validation_and_may_leave_something_after_the_last(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, Heard, watcher=watcher, spec=tiny_spec(Heard, cadence={"evaluate": 5}))

    reported = [event for event in watcher.of(Evaluation) if event.split == "validation"]
    assert [event.step for event in reported] == [5, 10, 12]
    heard = json.loads((tmp_path / "tables/heard.json").read_text())
    assert heard == [[event.step, event.metrics["accuracy"], event.final] for event in reported]
    assert [event.metrics["times"] for event in reported] == [0, 1, 2]
    assert "heard" in [event.name for event in watcher.of(Artifact)]


def test_what_it_heard_is_in_its_checkpoints(tmp_path: Path) -> None:
    spec, before = tiny_spec(Heard, cadence={"evaluate": 5}), Watcher()
    run_tiny(tmp_path / "whole", Heard, spec=spec)
    run_tiny(tmp_path / "stopped", Heard, watcher=before, spec=spec, stop=before.stop_after(7))

    run_tiny(tmp_path / "resumed", Heard, spec=spec, resume=tmp_path / "stopped/checkpoints/step-000000007")

    assert (tmp_path / "resumed/tables/heard.json").read_bytes() == (tmp_path / "whole/tables/heard.json").read_bytes()
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")
