"""Tensors of a safetensors file for people: what there is, and each one's numbers in brief. By numpy, without torch.

The file's head is JSON: name, dtype, shape and place of each tensor, so listing them costs nothing. Of the numbers themselves a
request reads at most `MOST_BYTES`, twice: a tensor with more than its share of that is read in pieces that are spread evenly over it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from webapp.store import opened, parsed

MOST_BYTES = 32 * 2**20
"""Of one pass over the numbers; a request makes two."""
MOST_HEAD = 4 * 2**20
CHUNK = 2**20
PIECES = 64
"""Of a tensor that is not read whole."""
BINS = 32
MOST_DIMENSIONS = 64
"""As many as torch takes."""
MOST_CELLS = 96
"""Rows and columns of a heat map; a larger matrix is averaged into so many blocks."""

_READ = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E5M2": "u1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""How numpy reads each dtype of the format; others are listed without numbers."""


class Unreadable(Exception):
    """A file does not hold what it should: a sentence for the page in its place."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: its numbers are the bytes from `start` up to `stop` of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def bytes(self) -> int:
        return self.stop - self.start

    @property
    def size(self) -> str:
        """`20 × 51 × 3,098`; a number for people."""
        return " × ".join(f"{length:,}" for length in self.shape) or "one number"


@dataclass(frozen=True)
class FileHead:
    """The tensors in the order of the file, and the facts that were written beside them."""

    tensors: tuple[TensorEntry, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Brief:
    """What a tensor's finite numbers are like. `share` is how much of it was read, `broken` how many numbers of that are NaN or infinite;
    `norm` is the Euclidean one, None where only a part was read. `edges` (BINS + 1,), `counts` (BINS,): their histogram."""

    share: float
    least: float
    mean: float
    most: float
    norm: float | None
    broken: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]


def read_head(path: Path) -> FileHead:
    """Raises Unreadable for a file that is no whole safetensors file."""
    size = path.stat().st_size
    try:
        with opened(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(MOST_HEAD, size - 8):
                raise Unreadable("The head of the file is damaged, or it is no safetensors file.")
            head = parsed(file.read(length))
        facts = head.pop("__metadata__", {})
        tensors = [_entry(name, about, 8 + length) for name, about in head.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Unreadable("The head of the file is damaged, or it is no safetensors file.") from None
    if any(entry.stop > size for entry in tensors):
        raise Unreadable("The file is truncated: its head names more bytes than it has.")
    placed = sorted(tensors, key=lambda entry: (entry.start, entry.stop))
    if any(entry.stop > after.start for entry, after in pairwise(placed)):
        raise Unreadable("The head of the file is damaged: its tensors lie over one another.")
    return FileHead(tuple(placed), _facts(facts))


def briefs(path: Path, tensors: Sequence[TensorEntry], *, most_bytes: int = MOST_BYTES) -> list[Brief | None]:
    """One for each tensor, None where there is nothing to report: no numbers, none that are finite, or a dtype that numpy can't read.

    Reads at most `most_bytes` in each of two passes, which small tensors leave to the larger ones.
    """
    found: dict[str, Brief | None] = {}
    left = most_bytes
    with opened(path) as file:
        for place, entry in enumerate(sorted(tensors, key=lambda one: one.bytes)):
            room = left // (len(tensors) - place)
            found[entry.name] = _brief(file, entry, room)
            left -= min(entry.bytes, room)
    return [found[entry.name] for entry in tensors]


def matrix(path: Path, entry: TensorEntry, *, most_bytes: int = MOST_BYTES) -> NDArray[np.float64] | None:
    """A tensor of two or more dimensions as a heat map: (rows, columns), each at most MOST_CELLS, by the means of blocks; of more
    dimensions the first matrix. None for a vector, for one that is narrower than two, or too large to read."""
    if len(entry.shape) < 2 or min(entry.shape[-2:]) < 2 or not prod(entry.shape) or entry.dtype not in _READ:
        return None
    rows, columns = entry.shape[-2:]
    width = np.dtype(_READ[entry.dtype]).itemsize
    if rows * columns * max(width, 4) > most_bytes:  # small numbers grow when they are read
        return None
    with opened(path) as file:
        values = _numbers(_read(file, entry.start, rows * columns * width), entry.dtype).reshape(rows, columns)
    return _blocks(_blocks(values, 0), 1)


def vector(path: Path, entry: TensorEntry) -> NDArray[np.float64] | None:
    """All numbers of a tensor, which the caller knows to be few; None for a dtype that can't be read."""
    if entry.dtype not in _READ:
        return None
    with opened(path) as file:
        return _numbers(_read(file, entry.start, entry.bytes), entry.dtype)


def _entry(name: str, about: Mapping[str, Any], offset: int) -> TensorEntry:
    start, stop = map(int, about["data_offsets"])
    if len(about["shape"]) > MOST_DIMENSIONS:  # their product would have so many digits that it takes minutes
        raise ValueError(name)
    shape = tuple(int(length) for length in about["shape"])
    if not 0 <= start <= stop or any(not 0 <= length < 2**63 for length in shape):
        raise ValueError(name)
    dtype = str(about["dtype"])
    if dtype in _READ and prod(shape) * np.dtype(_READ[dtype]).itemsize != stop - start:
        raise ValueError(name)
    return TensorEntry(str(name), dtype, shape, offset + start, offset + stop)


def _facts(metadata: Any) -> dict[str, Any]:
    """The format keeps text by name; where a text is JSON, as an engine's is, what it says."""
    facts: dict[str, Any] = {}
    for key, text in metadata.items() if isinstance(metadata, Mapping) else ():
        try:
            said = parsed(text.encode())
        except (ValueError, AttributeError, RecursionError):
            said = text
        facts |= said if key == "meta" and isinstance(said, dict) else {str(key): said}
    return facts


def _chunks(file: IO[bytes], entry: TensorEntry, room: int) -> Iterator[NDArray[np.float64]]:
    """The tensor's numbers, at most CHUNK bytes of the file at a time; in all at most `room`, then from pieces all over the tensor."""
    width = np.dtype(_READ[entry.dtype]).itemsize
    if entry.bytes <= room:
        starts, piece = np.arange(entry.start, entry.stop, CHUNK), CHUNK
    else:
        piece = max(1, min(room // PIECES, CHUNK) // width) * width
        starts = entry.start + np.linspace(0, entry.bytes - piece, PIECES).astype(np.int64) // width * width
    for start in starts.tolist():
        yield _numbers(_read(file, start, min(piece, entry.stop - start)), entry.dtype)


def _read(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _numbers(data: bytes, dtype: str) -> NDArray[np.float64]:
    raw = np.frombuffer(data, _READ[dtype])
    if dtype == "BF16":  # the upper half of a float32
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    elif dtype == "F8_E5M2":  # the upper half of a float16
        raw = (raw.astype(np.uint16) << 8).view(np.float16)
    with np.errstate(invalid="ignore"):  # of NaN with its signal set
        return raw.astype(np.float64)


def _brief(file: IO[bytes], entry: TensorEntry, room: int) -> Brief | None:
    """In two passes, since bins need the range. `room`: the most bytes of one pass."""
    if entry.dtype not in _READ:
        return None
    seen, finite, least, most, total, squares = 0, 0, np.inf, -np.inf, 0.0, 0.0
    for values in _chunks(file, entry, room):
        seen += len(values)
        values = values[np.isfinite(values)]
        if len(values):
            finite += len(values)
            least, most = min(least, float(values.min())), max(most, float(values.max()))
            with np.errstate(over="ignore"):  # of numbers near the largest ones: infinite, which is shown as such
                total += float(values.sum())
                squares += float(np.square(values).sum())
    if not finite:
        return None
    counts, edges = _histogram(_chunks(file, entry, room), least, most)
    return Brief(
        share=seen / prod(entry.shape),
        least=least,
        mean=total / finite,
        most=most,
        norm=float(np.sqrt(squares)) if entry.bytes <= room else None,
        broken=seen - finite,
        edges=edges,
        counts=counts,
    )


def _histogram(chunks: Iterator[NDArray[np.float64]], least: float, most: float) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Counts (BINS,) and edges (BINS + 1,). Numbers that hardly differ are in the middle of a wider range."""
    size = max(abs(least), abs(most))
    shrink = 1.0 if size < 1e300 else 2.0**-8  # where a range may be too wide to be a number
    low, high = least * shrink, most * shrink
    if high - low <= max(1e-12 * size * shrink, 1e-300):
        low, high = low - max(0.5, size * shrink / 1000), high + max(0.5, size * shrink / 1000)
    counts = np.zeros(BINS, np.int64)
    edges = np.linspace(low, high, BINS + 1)
    for values in chunks:
        inside = values[np.isfinite(values)] * shrink
        counts += np.histogram(inside, bins=BINS, range=(low, high))[0]
    return tuple(counts.tolist()), tuple((edges / shrink).tolist())


def _blocks(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The means of at most MOST_CELLS neighboring pieces along an axis."""
    length = values.shape[axis]
    if length <= MOST_CELLS:
        return values
    starts = np.linspace(0, length, MOST_CELLS + 1).astype(np.intp)
    sums = np.add.reduceat(values, starts[:-1], axis=axis)
    counts = np.diff(starts)
    means: NDArray[np.float64] = sums / (counts[:, None] if axis == 0 else counts[None, :])
    return means
