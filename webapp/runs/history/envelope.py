"""The stored outline of a long series: for each bucket of steps, its least and its greatest value with their steps.

A chart has some thousand pixels, a series maybe millions of points. The outline keeps every extreme that a chart of that width can show.
It grows in place: buckets are a power of two steps wide and aligned to multiples of it, so when there are too many, two neighbors
become one. Adding the same points twice changes nothing, and the order of adding does not matter.
"""

import struct
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

MAX_BUCKETS = 1000
STORED_ABOVE = 2000
"""Points. A shorter series is read raw."""

_HEADER = struct.Struct("<4sqq")
_MAGIC = b"ENV1"

Steps = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Envelope:
    """`width`: steps in a bucket, a power of two. The five arrays (buckets,) are ordered by bucket; bucket b holds steps b·width … (b+1)·width − 1.

    A bucket is there only when it has a point. NaN is never an extreme unless the bucket has nothing else.
    """

    width: int
    bucket: Steps
    low_step: Steps
    low: Values
    high_step: Steps
    high: Values

    @classmethod
    def empty(cls) -> Self:
        whole, real = np.empty(0, np.int64), np.empty(0, np.float64)
        return cls(1, whole, whole, real, whole, real)

    @classmethod
    def of(cls, steps: Steps, values: Values) -> Self:
        """The outline of points, steps (n,) and values (n,), in any order."""
        return cls.empty().extended(steps, values)

    def __len__(self) -> int:
        return len(self.bucket)

    def extended(self, steps: Steps, values: Values) -> Self:
        """The outline with these points added: steps (n,), values (n,), in any order."""
        if len(steps) == 0:
            return self
        width = self.width
        while _buckets(self.low_step, steps, width) > MAX_BUCKETS:
            width *= 2
        # Extremes are points too: an outline is the outline of its extremes and of what is added.
        all_steps = np.concatenate([self.low_step, self.high_step, np.asarray(steps, np.int64)])
        all_values = np.concatenate([self.low, self.high, np.asarray(values, np.float64)])
        order = np.argsort(all_steps, kind="stable")
        all_steps, all_values = all_steps[order], all_values[order]

        bucket = all_steps // width
        starts = np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]])
        which = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(bucket)]))
        lowest = _first_where_least(np.where(np.isnan(all_values), np.inf, all_values), which, starts)
        highest = _first_where_least(np.where(np.isnan(all_values), np.inf, -all_values), which, starts)
        return type(self)(width, bucket[starts], all_steps[lowest], all_values[lowest], all_steps[highest], all_values[highest])

    def points(self) -> tuple[Steps, Values]:
        """The extremes as a curve, ordered by step, each step once: steps (m,), values (m,), m ≤ 2 · buckets."""
        steps, first = np.unique(np.concatenate([self.low_step, self.high_step]), return_index=True)
        return steps, np.concatenate([self.low, self.high])[first]

    def to_bytes(self) -> bytes:
        """Little-endian: magic, width, number of buckets, then the five arrays of eight bytes an element."""
        arrays = (self.bucket, self.low_step, self.high_step)
        return b"".join(
            [
                _HEADER.pack(_MAGIC, self.width, len(self)),
                *(array.astype("<i8").tobytes() for array in arrays),
                *(array.astype("<f8").tobytes() for array in (self.low, self.high)),
            ]
        )

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """Raises ValueError when these are not the bytes of an outline."""
        data = bytes(data)
        if len(data) < _HEADER.size:
            raise ValueError("an envelope has at least a header")
        magic, width, count = _HEADER.unpack_from(data)
        if magic != _MAGIC or len(data) != _HEADER.size + 5 * 8 * count:
            raise ValueError("these bytes are not an envelope")
        whole = np.frombuffer(data, "<i8", 3 * count, _HEADER.size).astype(np.int64).reshape(3, count)
        real = np.frombuffer(data, "<f8", 2 * count, _HEADER.size + 3 * 8 * count).astype(np.float64).reshape(2, count)
        return cls(width, whole[0], whole[1], real[0], whole[2], real[1])


def _buckets(old: Steps, new: Steps, width: int) -> int:
    """Upper bound of buckets between the first and the last step."""
    first, last = int(new.min()), int(new.max())
    if len(old):
        first, last = min(first, int(old[0])), max(last, int(old[-1]))
    return last // width - first // width + 1


def _first_where_least(values: Values, which: Steps, starts: Steps) -> Steps:
    """Position of each group's first least value. `which` (n,) is each value's group, `starts` (groups,) where each begins."""
    least = np.minimum.reduceat(values, starts)
    hits = np.flatnonzero(values == least[which])
    _, first = np.unique(which[hits], return_index=True)
    return hits[first]
