"""Fields of the launch form: what was typed becomes JSON, and what a spec says is shown so that sending it back changes nothing."""

import json
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic import Field as Declared

from engine.errors import Problem
from engine.spec import catalog
from engine.spec.run_spec import Cadence, RunSpec
from webapp.launching.fields import Field, Kind, fields_of, show_problems, text_of


class Settings(BaseModel):
    """One of each kind."""

    flag: bool = Declared(True, description="Yes or no.")
    count: Annotated[int, Declared(ge=1, le=5)] = Declared(2, description="How many.")
    rate: float = Declared(0.5, gt=0, description="How fast.")
    word: str = Declared("a", min_length=1, description="A word.")
    way: Literal["up", "down", 3] = Declared("up", description="Where to.")
    maybe: int | None = Declared(None, description="Or not.")
    old_style: Optional[float] = Declared(1.5, description="Or not.")  # noqa: UP045
    several: int | str | None = Declared(None, description="Many things.")
    levels: list[float] = Declared([0.5, 1.0], description="Some.")
    ways: list[Literal["x", "y"]] = Declared(default_factory=lambda: ["x"], description="Some.")
    nested: list[list[int]] = Declared(default_factory=list, description="Deep.")
    table: dict[str, int] = Declared(default_factory=dict, description="By name.")
    needed: int = Declared(description="Without a default.")


def field_of(name: str, typed: dict[str, str] | None = None, **values: Any) -> Field:
    return fields_of(Settings, at="s", typed=typed, values=values, only=[name])[0]


@pytest.mark.parametrize(
    ("name", "kind", "optional", "default"),
    [
        ("flag", "flag", False, "true"),
        ("count", "integer", False, "2"),
        ("rate", "number", False, "0.5"),
        ("word", "text", False, "a"),
        ("way", "choice", False, "up"),
        ("maybe", "integer", True, ""),
        ("old_style", "number", True, "1.5"),
        ("several", "json", True, ""),
        ("levels", "list", False, "0.5, 1"),
        ("ways", "list", False, "x"),
        ("nested", "json", False, ""),
        ("table", "json", False, "{}"),
        ("needed", "integer", False, ""),
    ],
)
def test_a_field_is_of_the_kind_that_its_declaration_says(name: str, kind: Kind, optional: bool, default: str) -> None:
    field = field_of(name)

    assert (field.path, field.html_id, field.kind, field.optional, field.default) == (f"s.{name}", f"f-s-{name}", kind, optional, default)
    assert field.raw == field.default
    assert field.choices == (["up", "down", "3"] if name == "way" else [])


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("count", "How many. At least 1, at most 5."),
        ("rate", "How fast. Over 0."),
        ("word", "A word."),
        ("levels", "Some. With commas between the entries."),
        ("flag", "Yes or no."),
    ],
)
def test_a_fields_limits_stand_behind_its_description(name: str, about: str) -> None:
    assert field_of(name).help == about


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("flag", "true", True),
        ("flag", "false", False),
        ("flag", "", False),
        ("flag", "on", False),
        ("count", " 3 ", 3),
        ("count", "3.0", 3.0),
        ("count", "three", "three"),
        ("count", "", ""),
        ("maybe", "  ", None),
        ("rate", "1e-3", 0.001),
        ("rate", "-inf", float("-inf")),
        ("word", " two words ", "two words"),
        ("several", "7", 7),
        ("several", "{", "{"),
        ("several", "[" * 100_000, "[" * 100_000),
        ("several", "", None),
        ("nested", "[[1], [2, 3]]", [[1], [2, 3]]),
        ("nested", "", []),
        ("levels", ",", [""]),
        ("levels", "1,,2", [1, "", 2]),
        ("ways", "x, 1", ["x", "1"]),
    ],
)
def test_what_was_typed_becomes_json_or_stays_as_it_was_typed(name: str, typed: str, value: Any) -> None:
    found = field_of(name, {f"s.{name}": typed}).value()

    assert (found, type(found)) == (value, type(value))


def test_what_was_typed_goes_before_what_is_stored_and_that_before_the_default() -> None:
    assert field_of("count", {"s.count": ""}, count=4).raw == ""
    assert field_of("count", {"other": "1"}, count=4).raw == "4"
    assert field_of("count", None, count=4).raw == "4"
    assert field_of("maybe", None, maybe=None).raw == ""
    assert field_of("old_style", None, old_style=None).raw == ""
    assert field_of("old_style").raw == "1.5"


WORDS = st.text("ab,[ ]\"'\\é\n", max_size=4)
NUMBERS = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(NUMBERS, max_size=4))
def test_numbers_come_back_from_their_field_as_they_were(numbers: list[float]) -> None:
    field = Field("x", "X", "list", raw=text_of(numbers), of_numbers=True)

    assert field.value() == numbers
    assert [Field("x", "X", "number", raw=text_of(number)).value() for number in numbers] == numbers


@given(st.lists(WORDS, max_size=3))
def test_words_come_back_from_their_field_as_they_were(words: list[str]) -> None:
    assert Field("x", "X", "list", raw=text_of(words)).value() == words


@given(
    st.recursive(
        NUMBERS | st.none() | st.booleans(), lambda inner: st.dictionaries(WORDS, inner | st.lists(inner), min_size=1), max_leaves=6
    )
)
def test_json_comes_back_from_its_field_as_it_was(value: Any) -> None:
    field = Field("x", "X", "json", raw=text_of(value), optional=True)

    assert field.value() == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (1e-4, "0.0001"),
        (100.0, "100"),
        (0.1 + 0.2, "0.30000000000000004"),
        (10**20, "1" + "0" * 20),
    ],
)
def test_a_value_is_shown_as_a_person_would_type_it(value: Any, text: str) -> None:
    assert text_of(value) == text


def same(sent: Any, meant: Any) -> bool:
    return bool(json.loads(json.dumps(sent)) == json.loads(json.dumps(meant)))


@pytest.mark.parametrize("method", catalog.methods())
def test_a_form_sent_back_untouched_says_every_default_of_its_method(method: str) -> None:
    card = catalog.methods()[method]

    fields = fields_of(card.settings, at="settings", typed=None, values={})

    sent = {field.name: field.value() for field in fields}
    meant = card.settings().model_dump(mode="json")
    assert {name: value for name, value in sent.items() if not same(value, meant[name])} == {}


def test_a_form_can_leave_fields_out_and_has_them_in_the_order_asked_for() -> None:
    names = [field.name for field in fields_of(RunSpec, at="", typed=None, values={}, only=["devices", "device"])]

    assert names == ["devices", "device"]
    assert [field.path for field in fields_of(Cadence, at="cadence", typed=None, values={}, only=["log"])] == ["cadence.log"]


# Problems


def test_a_problem_stands_beside_its_field_or_the_nearest_one_around_it() -> None:
    one, two, levels = Field("settings.a", "A", "json"), Field("tags", "Tags", "text"), Field("settings.levels", "L", "list")
    lost = [Problem("", "all wrong"), Problem("settings.zzz", "unknown"), Problem("settings", "too many"), Problem("tagsx", "no")]

    left = show_problems(
        [one, two, levels],
        [
            Problem("settings.a", "is bad"),
            Problem("settings.a.0.deep", "is worse"),
            Problem("tags.3", "is long"),
            Problem("settings.levels.4", "must be a number; got 'x'."),
            Problem("settings.levels.5.0", "is shown when the first is mended"),
            *lost,
        ],
    )

    assert (one.errors, two.errors, levels.errors) == (["is bad", "is worse"], ["is long"], ["entry 5 must be a number; got 'x'."])
    assert left == lost


def test_a_list_that_is_wrong_as_a_whole_says_so_as_it_is() -> None:
    levels = Field("levels", "L", "list")

    assert show_problems([levels], [Problem("levels", "must not be empty.")]) == []
    assert levels.errors == ["must not be empty."]
