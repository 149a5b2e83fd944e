"""The words and numbers of a page of evidence: how a test is described, how a difference is written, how a table stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli.main import _parser
from engine.evidence.experiment import (
    JudgedTest,
    Results,
    Test,
    higher,
    higher_than,
    identity,
    lower,
    lower_than,
    within,
)
from engine.evidence.report import described, markdown_table, numbers_of
from engine.evidence.report import test_to_dict as judged_as_json
from tests.engine.evidence.numbers import RESULTS

TITLES = {"ours": "Ours", "base": "Base"}


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (higher("nll", "ours", "base"), "paired over seeds: `nll` of “Ours” higher than that of “Base”"),
        (lower("nll", "ours", "base", margin=0.05), "paired over seeds: `nll` of “Ours” lower than that of “Base” by more than 0.05"),
        (higher("nll", "ours", "base", margin=-1e-3), "paired over seeds: `nll` of “Ours” less than 0.001 below that of “Base”"),
        (lower("nll", "ours", "base", margin=-0.5), "paired over seeds: `nll` of “Ours” less than 0.5 above that of “Base”"),
        (higher("nll", "ours", "base", times=2.0), "paired over seeds: `nll` of “Ours” higher than 2 times that of “Base”"),
        (lower("nll", "ours", "ours", other_metric="ece"), "paired over seeds: `nll` of “Ours” lower than `ece`"),
        (higher("nll", "ours", "base", other_metric="ece", times=0.5), "paired over seeds: `nll` of “Ours” higher than 0.5 times `ece` of “Base”"),
        (higher_than("nll", "ours", 0.25), "over seeds: `nll` of “Ours” above 0.25"),
        (lower_than("nll", "base", 0.1 + 0.2), "over seeds: `nll` of “Base” below 0.3"),
        (within("nll", "ours", "base", by=0.01), "paired over seeds: `nll` of “Ours” within 0.01 of that of “Base”"),
        (identity("both are the same", lambda values: True), "in every seed: both are the same"),
    ],
)  # fmt: skip
def test_a_test_is_described_as_a_reader_would_check_it(test: Test, words: str) -> None:
    assert described(test, TITLES) == words


def judged(*differences: float | None, interval: tuple[float, float] | None = None) -> JudgedTest:
    found = [value for value in differences if value is not None]
    mean = sum(found) / len(found) if found else None
    low, high = interval or (None, None)
    return JudgedTest(higher("a", "x", "y"), "leaning", len(differences), 1, tuple(differences), mean, low, high)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "+0.5000"),
        (-12.34567, "-12.3457"),
        (1e-3, "+0.0010"),
        (-9.99e-4, "-1.0e-03"),
        (4.2e-6, "+4.2e-06"),
        (1e-9, "0"),
        (-1e-10, "0"),
        (0.0, "0"),
    ],
)
def test_a_difference_has_its_sign_and_four_decimals_or_two_digits_or_is_nothing(value: float, text: str) -> None:
    assert numbers_of(judged(value)) == [f"{text} (no interval)", text, "1 of 1"]


@pytest.mark.parametrize(
    ("test", "cells"),
    [
        (judged(0.1, 0.2, interval=(-0.5, 0.8)), ["+0.1500 (-0.5000 … +0.8000)", "+0.1000, +0.2000", "1 of 2"]),
        (judged(0.1, None, None), ["+0.1000 (no interval)", "+0.1000, –, –", "1 of 3 (1 pair)"]),
        (judged(0.1, 0.3, None), ["+0.2000 (no interval)", "+0.1000, +0.3000, –", "1 of 3 (2 pairs)"]),
        (judged(None, None), ["–", "–, –", "1 of 2 (no pairs)"]),
        (JudgedTest(identity("x", lambda values: True), "contradicted", 4, 3), ["", "", "3 of 4"]),
    ],
)
def test_a_missing_seed_is_shown_in_its_place_and_counted(test: JudgedTest, cells: list[str]) -> None:
    assert numbers_of(test) == cells


@pytest.mark.parametrize(
    ("test", "facts"),
    [
        (lower("nll", "ours", "base", times=0.5), {"arms": ["ours", "base"], "metric": "nll", "direction": "lower", "margin": 0.0, "times": 0.5}),
        (higher("nll", "ours", "ours", other_metric="accuracy"), {"arms": ["ours", "ours"], "other_metric": "accuracy", "times": 1.0}),
        (lower_than("nll", "far", 0.2), {"arms": ["far"], "metric": "nll", "direction": "lower", "margin": 0.0, "value": 0.2}),
        (within("nll", "ours", "base", by=0.5), {"arms": ["ours", "base"], "direction": "within", "margin": 0.5}),
        (identity("so it is", lambda values: True), {"arms": [], "metric": None, "direction": "identity", "asserted": "so it is"}),
    ],
)  # fmt: skip
def test_the_json_of_a_test_says_what_was_claimed(test: Test, facts: dict[str, object]) -> None:
    found = judged_as_json(test.judged(RESULTS))

    assert {name: found[name] for name in facts} == facts


def test_a_margin_that_is_below_nothing_or_no_number_is_no_claim() -> None:
    for by in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=f"^by must be greater than 0; got {by}.$"):
            within("nll", "ours", "base", by=by)


def test_an_identity_is_asked_of_each_seed_with_its_own_numbers() -> None:
    seen: list[tuple[float, float]] = []
    results = Results((3, 4), {"ours": {"nll": [0.1, 0.2], "ece": [0.5, None]}})

    test = identity("small", lambda of: seen.append((of["ours"]["nll"], of["ours"]["ece"])) or of["ours"]["nll"] < 0.15).judged(results)  # type: ignore[func-returns-value]

    assert seen[0] == (0.1, 0.5)
    assert seen[1][0] == 0.2 and seen[1][1] != seen[1][1]  # an undefined number is NaN
    assert (test.verdict, test.in_favor, test.seeds) == ("contradicted", 1, 2)


cell = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=8)


@given(st.lists(st.lists(cell, min_size=3, max_size=3), min_size=1, max_size=4))
def test_every_line_of_a_table_has_its_cells_below_each_other_whatever_they_hold(rows: list[list[str]]) -> None:
    lines = markdown_table(["a", "bb", "c|c"], rows).split("\n")

    assert len(lines) == len(rows) + 2
    assert len({len(line) for line in lines}) == 1
    for line, row in zip(lines[2:], rows, strict=True):
        at = 0
        for text in row:
            at = line.index(text.replace("|", "\\|"), at) + len(text)
    assert set(lines[1]) == {"|", "-"}
    assert all(line.replace("\\|", "").count("|") == 4 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["gkd"], "python -m engine evidence gkd --seeds 5 --first-seed 10"),
        (["gkd", "--seeds", "3", "--first-seed", "0", "--json"], "python -m engine evidence gkd --seeds 3 --first-seed 0"),
        (
            ["gkd", "--write", "/somewhere/else/gkd.md"],
            "python -m engine evidence gkd --seeds 5 --first-seed 10 --write docs/evidence/gkd.md",
        ),
    ],
)
def test_the_command_on_a_page_repeats_the_measurement_on_any_machine(arguments: list[str], command: str) -> None:
    from engine.cli.evidence import command_of

    assert command_of(_parser().parse_args(["evidence", *arguments])) == command
