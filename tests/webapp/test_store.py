"""Files of the store: what is found there, and JSON whatever is in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.http import Http404
from hypothesis import given
from hypothesis import strategies as st

from webapp.store import existing, parsed, path_in_store


@pytest.mark.parametrize("path", ["runs/gone", "file/below", "broken", "../x", "", "a\0b", "x" * 300])
def test_what_is_not_in_the_store_is_not_found(path: str, store: Path) -> None:
    (store / "file").write_text("x")
    (store / "broken").symlink_to(store / "gone")

    with pytest.raises(Http404, match=r"^This file is not in the store\.$"):
        existing(path)


def test_a_link_within_the_store_leads_to_what_it_names(store: Path) -> None:
    (store / "a").mkdir()
    (store / "a" / "file").write_text("x")
    (store / "latest").symlink_to(store / "a")

    assert existing("latest/file") == store.resolve() / "a" / "file"
    assert existing("a/../a/./file") == existing("latest/file")


def test_a_folder_beside_the_store_whose_name_begins_like_its_own_is_outside(store: Path) -> None:
    (store.parent / "store-2").mkdir()

    with pytest.raises(ValueError, match=r"^'\.\./store-2' is not in the store$"):
        path_in_store("../store-2")
    with pytest.raises(ValueError, match=r"is not in the store$"):
        path_in_store(str(store.parent / "store-2"))


def test_a_store_that_is_a_link_itself_is_followed(store: Path, settings: Any) -> None:
    (store / "file").write_text("x")
    (store.parent / "link").symlink_to(store)
    settings.STORE = store.parent / "link"

    assert existing("file") == store.resolve() / "file"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, st.booleans())
def test_json_without_oddities_is_read_as_it_is(value: Any, ascii_only: bool) -> None:
    assert parsed(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'"a\\ud800b"', "a?b"),
        (b'"\\uDC00"', "?"),
        (b'{"\\uD83D": ["\\ud83d\\ude00", "\\udead"]}', {"?": ["😀", "?"]}),
        (b'"\\\\ud800"', "\\ud800"),
        (b'["\\udfff", NaN, -Infinity, 1e999]', ["?", "NaN", "-Infinity", float("inf")]),
        (b"[Infinity]", ["Infinity"]),
        (b"\xef\xbb\xbf[1]", [1]),
    ],
)
def test_json_with_oddities_can_be_shown(text: bytes, value: Any) -> None:
    found = parsed(text)

    assert found == value
    str(found).encode()  # no half of a character is left


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[1] 2", b"nan"])
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(text)
