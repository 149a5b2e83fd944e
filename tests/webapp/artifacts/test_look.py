"""What is looked at in an artifact, without a page around it: which file of a folder, which tensor, and where each kind of file is cut."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.http import Http404, QueryDict

from tests.webapp.artifacts.test_page import PNG, f32, safetensors
from webapp.artifacts import page
from webapp.artifacts.downloads import BLOCK, content_of
from webapp.artifacts.page import Asked, Look, look_at
from webapp.artifacts.tensors import MOST_BYTES
from webapp.figures.palette import color_of
from webapp.runs.models import Artifact

Looking = Callable[..., Look]


@pytest.fixture
def looking(store: Path) -> Looking:
    """Looks at a file of this name and content, or at what lies in the store already. No row is needed."""

    def look(name: str, content: bytes | str | None = None, **asked: Any) -> Look:
        if content is not None:
            path = store / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return look_at(Artifact(path=name), Asked(**asked), number=3)

    return look


# What was asked


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", Asked()),
        ("file=a/b.json&tensor=w.0&q=%20dig&start=50", Asked("a/b.json", "w.0", " dig", 50)),
        ("start=", Asked()),
        ("start=-1", Asked()),
        ("start=1.0", Asked()),
        ("start=٣", Asked()),
        (f"start={page.LAST_ENTRY}", Asked(start=page.LAST_ENTRY)),
        (f"start={page.LAST_ENTRY + 1}", Asked()),
        ("q=" + "w" * 201, Asked(sought="w" * 200)),
        ("q=a&q=b", Asked(sought="b")),
    ],
)
def test_an_address_says_what_is_looked_at_and_nonsense_counts_as_nothing(query: str, asked: Asked) -> None:
    assert Asked.read(QueryDict(query)) == asked


# Folders


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["model.json", "a.txt", "model.safetensors", "records.json"], "records.json"),
        (["model.json", "a.txt", "model.safetensors"], "model.safetensors"),
        (["a.txt", "model.json"], "model.json"),
        (["z.txt", "deep/er/a.txt", "deep/records.json"], "deep/er/a.txt"),
    ],
)
def test_of_a_folder_the_file_that_says_most_is_looked_at_first(names: list[str], shown: str, looking: Looking, store: Path) -> None:
    for name in names:
        looking(f"folder/{name}", b"{}")

    look = looking("folder")

    assert look.asked.file == shown
    assert sorted(file.name for file in look.files) == sorted(names) and {file.bytes for file in look.files} == {2}


def test_an_empty_folder_says_that_it_is(looking: Looking, store: Path) -> None:
    (store / "folder" / "in it").mkdir(parents=True)

    assert looking("folder").sentence == "The folder is empty."
    with pytest.raises(Http404, match=r"^The artifact has no such file\.$"):
        looking("folder", file="in it")


def test_a_folder_of_very_many_files_lists_the_first_and_shows_any(looking: Looking, store: Path) -> None:
    (store / "folder").mkdir()
    for place in range(page.MOST_FILES + 1):
        (store / "folder" / f"{place:03}.txt").write_text(f"this is {place}")

    look = looking("folder", file="200.txt")

    assert (look.text, len(look.files), look.files[-1].name) == ("this is 200", page.MOST_FILES, "199.txt")


def test_a_broken_file_of_a_folder_leaves_the_way_to_the_others(looking: Looking) -> None:
    looking("folder/model.json", "no json")
    looking("folder/z.txt", "words")

    look = looking("folder", sought="x")

    assert look.sentence == "The file is not JSON, though its name says so; it can be downloaded as it is."
    assert [file.name for file in look.files] == ["model.json", "z.txt"]
    assert (look.asked.file, look.asked.sought) == ("model.json", "x")


# Text and tables


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "", "The file is empty."),
        ("a.csv", "", "The file is empty."),
        ("a.txt", "line\n" * page.MOST_LINES, ""),
        ("a.txt", "line\n" * (page.MOST_LINES + 1), "These are the first 200 lines."),
        ("a.txt", "l" * page.MOST_TEXT, ""),
        ("a.txt", "l" * page.MOST_TEXT + "l", "These are the first 1 lines."),
        ("a.csv", "head\n" + "1\n" * page.MOST_LINES, ""),
        ("a.csv", "head\n" + "1\n" * (page.MOST_LINES + 1), "These are the first 200 rows."),
        ("a.csv", "head\n", ""),
    ],
)
def test_a_file_says_where_it_was_cut_and_only_then(name: str, content: str, sentence: str, looking: Looking) -> None:
    assert looking(name, content).sentence == sentence


def test_a_table_with_tabs_keeps_its_commas_and_both_kinds_of_quoted_cells(looking: Looking) -> None:
    assert looking("t.TSV", 'a,b\tc\n1\t"two\nlines"\n').cells == (("1", "two\nlines"),)
    assert looking("t.csv", 'a\tb,c\n"1, ""x""",2\r\n').cells == (('1, "x"', "2"),)


def test_a_table_that_is_cut_in_the_middle_of_a_row_ends_with_the_row_before(looking: Looking) -> None:
    wide = "y" * 999  # with its line's end 1000 letters: 131 whole rows, the head among them, are within the first 128 KiB

    look = looking("t.csv", f"{wide}\n" * 150)

    assert look.sentence == "These are the first 130 rows."
    assert set(look.cells) == {(wide,)} and len(look.cells) == 130


def test_damage_in_the_middle_of_a_letter_at_the_very_end_is_refused(looking: Looking) -> None:
    assert looking("a.txt", "é".encode()[:1]).sentence == "Files of this kind can't be shown here; it can be downloaded as it is."


# Pictures


@pytest.mark.parametrize(
    ("name", "start", "form"),
    [
        ("p.png", PNG, "png"),
        ("p.JPG", b"\xff\xd8\xff\xe0", "jpeg"),
        ("p.jpeg", b"GIF89a", "gif"),
        ("p.gif", b"RIFF0000WEBP", "webp"),
        ("p.webp", PNG, "png"),
    ],
)
def test_a_picture_is_of_the_form_that_its_beginning_says(name: str, start: bytes, form: str, looking: Looking) -> None:
    assert looking(name, start).picture.startswith(f"data:image/{form};base64,")


def test_a_picture_of_four_mebibytes_is_shown_and_no_larger_one(looking: Looking) -> None:
    whole = PNG + bytes(page.MOST_PICTURE - len(PNG))

    assert looking("p.png", whole).picture
    assert looking("p.png", whole + b"\0").sentence == "The picture has more than 4 MiB; download it to look at it."


# Tensors


def test_of_very_many_tensors_the_first_are_listed_and_any_is_looked_at_closer(looking: Looking) -> None:
    file = safetensors({f"w{place}": f32(place, place + 1) for place in range(page.MOST_TENSORS + 1)})

    look = looking("t.safetensors", file, tensor="w400")
    none = looking("t.safetensors", tensor="w401")

    assert (len(look.tensors), look.tensor_count, look.asked.tensor) == (400, 401, "w400")
    assert not any(row.chosen for row in look.tensors)
    assert [view.title for view in look.closer] == ["w400, in order"]  # its numbers were not gone through for the list
    assert [row.entry.name for row in none.tensors if row.chosen] == [none.asked.tensor] == ["w0"]


def test_a_file_without_tensors_says_so_and_shows_its_facts(looking: Looking) -> None:
    look = looking("t.safetensors", safetensors({}, {"kind": "knowledge", "shapes": {}, "views": "none"}))

    assert (look.sentence, look.tensors, look.closer, look.charts) == ("The file holds no tensors.", (), (), ())
    assert look.facts is not None and [node.key for node in look.facts.nodes] == ["kind"]
    assert looking("u.safetensors", safetensors({}, {"shapes": {}})).facts is None


def test_a_matrix_is_drawn_with_its_first_row_at_the_top_and_gaps_for_what_is_no_number(looking: Looking) -> None:
    array = np.array([[1.23456789, np.nan, 3], [np.inf, 5, -6]], np.float32)

    *_, view = looking("t.safetensors", safetensors({"m": ("F32", array)})).closer

    assert view.figure is not None and view.note == ""
    (cells,) = view.figure["data"]
    assert cells["z"] == [[None, 5.0, -6.0], [1.235, None, 3.0]]
    assert (cells["y"], cells["x"]) == (["1", "0"], ["0", "1", "2"])


def test_a_matrix_of_blocks_says_so_and_names_each_by_its_first_row(looking: Looking) -> None:
    *_, view = looking("t.safetensors", safetensors({"m": ("F16", np.ones((3, 4, 1000, 2), "<f2"))})).closer

    assert view.note == "the first of 3 × 4 matrices; means of blocks: it has 1,000 rows and 2 columns"
    assert view.figure is not None and view.figure["data"][0]["y"][-3:] == ["20", "10", "0"]
    assert view.figure["data"][0]["y"][0] == "989"


@pytest.mark.parametrize(("length", "titles"), [(1, ["v"]), (2, ["v", "v, in order"]), (2000, ["v", "v, in order"]), (2001, ["v"])])
def test_a_short_vector_is_drawn_in_its_order(length: int, titles: list[str], looking: Looking) -> None:
    look = looking("t.safetensors", safetensors({"v": f32(*range(length))}))

    assert [view.title for view in look.closer] == titles


def test_figures_of_a_tensor_have_the_color_of_its_run(looking: Looking) -> None:
    bars, line = looking("t.safetensors", safetensors({"v": f32(1, float("nan"), 3)})).closer

    assert bars.figure is not None and line.figure is not None
    assert bars.figure["data"][0]["marker"]["color"] == line.figure["data"][0]["line"]["color"] == color_of(3)
    assert line.figure["data"][0]["y"] == [1.0, None, 3.0] and line.figure["data"][0]["x"] == [0, 1, 2]


def test_a_tensor_that_is_not_read_whole_says_how_much_was(looking: Looking, store: Path) -> None:
    rows = 2 * MOST_BYTES  # the file has a hole in place of its zeros, and takes no room
    head = json.dumps({"w": {"dtype": "U8", "shape": [rows], "data_offsets": [0, rows]}}).encode()
    with (store / "t.safetensors").open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + rows)

    look = looking("t.safetensors")

    assert [view.note for view in look.closer] == ["of 50.0% of the numbers, in pieces spread evenly over them"]
    assert look.tensors[0].brief is not None and look.tensors[0].brief.norm is None


def test_the_small_picture_of_a_histogram_reaches_from_the_bottom_to_the_top(looking: Looking) -> None:
    (row,) = looking("t.safetensors", safetensors({"v": f32(0, 0, 0, 0, 32)})).tensors

    assert row.spark == "M0 16V0h2V16z" + "M62 16V12h2V16z"  # the second bar has a quarter of the first one's height


# Downloads


def test_an_archive_holds_the_files_of_all_folders_by_name(store: Path) -> None:
    for name in ("b.txt", "a/c.txt", "a/b.txt"):
        (store / "ö folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (store / "ö folder" / name).write_text(name)
    artifact = Artifact(path="ö folder")

    content = content_of(artifact)
    sent = b"".join(content.chunks)

    assert (content.name, content.size) == (f"{artifact.run_id}-ö folder.zip", len(sent))
    places = [sent.index(f"ö folder/{name}".encode()) for name in ("a/b.txt", "a/c.txt", "b.txt")]
    assert places == sorted(places)


@pytest.mark.parametrize(("size", "pieces"), [(0, []), (1, [1]), (BLOCK, [BLOCK]), (BLOCK + 1, [BLOCK, 1])])
def test_a_file_is_sent_in_whole_blocks_and_a_rest(size: int, pieces: list[int], store: Path) -> None:
    (store / "f").write_bytes(bytes(size))

    content = content_of(Artifact(path="f"))

    assert (content.size, [len(chunk) for chunk in content.chunks]) == (size, pieces)
