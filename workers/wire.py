"""What goes between a child and its supervisor: messages of JSON and plain numbers. Never pickle: what a child says is data, not code.

A message is the length of its JSON (4 bytes, little-endian), the JSON, and then, for each block of metrics, its steps (int64) and its
values (float64, a row a step). A block is a stretch of steps that recorded the same names, so the names are sent once.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import events
from engine.events import Event, Metrics

STOP = b"stop"
"""The one word that a supervisor says to its child."""

_LENGTH = struct.Struct("<I")
_EVENTS: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        events.PhaseStarted,
        events.Activity,
        events.Progress,
        events.Evaluation,
        events.Artifact,
        events.Checkpoint,
        events.Log,
        events.Outcome,
    )
}


@dataclass(frozen=True)
class MetricBlock:
    """Metrics of the same names: steps (n,) int64, values (n, names) float64."""

    names: tuple[str, ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Message:
    """What a child sent at once, in the order in which it happened among blocks and among events.

    `since` is when the oldest of it happened, by `time.monotonic`, which the processes of a machine share.
    """

    blocks: list[MetricBlock]
    events: list[Event]
    since: float | None = None


def encode(batch: Sequence[Event], *, since: float | None = None) -> bytes:
    """A batch of events as one message. Reads the metrics' tensors, so it may wait for a GPU."""
    blocks, others = _blocks(batch), [event for event in batch if not isinstance(event, Metrics)]
    head = {
        "since": since,
        "blocks": [{"names": block.names, "rows": len(block.steps)} for block in blocks],
        "events": [{"is": type(event).__name__} | asdict(event) for event in others],
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    parts = [_LENGTH.pack(len(text)), text]
    for block in blocks:
        parts += [block.steps.astype("<i8").tobytes(), block.values.astype("<f8").tobytes()]
    return b"".join(parts)


def decode(data: bytes) -> Message:
    """The other way. Raises ValueError for bytes that are no message."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        head = json.loads(data[_LENGTH.size : _LENGTH.size + length])
        blocks, place = [], _LENGTH.size + length
        for entry in head["blocks"]:
            names, rows = tuple(map(str, entry["names"])), int(entry["rows"])
            if rows < 0:
                raise ValueError(f"not a message: a block of {rows} rows")
            steps = np.frombuffer(data, "<i8", rows, place)
            values = np.frombuffer(data, "<f8", rows * len(names), place + 8 * rows).reshape(rows, len(names))
            blocks.append(MetricBlock(names, steps, values))
            place += 8 * rows * (1 + len(names))
        return Message(blocks, [_event(entry) for entry in head["events"]], _moment(head.get("since")))
    except (AttributeError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"not a message: {error}") from error


def _moment(since: Any) -> float | None:
    if since is None:
        return None
    if not math.isfinite(since):
        raise ValueError(f"not a message: it happened at {since}")
    return float(since)


def _event(entry: dict[str, Any]) -> Event:
    kind = _EVENTS[entry.pop("is")]
    return kind(**{field.name: entry[field.name] for field in fields(kind)})  # type: ignore[no-any-return]


def _blocks(batch: Iterable[Event]) -> list[MetricBlock]:
    blocks: list[MetricBlock] = []
    names: tuple[str, ...] = ()
    steps: list[int] = []
    values: list[Any] = []
    for event in batch:
        if not isinstance(event, Metrics):
            continue
        here = tuple(event.values)
        if here != names:
            _close(blocks, names, steps, values)
            names, steps, values = here, [], []
        steps.append(event.step)
        values.extend(event.values.values())
    _close(blocks, names, steps, values)
    return blocks


def _close(blocks: list[MetricBlock], names: tuple[str, ...], steps: list[int], values: list[Any]) -> None:
    if steps and names:
        blocks.append(MetricBlock(names, np.array(steps, np.int64), _numbers(values).reshape(len(steps), len(names))))


def _numbers(values: list[Any]) -> NDArray[np.float64]:
    """Floats and one-element tensors as an array (n,). Tensors of one device are fetched in one transfer."""
    if not any(hasattr(value, "detach") for value in values):
        return np.array(values, np.float64)
    import torch

    tensors = [value if isinstance(value, torch.Tensor) else torch.tensor(float(value), dtype=torch.float64) for value in values]
    if len({tensor.device for tensor in tensors}) > 1:
        return np.array([float(tensor) for tensor in tensors], np.float64)
    flat = torch.stack([tensor.detach().reshape(()) for tensor in tensors])
    return flat.to(torch.float64).cpu().numpy()
