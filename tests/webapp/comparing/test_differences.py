"""In what specs differ: flat tables laid beside each other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.spec.earlier_names import EARLIER
from webapp.comparing.differences import UNCOMPARED, changes_between, flat

RUN = {"source": "run", "name": "4f0c"}


@pytest.mark.parametrize(
    ("value", "table"),
    [
        ({"a": {"b": {"c": 1}}, "d": None}, {"a.b.c": 1, "d": None}),
        ({"a": {}, "b": {"c": {}}}, {}),
        ({"a": [], "b": [1, 2], "c": ["x"]}, {"a": [], "b": [1, 2], "c": ["x"]}),
        ({"stages": [{"steps": 1}, {"steps": 2}]}, {"stages.0.steps": 1, "stages.1.steps": 2}),
        ({"mixed": [3, {"x": 1}]}, {"mixed.0": 3, "mixed.1.x": 1}),
        ({"student": {"source": "builtin", "name": "mlp-16", "config": {}, "init_seed": None}}, {"student": "mlp-16"}),
        ({"student": {"source": "builtin", "name": "mlp-16", "config": {"hidden": 32}, "init_seed": 0}}, {"student": "mlp-16 (hidden=32, init seed 0)"}),
        ({"teachers": [RUN, RUN]}, {"teachers.0": "run:4f0c", "teachers.1": "run:4f0c"}),
        ({"odd": {"name": "no reference"}}, {"odd.name": "no reference"}),
        (7, {"": 7}),
    ],
)  # fmt: skip
def test_a_spec_becomes_a_table_in_which_a_model_is_one_value(value: Any, table: dict[str, Any]) -> None:
    assert flat(value) == table


def test_a_field_that_one_spec_lacks_differs_and_one_that_all_share_does_not() -> None:
    specs = [
        {"method": "a", "settings": {"x": 1, "y": 2}},
        {"method": "b", "settings": {"x": 1}},
        {"method": "a", "settings": {"x": 1, "y": 0}},
    ]

    assert changes_between(specs) == {"method": ("a", "b", "a"), "settings.y": (2, None, 0)}


@pytest.mark.parametrize("field", UNCOMPARED)
def test_what_no_result_depends_on_is_no_difference(field: str) -> None:
    assert changes_between([{field: 1, "seed": 0}, {"seed": 0}, {field: 2, "seed": 0}]) == {}


@pytest.mark.parametrize(("today", "earlier"), EARLIER.items())
def test_a_setting_by_its_earlier_name_is_the_one_of_today(today: str, earlier: str) -> None:
    assert changes_between([{"settings": {earlier: 2}}, {"settings": {today: 2}}]) == {}
    assert changes_between([{"settings": {earlier: 2}}, {"settings": {today: 4}}]) == {f"settings.{today}": (2, 4)}


def test_differences_come_in_the_order_of_the_first_spec_that_has_them() -> None:
    specs = [{"z": 1, "a": {"b": 1}}, {"new": 1, "a": {"b": 2, "c": 1}, "z": 2}]

    assert list(changes_between(specs)) == ["z", "a.b", "new", "a.c"]


LEAVES = st.integers(0, 2) | st.sampled_from(["", "x"]) | st.lists(st.integers(0, 1), min_size=1, max_size=2)
SPECS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | LEAVES, max_size=3),
    max_leaves=8,
)


def at(value: Any, path: str) -> Any:
    """What stands at a path; None where there is nothing."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return None if isinstance(value, dict) else value


@given(st.lists(SPECS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_each_difference_says_what_stands_in_every_spec_and_nothing_else_differs(specs: list[dict[str, Any]], chance: Any) -> None:
    found = changes_between(specs)

    for path, values in found.items():
        assert values == tuple(at(spec, path) for spec in specs) and len({str(value) for value in values}) > 1
    left = [{path: value for path, value in flat(spec).items() if path not in found} for spec in specs]
    assert all(one == left[0] for one in left)
    order = chance.sample(range(len(specs)), len(specs))
    again = changes_between([specs[place] for place in order])
    assert again == {path: tuple(values[place] for place in order) for path, values in found.items()}
