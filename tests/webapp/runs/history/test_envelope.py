"""The stored outline of a long series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.runs.history.envelope import MAX_BUCKETS, Envelope

points = st.dictionaries(st.integers(0, 5000), st.floats(-1e6, 1e6), min_size=1, max_size=300)


def of(curve: dict[int, float]) -> Envelope:
    return Envelope.of(np.array(list(curve), np.int64), np.array(list(curve.values()), np.float64))


def test_a_short_curve_is_its_own_outline() -> None:
    outline = of({1: 3.0, 2: 1.0, 5: 2.0})

    steps, values = outline.points()

    assert (outline.width, steps.tolist(), values.tolist()) == (1, [1, 2, 5], [3.0, 1.0, 2.0])


def test_buckets_are_a_power_of_two_wide_and_keep_both_extremes_where_they_were() -> None:
    steps = np.arange(1, 2001)
    values = np.zeros(2000)
    values[[776, 777]] = [9.0, -9.0]  # steps 777 and 778

    outline = Envelope.of(steps, values)

    # Steps 1 … 2000 in buckets of two are 0 … 1000: one too many.
    assert outline.width == 4
    assert len(outline) == 501
    bucket = outline.bucket.tolist().index(777 // 4)
    assert (outline.high_step[bucket], outline.high[bucket]) == (777, 9.0)
    bucket = outline.bucket.tolist().index(778 // 4)
    assert (outline.low_step[bucket], outline.low[bucket]) == (778, -9.0)


@given(points, points)
def test_the_order_of_adding_and_adding_twice_change_nothing(first: dict[int, float], second: dict[int, float]) -> None:
    second = {step: value for step, value in second.items() if step not in first}
    both = of(first | second)

    added = [of(first).extended(*arrays(second)), of(second).extended(*arrays(first)), both.extended(*arrays(first))]

    assert [outline.to_bytes() for outline in added] == [both.to_bytes()] * 3


def arrays(curve: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(list(curve), np.int64), np.array(list(curve.values()), np.float64)


@given(points)
def test_the_extremes_of_the_curve_are_in_the_outline_and_nothing_else_than_its_points(curve: dict[int, float]) -> None:
    steps, values = of(curve).points()

    assert (values.min(), values.max()) == (min(curve.values()), max(curve.values()))
    assert all(curve[step] == value for step, value in zip(steps.tolist(), values.tolist(), strict=True))
    assert len(steps) <= 2 * MAX_BUCKETS


@given(points)
def test_bytes_and_back(curve: dict[int, float]) -> None:
    outline = of(curve)

    again = Envelope.from_bytes(outline.to_bytes())

    assert again.to_bytes() == outline.to_bytes()
    assert again.width == outline.width


def test_nan_is_no_extreme_while_there_is_a_number() -> None:
    steps = np.arange(4000)
    values = np.where(steps % 2 == 0, np.nan, 1.0)

    outline = Envelope.of(steps, values)

    assert np.isfinite(outline.low).all()
    assert np.isfinite(outline.high).all()


@pytest.mark.parametrize("data", [b"", b"ENV1", b"XXXX" + bytes(16), b"ENV1" + bytes(8) + (3).to_bytes(8, "little")])
def test_bytes_that_are_no_outline_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="envelope"):
        Envelope.from_bytes(data)
