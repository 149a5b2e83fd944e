"""What the API takes and answers, below any endpoint: bodies, refusals with their paths, pages of a list, and numbers in an address."""

import io
import json
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from engine.errors import Problem, SpecError
from webapp.api.body import MAX_DEPTH, JsonBody, unstorable
from webapp.api.errors import response_to
from webapp.api.pagination import envelope
from webapp.api.parameters import LARGEST, choice, flag, whole_number, whole_number_in
from webapp.api.rendering import StrictJson
from webapp.conflict import Conflict
from webapp.finite import finite

# Bodies


def read(body: bytes) -> Any:
    return JsonBody().parse(io.BytesIO(body))


@pytest.mark.parametrize(("size", "is_read"), [(100, True), (101, False)])
def test_a_body_may_have_as_many_bytes_as_the_limit_and_no_more(size: int, is_read: bool, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    body = b'"'.ljust(size - 1, b"x") + b'"'

    if is_read:
        assert read(body) == "x" * (size - 2)
        return
    with pytest.raises(RequestDataTooBig) as refused:
        read(body)

    answer = response_to(refused.value, {})
    assert answer is not None
    assert (answer.status_code, answer.data) == (413, {"detail": "The body of a request may have at most 100 bytes."})


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'{"a": Infinity}', b"-Infinity", b"\xff", b"[" * 100_000, b"{'a': 1}"])
def test_what_is_no_json_is_refused_in_one_sentence(body: bytes) -> None:
    with pytest.raises(exceptions.ParseError) as refused:
        read(body)

    answer = response_to(refused.value, {})
    assert answer is not None
    assert (answer.status_code, answer.data) == (400, {"errors": [{"field": "", "message": "The body must be JSON in UTF-8."}]})


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_is_limited_and_the_refusal_says_where() -> None:
    assert unstorable(nested(MAX_DEPTH)) == [] and read(json.dumps(nested(MAX_DEPTH)).encode()) == nested(MAX_DEPTH)
    assert unstorable({"a": nested(MAX_DEPTH)}) == [Problem("a" + ".0" * MAX_DEPTH, "is nested more than 32 levels deep.")]


def test_every_text_that_can_not_be_stored_is_named_with_its_path() -> None:
    bad = "must not hold NUL characters or halves of surrogate pairs."

    assert unstorable({"a": ["ok", "\0"], "b": {"c": "\ud800", "ok": "😀"}, "d\0": 1, "tuple": ("\udfff",)}) == [
        Problem("", bad),  # the name of a field can't be said
        Problem("a.1", bad),
        Problem("b.c", bad),
        Problem("tuple.0", bad),
    ]
    assert unstorable("\0") == [Problem("", bad)] and unstorable(["\0"]) == [Problem("0", bad)]
    with pytest.raises(SpecError, match=rf"^name: {bad}$"):
        read(b'{"name": "\\u0000"}')


# Refusals


class Inner(serializers.Serializer[Any]):
    value = serializers.IntegerField(min_value=1)


class Outer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=3)
    inner = Inner()
    many = Inner(many=True)
    numbers = serializers.ListField(child=serializers.IntegerField())

    def validate(self, attrs: Any) -> Any:
        raise serializers.ValidationError("is wrong as a whole.")


def test_refusals_of_nested_fields_become_a_flat_list_with_paths() -> None:
    asked = Outer(data={"name": "long", "inner": {"value": 0}, "many": [{"value": 1}, {}, {"value": "x"}], "numbers": [1, "x"]})

    with pytest.raises(exceptions.ValidationError) as refused:
        asked.is_valid(raise_exception=True)

    answer = response_to(refused.value, {})
    assert answer is not None and answer.status_code == 400
    assert [(one["field"], one["message"]) for one in answer.data["errors"]] == [
        ("name", "Ensure this field has no more than 3 characters."),
        ("inner.value", "Ensure this value is greater than or equal to 1."),
        ("many.1.value", "This field is required."),
        ("many.2.value", "A valid integer is required."),
        ("numbers.1", "A valid integer is required."),
    ]


def test_what_is_wrong_as_a_whole_has_no_field() -> None:
    asked = Outer(data={"name": "a", "inner": {"value": 1}, "many": [], "numbers": []})

    with pytest.raises(exceptions.ValidationError) as refused:
        asked.is_valid(raise_exception=True)

    answer = response_to(refused.value, {})
    assert answer is not None and answer.data == {"errors": [{"field": "", "message": "is wrong as a whole."}]}


@pytest.mark.parametrize(
    ("error", "status", "data"),
    [
        (
            SpecError([Problem("a.b", "x"), Problem("", "y")]),
            400,
            {"errors": [{"field": "a.b", "message": "x"}, {"field": "", "message": "y"}]},
        ),
        (Conflict("Not now."), 409, {"detail": "Not now."}),
        (Http404("There is none."), 404, {"detail": "There is none."}),
        (PermissionDenied("You may not."), 403, {"detail": "You may not."}),
        (exceptions.NotAuthenticated(), 401, {"detail": "Sign in, or send a token: Authorization: Bearer shp_…."}),
        (exceptions.AuthenticationFailed("Unknown token."), 401, {"detail": "Unknown token."}),
        (exceptions.NotAcceptable(), 406, {"detail": "Answers are JSON; send the header Accept: application/json."}),
        (
            exceptions.UnsupportedMediaType("text/csv"),
            415,
            {"detail": "Send the body as JSON, with the header Content-Type: application/json."},
        ),
        (exceptions.MethodNotAllowed("PUT"), 405, {"detail": 'Method "PUT" not allowed.'}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_refusal_has_its_status_and_a_sentence(error: Exception, status: int, data: Any) -> None:
    answer = response_to(error, {})

    assert answer is not None
    assert (answer.status_code, answer.data) == (status, data)


def test_a_bug_is_not_answered_as_a_refusal() -> None:
    assert response_to(KeyError("x"), {}) is None


# Pages of a list


@pytest.mark.parametrize(
    ("page", "total", "following", "previous"),
    [
        (1, 0, None, None),
        (1, 10, None, None),
        (1, 11, "?q=a&page=2", None),
        (2, 20, None, "?q=a"),
        (2, 21, "?q=a&page=3", "?q=a"),
        (3, 21, None, "?q=a&page=2"),
    ],
)
def test_a_page_leads_to_its_neighbors_and_keeps_the_rest_of_the_address(
    page: int, total: int, following: str | None, previous: str | None
) -> None:
    request = Request(APIRequestFactory().get(f"/api/v1/runs/?q=a&page={page}"))

    found = envelope(request, ["row"], total=total, page=page, size=10)

    def at(query: str | None) -> str | None:
        return query and f"http://testserver/api/v1/runs/{query}"

    def in_order(address: str | None) -> str | None:
        path, _, query = (address or "").partition("?")
        return address and f"{path}?{'&'.join(sorted(query.split('&'), reverse=True))}"

    assert (found["count"], found["results"]) == (total, ["row"])
    assert (in_order(found["next"]), in_order(found["previous"])) == (at(following), at(previous))


# Numbers and words in an address


@pytest.mark.parametrize("text", ["1.0", "1e3", "٣", "0x1", "+1", "1 2", "--1", "-1", "11", str(10**400), "inf"])
def test_what_is_no_whole_number_in_range_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(SpecError) as refused:
        whole_number({"n": text}, "n", least=0, most=10)

    assert [str(one) for one in refused.value.problems] == [f"n: must be a whole number from 0 to 10; got {text!r:.80}."]
    assert whole_number_in(text, least=0, most=10) is None


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("10", 10), (" 7 ", 7), ("007", 7), ("-0", 0)])
def test_a_whole_number_is_read_to_both_ends_of_its_range(text: str, number: int) -> None:
    assert whole_number({"n": text}, "n", least=0, most=10) == whole_number_in(text, most=10) == number


@pytest.mark.parametrize("query", [{}, {"n": ""}, {"n": "  "}])
def test_a_number_that_is_left_out_is_its_default(query: dict[str, str]) -> None:
    assert whole_number(query, "n", 4) == 4 and whole_number(query, "n") is None


def test_no_number_is_larger_than_the_database_holds() -> None:
    assert whole_number_in(str(LARGEST)) == LARGEST == 2**63 - 1 and whole_number_in(str(LARGEST + 1)) is None


@pytest.mark.parametrize(("text", "value"), [("TRUE", True), (" 1 ", True), ("False", False), ("0", False), ("", None), (" ", None)])
def test_a_flag_is_read_in_any_case(text: str, value: bool | None) -> None:
    assert [flag({"f": text}, "f", default) for default in (True, False)] == ([value] * 2 if value is not None else [True, False])


def test_a_choice_is_one_of_those_that_there_are() -> None:
    assert choice({"c": " a "}, "c", ["a", "b"]) == "a" and choice({}, "c", ["a"]) == choice({"c": " "}, "c", ["a"]) == ""
    with pytest.raises(SpecError, match=r"^c: must be one of a, b; got 'A'\.$"):
        choice({"c": "A"}, "c", ["a", "b"])


# Numbers that JSON lacks

VALUES = st.recursive(
    st.sampled_from([float("nan"), float("-inf"), 1e300, 0, None, True, "é"]) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def refuse(word: str) -> None:
    raise AssertionError(word)


@given(VALUES)
def test_an_answer_is_always_json_and_only_what_is_not_finite_is_changed(value: Any) -> None:
    text = StrictJson().render(value)

    back = json.loads(text, parse_constant=refuse) if value is not None else None
    assert back == finite(value)
    assert finite(finite(value)) == finite(value)


def test_an_answer_has_letters_as_they_are_and_no_spaces() -> None:
    assert StrictJson().render({"a": [1, "é😀"], "b": {}}) == '{"a":[1,"é😀"],"b":{}}'.encode()
    assert StrictJson().render(None) == b""
