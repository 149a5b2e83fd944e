"""What a comparison comes to, in words."""

from typing import Any

import pytest

from engine.metrics.cards import METRICS
from tests.webapp.comparing.test_columns import column
from webapp.comparing.cells import NO_GAP, OTHER_DEVICE, OTHER_ROWS, Cell, MetricRow
from webapp.comparing.verdicts import Difference, Verdict
from webapp.comparing.words import compact_factor, explained, verdict_lines

BASE = Cell(0.8, 0.01, 3)


def judged(word: Any, mean: float = 0.05, *, n: int = 3, p: float | None = 0.01, paired: bool = True, more: int | None = None) -> Cell:
    interval = None if p is None else (mean - 0.02, mean + 0.02)
    return Cell(0.8 + mean, 0.01, n, delta=mean, verdict=Verdict(word, Difference(mean, n, paired, 0.1, interval, p), p, more))


def said(**cells: Cell) -> str:
    rows = [MetricRow(METRICS[name], (cell, BASE)) for name, cell in cells.items()]
    (line,) = verdict_lines([column(1), column(2, is_baseline=True)], rows)
    assert line.label == "column 1"
    return line.text


def test_what_is_decided_comes_first_with_its_interval_and_then_what_is_not() -> None:
    text = said(nll=judged("worse", 0.1), accuracy=judged("better"), ece=judged("undecided", 0.001, p=0.8, more=4))

    assert text == (
        "better in Accuracy (+0.0500, 95 % +0.0300 to +0.0700); worse in NLL (+0.1000, 95 % +0.0800 to +0.1200); "
        "undecided in ECE (4 more seeds may decide)."
    )


def test_several_of_one_word_are_joined_in_the_order_of_the_headline() -> None:
    text = said(ece=judged("undecided", p=0.5), nll=judged("undecided", p=0.5, more=1), accuracy=judged("undecided", p=None))

    assert text == "undecided in Accuracy, NLL (1 more seed may decide) and ECE."


def test_too_few_seeds_are_said_once_and_of_some_metrics_or_of_all() -> None:
    few = judged("too few seeds", p=None, n=1, paired=False)

    assert said(accuracy=few, nll=few) == "too few seeds to judge: 1 seed of each, and three shared seeds would do, or four of each."
    assert said(accuracy=judged("better"), nll=few).endswith(
        "; too few seeds to judge in the other metrics: 1 seed of each, and three shared seeds would do, or four of each."
    )


def test_what_cant_be_compared_says_why_once() -> None:
    away = Cell(0.9, None, 1, delta=0.1, note=OTHER_ROWS)

    assert said(accuracy=away, nll=away) == f"not judged where it was {OTHER_ROWS}."
    assert said(accuracy=Cell(None, None, 0)) == "nothing to compare."
    assert said(accuracy=judged("better"), gap_closed=Cell(None, None, 0, note=NO_GAP)).endswith(f"; Gap closed {NO_GAP}.")


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        (100.0, 852.0, "Parameters 8.52 × smaller."),
        (3000.0, 1.0, "Parameters 3 k × larger."),
        (100.0, 100.4, "nothing to compare."),
        (0.0, 5.0, "nothing to compare."),
    ],
)
def test_what_follows_from_the_architecture_is_a_factor(ours: float, theirs: float, text: str) -> None:
    rows = [MetricRow(METRICS["parameters"], (Cell(ours, None, 1), Cell(theirs, None, 1)))]

    (line,) = verdict_lines([column(1), column(2, is_baseline=True)], rows)

    assert line.text == text
    assert compact_factor(1.2) == "1.2 ×"


def test_only_headlines_and_costs_are_told_and_nothing_without_a_baseline() -> None:
    rows = [MetricRow(METRICS["mce"], (judged("better"), BASE)), MetricRow(METRICS["accuracy"], (judged("better"), BASE))]

    assert "better in Accuracy" in said(mce=judged("better"), accuracy=judged("better"))
    assert "MCE" not in said(mce=judged("better"), accuracy=judged("better"))
    assert verdict_lines([column(1), column(2)], rows) == []


@pytest.mark.parametrize(
    ("cell", "candidates", "text"),
    [
        (judged("better", p=0.0123), 1, "better: 3 pairs of seeds, p = 0.0123"),
        (judged("worse", p=0.0123), 4, "worse: 3 pairs of seeds, p = 0.0123 after correction for 4 candidates"),
        (
            judged("undecided", p=0.4, n=4, paired=False, more=7),
            1,
            "undecided: 4 seeds or more of each, not paired, p = 0.4; about 7 more seeds would decide a difference of this size",
        ),
        (judged("undecided", p=None), 1, "undecided: 3 pairs of seeds, which do not differ from each other"),
        (
            judged("too few seeds", p=None, n=2, paired=False),
            1,
            "too few seeds: 2 seeds of each; three shared seeds would do, or four of each",
        ),
        (Cell(0.9, None, 1, delta=0.1, note=OTHER_DEVICE), 1, OTHER_DEVICE),
        (BASE, 1, ""),
    ],
)
def test_a_cell_says_how_its_verdict_came_about(cell: Cell, candidates: int, text: str) -> None:
    assert explained(cell, candidates) == text
