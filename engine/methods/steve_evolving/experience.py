"""Experiences with their diagnosis, and the memory that keeps them: documents, three indices, and one summary row per condition signature.

A document is a plain JSON object and never changes. Index, summaries and the running sets of distillation are made of the documents alone, so
a checkpoint holds only these, compressed episode by episode.
"""

import base64
import hashlib
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any, Final, NamedTuple

from engine.models.knowledge import Summary

Document = dict[str, Any]

CAUSES: Final = (
    "missing_material",
    "tool_insufficient",
    "precondition_unmet",
    "target_not_found",
    "unreachable",
    "blocked_path",
    "inventory_full",
    "hazard_damage",
    "death",
    "timeout",
    "stagnation",
)
"""All that a failure can be put down to."""
CELL: Final = 16


# Diagnosis


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What changed between two observations, each a flat mapping.

    Numbers: after − before, non-zero only, a missing one counting as 0. Other values: [old, new] where they differ, missing as None.
    """
    changed: dict[str, Any] = {}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if _is_number(old) or _is_number(new):
            delta = (new or 0) - (old or 0)
            if delta:
                changed[key] = delta
        elif old != new:
            changed[key] = [old, new]
    return changed


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def flags_of(states: Sequence[Any], *, window: int, repeats: int) -> tuple[bool, bool]:
    """(stagnation, loop) of the last `window` states: all equal; or not, but one of them at least `repeats` times. Both false before."""
    last = states[-window:]
    if len(last) < window:
        return False, False
    most = Counter(last).most_common(1)[0][1]
    return most == window, window > most >= repeats


class Diagnosis(NamedTuple):
    """Why an attempt ended as it did. `progress` is the goal's count over what is needed, `steps` actions used over those allowed;
    `distance` to the target in blocks, None where it has no place."""

    outcome: str
    cause: str | None
    item: str | None
    changes: dict[str, Any]
    progress: float
    damage: int
    distance: float | None
    steps: float
    stagnation: bool
    loop: bool


# Indices


def condition_of(*, subgoal: str, target: str, tool_tier: int, biome: str, depth_band: str) -> dict[str, Any]:
    """The condition of an attempt, which its signature is made of."""
    return {"subgoal": subgoal, "target": target, "tool_tier": tool_tier, "biome": biome, "depth_band": depth_band}


def condition_text(condition: Mapping[str, Any]) -> str:
    """`k=v` pairs, sorted by key and joined by "|"."""
    return "|".join(f"{key}={condition[key]!s}" for key in sorted(condition))


def signature_of(condition: Mapping[str, Any]) -> str:
    """The first 12 hexadecimal digits of the SHA-1 of the condition's text: the same for every order of keys."""
    return hashlib.sha1(condition_text(condition).encode(), usedforsecurity=False).hexdigest()[:12]


def cell_of(position: Sequence[float], size: float = CELL) -> tuple[int, ...]:
    """The spatial cell, rounded towards −∞: −0.1 lies in cell −1."""
    return tuple(math.floor(coordinate / size) for coordinate in position)


class Weights(NamedTuple):
    """How a recalled experience is scored: same signature, common tags, nearness with its length in cells, recency with its half-life in steps."""

    signature: float = 1.0
    tags: float = 0.6
    place: float = 0.4
    recency: float = 0.3
    length: float = 2.0
    half_life: float = 50.0


USUAL: Final = Weights()


class Query(NamedTuple):
    """What is being attempted now, for recall."""

    signature: str
    cell: tuple[int, ...]
    tags: frozenset[str]
    time: int


def jaccard(a: Iterable[str], b: frozenset[str]) -> float:
    """Common over all, 0 for two empty sets."""
    ours = frozenset(a)
    return len(ours & b) / len(ours | b) if ours or b else 0.0


def score(document: Document, query: Query, weights: Weights) -> float:
    """How much an experience e has to say on a query q:

    w_s·1[same signature] + w_t·Jaccard(tags) + w_p·exp(−‖cell_e − cell_q‖/λ) + w_r·2^(−Δt/half-life), Δt = time of q − time of e.
    """
    near = math.exp(-math.dist(document["cell"], query.cell) / weights.length)
    recent = math.exp2((document["time"] - query.time) / weights.half_life)
    same = float(document["signature"] == query.signature)
    return weights.signature * same + weights.tags * jaccard(document["tags"], query.tags) + weights.place * near + weights.recency * recent


class ExperienceMemory:
    """The append-only log with its index and summaries."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._blocks: list[str] = []
        self._stored = 0
        self.documents: list[Document] = []
        self.index: dict[str, dict[Any, list[int]]] = {"signature": {}, "cell": {}, "tag": {}}
        self.rows: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.documents)

    def add(self, document: Document) -> None:
        """Appends a document, whose id must be the next. It may not be changed afterwards."""
        number = document["id"]
        assert number == len(self.documents), f"the log is append-only: the next id is {len(self.documents)}, not {number}"
        self.documents.append(document)
        self.index["signature"].setdefault(document["signature"], []).append(number)
        self.index["cell"].setdefault(tuple(document["cell"]), []).append(number)
        for tag in document["tags"]:
            self.index["tag"].setdefault(tag, []).append(number)
        self._summarize(document)

    def _summarize(self, document: Document) -> None:
        """The rolling summary: one row per signature."""
        diagnosis = document["diagnosis"]
        first = {"condition": condition_text(document["condition"]), "n": 0, "won": 0, "causes": {}, "steps": 0, "ids": []}
        row = self.rows.setdefault(document["signature"], first)
        row["n"] += 1
        row["won"] += diagnosis["outcome"] == "success"
        row["steps"] += len(document["actions"])
        row["last_time"], row["last_outcome"] = document["time"], diagnosis["outcome"]
        row["ids"].append(document["id"])
        if diagnosis["cause"] is not None:
            cause = cause_of(diagnosis)
            row["causes"][cause] = row["causes"].get(cause, 0) + 1

    def summaries(self) -> list[Summary]:
        """The rows, sorted by signature."""
        return [
            Summary(
                signature=signature,
                condition=row["condition"],
                attempts=row["n"],
                successes=row["won"],
                causes=dict(sorted(row["causes"].items())),
                mean_steps=row["steps"] / row["n"],
                last_time=row["last_time"],
                last_outcome=row["last_outcome"],
                line=_line(row),
                ids=list(row["ids"]),
            )
            for signature, row in sorted(self.rows.items())
        ]

    def failed_before(self, signature: str, cause: str) -> bool:
        """Whether an attempt under this signature already failed of this cause."""
        return signature in self.rows and cause in self.rows[signature]["causes"]

    def candidates(self, query: Query) -> list[int]:
        """The ids that share signature, cell or a tag with the query; all when there are none."""
        found = {*self.index["signature"].get(query.signature, ()), *self.index["cell"].get(query.cell, ())}
        for tag in query.tags:
            found.update(self.index["tag"].get(tag, ()))
        return sorted(found) or list(range(len(self.documents)))

    def recall(self, query: Query, *, k: int, weights: Weights = USUAL) -> list[Document]:
        """The k candidates with the highest score, ties by smaller id; fewer where there are fewer candidates."""
        ranked = nsmallest(k, ((-score(self.documents[number], query, weights), number) for number in self.candidates(query)))
        return [self.documents[number] for _, number in ranked]

    # Checkpoints

    def close_block(self) -> None:
        """Compresses the documents since the last call: what a checkpoint holds of them."""
        if self._stored < len(self.documents):
            text = json.dumps(self.documents[self._stored :], separators=(",", ":"), allow_nan=False)
            self._blocks.append(base64.b64encode(zlib.compress(text.encode())).decode())
            self._stored = len(self.documents)

    def state_dict(self) -> dict[str, Any]:
        self.close_block()
        return {"blocks": list(self._blocks)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Reads the documents and makes everything else again."""
        self._clear()
        for block in state["blocks"]:
            for document in json.loads(zlib.decompress(base64.b64decode(block))):
                self.add(document)
        self._blocks, self._stored = list(state["blocks"]), len(self.documents)


def cause_of(diagnosis: Mapping[str, Any]) -> str:
    """The cause by which failures are told apart: of a missing material also which one."""
    cause, item = diagnosis["cause"], diagnosis["item"]
    return str(cause) if item is None else f"{cause}:{item}"


def _line(row: Mapping[str, Any]) -> str:
    """A summary in one line."""
    causes = ", ".join(f"{cause} ×{count}" for cause, count in sorted(row["causes"].items(), key=lambda pair: (-pair[1], pair[0]))[:3])
    return f"{row['won']} of {row['n']} succeeded{'; ' + causes if causes else ''}"
