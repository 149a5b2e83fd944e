"""Tensors in brief, against what numpy says of the whole array, and heads of files that are damaged in every way."""

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from webapp.artifacts import tensors
from webapp.artifacts.tensors import Brief, FileHead, TensorEntry, Unreadable, briefs, matrix, read_head, vector

DAMAGED = "The head of the file is damaged, or it is no safetensors file."


def file_of(head: Any, data: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


def about(dtype: str, *shape: int, at: tuple[int, int]) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(at)}


def kept(folder: Path, content: bytes) -> Path:
    path = folder / "t.safetensors"
    path.write_bytes(content)
    return path


def tensor(folder: Path, dtype: str, array: Any) -> tuple[Path, TensorEntry]:
    """A file with one tensor."""
    path = kept(folder, file_of({"w": about(dtype, *array.shape, at=(0, array.nbytes))}, array.tobytes()))
    return path, read_head(path).tensors[0]


def brief_of(folder: Path, dtype: str, array: Any, **bounds: int) -> Brief:
    path, entry = tensor(folder, dtype, array)
    (found,) = briefs(path, [entry], **bounds)
    assert found is not None
    return found


# Heads


def test_tensors_are_listed_in_the_order_of_their_places_whatever_the_order_of_the_head(tmp_path: Path) -> None:
    head = {"z": about("U8", 2, at=(3, 5)), "a": about("F8_E4M3", 3, at=(0, 3)), "m": about("I8", at=(5, 6))}

    found = read_head(kept(tmp_path, file_of(head, bytes(6)))).tensors

    start = len(file_of(head))
    assert [(one.name, one.start - start, one.stop - start, one.bytes) for one in found] == [("a", 0, 3, 3), ("z", 3, 5, 2), ("m", 5, 6, 1)]


@pytest.mark.parametrize(("shape", "words"), [((), "one number"), ((5,), "5"), ((20, 51, 3098), "20 × 51 × 3,098"), ((0, 3), "0 × 3")])
def test_a_size_is_told_to_people(shape: tuple[int, ...], words: str) -> None:
    assert TensorEntry("w", "F32", shape, 0, 0).size == words


@pytest.mark.parametrize(
    ("metadata", "facts"),
    [
        ({"meta": '{"kind": "classifier", "classes": 10}', "format": "pt"}, {"kind": "classifier", "classes": 10, "format": "pt"}),
        ({"meta": "[1]", "n": "7", "words": "no {json"}, {"meta": [1], "n": 7, "words": "no {json"}),
        ({"n": 7, "deep": {"a": 1}}, {"n": 7, "deep": {"a": 1}}),  # not what the format allows, and still told
        ("text", {}),
        (None, {}),
    ],
)
def test_facts_beside_the_tensors_are_read_as_json_where_they_are(metadata: Any, facts: dict[str, Any], tmp_path: Path) -> None:
    assert read_head(kept(tmp_path, file_of({"__metadata__": metadata}))) == FileHead((), facts)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02\x00\x00",
        file_of(b"{}".ljust(tensors.MOST_HEAD + 1)),
        struct.pack("<Q", 3) + b"{}",
        file_of(b"{" * 100_000),
        file_of([1]),
        file_of({"w": []}),
        file_of({"w": {"dtype": "F32", "shape": [1]}}, bytes(4)),
        file_of({"w": about("F32", 1, at=(4, 0))}, bytes(4)),
        file_of({"w": about("F32", 1, at=(-4, 0))}, bytes(4)),
        file_of({"w": about("X", -1, at=(0, 4))}, bytes(4)),
        file_of({"w": about("F32", 2, at=(0, 4))}, bytes(8)),
        file_of({"w": about("F32", 1, at=(0, 8))}, bytes(8)),
        file_of({"w": about("U8", 1, at=(0, 1)) | {"data_offsets": [0]}}, bytes(8)),
        file_of({"w": about("F4", 2**63, at=(0, 4))}, bytes(4)),
        file_of({"w": about("F4", *[999_999_999] * 300_000, at=(0, 4))}, bytes(4)),
    ],
)
def test_a_damaged_head_is_refused_with_a_sentence(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as refused:
        read_head(kept(tmp_path, content))

    assert str(refused.value) == DAMAGED


def test_a_file_that_ends_before_its_tensors_do_is_truncated(tmp_path: Path) -> None:
    content = file_of({"w": about("F32", 2, at=(0, 8))}, bytes(8))

    assert len(read_head(kept(tmp_path, content)).tensors) == 1
    with pytest.raises(Unreadable) as refused:
        read_head(kept(tmp_path, content[:-1]))

    assert str(refused.value) == "The file is truncated: its head names more bytes than it has."


@pytest.mark.parametrize("places", [((0, 8), (0, 8)), ((0, 8), (4, 12)), ((0, 12), (4, 8))])
def test_tensors_that_lie_over_one_another_are_refused(places: tuple[tuple[int, int], ...], tmp_path: Path) -> None:
    """Each would be read, so that a small file could keep a page busy for as long as its head is."""
    head = {f"w{number}": about("U8", stop - start, at=(start, stop)) for number, (start, stop) in enumerate(places)}

    with pytest.raises(Unreadable) as refused:
        read_head(kept(tmp_path, file_of(head, bytes(12))))

    assert str(refused.value) == "The head of the file is damaged: its tensors lie over one another."


def test_empty_tensors_and_gaps_between_tensors_are_no_damage(tmp_path: Path) -> None:
    head = {"none": about("U8", 0, at=(4, 4)), "b": about("U8", 2, at=(4, 6)), "a": about("U8", 2, at=(0, 2))}

    found = read_head(kept(tmp_path, file_of(head, bytes(6))))

    assert [entry.name for entry in found.tensors] == ["a", "none", "b"]


# Numbers


@pytest.mark.parametrize(
    ("dtype", "form"),
    [
        *[("I64", "<i8"), ("I32", "<i4"), ("I16", "<i2"), ("I8", "i1"), ("BOOL", "?")],
        *[("U64", "<u8"), ("U32", "<u4"), ("U16", "<u2"), ("U8", "u1")],
    ],
)
def test_whole_numbers_are_read_to_their_ends(dtype: str, form: str, tmp_path: Path) -> None:
    ends = [False, True] if form == "?" else [int(np.iinfo(form).min), int(np.iinfo(form).max)]
    array = np.array([*ends, 1], form)

    found = brief_of(tmp_path, dtype, array)

    assert (found.least, found.most, found.broken) == (float(ends[0]), float(ends[1]), 0)
    assert vector(*tensor(tmp_path, dtype, array)).tolist() == array.astype(float).tolist()  # type: ignore[union-attr]


FLOATS = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), -float("inf"), 3e38, 1e-45])


@given(arrays.arrays(np.float32, st.integers(1, 40), elements=FLOATS))
def test_the_brief_of_any_numbers_is_what_numpy_says_of_those_that_are_finite(array: Any) -> None:
    finite = array[np.isfinite(array)].astype(np.float64)
    with tempfile.TemporaryDirectory() as folder:
        path, entry = tensor(Path(folder), "F32", array)
        (found,) = briefs(path, [entry])

    if not len(finite):
        assert found is None
        return
    assert found is not None
    assert (found.share, found.least, found.most, found.broken) == (1, finite.min(), finite.max(), len(array) - len(finite))
    assert found.mean == pytest.approx(finite.mean(), rel=1e-12, abs=1e-300)
    assert found.norm == pytest.approx(np.linalg.norm(finite), rel=1e-12)
    assert sum(found.counts) == len(finite) and len(found.counts) == tensors.BINS
    assert list(found.edges) == sorted(found.edges) and len(found.edges) == tensors.BINS + 1
    assert found.edges[0] <= finite.min() and finite.max() <= found.edges[-1]


@pytest.mark.parametrize("value", [0.0, 5.0, -1e300, 1e-310])
def test_numbers_that_are_all_the_same_stand_in_the_middle_of_a_range(value: float, tmp_path: Path) -> None:
    found = brief_of(tmp_path, "F64", np.full(7, value))

    assert found.counts[tensors.BINS // 2 - 1] + found.counts[tensors.BINS // 2] == 7
    assert found.edges[0] < value < found.edges[-1]


def test_a_tensor_of_several_reads_is_told_as_one(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(3, 2, size=(3, 100_001))

    found = brief_of(tmp_path, "F64", array)  # 2.4 MB: two full reads, and a part

    assert (found.share, found.least, found.most) == (1, array.min(), array.max())
    assert (found.mean, found.norm) == (pytest.approx(array.mean()), pytest.approx(np.linalg.norm(array)))
    assert list(found.counts) == np.histogram(array, bins=tensors.BINS)[0].tolist()


def test_small_tensors_leave_their_room_to_the_larger_ones_and_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    head = {"large": about("U8", 900, at=(0, 900)), "none": about("U8", 0, at=(900, 900)), "small": about("U8", 100, at=(900, 1000))}
    path = kept(tmp_path, file_of(head, b"\x01" * 900 + b"\x02" * 100))
    large, none, small = read_head(path).tensors

    found = briefs(path, [small, large, none], most_bytes=1000)
    tight = briefs(path, [small, large], most_bytes=999)

    assert [one and (one.mean, one.share) for one in found] == [(2, 1), (1, 1), None]
    assert [one.norm is None for one in tight if one is not None] == [False, True]
    assert tight[1] is not None and 0.9 < tight[1].share < 1


def test_numbers_are_whole_where_a_tensor_is_read_in_pieces(tmp_path: Path) -> None:
    array = np.full(1001, 1.5)

    found = brief_of(tmp_path, "F64", array, most_bytes=8 * 500)

    assert (found.least, found.most, found.broken) == (1.5, 1.5, 0)  # a piece that began inside of a number would hold another


# Matrices


@pytest.mark.parametrize(
    ("dtype", "shape", "most"),
    [
        ("F32", (6,), 100),
        ("F32", (), 100),
        ("F32", (1, 6), 100),
        ("F32", (6, 1), 100),
        ("F32", (0, 2, 3), 100),
        ("F8_E4M3", (2, 3), 100),
        ("F32", (2, 3), 23),
        ("U8", (2, 3), 23),  # as many numbers, which are as large when they are read
    ],
)
def test_what_is_no_matrix_or_too_large_a_one_is_not_drawn_as_one(dtype: str, shape: tuple[int, ...], most: int, tmp_path: Path) -> None:
    path, entry = tensor(tmp_path, dtype, np.ones(shape, np.float32 if dtype == "F32" else "u1"))

    assert matrix(path, entry, most_bytes=most) is None


def test_of_many_matrices_the_first_is_drawn_whole_where_it_fits(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)

    found = matrix(*tensor(tmp_path, "F32", array), most_bytes=24)

    assert found is not None and found.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("shape", [(97, 2), (2, 97), (191, 100), (300, 96)])
def test_blocks_of_unequal_length_have_the_mean_of_what_is_in_them(shape: tuple[int, int], tmp_path: Path) -> None:
    array = np.random.default_rng(1).normal(size=shape)

    found = matrix(*tensor(tmp_path, "F64", array))

    height, width = (min(length, tensors.MOST_CELLS) for length in shape)
    rows = [row * shape[0] // height for row in range(height + 1)]
    columns = [column * shape[1] // width for column in range(width + 1)]
    slow = [[array[a:b, c:d].mean() for c, d in zip(columns, columns[1:], strict=False)] for a, b in zip(rows, rows[1:], strict=False)]
    assert found is not None
    np.testing.assert_allclose(found, slow, rtol=1e-10)


def test_a_vector_of_a_format_that_numpy_does_not_know_has_no_numbers(tmp_path: Path) -> None:
    path, entry = tensor(tmp_path, "F8_E4M3", np.zeros(3, "u1"))

    assert vector(path, entry) is None
    assert briefs(path, [entry]) == [None]
