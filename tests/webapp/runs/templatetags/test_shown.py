"""How numbers, times and values are written for people."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.template import Context, Template
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from webapp.figures.palette import COLORS
from webapp.runs.templatetags import shown

SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (42, "42 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86400 + 59, "1 d"),
        (3 * 86400 + 4 * 3600 + 59 * 60, "3 d 4 h"),
        (400 * 86400, "400 d"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert shown.duration(seconds) == text


@given(st.integers(10, 10**9))
def test_a_duration_that_is_read_back_lacks_less_than_its_second_unit(seconds: int) -> None:
    parts = re.findall(r"(\d+) (d|h|min|s)", shown.duration(seconds))

    told = sum(int(count) * SECONDS[unit] for count, unit in parts)
    places = list(SECONDS)
    second = places[min(places.index(parts[0][1]) + 1, len(places) - 1)]
    assert 0 <= seconds - told < SECONDS[second]
    assert 1 <= len(parts) <= 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (842, "842"),
        (999.4, "999"),
        (1000, "1 k"),
        (1330, "1.33 k"),
        (999_499, "999 k"),
        (999_500, "1 M"),
        (999_999, "1 M"),
        (2_414_000, "2.41 M"),
        (999_999_999, "1 G"),
        (13.2e9, "13.2 G"),
        (999_500_000_000, "1 T"),
        (4.5e12, "4.5 T"),
    ],
)
def test_a_count_is_shortened_to_three_digits_and_its_unit(value: float | None, text: str) -> None:
    assert shown.compact(value) == text


@given(st.floats(1, 9e14))
def test_a_count_is_never_written_as_a_power_and_is_right_to_three_digits(value: float) -> None:
    number, _, unit = shown.compact(value).partition(" ")

    assert "e" not in number
    assert float(number) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[unit] == pytest.approx(
        value, rel=0.0051 if value >= 1000 else 0, abs=0.5
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.05, "0.05 steps/s"), (4.26, "4.3 steps/s"), (10, "10 steps/s"), (1234.4, "1,234 steps/s")],
)
def test_a_pace_has_as_many_digits_as_it_needs(value: float | None, text: str) -> None:
    assert shown.rate(value) == text


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (None, "accuracy", "–"),
        (0.5, "accuracy", "0.5000"),
        (26_122, "parameters", "26.1 k"),
        (0.000123456, "its_own", "0.0001235"),
        (1e6, "accuracy", "1e+06"),
        (999_999.5, "accuracy", "999999.5000"),
    ],
)
def test_a_metric_is_written_in_the_style_of_its_card(value: float | None, name: str, text: str) -> None:
    assert shown.metric(value, name) == text


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (None, "nll", ""),
        (0.0, "nll", "="),
        (0.012, "nll", "+0.0120"),
        (-0.012, "nll", "−0.0120"),
        (-0.00001, "nll", "≈"),
        (1_500.0, "parameters", "+1.5 k"),
        (0.25, "its_own", "+0.25"),
        (-0.5, "", "−0.5000"),
        (0.00001, "", "≈"),
    ],
)
def test_a_difference_has_a_sign_where_it_can_be_seen(value: float | None, name: str, text: str) -> None:
    assert shown.signed(value, name) == text


def test_a_spread_has_no_sign_though_the_metric_shows_one() -> None:
    assert (shown.metric(0.02, "overconfidence_gap"), shown.spread(0.02, "overconfidence_gap")) == ("+0.0200", "0.0200")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-30, "just now"),
        (30, "just now"),
        (90, "1 min ago"),
        (59.5 * 60, "59 min ago"),
        (90 * 60, "1 h ago"),
        (23.5 * 3600, "23 h ago"),
        (6.5 * 86400, "6 d ago"),
    ],
)
def test_a_moment_is_as_long_ago_as_it_was(seconds: float, text: str) -> None:
    """A moment that has yet to come is now: the clocks of the web server and of the database are two."""
    assert shown.ago(timezone.now() - timedelta(seconds=seconds)) == text


def test_a_moment_longer_ago_than_a_week_is_a_date() -> None:
    moment = timezone.now() - timedelta(days=8)

    assert shown.ago(moment) == moment.strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("probabilities", "text"),
    [(None, "–"), ([], "–"), ([0.08, 0.92], "1 (92%)"), ([0.4, 0.4, 0.2], "0 (40%)"), ([0.001, 0.999], "1 (100%)")],
)
def test_of_a_distribution_the_most_probable_class_is_named_the_first_where_two_are(probabilities: list[float] | None, text: str) -> None:
    assert shown.top_class(probabilities) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ([], "–"),
        (True, "yes"),
        ([True, False], "yes, no"),
        ([[1, 2], "three"], "1, 2, three"),
        (1e-05, "1e-05"),
        (0.5, "0.5"),
        (0, "0"),
        ("mlp-16", "mlp-16"),
        ("run:01234567-89ab-cdef-0123-456789abcdef", "run:01234567…"),
    ],
)
def test_a_settings_value_is_said_in_words(value: Any, text: str) -> None:
    assert shown.words(value) == text


def test_json_for_people_keeps_the_letters_of_every_script_and_the_order_of_fields() -> None:
    assert shown.pretty({"name": "Größe – 日本", "also": None}) == '{\n  "name": "Größe – 日本",\n  "also": null\n}'


def test_a_runs_color_comes_again_with_the_eighth_run_after_it() -> None:
    classes = [shown.slot(number) for number in range(1, 2 * len(COLORS) + 1)]

    assert classes[: len(COLORS)] == classes[len(COLORS) :]
    assert len(set(classes)) == len(COLORS)


def test_a_figures_data_can_not_leave_its_script_element() -> None:
    hostile = {"title": "</script><script>alert(1)</script>&<!--"}

    text = Template("{% load shown %}{% figure_data 'one' figure %}").render(Context({"figure": hostile}))

    assert text.startswith('<script id="figure-one" type="application/json">')
    assert text.count("<") == 2 and text.endswith("</script>")


def test_what_a_mapping_lacks_is_shown_as_missing() -> None:
    page = Template("{% load shown %}{{ metrics|get:'nll'|metric:'nll' }} {{ metrics|get:'ece'|metric:'ece' }}")

    assert page.render(Context({"metrics": {"nll": 0.25}})) == "0.2500 –"
