"""A run's specification on its page: in words, in order, and as Python that says the same."""

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.spec.run_spec import RunSpec
from webapp.runs.page.configuration import config_of, ordered, python_snippet


def complete(**spec: Any) -> dict[str, Any]:
    return RunSpec.parse({"method": "supervised", "task": "digits", "budget": {"steps": 20}} | spec).model_dump(mode="json")


def said_by(snippet: str) -> Any:
    """What the code passes to RunSpec.parse."""
    (call,) = [node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "RunSpec.parse"]
    return ast.literal_eval(call.args[0])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_the_python_of_a_spec_says_what_the_spec_says(settings: dict[str, Any]) -> None:
    spec = complete() | {"method": "gone", "settings": settings}

    said = said_by(python_snippet(spec))

    assert said == spec
    assert list(said) == list(ordered(spec))


@pytest.mark.parametrize("text", ["a: true story", "\N{SLIGHTLY SMILING FACE}", 'it\'s "quoted"\n', "\\", ": null, {", "__import__('os')"])
def test_a_text_stays_as_it_is_in_the_python_of_a_spec(text: str) -> None:
    spec = {"method": "gone", "task": "digits", "settings": {"prompt": text, "flags": [True, None, text]}}

    assert said_by(python_snippet(spec)) == spec


def test_the_python_of_a_spec_can_be_run_again() -> None:
    spec = complete(method="vanilla-kd", teachers=["run:00000000-0000-4000-8000-000000000000"], student="mlp-16")

    assert RunSpec.parse(said_by(python_snippet(spec))).model_dump(mode="json") == spec


def test_a_spec_has_the_order_of_its_declaration_whatever_the_databases_is() -> None:
    spec = complete(settings={"batch_size": 8})
    shuffled = {
        key: dict(reversed(value.items())) if isinstance(value, dict) and key != "student" else value
        for key, value in reversed(spec.items())
    }

    found = ordered(shuffled)

    assert list(found) == list(spec)
    assert {key: list(found[key]) for key in ("settings", "budget", "cadence")} == {
        key: list(spec[key]) for key in ("settings", "budget", "cadence")
    }


def test_fields_that_are_not_declared_any_more_come_last_by_name() -> None:
    spec = complete()
    spec = {"zeal": 1, "abandoned": 2, **spec, "settings": {"zeal": 3, "abandoned": 4, **spec["settings"]}}

    found = ordered(spec)

    assert list(found)[-2:] == ["abandoned", "zeal"]
    assert list(found["settings"])[-2:] == ["abandoned", "zeal"]


def test_a_spec_in_words_leaves_out_what_is_empty_and_its_format() -> None:
    config = dict(config_of(complete()))

    assert {"Format", "Teachers", "Threads", "Epochs", "Seconds"} & config.keys() == set()
    assert (config["Method"], config["Task"], config["Seed"], config["Steps"]) == ("supervised", "digits", "0", "20")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (0.0, "0"),
        (1e-05, "1e-05"),
        (2.50, "2.5"),
        ("cosine", "cosine"),
        ([0.5, 1, True], "0.5, 1, yes"),
        ({"source": "hf", "name": "org/model"}, "hf:org/model"),
    ],
)
def test_a_value_is_told_in_words(value: Any, words: str) -> None:
    spec = {"method": "gone", "task": "digits", "settings": {"one": value, "none": None, "list": []}}

    assert config_of(spec) == [("Method", "gone"), ("One", words), ("Task", "digits")]


def test_a_student_is_told_with_what_was_changed_of_it_and_teachers_by_their_references() -> None:
    run = "00000000-0000-4000-8000-000000000000"
    student = {"source": "builtin", "name": "mlp-16", "config": {"hidden": [32]}, "init_seed": 7}
    spec = {"method": "gone", "task": "digits", "student": student, "teachers": [{"source": "run", "name": run}, {"name": "mlp-16"}]}

    config = dict(config_of(spec))

    assert config["Student"] == "mlp-16 (hidden=[32], init seed 7)"
    assert config["Teachers"] == f"run:{run}, mlp-16"
