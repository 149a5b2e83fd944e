"""Figures of style that the code is held to. `python -m docs.figures_of_style` prints them all."""

import ast
from fnmatch import fnmatch
from pathlib import Path

import pytest

from docs import figures_of_style as figures
from docs.figures_of_style import Source

CODE = figures.sources(*figures.ROOMS)

CATALOGS = {"engine/methods", "engine/tasks"}
"""Folders that hold one package, or one module, for each entry of a list that is meant to grow."""

ONE_OF_EACH = {
    "Settings": "engine/methods/*/card.py",
    "Options": "engine/tasks/*/card.py",
    "Meta": "webapp/*.py",
    "Command": "webapp/*/management/commands/*.py",
}
"""What every method, every task, every Django model or serializer, and every command has of its own under the same name."""

ROWS = {"Artifact", "Evaluation", "Method", "Task"}
"""Django models: the rows in which what the engine calls so is kept. A model's name is that of its table."""


def test_nine_in_ten_public_functions_of_the_engine_say_what_they_do() -> None:
    public = figures.public_functions([file for file in CODE if file.path.startswith("engine/")])

    silent = [str(function) for function in public if not function.documented]

    assert figures.share_documented(public) >= 0.9, silent


def test_no_file_has_more_than_four_hundred_lines() -> None:
    assert [f"{file.path}: {file.lines}" for file in CODE if file.lines > 400] == []


def test_the_code_has_as_many_lines_of_tests_as_of_its_own() -> None:
    assert figures.lines_of(figures.sources("tests")) >= figures.lines_of(CODE)


def test_no_package_has_more_than_twenty_modules_side_by_side() -> None:
    crowded = {package: count for package, count in figures.modules_by_package(CODE).items() if count > 20 and package not in CATALOGS}

    assert crowded == {}


def test_a_class_name_has_one_meaning() -> None:
    twice = {}
    for name, places in figures.classes_by_name(CODE).items():
        if name in ONE_OF_EACH:
            places = [place for place in places if not fnmatch(place, ONE_OF_EACH[name])]
        if name in ROWS:
            places = [place for place in places if Path(place).name != "models.py"]
        if len(places) > 1:
            twice[name] = places

    assert twice == {}


def source(text: str, path: str = "engine/a.py") -> Source:
    return Source(path, len(text.splitlines()), ast.parse(text))


def test_a_method_is_documented_by_the_one_that_it_overrides() -> None:
    parent = source("class Parent:\n    def step(self):\n        'What it does.'\n")
    child = source("class Child(Parent):\n    def step(self): ...\n    def other(self): ...\n    def _own(self): ...\n", "engine/b.py")

    found = figures.public_functions([parent, child])

    assert [(str(function), function.documented) for function in found] == [
        ("engine/a.py: Parent.step", True),
        ("engine/b.py: Child.step", True),
        ("engine/b.py: Child.other", False),
    ]
    assert figures.share_documented(found) == pytest.approx(2 / 3)


def test_sizes_and_names_are_counted() -> None:
    one, other = (
        source("class A:\n    def f(self):\n        x = 1\n        return x\n"),
        source("class A: ...\ndef g(): ...\n", "engine/b.py"),
    )

    assert figures.function_sizes([one, other]) == {"engine/a.py:2 f": 3, "engine/b.py:2 g": 1}
    assert figures.classes_by_name([one, other]) == {"A": ["engine/a.py", "engine/b.py"]}
    assert figures.modules_by_package([one, other, source("", "engine/__init__.py"), source("", "engine/c/d.py")]) == {
        "engine": 2,
        "engine/c": 1,
    }
