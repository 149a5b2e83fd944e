"""JSON for people: a tree whose branches unfold, or a table where it is a list of plain records; in either one can search."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

PAGE = 50
"""Entries of the outermost list or object that are shown at once."""
MOST_CHILDREN = 100
MOST_NODES = 2000
MOST_DEPTH = 16
MOST_TEXT = 2000
MOST_COLUMNS = 14
SUMMARY = 110
INLINE = 16
"""A list of at most so many numbers is written out."""


@dataclass(frozen=True)
class Node:
    """A field or an entry: `text` is its value, or what a branch has inside in brief. `more` children are not shown; `found` marks a leaf
    that holds what was searched for, and a branch that holds such a leaf is `open`."""

    key: str
    text: str
    kind: str
    children: tuple["Node", ...] = ()
    more: int = 0
    found: bool = False
    open: bool = False


@dataclass(frozen=True)
class Slice:
    """Which entries are shown: from `start` (counted from 0) up to `stop`, of `total` that there are or were found."""

    start: int
    stop: int
    total: int

    @property
    def first(self) -> int:
        return self.start + 1

    @property
    def before(self) -> int | None:
        """Where the entries before these begin; None where there are none."""
        return max(0, self.start - PAGE) if self.start else None

    @property
    def after(self) -> int | None:
        return self.stop if self.stop < self.total else None


@dataclass(frozen=True)
class RecordTable:
    """A list of plain records as a table: cells are text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    slice: Slice


@dataclass(frozen=True)
class Tree:
    """The outermost value's entries, each a node; a value that has none is a single node without a key."""

    nodes: tuple[Node, ...]
    slice: Slice


def shown(value: Any, *, sought: str = "", start: int = 0) -> Tree | RecordTable:
    """A page of a JSON value: only entries whose names or values hold the words, from the `start`-th on."""
    columns = _columns(value)
    words = sought.casefold().strip()
    return _tree(value, words, start) if columns is None else _records(value, columns, words, start)


def _columns(value: Any) -> tuple[str, ...] | None:
    """The fields of a list of records that fit into a table, in the order in which they come up; None for anything else."""
    if not isinstance(value, list) or not value or not all(isinstance(one, Mapping) and one for one in value):
        return None
    names: dict[str, None] = {}
    for one in value:
        if not all(inner is None or isinstance(inner, str | int | float) for inner in one.values()):
            return None
        names.update(dict.fromkeys(one))
        if len(names) > MOST_COLUMNS:
            return None
    return tuple(names)


def _records(value: Sequence[Mapping[str, Any]], columns: tuple[str, ...], words: str, start: int) -> RecordTable:
    found = [one for one in value if not words or any(words in _leaf(inner).casefold() for inner in one.values())]
    part = _slice(start, len(found))
    rows = tuple(tuple(_leaf(one[name]) if name in one else "" for name in columns) for one in found[part.start : part.stop])
    return RecordTable(columns, rows, part)


def _tree(value: Any, words: str, start: int) -> Tree:
    if not _is_branch(value):
        node = _node("", value, words, 0, iter(range(1)))
        return Tree((node,) if node is not None else (), _slice(0, int(node is not None)))
    entries = list(_entries(value))
    if words:
        written = json.dumps(words, ensure_ascii=False)[1:-1]
        entries = [
            (key, inner) for key, inner in entries if (words in key.casefold() or _may_hold(inner, written)) and _holds(key, inner, words)
        ]
    part = _slice(start, len(entries))
    share = MOST_NODES // max(1, part.stop - part.start)
    nodes = [_node(key, inner, words, 1, iter(range(share))) for key, inner in entries[part.start : part.stop]]
    return Tree(tuple(node for node in nodes if node is not None), part)


def _slice(start: int, total: int) -> Slice:
    start = start if start < total else 0
    return Slice(start, min(start + PAGE, total), total)


def _node(key: str, value: Any, words: str, depth: int, room: Iterator[int]) -> Node | None:
    """None where nothing inside holds the words, or where the page has no room. Takes one from `room` for each node."""
    if not _is_branch(value) or depth >= MOST_DEPTH:
        text = _leaf(value)
        found = bool(words) and (words in key.casefold() or words in text.casefold())
        return Node(key, text, _kind(value), found=found) if (found or not words) and next(room, None) is not None else None
    if next(room, None) is None:
        return None
    # Under a name that was found everything is shown.
    named = bool(words) and words in key.casefold()
    inner = "" if named else words
    entries = [(name, child) for name, child in _entries(value) if _holds(name, child, inner)]
    children = [_node(name, child, inner, depth + 1, room) for name, child in islice(entries, MOST_CHILDREN)]
    kept = tuple(child for child in children if child is not None)
    if inner and not entries:
        return None
    return Node(key, _brief(value), _kind(value), kept, len(entries) - len(kept), found=named, open=bool(words))


def _may_hold(value: Any, written: str) -> bool:
    """Whether the words stand, as JSON writes them, anywhere in a value: asked first, since it takes a fraction of the time."""
    return not _is_branch(value) or written in json.dumps(value, ensure_ascii=False).casefold()


def _holds(key: str, value: Any, words: str) -> bool:
    if not words or words in key.casefold():
        return True
    if not _is_branch(value):
        return words in _leaf(value).casefold()
    return any(_holds(name, child, words) for name, child in _entries(value))


def _is_branch(value: Any) -> bool:
    """Whether it unfolds: short lists of numbers are written out."""
    if isinstance(value, list):
        return bool(value) and not (len(value) <= INLINE and all(_is_number(one) for one in value))
    return isinstance(value, Mapping) and bool(value)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    return iter(value.items()) if isinstance(value, Mapping) else ((str(place), one) for place, one in enumerate(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    match value:
        case None | bool():
            return "word"
        case int() | float():
            return "number"
        case str():
            return "text"
        case Mapping():
            return "object"
    return "list"


def _leaf(value: Any) -> str:
    """As JSON, but text without its quotation marks; cut where it is very long."""
    text = value if isinstance(value, str) else str(value) if type(value) is int else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}… ({len(text):,} characters)"


def _brief(value: Any) -> str:
    """What a folded branch has inside: how many entries, or the first plain fields of a record."""
    if isinstance(value, list):
        return f"{len(value):,} {'number' if all(_is_number(one) for one in value) else 'entr'}{_plural(value)}"
    plain = [
        f"{name} {_leaf(inner)}" for name, inner in islice(value.items(), 12) if not _is_branch(inner) and inner not in (None, "", [], {})
    ]
    text = " · ".join(plain)
    text = text if len(text) <= SUMMARY else f"{text[: SUMMARY - 1]}…"
    return text or f"{len(value):,} field{'s' * (len(value) != 1)}"


def _plural(value: Sequence[Any]) -> str:
    if all(_is_number(one) for one in value):
        return "s"
    return "y" if len(value) == 1 else "ies"
