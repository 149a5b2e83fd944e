"""Files of the store: what is found there, and JSON whatever is in it."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.http import Http404
from hypothesis import given
from hypothesis import strategies as st

from tests.processes import ROOT
from webapp.store import close_to_others, existing, opened, parsed, path_in_store


@pytest.mark.parametrize("path", ["runs/gone", "file/below", "broken", "../x", "", "a\0b", "x" * 300])
def test_what_is_not_in_the_store_is_not_found(path: str, store: Path) -> None:
    (store / "file").write_text("x")
    (store / "broken").symlink_to(store / "gone")

    with pytest.raises(Http404, match=r"^This file is not in the store\.$"):
        existing(path)


def test_a_link_within_a_runs_folder_leads_to_what_it_names(store: Path) -> None:
    (store / "runs" / "a" / "attempt-1").mkdir(parents=True)
    (store / "runs" / "a" / "attempt-1" / "file").write_text("x")
    (store / "runs" / "a" / "latest").symlink_to(store / "runs" / "a" / "attempt-1")

    found = existing("runs/a/latest/file")

    assert found == store.resolve() / "runs" / "a" / "attempt-1" / "file"
    assert existing("runs/a/../a/./latest/file") == found


@pytest.mark.parametrize("target", ["runs/b", "runs/b/secret", "runs", "buffers"])
def test_a_link_to_another_run_or_elsewhere_in_the_store_is_not_followed(target: str, store: Path) -> None:
    for folder in ("runs/a", "runs/b", "buffers"):
        (store / folder).mkdir(parents=True)
    (store / "runs" / "b" / "secret").write_text("x")
    (store / "runs" / "a" / "link").symlink_to(store / target)

    with pytest.raises(ValueError, match=r"^'runs/a/link' leads out of its folder of the store$"):
        path_in_store("runs/a/link")
    with pytest.raises(Http404):
        existing("runs/a/link")


def test_a_runs_folder_that_is_a_link_itself_is_not_followed(store: Path) -> None:
    (store / "runs" / "b").mkdir(parents=True)
    (store / "runs" / "b" / "file").write_text("x")
    (store / "runs" / "a").symlink_to(store / "runs" / "b")

    with pytest.raises(Http404):
        existing("runs/a/file")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # a socket's path may not be long


@pytest.mark.parametrize("make", [make_pipe, make_socket])
def test_what_is_neither_file_nor_folder_is_not_found_and_not_waited_for(make: Callable[[Path], None], store: Path) -> None:
    (store / "runs" / "a").mkdir(parents=True)
    make(store / "runs" / "a" / "file")

    with pytest.raises(Http404):
        existing("runs/a/file")
    with pytest.raises(OSError, match=r"."):
        opened(store.resolve() / "runs" / "a" / "file")


def test_a_hard_link_is_a_file_like_any_other(store: Path) -> None:
    (store / "runs" / "a").mkdir(parents=True)
    (store / "runs" / "a" / "step").write_text("x")
    (store / "runs" / "a" / "kept").hardlink_to(store / "runs" / "a" / "step")

    with opened(existing("runs/a/kept")) as file:
        assert file.read() == b"x"


def test_a_file_that_became_a_link_after_it_was_found_is_not_opened(store: Path) -> None:
    (store / "runs" / "a").mkdir(parents=True)
    (store / "runs" / "a" / "file").write_text("x")
    found = existing("runs/a/file")

    found.unlink()
    found.symlink_to("/etc/passwd")

    with pytest.raises(OSError, match=r"symbolic links"):
        opened(found)


def test_a_folder_that_became_a_link_after_a_file_in_it_was_found_is_not_followed(store: Path) -> None:
    (store / "runs" / "a" / "tables").mkdir(parents=True)
    (store / "runs" / "a" / "tables" / "passwd").write_text("x")
    found = existing("runs/a/tables/passwd")

    found.parent.rename(store / "runs" / "a" / "moved")
    found.parent.symlink_to("/etc")

    with pytest.raises(NotADirectoryError):
        opened(found)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_store_that_others_may_enter_is_closed(mode: int, store: Path) -> None:
    store.chmod(mode)

    sentence = close_to_others()

    assert (sentence, stat.S_IMODE(store.stat().st_mode)) == (None, 0o700)


def test_a_store_that_is_not_there_is_made_closed(store: Path, settings: Any) -> None:
    settings.STORE = store / "deeper" / "store"

    assert close_to_others() is None
    assert stat.S_IMODE(settings.STORE.stat().st_mode) == 0o700


def test_a_store_that_can_not_be_closed_is_told_of_in_a_sentence(store: Path, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    (store / "file").write_text("x")
    settings.STORE = store / "file" / "store"

    sentence = close_to_others()

    assert sentence == (
        f"The store {settings.STORE} can't be closed to other accounts (Not a directory); let the account that runs Stillhouse own it, mode 0700."
    )
    assert caplog.messages == [sentence]


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


def test_the_web_server_closes_the_store_when_it_starts(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    subprocess.run([sys.executable, "-c", "import webapp.asgi"], cwd=ROOT, env=os.environ | {"STILLHOUSE_STORE": str(tmp_path)}, check=True)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


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
