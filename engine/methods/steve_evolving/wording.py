"""Experiences in words, for a person and for a language model."""

from collections.abc import Mapping
from typing import Any

from engine.methods.steve_evolving.experience import Document, cause_of
from engine.worlds.crafting import HELD


def one_line(document: Document) -> str:
    """An experience in a sentence's length."""
    return f"{document['subgoal']} holding {held_in(document['before']) or 'nothing'}: {result_of(document)}"


def result_of(document: Document) -> str:
    """The outcome, or the cause of a failure."""
    diagnosis = document["diagnosis"]
    return diagnosis["outcome"] if diagnosis["cause"] is None else cause_of(diagnosis).replace(":", ": ")


def held_in(seen: Mapping[str, Any]) -> str:
    """What an observation says is held; nothing for nothing."""
    return " ".join(f"{count} {key.removeprefix(HELD)}" for key, count in seen.items() if key.startswith(HELD))
