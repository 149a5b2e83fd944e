"""How the generated reference writes what code says, also what no method or task says today."""

from dataclasses import replace
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from docs import figures_of_style as figures
from docs.generate import changes, default_teacher, evidence_row, exceptions_of, page, settings_table, table, teachers_of, with_drawing
from engine import errors
from engine.cli import main
from engine.spec import catalog
from engine.spec.cards import Needs, Preset
from tests.project.test_style import source

DIGITS, SUPERVISED = catalog.tasks()["digits"], catalog.methods()["supervised"]


class Inner(BaseModel):
    depth: int = 1


class Every(BaseModel):
    """One field of each sort of default."""

    required: int = Field(ge=1, le=100_000, description="a | b\nand more")
    nothing: float | None = Field(None, description="May be empty.")
    way: Literal["up", "down"] = "up"
    inner: Inner = Inner()
    many: list[int] = Field(default_factory=lambda: [1, 2], max_length=3)


def test_a_table_of_settings_has_type_limits_and_default_and_no_cell_leaves_its_row() -> None:
    head, rule, *rows = settings_table(Every).splitlines()

    assert (head, rule) == ("| field | type | limits | default | what it does |", "| --- | --- | --- | --- | --- |")
    assert rows == [
        "| `required` | whole number | ≥ 1, ≤ 100,000 | required | a \\| b and more |",
        "| `nothing` | number or empty |  | empty | May be empty. |",
        "| `way` | `up`, `down` |  | `up` |  |",
        "| `inner` | Inner |  | its own defaults |  |",
        "| `many` | list of whole number | length ≤ 3 | `[1, 2]` |  |",
    ]


def test_a_page_leaves_out_what_is_empty_and_ends_with_one_line_break() -> None:
    text = page("Title", "", "first\n\n", "", "last\n\n\n")

    assert text.splitlines()[1:] == ["", "# Title", "", "first", "", "", "", "last"]
    assert text.endswith("last\n")
    assert table(("a",), []) == "| a |\n| --- |"


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (None, "none"),
        (Needs("classifier"), "1"),
        (Needs("classifier", at_least=2, at_most=2), "2"),
        (Needs("classifier", at_most=16), "1 to 16"),
        (Needs("classifier", at_least=0, at_most=None), "0 to any number"),
    ],
)
def test_the_number_of_teachers_is_one_or_a_range(needs: Needs | None, words: str) -> None:
    assert teachers_of(replace(SUPERVISED, teachers=needs)) == words


def test_a_recipe_names_what_it_changes() -> None:
    preset = Preset("", settings={"learning_rate": 0.1}, budget={"epochs": 3})

    assert changes(preset.settings, preset.budget) == "`learning_rate` 0.1, `epochs` 3"
    assert changes({}, {}) == "nothing"
    assert default_teacher(replace(DIGITS, teacher="net", teacher_preset=preset)) == (
        "; default teacher `net`, trained by `supervised` with `learning_rate` 0.1, `epochs` 3"
    )
    assert default_teacher(replace(DIGITS, teacher_preset=None)) == "; no default teacher"


def test_only_a_modules_own_exceptions_are_listed() -> None:
    names = [name for name, _ in exceptions_of(errors)]

    assert names[:2] == ["`EngineError`", "`SpecError`"]
    assert "`Problem`" not in names
    assert exceptions_of(main) == [("`Refused`", "An argument is wrong; the message is for the person who typed it.")]
    assert exceptions_of(figures) == []


def test_a_drawing_takes_the_place_of_the_old_one_and_no_other_text() -> None:
    begin, end = "<!-- drawn from lifecycle.ALLOWED by `make docs` -->", "<!-- end of the drawing -->"
    around = f"before\n{begin}\nold\n```\n{end}\nafter {end}\n"

    drawn = with_drawing(around, r"a\1 \g<0> --> b")

    assert drawn == f"before\n{begin}\na\\1 \\g<0> --> b\n{end}\nafter {end}\n"
    assert with_drawing(drawn, r"a\1 \g<0> --> b") == drawn
    assert with_drawing("no place", "x") == "no place"


def test_a_page_with_a_peak_and_no_table_of_claims_keeps_its_peak() -> None:
    text = "# Evidence\n\n## Memory\n\n| process | peak resident set, MiB |\n|---|---|\n| with the run | 321 |\n"

    assert evidence_row(SUPERVISED, text)[-1] == "321"
    assert evidence_row(SUPERVISED, text)[2] == "not measured"


# Figures of style


def test_functions_inside_functions_are_nobodys_business_and_branches_are_looked_into() -> None:
    text = (
        "try:\n    import fast\n    def of_fast(): ...\nexcept ImportError:\n    pass\n"
        "if True:\n    async def waits(): 'Waits.'\n"
        "def outer():\n    'Has an inner one.'\n    def inner(): ...\n"
        "class _Hidden:\n    def seen(self): ...\n"
        "class Shown:\n    @typing.overload\n    def f(self): ...\n    @f.setter\n    def g(self): ...\n    def h(self): ...\n"
    )

    found = figures.public_functions([source(text)])

    assert {str(each).partition(": ")[2]: each.documented for each in found} == {
        "of_fast": False,
        "waits": True,
        "outer": True,
        "Shown.h": False,
    }
    assert set(figures.function_sizes([source(text)])) >= {"engine/a.py:10 inner", "engine/a.py:7 waits"}


def test_a_docstring_may_stand_far_above_and_classes_that_name_each_other_end_the_search() -> None:
    text = (
        "class Top:\n    def f(self): 'Said once.'\nclass Middle(package.Top): ...\n"
        "class Low(Middle):\n    def f(self): ...\n    def g(self): ...\nclass A(B):\n    def f(self): ...\nclass B(A): ...\n"
    )

    found = {str(each).partition(": ")[2]: each.documented for each in figures.public_functions([source(text)])}

    assert found == {"Top.f": True, "Low.f": True, "Low.g": False, "A.f": False}
