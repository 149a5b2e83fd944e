"""JSON for people: what is a table and what a tree, how a branch is told in brief, what a search finds, and pages."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.artifacts import trees
from webapp.artifacts.trees import Node, RecordTable, Slice, Tree, shown

WORDS = st.text('aBß"\\ \nİ', max_size=4)
"""Few letters, so that a search finds something; among them those that JSON escapes, and those that grow longer without case."""
LEAVES = st.none() | st.booleans() | st.integers(-20, 20) | WORDS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=12)


def tree(value: Any, **asked: Any) -> Tree:
    found = shown(value, **asked)
    assert isinstance(found, Tree)
    return found


def table(value: Any, **asked: Any) -> RecordTable:
    found = shown(value, **asked)
    assert isinstance(found, RecordTable)
    return found


def node(value: Any) -> Node:
    """The node of a value inside of an object."""
    (one,) = tree({"it": value}).nodes
    return one


def every(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for one in nodes:
        yield one
        yield from every(one.children)


# Table or tree


@pytest.mark.parametrize(
    "value",
    [
        [],
        [{}],
        [{"a": 1}, {}],
        [{"a": 1}, [2]],
        [{"a": []}],
        [{"a": {"b": 1}}],
        [{f"column {place}": place} for place in range(trees.MOST_COLUMNS + 1)],
        {"a": {"b": 1}},
    ],
)
def test_what_does_not_fit_into_a_table_is_a_tree(value: Any) -> None:
    assert isinstance(shown(value), Tree)


def test_records_of_as_many_fields_as_fit_are_a_table_in_the_order_in_which_the_fields_come_up() -> None:
    records = [{f"c{place}": place} for place in reversed(range(trees.MOST_COLUMNS))]

    assert table(records).columns == tuple(f"c{place}" for place in reversed(range(trees.MOST_COLUMNS)))


def test_in_a_table_null_is_told_from_a_field_that_is_not_there() -> None:
    assert table([{"a": None, "b": "null"}, {"b": 1.50}, {"a": False, "b": ""}]).rows == (("null", "null"), ("", "1.5"), ("false", ""))


def test_a_search_in_a_table_keeps_the_records_that_hold_the_words_in_any_case() -> None:
    records = [{"id": 1, "city": "GROSSE STRASSE"}, {"id": 2, "city": "Elsewhere"}, {"id": 3, "city": None}]

    assert table(records, sought="  große ").rows == (("1", "GROSSE STRASSE"),)
    assert table(records, sought="NULL").rows == (("3", "null"),)
    assert table(records, sought="city").rows == ()  # every record has the column
    assert table(records, sought="2").slice == Slice(0, 1, 1)


# In brief


@pytest.mark.parametrize(
    ("value", "text", "kind"),
    [
        (None, "null", "word"),
        (True, "true", "word"),
        (0.1, "0.1", "number"),
        ("5", "5", "text"),
        ("«é»\n", "«é»\n", "text"),
        ([], "[]", "list"),
        ({}, "{}", "object"),
        ([0] * trees.INLINE, json.dumps([0] * trees.INLINE), "list"),
        ([0.5] * (trees.INLINE + 1), "17 numbers", "list"),
        ([7] * 12_000, "12,000 numbers", "list"),
        ([True, False], "2 entries", "list"),
        (["word"], "1 entry", "list"),
        ({"a": {"b": 1}}, "1 field", "object"),
        ({"a": None, "b": "", "c": [], "d": {}, "e": ["x"]}, "5 fields", "object"),
        ({"a": None, "name": "dig", "share": 0.5, "steps": ["x"], "at": [1, 2]}, "name dig · share 0.5 · at [1, 2]", "object"),
        ({f"k{place}": place for place in range(13)}, " · ".join(f"k{place} {place}" for place in range(12)), "object"),
    ],
)
def test_a_value_is_told_in_brief(value: Any, text: str, kind: str) -> None:
    assert (node(value).text, node(value).kind) == (text, kind)


@pytest.mark.parametrize(("letters", "text"), [(108, "a " + "x" * 108), (109, "a " + "x" * 107 + "…")])
def test_the_brief_of_a_branch_is_one_short_line(letters: int, text: str) -> None:
    assert node({"a": "x" * letters}).text == text


@pytest.mark.parametrize(("letters", "text"), [(2000, "x" * 2000), (2001, "x" * 2000 + "… (2,001 characters)")])
def test_a_very_long_text_is_cut_and_says_how_long_it_is(letters: int, text: str) -> None:
    assert node("x" * letters).text == text


@pytest.mark.parametrize("value", [None, 7, "text", [], [1, 2], {}])
def test_a_value_without_entries_is_a_single_node_without_a_name(value: Any) -> None:
    found = tree(value, start=3)

    assert [(one.key, one.children) for one in found.nodes] == [("", ())]
    assert found.slice == Slice(0, 1, 1)


def test_entries_of_a_list_are_called_by_their_places_in_it() -> None:
    assert [one.key for one in tree(["a", ["b"], {"c": 1}]).nodes] == ["0", "1", "2"]


# Bounds


@pytest.mark.parametrize(("children", "more"), [(trees.MOST_CHILDREN, 0), (trees.MOST_CHILDREN + 3, 3)])
def test_a_branch_says_how_many_of_its_entries_are_not_shown(children: int, more: int) -> None:
    found = node(["x"] * children)

    assert (len(found.children), found.more) == (trees.MOST_CHILDREN, more)


def test_beyond_a_depth_what_is_inside_stands_as_json() -> None:
    value: Any = {"bottom": 1}
    for _ in range(trees.MOST_DEPTH):
        value = {"down": value}

    (first,) = tree(value).nodes
    *_, last = every((first,))

    assert len(list(every((first,)))) == trees.MOST_DEPTH
    assert (last.key, last.text) == ("down", '{"bottom": 1}')


def test_a_page_of_few_entries_shows_more_of_each() -> None:
    entry = {f"k{place}": {"x": {"y": 1}} for place in range(90)}

    (one,) = tree({"only": entry}).nodes
    crowd = tree({f"e{place}": entry for place in range(trees.PAGE)}).nodes

    assert len(list(every((one,)))) == 1 + 3 * 90
    assert all(len(list(every((each,)))) <= trees.MOST_NODES // trees.PAGE for each in crowd)
    assert all(each.more == 90 - len(each.children) > 0 for each in crowd)


# Search


def test_what_was_found_is_marked_and_only_the_way_to_it_is_shown() -> None:
    (branch,) = tree({"skills": [{"name": "dig", "needs": "a spade"}, {"name": "cook", "needs": "fire"}], "other": 1}, sought="spade").nodes

    assert [(one.key, one.found, one.open) for one in every((branch,))] == [
        ("skills", False, True),
        ("0", False, True),
        ("needs", True, False),
    ]
    assert branch.more == 0  # what does not hold the words is no entry of this search


def test_under_a_name_that_was_found_everything_is_shown() -> None:
    (branch,) = tree({"Fire": {"heat": [{"high": True}], "light": None}}, sought="fire").nodes

    assert branch.found and branch.open
    assert [one.key for one in every(branch.children)] == ["heat", "0", "high", "light"]
    assert not any(one.found or one.open for one in every(branch.children))


@pytest.mark.parametrize(
    ("value", "sought"),
    [
        ({'a"b': 1}, 'a"b'),
        ({"C:\\path": {"x": 1}}, "c:\\path"),
        ({"said": ['"yes"', {}]}, '"YES"'),
        ({"a": "tab\there"}, "tab\there"),
        ({"rates": [0.5, 1, 2.25]}, "1, 2.25"),
        ({"deep": {"null": {"x": [None, {}]}}}, "null"),
    ],
)
def test_words_are_found_as_they_are_shown(value: Any, sought: str) -> None:
    assert len(tree(value, sought=sought).nodes) == 1
    assert any(one.found for one in every(tree(value, sought=sought).nodes))


@pytest.mark.parametrize("sought", ["b", " \n"])
def test_a_leaf_alone_is_searched_too_and_blanks_seek_nothing(sought: str) -> None:
    assert [one.text for one in tree("abc", sought=sought).nodes] == ["abc"]
    assert tree("abc", sought="d").nodes == () and tree("abc", sought="d").slice.total == 0


def holds(key: str, value: Any, words: str) -> bool:
    """The obvious search: the name, the text of a leaf, or anything inside of a branch."""
    if words in key.casefold():
        return True
    if isinstance(value, Mapping) and value:
        return any(holds(name, inner, words) for name, inner in value.items())
    plain = isinstance(value, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    if isinstance(value, list) and value and not plain:
        return any(holds(str(place), inner, words) for place, inner in enumerate(value))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return words in text.casefold()


@given(st.dictionaries(WORDS, VALUES, min_size=1, max_size=4), WORDS)
def test_a_search_shows_the_entries_that_hold_the_words_and_no_others(value: dict[str, Any], sought: str) -> None:
    words = sought.casefold().strip()

    found = tree(value, sought=sought)

    assert [one.key for one in found.nodes] == [key for key, inner in value.items() if holds(key, inner, words)]
    assert found.slice.total == len(found.nodes)


# Pages


@given(st.integers(1, 260), st.booleans())
def test_going_on_from_page_to_page_each_entry_is_shown_once_and_going_back_leads_the_same_way(total: int, records: bool) -> None:
    value = [{"at": place} if records else [f"{place}"] for place in range(total)]
    seen: list[str] = []
    starts: list[int] = []
    start: int | None = 0

    while start is not None:
        found = shown(value, start=start)
        seen += [one[0] for one in found.rows] if isinstance(found, RecordTable) else [one.key for one in found.nodes]
        assert found.slice.before == (starts[-1] if starts else None)
        assert (found.slice.first, found.slice.total) == (start + 1, total)
        starts.append(start)
        start = found.slice.after

    assert seen == [str(place) for place in range(total)]


@pytest.mark.parametrize(("start", "before"), [(0, None), (1, 0), (50, 0), (51, 1), (70, 20), (119, 69), (120, None)])
def test_the_page_before_never_begins_before_the_first_entry(start: int, before: int | None) -> None:
    assert shown([{"at": place} for place in range(120)], start=start).slice.before == before
