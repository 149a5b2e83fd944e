"""Python's source as a task: the same three texts everywhere, and no file in two of them."""

import string
from pathlib import Path

import pytest
import torch

from engine.errors import DataError
from engine.tasks.stdlib_source.card import SIZES, WINDOW, card
from engine.tasks.stdlib_source.task import StdlibSource
from engine.tasks.stdlib_source.text import part, place, read


def library(folder: Path, files: int, characters: int) -> Path:
    """Modules whose text is their own name, again and again."""
    for number in range(files):
        name = f"module{number}"
        (folder / f"{name}.py").write_text((f"# {name}\n" * characters)[:characters], encoding="utf-8")
    return folder


def test_every_part_has_its_size_and_files_of_its_own(tmp_path):
    texts = read(library(tmp_path, files=100, characters=20_000))

    names = {split: {line for line in text.splitlines() if line.count("module") == 1} for split, text in texts.items()}
    whole = {split: {name for name in found if (tmp_path / f"{name.removeprefix('# ')}.py").exists()} for split, found in names.items()}
    assert {split: len(text) for split, text in texts.items()} == SIZES
    assert min(len(found) for found in whole.values()) >= 5
    assert not whole["train"] & whole["validation"] | whole["train"] & whole["test"] | whole["validation"] & whole["test"]


def test_a_files_part_and_place_follow_from_its_name_alone():
    assert place(Path("/a/string.py")) == place(Path("/b/string.py")) != place(Path("/a/token.py"))
    counts = [sum(part(Path(f"{number}.py")) == split for number in range(2000)) for split in ("train", "validation", "test")]
    assert sum(counts) == 2000
    assert counts == [pytest.approx(1600, abs=60), pytest.approx(200, abs=50), pytest.approx(200, abs=50)]


def test_private_modules_are_left_out(tmp_path):
    library(tmp_path, files=100, characters=20_000)
    texts = read(tmp_path)
    for number in range(50):
        (tmp_path / f"_generated{number}.py").write_text("x" * 20_000)

    assert read(tmp_path) == texts


def test_a_library_without_source_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(DataError) as refused:
        read(library(tmp_path, files=3, characters=100))

    assert str(refused.value).startswith("The source of Python's standard library is not complete on this machine: ")
    assert str(refused.value).endswith("install Python with its library as .py files.")


def test_rows_are_windows_with_the_next_characters_as_targets():
    task = StdlibSource(card.options(), torch.device("cpu"))
    train = task.splits["train"]

    assert len(train) == card.train_rows == SIZES["train"] - WINDOW
    assert torch.equal(train.inputs[7, 1:], train.targets[7, :-1])
    assert task.vocabulary.size == card.classes == 101
    assert task.vocabulary.decode(task.vocabulary.encode(string.printable).tolist()) == string.printable
    assert task.vocabulary.decode(task.vocabulary.encode("é").tolist()) == "\N{REPLACEMENT CHARACTER}"
