"""The page of an artifact: what its file holds, by kind, bounded, and in a sentence where it is broken."""

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse

from engine import charts
from tests.webapp.conftest import RunMaker
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import User
from webapp.artifacts import page as artifact_page
from webapp.artifacts import tensors, trees
from webapp.artifacts.page import Asked, Look, look_at
from webapp.runs.models import Artifact

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


def safetensors(arrays: Mapping[str, tuple[str, np.ndarray[Any, Any]]], meta: Mapping[str, Any] | None = None) -> bytes:
    """A file of the format, by hand: name → (the format's dtype, numbers whose bytes are written)."""
    head: dict[str, Any] = {"__metadata__": {"meta": json.dumps(meta or {})}}
    data = b""
    for name, (dtype, array) in arrays.items():
        head[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


def f32(*numbers: float) -> tuple[str, np.ndarray[Any, Any]]:
    return "F32", np.array(numbers, np.float32)


Keep = Callable[[str, bytes], Artifact]


@pytest.fixture
def keep(finished_run: RunMaker, store: Path) -> Keep:
    """Puts a file into the store and gives it to a finished run as an artifact."""
    run = finished_run(name="made it")

    def make(name: str, content: bytes) -> Artifact:
        path = store / "kept" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        about = {"name": name.partition(".")[0], "kind": "other", "bytes": len(content), "sha256": "0" * 64}
        return Artifact.objects.create(run=run, attempt=1, path=f"kept/{name}", **about)

    return make


def looked(artifact: Artifact, **asked: Any) -> Look:
    return look_at(artifact, Asked(**asked), number=1)


def page_of(artifact: Artifact, person: User, query: str = "") -> str:
    response = as_(person).get(reverse("artifact", args=[artifact.pk]) + query)
    assert response.status_code == 200
    return text_of(response)


# Who may


def test_a_stranger_finds_no_artifact_and_a_guest_is_asked_to_sign_in(keep: Keep, stranger: User, viewer: User) -> None:
    address = reverse("artifact", args=[keep("notes.txt", b"secret").pk])

    assert as_(stranger).get(address).status_code == 404
    assert as_(None).get(address).status_code == 302
    assert "secret" in text_of(as_(viewer).get(address))


def test_the_runs_page_leads_to_the_look_of_each_artifact(keep: Keep, viewer: User) -> None:
    artifact = keep("notes.txt", b"words")

    page = text_of(as_(viewer).get(reverse("run-detail", args=[artifact.run_id])))

    assert f'href="{reverse("artifact", args=[artifact.pk])}"' in page


# Tensors


def test_a_tensor_is_told_by_its_dtype_shape_bytes_and_numbers(keep: Keep) -> None:
    (row,) = looked(keep("t.safetensors", safetensors({"w": ("F32", np.array([[3, -4], [0, 12]], np.float32))}))).tensors

    assert (row.entry.dtype, row.entry.size, row.entry.bytes) == ("F32", "2 × 2", 16)
    assert row.brief is not None
    assert (row.brief.least, row.brief.mean, row.brief.most, row.brief.norm) == (-4, 2.75, 12, 13)  # 9 + 16 + 144 = 13²
    assert sum(row.brief.counts) == 4 and row.brief.counts[0] == row.brief.counts[-1] == 1


@pytest.mark.parametrize(
    ("dtype", "array"),
    [
        ("BF16", np.array([0x3FC0, 0xC000], "<u2")),  # 1.5 and −2: the upper halves of 0x3FC00000 and 0xC0000000
        ("F8_E5M2", np.array([0x3E, 0xC0], "u1")),  # the same in five bits of exponent and two of mantissa
        ("F16", np.array([1.5, -2], "<f2")),
        ("F64", np.array([1.5, -2], "<f8")),
    ],
)
def test_every_format_of_numbers_is_read(dtype: str, array: np.ndarray[Any, Any], keep: Keep) -> None:
    (row,) = looked(keep("t.safetensors", safetensors({"w": (dtype, array)}))).tensors

    assert row.brief is not None
    assert (row.brief.least, row.brief.most, row.brief.norm) == (-2, 1.5, 2.5)


def test_a_format_that_numpy_does_not_know_is_listed_without_numbers(keep: Keep, viewer: User) -> None:
    artifact = keep("t.safetensors", safetensors({"w": ("F8_E4M3", np.zeros(3, "u1")), "b": f32(1, 2)}))

    assert [row.brief is None for row in looked(artifact).tensors] == [True, False]
    assert "no numbers to tell of" in page_of(artifact, viewer)


def test_numbers_that_are_not_finite_are_counted_and_left_out(keep: Keep, viewer: User) -> None:
    artifact = keep("t.safetensors", safetensors({"w": f32(1, float("nan"), float("inf"), 2)}))

    (row,) = looked(artifact).tensors
    assert row.brief is not None
    assert (row.brief.least, row.brief.most, row.brief.mean, row.brief.broken) == (1, 2, 1.5, 2)
    assert "2 not finite" in page_of(artifact, viewer)


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.float32), np.array(5, np.float32), np.full(4, 3e38, np.float32)])
def test_tensors_with_no_spread_have_a_page_too(array: np.ndarray[Any, Any], keep: Keep, viewer: User) -> None:
    assert "1 tensor<" in page_of(keep("t.safetensors", safetensors({"w": ("F32", array)})), viewer)


def test_the_largest_doubles_have_a_histogram(keep: Keep) -> None:
    (row,) = looked(keep("t.safetensors", safetensors({"w": ("F64", np.array([-1.7e308, 1.7e308]))}))).tensors

    assert row.brief is not None
    assert (row.brief.counts[0], row.brief.counts[-1]) == (1, 1)


def test_of_a_huge_tensor_only_pieces_from_all_over_it_are_read(tmp_path: Path) -> None:
    ramp = np.arange(100_000, dtype=np.float32)
    path = tmp_path / "ramp.safetensors"
    path.write_bytes(safetensors({"ramp": ("F32", ramp), "small": f32(7)}))
    entries = tensors.read_head(path).tensors
    assert [entry.name for entry in entries] == ["ramp", "small"]

    large, small = tensors.briefs(path, entries, most_bytes=40_000)

    assert small is not None and small.share == 1 and small.most == 7
    assert large is not None and large.norm is None
    assert 0.05 < large.share <= 0.1  # what a tenth of its 400,000 bytes holds, less what does not fill a piece
    assert large.least == 0 and large.most == 99_999
    assert large.mean == pytest.approx(49_999.5, rel=0.01)


def test_a_matrix_is_drawn_by_the_means_of_its_blocks(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors({"m": ("F32", np.repeat(np.arange(192, dtype=np.float32)[:, None], 3, axis=1))}))
    (entry,) = tensors.read_head(path).tensors

    found = tensors.matrix(path, entry)

    assert found is not None and found.shape == (96, 3)
    assert found[:, 0].tolist() == [2 * block + 0.5 for block in range(96)]  # the means of 0 and 1, of 2 and 3, …


def test_the_chosen_tensor_is_looked_at_closer(keep: Keep) -> None:
    artifact = keep("t.safetensors", safetensors({"v": f32(1, 2, 3), "m": ("F32", np.ones((2, 4, 5), np.float32))}))

    assert [chart.title for chart in looked(artifact).closer] == ["v", "v, in order"]
    matrix = looked(artifact, tensor="m").closer[1]
    assert matrix.title == "m, as a matrix" and matrix.note == "the first of 2 matrices"
    assert matrix.figure is not None and np.shape(matrix.figure["data"][0]["z"]) == (4, 5)


def test_the_charts_that_a_method_wrote_beside_its_tensors_come_first(keep: Keep, viewer: User) -> None:
    course = charts.lines("How far the experts have moved", {"expert 0": ([0, 1], [0.0, 2.0])}, x="epoch", y="distance")
    said = charts.texts("First rollouts", [{"text": "<b>once upon"}])
    artifact = keep("t.safetensors", safetensors({"w": f32(1)}, {"views": {"a": course, "b": said}, "shapes": {"w": [1]}, "rows": 7}))

    page = page_of(artifact, viewer)

    assert page.index("How far the experts have moved") < page.index("First rollouts") < page.index("1 tensor<")
    assert "&lt;b&gt;once upon" in page
    facts = looked(artifact).facts
    assert facts is not None and [(node.key, node.text) for node in facts.nodes] == [("rows", "7")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"\xff" * 64,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"w": 12}',
        safetensors({"w": f32(1, 2, 3)})[:-4],
        safetensors({"w": f32(1, 2)}).replace(b'"shape": [2]', b'"shape": [9]'),
    ],
)
def test_a_broken_file_of_tensors_is_told_of_in_a_sentence(content: bytes, keep: Keep, viewer: User) -> None:
    page = page_of(keep("t.safetensors", content), viewer)

    assert "The head of the file is damaged" in page or "The file is truncated" in page


# JSON


def test_records_are_a_table(keep: Keep) -> None:
    found = looked(keep("r.json", json.dumps([{"id": 1, "word": "a"}, {"id": 2, "right": True}]).encode())).records

    assert found is not None
    assert found.columns == ("id", "word", "right")
    assert found.rows == (("1", "a", ""), ("2", "", "true"))


def test_a_tree_shows_what_a_folded_branch_holds_in_brief(keep: Keep) -> None:
    content = {"skills": [{"name": "dig", "steps": ["a", "b"]}], "rates": [0.5, 1], "none": None}

    tree = looked(keep("t.json", json.dumps(content).encode())).tree

    assert tree is not None
    skills, rates, none = tree.nodes
    assert (skills.text, skills.children[0].text) == ("1 entry", "name dig")
    assert (rates.text, rates.children, none.text) == ("[0.5, 1]", (), "null")


def test_a_search_finds_names_and_values_at_any_depth_and_opens_what_holds_them(keep: Keep, viewer: User) -> None:
    content = [{"name": "dig", "why": {"rule": "needs a <pickaxe>"}}, {"name": "cook", "why": {"rule": "needs fire"}}]
    artifact = keep("t.json", json.dumps(content).encode())

    tree = looked(artifact, sought="PICKaxe").tree

    assert tree is not None
    (entry,) = tree.nodes
    assert entry.key == "0" and entry.open
    assert [child.key for child in entry.children] == ["why"]
    assert entry.children[0].children[0].found
    page = page_of(artifact, viewer, "?q=pickaxe")
    assert "needs a &lt;pickaxe&gt;" in page and "needs fire" not in page
    assert "Nothing holds “water”." in page_of(artifact, viewer, "?q=water")


def test_a_long_list_is_shown_a_page_at_a_time(keep: Keep, viewer: User) -> None:
    artifact = keep("t.json", json.dumps([{"at": [f"entry-{place}"]} for place in range(120)]).encode())

    page = page_of(artifact, viewer, "?start=100")

    assert "entry-100" in page and "entry-119" in page and "entry-99" not in page
    assert "101 to 120 of 120" in page
    assert "start=50" in page
    assert "1 to 50 of 120" in page_of(artifact, viewer, "?start=9999")
    assert "1 to 50 of 120" in page_of(artifact, viewer, "?start=-3")


def test_a_page_of_json_has_only_so_many_nodes(keep: Keep) -> None:
    wide = {f"k{outer}": {f"i{inner}": {"x": 1} for inner in range(90)} for outer in range(50)}  # 9,050 nodes

    tree = looked(keep("t.json", json.dumps(wide).encode())).tree

    def size(nodes: tuple[trees.Node, ...]) -> int:
        return sum(1 + size(node.children) for node in nodes)

    assert tree is not None
    assert size(tree.nodes) <= trees.MOST_NODES
    assert [node.key for node in tree.nodes] == list(wide)  # every entry is named, though not everything in it is shown


def test_a_chart_is_drawn_and_can_be_read_as_json(keep: Keep, viewer: User) -> None:
    page = page_of(keep("v.json", json.dumps(charts.rows("Ranks", ["layer"], [[3]])).encode()), viewer)

    assert "<h2>Ranks</h2>" in page and "As JSON" in page


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_told_of_in_a_sentence(content: bytes, keep: Keep, viewer: User) -> None:
    assert "The file is not JSON, though its name says so" in page_of(keep("t.json", content), viewer)


def test_what_no_page_can_show_is_replaced_and_what_is_no_number_stands_as_it_is(keep: Keep, viewer: User) -> None:
    page = page_of(keep("t.json", b'{"half": "a\\ud800b", "whole": "\\ud83d\\ude00", "n": NaN}'), viewer)

    assert "a?b" in page and "😀" in page and "NaN" in page
    half = safetensors({"w": f32(1)}, {"said": "a\ud800b"})
    assert "a?b" in page_of(keep("u.safetensors", half), viewer)


def test_a_huge_json_shows_how_it_begins(keep: Keep, viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_page, "MOST_JSON", 100)
    artifact = keep("t.json", json.dumps(["first", *range(200_000)]).encode())

    page = page_of(artifact, viewer)

    assert "too many to unfold here" in page and "[&quot;first&quot;, 0, 1" in page
    assert "199999" not in page


# Tables, text, pictures, folders


def test_a_csv_is_a_table_of_its_first_rows(keep: Keep, viewer: User) -> None:
    rows = "".join(f'{n},"a, {n}"\n' for n in range(1000))
    artifact = keep("t.csv", f"n,<i>\n{rows}".encode())

    look = looked(artifact)

    assert look.columns == ("n", "<i>") and look.cells[0] == ("0", "a, 0") and len(look.cells) == 200
    assert "These are the first 200 rows." in page_of(artifact, viewer)


def test_a_text_shows_its_first_lines_and_is_only_text(keep: Keep, viewer: User) -> None:
    page = page_of(keep("t.log", ("<script>alert(1)</script>\n" + "line\n" * 500).encode()), viewer)

    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page
    assert "These are the first 200 lines." in page


def test_a_letter_cut_in_two_does_not_make_a_text_unreadable(keep: Keep) -> None:
    look = looked(keep("t.txt", b"a" + "é".encode() * artifact_page.MOST_TEXT))

    assert look.text.startswith("aé") and look.text.endswith("é") and "first 1 lines" in look.sentence


@pytest.mark.parametrize("content", [b"PK\x03\x04\x00\x00", b"\xff\xd9 no utf-8"])
def test_what_is_no_text_is_not_shown(content: bytes, keep: Keep, viewer: User) -> None:
    assert "Files of this kind can&#x27;t be shown here" in page_of(keep("t.bin", content), viewer)


def test_a_picture_is_shown_if_it_is_one(keep: Keep, viewer: User) -> None:
    assert 'src="data:image/png;base64,iVBORw0KGgo' in page_of(keep("p.png", PNG), viewer)
    assert "The file is no picture" in page_of(keep("q.png", b"<svg onload=alert(1)>"), viewer)


def test_a_folder_shows_the_file_that_is_asked_for_and_no_other(keep: Keep, viewer: User, store: Path) -> None:
    keep("student/model.json", b'{"kind": "knowledge"}')
    keep("student/records.json", b'{"skills": ["dig"]}')
    (store / "kept" / "student" / "link.json").symlink_to(store / "kept" / "student" / "model.json")
    (store / "kept" / "secret.json").write_text('{"secret": 1}')
    folder = Artifact.objects.filter(path="kept/student/model.json").get()
    Artifact.objects.filter(pk=folder.pk).update(path="kept/student")
    address = reverse("artifact", args=[folder.pk])
    person = as_(viewer)

    assert "dig" in text_of(person.get(address))
    assert "knowledge" in text_of(person.get(address + "?file=model.json"))
    for other in ("../secret.json", "link.json", "/etc/passwd", "none.json"):
        assert person.get(address, {"file": other}).status_code == 404, other


@pytest.mark.parametrize("path", ["gone.json", "../outside", "", "kept/\x01.json"])
def test_a_file_that_is_not_in_the_store_is_told_of_in_a_sentence(path: str, keep: Keep, viewer: User) -> None:
    artifact = keep("t.json", b"{}")
    Artifact.objects.filter(pk=artifact.pk).update(path=path)

    assert "The file is not in the store any more" in page_of(artifact, viewer)


def test_a_pipe_or_another_runs_file_in_an_artifacts_place_is_told_of_at_once(keep: Keep, viewer: User, store: Path) -> None:
    keep("secret.txt", b"secret")
    pipe, link = keep("a/pipe.json", b"{}"), keep("a/link.txt", b"")
    for artifact in (pipe, link):
        (store / artifact.path).unlink()
    os.mkfifo(store / pipe.path)
    (store / link.path).symlink_to(store / "kept" / "secret.txt")
    Artifact.objects.filter(pk=link.pk).update(path="runs/a/link.txt")
    (store / "runs").mkdir()
    (store / "kept" / "a").rename(store / "runs" / "a")
    Artifact.objects.filter(pk=pipe.pk).update(path="runs/a/pipe.json")

    pages = [page_of(artifact, viewer) for artifact in (pipe, link)]

    assert all("The file is not in the store any more" in page for page in pages)


def test_a_folder_shows_neither_pipes_nor_links(keep: Keep, viewer: User, store: Path) -> None:
    artifact = keep("folder/words.txt", b"words")
    os.mkfifo(store / "kept" / "folder" / "pipe.json")
    (store / "kept" / "folder" / "link.json").symlink_to("words.txt")
    Artifact.objects.filter(pk=artifact.pk).update(path="kept/folder")

    page = page_of(artifact, viewer)

    assert "words" in page and "pipe.json" not in page and "link.json" not in page


def test_an_odd_question_is_not_an_error(keep: Keep, viewer: User) -> None:
    artifact = keep("t.json", b'{"a": 1}')

    for query in ("?start=x", "?start=99999999999999999999", "?q=" + "w" * 5000, "?tensor=none", "?file=a"):
        assert Client.get(as_(viewer), reverse("artifact", args=[artifact.pk]) + query).status_code == 200, query
