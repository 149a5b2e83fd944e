"""Runs of a few episodes in the crafting world, and experiences made by hand."""

import json
from pathlib import Path
from typing import Any

from engine.events import Evaluation
from engine.methods.steve_evolving.distillation import Tracks
from engine.models.knowledge import KnowledgeRecords
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from engine.worlds.crafting import predicates, recognize

CONFIG = {"patience": 2, "follow": 0.85, "temporary_rules": False}


def parsed(**settings: Any) -> RunSpec:
    budget = {"steps": settings.pop("steps", 20)}
    seed = settings.pop("seed", 7)
    actions = settings.pop("actions", 120)
    return RunSpec.parse(
        {
            "method": "steve-evolving",
            "task": "crafting-world",
            "task_options": {"episodes": 5, "actions": actions},
            "settings": settings,
            "budget": budget,
            "seed": seed,
            "cadence": {"evaluate": 1000, "checkpoint": 1000},
            "threads": 1,
        }
    )


class Played:
    """A finished run with what it left."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.events: list[Any] = []
        self.outcome = execute(parsed(**settings), self.events.append, folder)
        assert self.outcome.status == "succeeded", self.outcome.reason
        self.documents = json.loads((folder / "tables/experiences.json").read_text())
        self.records = KnowledgeRecords.model_validate(json.loads((folder / "student/records.json").read_text()))

    def metrics(self, split: str) -> dict[str, float | None]:
        return dict(next(e for e in self.events if isinstance(e, Evaluation) and e.final and e.split == split).metrics)

    def tables(self, split: str) -> dict[str, Any]:
        return dict(next(e for e in self.events if isinstance(e, Evaluation) and e.final and e.split == split).tables)


def facts_of(seen: dict[str, Any]) -> frozenset[str]:
    return predicates(recognize(seen))


def document(
    number: int, *, signature: str = "s", cell: tuple[int, ...] = (0, 0, 0), tags: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    diagnosis = {"outcome": "success", "cause": None, "item": None, "changes": {}, **more.pop("diagnosis", {})}
    base = {"id": number, "time": number, "task": "ingot", "subgoal": "smelt", "actions": ["smelt"], "condition": {"subgoal": "smelt"}}
    return {**base, "signature": signature, "cell": list(cell), "tags": list(tags), "diagnosis": diagnosis, **more}


def tracks_of(documents: list[dict[str, Any]]) -> Tracks:
    tracks = Tracks()
    for each in documents:
        tracks.take(each, before=facts_of(each["before"]), after=facts_of(each["after"]))
    return tracks


def attempt(
    number: int, *facts: str, cause: str | None = None, task: str = "ingot", action: str = "smelt", length: int = 1
) -> tuple[Any, frozenset[str]]:
    outcome = "success" if cause is None else "fail"
    diagnosis = {"outcome": outcome, "cause": cause, "item": None, "changes": {}}
    return document(number, diagnosis=diagnosis, task=task, subgoal=action, actions=[action] * length), frozenset(facts)


def fed(*attempts: tuple[Any, frozenset[str]]) -> Tracks:
    tracks = Tracks()
    for each, facts in attempts:
        tracks.take(each, before=facts, after=facts)
    return tracks
