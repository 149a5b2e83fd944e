"""The engine's lists of methods, tasks and kinds of students, found by walking the folders. What needs torch is loaded only when asked for."""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import engine.kinds
import engine.methods
import engine.tasks
from engine.spec.cards import Kind, KindCard, MethodCard, TaskCard

if TYPE_CHECKING:
    from types import ModuleType

    from engine.method import Method
    from engine.tasks.task import Task


T = TypeVar("T")
Card = TypeVar("Card", MethodCard, TaskCard)


@cache
def methods() -> dict[str, MethodCard]:
    """Every method's card by id, sorted. Imports no torch."""
    found = _cards(engine.methods, MethodCard)
    for card in found.values():
        _assert_declared(card, (*card.student.kinds, *(card.teachers.kinds if card.teachers is not None else ())))
    return found


@cache
def tasks() -> dict[str, TaskCard]:
    """Every task's card by id, sorted. Imports no torch."""
    found = _cards(engine.tasks, TaskCard)
    for card in found.values():
        _assert_declared(card, (*card.kinds, *card.students))
    return found


@cache
def kinds() -> dict[Kind, KindCard]:
    """Every kind of student by id, in their own order. Imports no torch."""
    modules = (importlib.import_module(f"engine.kinds.{entry.name}") for entry in pkgutil.iter_modules(engine.kinds.__path__))
    cards: list[KindCard] = sorted((module.card for module in modules), key=lambda card: (card.order, card.id))
    return {card.id: card for card in cards}


def kind_of(spec: Mapping[str, Any]) -> KindCard:
    """The kind of student that a stored specification makes; the first of all where its method or task is gone from the catalog."""
    method, task = methods().get(spec.get("method", "")), tasks().get(spec.get("task", ""))
    kind = task.kind_of(method) if method is not None and task is not None else None
    return kinds()[kind] if kind is not None else next(iter(kinds().values()))


def load_method(method_id: str) -> "type[Method]":
    """The class that implements a method. Imports torch."""
    from engine.method import Method

    module = importlib.import_module(f"engine.methods.{folder(method_id)}.method")
    return _only_subclass(module, Method)


def load_task(task_id: str) -> "type[Task]":
    """The class that implements a task. Imports torch."""
    from engine.tasks.task import Task

    module = importlib.import_module(f"engine.tasks.{folder(task_id)}.task")
    return _only_subclass(module, Task)


def readme(method_id: str) -> str:
    """The method's page as Markdown."""
    return (Path(engine.methods.__path__[0]) / folder(method_id) / "README.md").read_text(encoding="utf-8")


def folder(card_id: str) -> str:
    """`vanilla-kd` lives in the package `vanilla_kd`."""
    return card_id.replace("-", "_")


def _assert_declared(card: MethodCard | TaskCard, named: Iterable[Kind]) -> None:
    unknown = sorted(set(named) - kinds().keys())
    assert not unknown, f"{card.id} names the kind {unknown[0]!r}, which no module of engine.kinds declares"


def _cards(package: "ModuleType", kind: type[Card]) -> dict[str, Card]:
    found: dict[str, Card] = {}
    for entry in pkgutil.iter_modules(package.__path__):
        if not entry.ispkg:
            continue
        card = importlib.import_module(f"{package.__name__}.{entry.name}.card").card
        assert isinstance(card, kind), f"{package.__name__}.{entry.name}.card.card is a {type(card).__name__}, not a {kind.__name__}"
        assert folder(card.id) == entry.name, f"card {card.id!r} lives in the folder {entry.name!r}"
        found[card.id] = card
    return dict(sorted(found.items()))


def _only_subclass(module: "ModuleType", parent: type[T]) -> type[T]:
    here = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, parent)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    ]
    assert len(here) == 1, f"{module.__name__} must define exactly one {parent.__name__}, found {[c.__name__ for c in here]}"
    return here[0]
