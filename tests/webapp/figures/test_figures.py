"""Figures are plain data in, a plain dict out: their tests look at the data and at the axes' names."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from scipy.stats import binomtest

from engine import charts
from engine.metrics.cards import METRICS
from webapp.figures.confusion import confusion
from webapp.figures.curves import Line, drawable, opened, panels_of, training_curves
from webapp.figures.engine_charts import figure_of
from webapp.figures.palette import COLORS, NEUTRAL, color_of, slot_of, styles_of
from webapp.figures.pareto import Candidate, front, pareto
from webapp.figures.plotly import style_ids
from webapp.figures.reliability import Bin, Reliability, reliability_diagram, wilson
from webapp.figures.selective import RiskCoverage, confidence_histogram, risk_coverage

BINS = [Bin(0.0, 0.5, 0, None, None), Bin(0.5, 1.0, 40, 0.8, 0.75)]

VIEWS: dict[str, dict[str, Any]] = {
    "lines": charts.lines(
        "Reward", {"student": ([1, 2], [0.1, None]), "start": ([2, 4], [0, 1])}, x="step", y="reward", levels={"floor": 0.5}
    ),
    "bars": charts.bars("Ranks", ["layer 0"], {"student": [8], "teacher": [16], "bound": [None]}, x="layer", y="rank"),
    "histogram": charts.histogram("Own label", [0, 0.2, 1], {"rows": [3, 40]}, x="probability", log_y=True, note="train"),
    "scatter": charts.scatter("Samples", {"samples": ([0.1], [0.2]), "data": ([0.3], [0.4])}, x="x", y="y", square=True),
    "heatmap": charts.heatmap("Agreement", [[1.0, None]], rows=["a"], columns=["b", "c"], x="model", y="model"),
}

EXAMPLES: dict[str, Callable[[], dict[str, Any]]] = {
    "curves": lambda: training_curves([Line("loss", [1, 2], [2.0, None], COLORS[0])], title="Loss terms", y="loss"),
    "reliability": lambda: reliability_diagram([Reliability("student", BINS, COLORS[0])]),
    "risk": lambda: risk_coverage([RiskCoverage("student", [0.5, 1.0], [0.0, 0.2], COLORS[0])]),
    "confidence": lambda: confidence_histogram(edges=[0, 0.5, 1], correct=[1, 8], wrong=[2, 1]),
    "confusion": lambda: confusion([[8, 2], [0, 10]]),
    "pareto": lambda: pareto([Candidate("a", 100, 0.9, COLORS[0], spread=0.01)], cost="Parameters", quality="Accuracy"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_plotly_knows_every_property_of_a_figure(name: str) -> None:
    figure = EXAMPLES[name]()

    checked = go.Figure(figure)  # refuses what it doesn't know

    assert len(checked.data) == len(figure["data"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_figure_has_a_title_and_names_both_axes(name: str) -> None:
    layout = EXAMPLES[name]()["layout"]

    titles = [layout["title"]["text"], layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"]]

    assert all(titles)


def test_the_web_does_not_import_plotly_for_its_figures() -> None:
    program = "import sys, webapp.figures.curves, webapp.figures.reliability, webapp.figures.pareto; print('plotly' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "False"


def test_a_run_has_the_same_color_wherever_it_is_drawn() -> None:
    alone, among_others = color_of(11), styles_of([3, 11, 4])[1][0]

    assert alone == among_others == COLORS[slot_of(11)] == COLORS[3]


def test_eight_runs_launched_in_a_row_have_eight_colors() -> None:
    styles = styles_of(range(5, 13))

    assert len({color for color, _ in styles}) == 8
    assert {dash for _, dash in styles} == {"solid"}


def test_runs_that_share_a_color_are_told_apart_by_the_dash() -> None:
    styles = styles_of(range(1, 21))

    assert len(set(styles)) == 20


def test_an_empty_bin_is_no_point_of_the_reliability_diagram_but_counts_as_zero() -> None:
    figure = reliability_diagram([Reliability("student", BINS, COLORS[0])])

    _, points, counts = figure["data"]
    assert (points["x"], points["y"]) == ([0.8], [0.75])
    assert (counts["x"], counts["y"]) == ([0.25, 0.75], [0.0, 1.0])


def test_bins_are_points_with_the_interval_of_their_accuracy_and_are_never_joined() -> None:
    bins = [Bin(0.0, 0.5, 40, 0.4, 0.5), Bin(0.5, 1.0, 12, 0.8, 0.75)]

    _, points, _ = reliability_diagram([Reliability("student", bins, COLORS[0])])["data"]

    assert points["mode"] == "markers"
    for place, (right, n) in enumerate(((20, 40), (9, 12))):
        expected = binomtest(right, n).proportion_ci(method="wilson")
        low, high = points["y"][place] - points["error_y"]["arrayminus"][place], points["y"][place] + points["error_y"]["array"][place]
        assert (low, high) == pytest.approx((expected.low, expected.high))


def test_rows_that_several_seeds_share_count_once_in_an_interval() -> None:
    one, pooled = [Bin(0.0, 1.0, 20, 0.7, 0.75)], [Bin(0.0, 1.0, 60, 0.7, 0.75)]

    _, single, _ = reliability_diagram([Reliability("student", one, COLORS[0])])["data"]
    _, three, _ = reliability_diagram([Reliability("student", pooled, COLORS[0], seeds=3)])["data"]

    assert three["error_y"]["array"] == pytest.approx(single["error_y"]["array"])


@pytest.mark.parametrize(("share", "n"), [(0.0, 1), (1.0, 1), (0.0, 50), (1.0, 50), (0.5, 3)])
def test_an_interval_stays_within_zero_and_one_and_holds_its_share(share: float, n: int) -> None:
    low, high = wilson(share, n)

    assert -1e-12 <= low <= share <= high <= 1 + 1e-12


def test_a_bin_with_fewer_than_ten_examples_of_a_model_is_faded_and_hollow() -> None:
    bins = [Bin(0.0, 0.5, 9, 0.4, 0.5), Bin(0.5, 1.0, 10, 0.8, 0.75)]

    _, enough, few, _ = reliability_diagram([Reliability("student", bins, COLORS[0], "dash")])["data"]
    _, only_few, _ = reliability_diagram([Reliability("student", bins, COLORS[0], seeds=2)])["data"]

    assert (enough["x"], enough["marker"]["symbol"], enough["showlegend"]) == ([0.8], "square", True)
    assert (few["x"], few["marker"]["symbol"], few["showlegend"]) == ([0.4], "square-open", False)
    assert few["opacity"] < enough["opacity"]
    assert (only_few["x"], only_few["showlegend"]) == ([0.4, 0.8], True)


def test_the_diagonal_of_perfect_calibration_is_drawn_first() -> None:
    diagonal = reliability_diagram([])["data"][0]

    assert (diagonal["x"], diagonal["y"], diagonal["name"]) == ([0, 1], [0, 1], "perfectly calibrated")


def test_the_best_order_leaves_all_errors_to_the_end() -> None:
    # One in four answers is wrong: the first three quarters can be free of errors, and at 7/8 an eighth of 7/8 is wrong: 1 − ¾ ÷ ⅞ = 1/7.
    figure = risk_coverage([RiskCoverage("student", [0.5, 1.0], [0.2, 0.25], COLORS[0])])

    best = next(trace for trace in figure["data"] if trace["name"] == "best order")

    points = dict(zip(best["x"], best["y"], strict=True))
    assert points[0] == 0
    assert points[0.75] == pytest.approx(0)
    assert points[0.875] == pytest.approx(1 / 7)
    assert points[1.0] == pytest.approx(0.25)


def test_the_axis_says_which_direction_is_better() -> None:
    figure = pareto([Candidate("a", 10, 0.5, COLORS[0])], cost="Latency", cost_unit="ms", quality="Accuracy")

    assert figure["layout"]["xaxis"]["title"]["text"] == "Latency (ms) ↓ lower is better"
    assert figure["layout"]["yaxis"]["title"]["text"] == "Accuracy ↑ higher is better"


def test_the_front_holds_what_no_other_beats_in_both() -> None:
    small, large = Candidate("small", 10, 0.8, ""), Candidate("large", 100, 0.9, "")
    beaten, equal = Candidate("beaten", 50, 0.7, ""), Candidate("equal", 20, 0.8, "")

    best = front([large, beaten, equal, small])

    assert best == [small, large]


def test_the_front_of_a_metric_that_should_be_low_holds_the_low_ones() -> None:
    good, bad = Candidate("good", 10, 0.1, ""), Candidate("bad", 20, 0.4, "")

    best = front([good, bad], better="lower")

    assert best == [good]


def test_the_baseline_is_marked_as_one() -> None:
    figure = pareto([Candidate("plain", 10, 0.5, COLORS[0], baseline=True)], cost="Parameters", quality="Accuracy")

    point = figure["data"][1]
    assert (point["name"], point["marker"]["symbol"]) == ("plain (baseline)", "diamond-open")


def test_only_mistakes_are_colored_in_a_confusion_matrix() -> None:
    heat = confusion([[8, 2], [0, 10]])["data"][0]

    assert heat["z"] == [[None, 0.2], [0.0, None]]
    assert heat["customdata"] == [[8, 2], [0, 10]]


def test_loss_terms_share_a_panel_and_each_validation_metric_has_its_own() -> None:
    names = ["validation/ece", "loss", "loss/teacher", "validation/accuracy", "alpha", "validation/brier"]

    panels = panels_of(names, METRICS, shown=opened(("accuracy", "nll", "ece", "brier")))

    assert [(panel.id, panel.series) for panel in panels] == [
        ("loss", ["loss", "loss/teacher"]),
        ("validation/accuracy", ["validation/accuracy"]),
        ("validation/ece", ["validation/ece"]),
        ("alpha", ["alpha"]),
        ("validation/brier", ["validation/brier"]),
    ]
    assert [panel.shown for panel in panels] == [True, True, True, False, False]


def test_a_panel_of_a_known_metric_names_its_unit_and_direction() -> None:
    (panel,) = panels_of(["validation/nll"], METRICS, shown=())

    assert (panel.title, panel.y) == ("Validation: NLL", "NLL (nats) ↓ lower is better")


def test_a_baseline_lies_beneath_as_a_gray_dashed_line() -> None:
    figure = training_curves(
        [Line("loss (baseline)", [1, 2], [2.0, 1.0], COLORS[0], reference=True, series="loss")], title="Loss", y="loss"
    )

    (line,) = figure["data"]
    assert line["line"]["dash"] == "dash"
    assert line["line"]["color"] not in COLORS
    assert (line["meta"]["series"], line["meta"]["reference"]) == ("loss", True)


def test_plotly_finds_its_style_elements_in_the_page() -> None:
    first, *others = style_ids()

    assert first == "plotly.js-style-global"
    assert others and all(len(one) == 64 for one in others)


def test_a_chart_gets_six_digits_of_a_value_and_a_gap_where_it_is_not_finite() -> None:
    values = np.array([1234567.0, -0.00123456789, 0.0, np.nan, np.inf, 5e-324, 1.7e308])

    drawn = drawable(values)

    assert drawn[:5] == [1234570.0, -0.00123457, 0.0, None, None]
    assert drawn[5] == pytest.approx(0.0, abs=1e-300) and drawn[6] == pytest.approx(1.7e308)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_becomes_a_figure_that_plotly_knows_with_a_title_and_both_axes(name: str) -> None:
    drawn = figure_of(VIEWS[name], color=COLORS[0])

    assert drawn is not None
    checked = go.Figure(drawn)  # refuses what it doesn't know
    layout = drawn["layout"]
    assert layout["title"]["text"].startswith(VIEWS[name]["title"])
    assert (layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"].removesuffix(" (log scale)")) == (
        VIEWS[name]["x"],
        VIEWS[name]["y"],
    )
    assert len(checked.data) == len(drawn["data"]) > 0


def test_a_view_of_a_form_that_is_no_figure_or_whose_parts_do_not_fit_is_not_drawn() -> None:
    assert figure_of(charts.rows("A table", ["a"], [["1"]]), color=COLORS[0]) is None
    assert figure_of({"view": "lines", "title": "broken", "x": "x", "y": "y", "series": {"a": {"x": None}}}, color=COLORS[0]) is None
    assert (
        figure_of({"view": "histogram", "title": "broken", "x": "x", "y": "y", "edges": [0, 1], "counts": {"a": [1, 2]}}, color=COLORS[0])
        is None
    )


def test_a_histogram_has_a_bar_as_wide_as_its_bin() -> None:
    drawn = figure_of(VIEWS["histogram"], color=COLORS[0])

    assert drawn is not None
    (bars,) = drawn["data"]
    assert (bars["x"], bars["y"], bars["width"]) == ([pytest.approx(0.1), pytest.approx(0.6)], [3, 40], [0.2, 0.8])


def test_in_a_view_the_first_name_has_the_runs_color_and_what_it_is_seen_against_is_gray() -> None:
    drawn = figure_of(VIEWS["bars"], color=COLORS[2])

    assert drawn is not None
    assert [bar["marker"]["color"] for bar in drawn["data"]] == [COLORS[2], NEUTRAL, COLORS[0]]


def test_the_levels_of_lines_reach_over_all_of_them() -> None:
    drawn = figure_of(VIEWS["lines"], color=COLORS[0])

    assert drawn is not None
    assert (drawn["data"][-1]["name"], drawn["data"][-1]["x"], drawn["data"][-1]["y"]) == ("floor", [1, 4], [0.5, 0.5])


def test_lines_of_a_view_that_share_a_color_are_told_apart_by_their_dashes() -> None:
    names = [f"line {number}" for number in range(len(COLORS) + 1)]

    drawn = figure_of(charts.lines("Many", {name: ([1], [1]) for name in names}, x="x", y="y"), color=COLORS[3])

    assert drawn is not None
    strokes = [(line["line"]["color"], line["line"]["dash"]) for line in drawn["data"]]
    assert len(set(strokes)) == len(names)


@pytest.mark.parametrize(("side", "gap"), [(24, 1), (25, 0.01)])
def test_a_heat_map_always_has_a_gap_since_without_one_it_needs_inline_style(side: int, gap: float) -> None:
    names = [str(place) for place in range(side)]

    drawn = figure_of(charts.heatmap("Wide", [[1.0] * side], rows=["a"], columns=names, x="x", y="y"), color=COLORS[0])

    assert drawn is not None
    assert (drawn["data"][0]["xgap"], drawn["data"][0]["ygap"]) == (gap, gap)
