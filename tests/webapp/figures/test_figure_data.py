"""What figures say at their edges, against slow and obvious versions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.metrics.cards import METRICS
from webapp.figures.confusion import PALE, confusion
from webapp.figures.curves import MOST_OPEN, Line, drawable, opened, panels_of, term_color, training_curves
from webapp.figures.engine_charts import FEW_POINTS, REFERENCES, figure_of
from webapp.figures.figure import axis_name, figure
from webapp.figures.palette import COLORS, DASHES, NEUTRAL, color_of, styles_of, translucent
from webapp.figures.pareto import Candidate, front, pareto
from webapp.figures.reliability import Bin, Reliability, reliability_diagram
from webapp.figures.selective import RiskCoverage, confidence_histogram, risk_coverage


def drawn(form: str, **view: Any) -> dict[str, Any]:
    found = figure_of({"view": form, "title": "T", "x": "x", "y": "y"} | view, color=COLORS[0])
    assert found is not None
    return found


# Axes and colors


@pytest.mark.parametrize(
    ("about", "name"),
    [({}, "Size"), ({"unit": "MB"}, "Size (MB)"), ({"unit": "MB", "better": "lower"}, "Size (MB) ↓ lower is better"), ({"better": "higher"}, "Size ↑ higher is better")],
)  # fmt: skip
def test_an_axis_says_its_unit_and_its_direction_of_better(about: dict[str, Any], name: str) -> None:
    assert axis_name("Size", **about) == name


def test_further_layout_of_an_axis_keeps_its_name() -> None:
    layout = figure([], title="T", x="steps", y="loss", xaxis={"type": "log"}, hovermode="closest")["layout"]

    assert layout["xaxis"] == {"title": {"text": "steps"}, "type": "log"}
    assert (layout["yaxis"], layout["hovermode"]) == ({"title": {"text": "loss"}}, "closest")


@given(st.lists(st.integers(1, 200), max_size=len(COLORS) * len(DASHES), unique=True))
def test_runs_keep_their_colors_in_any_company_and_the_first_of_a_color_is_solid(numbers: list[int]) -> None:
    styles = styles_of(numbers)

    assert [color for color, _ in styles] == [color_of(number) for number in numbers]
    firsts = dict(reversed(styles))
    assert set(firsts.values()) <= {"solid"}
    of_each = {color: [dash for other, dash in styles if other == color] for color, _ in styles}
    assert all(dashes == list((DASHES * 5)[: len(dashes)]) for dashes in of_each.values())


def test_a_color_is_made_translucent() -> None:
    assert translucent("#0072b2", 0.35) == "rgba(0,114,178,0.35)"


def test_terms_of_a_loss_take_the_colors_in_turn() -> None:
    assert [term_color(place) for place in (0, 7, 8)] == [COLORS[0], COLORS[7], COLORS[0]]


# Curves


@given(st.lists(st.floats(-1e30, 1e30).filter(lambda value: value == 0 or abs(value) > 1e-30), max_size=8))
def test_a_drawn_value_has_six_digits(values: list[float]) -> None:
    assert drawable(np.array(values)) == [pytest.approx(float(f"{value:.5e}"), rel=1.01e-6 if value else 0) for value in values]
    assert all(
        len(f"{one:.10g}".lstrip("-0.").replace(".", "").partition("e")[0].rstrip("0")) <= 6 for one in drawable(np.array(values)) if one
    )


@pytest.mark.parametrize(("headline", "panels"), [((), 1), (("a",), 2), (tuple("abcdef"), MOST_OPEN)])
def test_the_loss_is_open_and_as_much_of_the_headline_as_there_is_room_for(headline: tuple[str, ...], panels: int) -> None:
    found = opened(headline)

    assert found == ("loss", *(f"validation/{name}" for name in headline))[:panels]


def test_series_with_the_same_text_before_the_slash_share_a_panel_whatever_they_are_called() -> None:
    names = ["grad_norm", "lr/body", "lr/head", "validation/made_up", "lossless", "validation/a/b"]

    panels = {panel.id: panel for panel in panels_of(names, METRICS, shown=("lr",))}

    assert list(panels) == ["lr", "grad_norm", "lossless", "validation/a/b", "validation/made_up"]
    assert (panels["lr"].series, panels["lr"].title, panels["lr"].shown) == (["lr/body", "lr/head"], "Lr", True)
    assert (panels["grad_norm"].title, panels["grad_norm"].y, panels["grad_norm"].better) == ("Grad norm", "grad norm", None)
    assert (panels["validation/made_up"].title, panels["validation/made_up"].y) == ("Validation: made up", "made up")


def test_a_long_name_of_a_metric_stands_above_its_panel_and_not_beside_it() -> None:
    long = next(card for card in METRICS.values() if len(card.title) > 22 and not card.unit and card.better is not None)

    (panel,) = panels_of([f"validation/{long.id}"], METRICS, shown=())

    assert panel.title == f"Validation: {long.title}" and panel.y == axis_name("value", better=long.better)


def test_a_line_belongs_to_its_series_and_its_run_for_a_live_page() -> None:
    figure = training_curves(
        [Line("α", [1], [None], "#123456", "dot", series="loss", run="r"), Line("β", [], [], "#123456")], title="T", y="y"
    )

    assert [(one["meta"]["series"], one["meta"]["run"], one["meta"]["reference"]) for one in figure["data"]] == [
        ("loss", "r", False),
        ("β", "", False),
    ]
    assert (figure["data"][0]["line"], figure["data"][0]["y"]) == ({"color": "#123456", "dash": "dot", "width": 2}, [None])
    assert figure["layout"]["xaxis"]["rangemode"] == "tozero"


# Quality against cost

CANDIDATES = st.lists(st.builds(Candidate, st.just(""), st.integers(1, 5), st.integers(0, 4), st.just("")), max_size=8)


@given(CANDIDATES, st.sampled_from(["higher", "lower"]))
def test_the_front_is_what_no_other_beats(candidates: list[Candidate], better: Any) -> None:
    sign = 1 if better == "higher" else -1

    best = front(candidates, better=better)

    def beaten(one: Candidate) -> bool:
        return any(
            other.cost <= one.cost and sign * other.quality >= sign * one.quality and (other.cost, other.quality) != (one.cost, one.quality)
            for other in candidates
        )

    assert {(one.cost, one.quality) for one in best} == {(one.cost, one.quality) for one in candidates if not beaten(one)}
    assert [one.cost for one in best] == sorted({one.cost for one in best})


def test_a_candidates_spread_is_drawn_where_it_is_known_and_zero_is_known() -> None:
    candidates = [Candidate("a", 1, 0.5, "#000000", spread=0.0), Candidate("b", 2, 0.6, "#000000")]

    line, known, unknown = pareto(candidates, cost="c", quality="q")["data"]

    assert known["error_y"]["array"] == [0.0] and "error_y" not in unknown
    assert (line["x"], line["y"]) == ([1, 2], [0.5, 0.6])


# Confusion


@pytest.mark.parametrize(
    ("matrix", "most"),
    [([[30, 1], [0, 5]], PALE), ([[0, 4], [0, 0]], 1.0), ([[5]], PALE), ([[9, 1, 0], [0, 0, 0], [2, 6, 8]], 0.375)],
)
def test_a_confusion_has_the_shares_of_its_rows_and_is_not_alarming_for_few_mistakes(matrix: list[list[int]], most: float) -> None:
    found = confusion(matrix)

    heat = found["data"][0]
    assert heat["zmax"] == most
    for row, (counts, shares) in enumerate(zip(matrix, heat["z"], strict=True)):
        meant = [None if column == row else count / sum(counts) if sum(counts) else 0 for column, count in enumerate(counts)]
        assert shares == meant
    assert heat["text"] == [[str(count or "") for count in row] for row in matrix]
    assert [(one["x"], one["y"], one["text"]) for one in found["layout"]["annotations"]] == [
        (str(place), str(place), str(row[place])) for place, row in enumerate(matrix)
    ]
    assert found["layout"]["yaxis"]["autorange"] == "reversed" and found["layout"]["yaxis"]["title"]["text"] == "true class"


# Reliability, risk and confidence


def test_markers_of_a_reliability_diagram_grow_with_the_root_of_their_share() -> None:
    bins = [Bin(0, 0.5, 100, 0.4, 0.5), Bin(0.5, 0.9, 25, 0.8, 0.7), Bin(0.9, 1, 3, None, None)]

    _, points, counts = reliability_diagram([Reliability("s", bins, COLORS[0], dash="dot", muted=True)])["data"]

    assert points["marker"]["size"] == [14.0, 9.5]  # 5 + 9 and 5 + 9 · √¼; a bin without means is no point
    assert [row[:3] for row in points["customdata"]] == [[0, 0.5, 100], [0.5, 0.9, 25]]
    assert (points["opacity"], points["marker"]["symbol"]) == (0.6, "diamond")
    assert counts["y"] == [100 / 128, 25 / 128, 3 / 128] and counts["width"] == [0.5, pytest.approx(0.4), pytest.approx(0.1)]


def test_bins_that_are_all_empty_are_drawn_as_nothing() -> None:
    _, counts = reliability_diagram([Reliability("s", [Bin(0, 1, 0, None, None)], COLORS[0])])["data"]

    assert counts["y"] == [0]


@pytest.mark.parametrize("wrong", [0, 1, 6, 10])
def test_reference_orders_of_a_risk_curve_are_those_of_ten_answers(wrong: int) -> None:
    model = RiskCoverage("s", [0.5, 1.0], [0.0, wrong / 10], COLORS[0])

    _, chance, best = risk_coverage([model])["data"]

    assert (chance["name"], chance["x"], chance["y"]) == ("random order", [0, 1], [wrong / 10] * 2)
    assert best["x"] == sorted(best["x"]) and best["y"] == sorted(best["y"])
    for answered in range(1, 11):  # right answers first
        risk = max(0, answered - (10 - wrong)) / answered
        if risk and answered / 10 in best["x"]:
            assert best["y"][best["x"].index(answered / 10)] == pytest.approx(risk)
    assert best["y"][-1] == pytest.approx(wrong / 10) and best["x"][-1] == pytest.approx(1)


def test_only_the_first_model_brings_references_and_one_without_a_curve_none() -> None:
    two = [RiskCoverage(name, [1.0], [0.5], COLORS[0]) for name in ("a", "b")]

    assert [trace["name"] for trace in risk_coverage(two)["data"]] == ["a", "b", "random order", "best order"]
    assert [trace["name"] for trace in risk_coverage([RiskCoverage("a", [], [], COLORS[0])])["data"]] == ["a"]


def test_a_histogram_of_confidences_has_bars_of_the_width_of_their_bins() -> None:
    right, wrong = confidence_histogram(edges=[0, 0.5, 0.75, 1], correct=[1, 2, 3], wrong=[4, 5, 6])["data"]

    assert (right["x"], right["width"], right["y"], wrong["y"]) == ([0.25, 0.625, 0.875], [0.5, 0.25, 0.25], [1, 2, 3], [4, 5, 6])


# Views of methods


@pytest.mark.parametrize(
    ("form", "field", "part"),
    [("lines", "series", {"x": [1], "y": [1]}), ("bars", "series", [1]), ("scatter", "groups", {"x": [1], "y": [1]})],
)
def test_references_are_gray_in_every_form_and_take_no_color_from_the_others(form: str, field: str, part: Any) -> None:
    names = ["teacher", "mine", "data", "other"]

    traces = drawn(form, **{field: dict.fromkeys(names, part), "labels": ["a"]})["data"]

    colors = [trace["line"]["color"] if form == "lines" else trace["marker"]["color"] for trace in traces]
    assert colors == [NEUTRAL, COLORS[0], NEUTRAL, COLORS[1]] and {"teacher", "data"} <= REFERENCES
    if form == "lines":
        assert [trace["line"]["dash"] for trace in traces] == ["dash", "solid", "dash", "solid"]


@pytest.mark.parametrize("count", [len(COLORS), len(COLORS) + 1, 5 * len(COLORS) + 3])
def test_however_many_names_there_are_each_has_a_color(count: int) -> None:
    traces = drawn("bars", labels=["a"], series={f"n{place}": [place] for place in range(count)})["data"]

    assert [trace["name"] for trace in traces] == [f"n{place}" for place in range(count)]
    assert len({trace["marker"]["color"] for trace in traces[: len(COLORS)]}) == len(COLORS)


@pytest.mark.parametrize(
    ("log_x", "log_y", "types"), [(True, False, ("log", None)), (False, True, (None, "log")), (True, True, ("log", "log"))]
)
def test_lines_have_the_scales_that_were_asked_for(log_x: bool, log_y: bool, types: tuple[str | None, str | None]) -> None:
    layout = drawn("lines", series={"a": {"x": [1], "y": [1]}}, log_x=log_x, log_y=log_y)["layout"]

    assert (layout["xaxis"].get("type"), layout["yaxis"].get("type")) == types
    assert layout["xaxis"]["title"] == {"text": "x"}


def test_levels_are_told_apart_and_reach_from_the_least_to_the_most_of_all_places() -> None:
    series = {"a": {"x": [3, None, 5], "y": [1, 1, 1]}, "b": {"x": [-2], "y": [1]}}

    *_, floor, roof = drawn("lines", series=series, levels={"floor": 0, "roof": 9})["data"]

    assert floor["x"] == roof["x"] == [-2, 5] and (floor["y"], roof["y"]) == ([0, 0], [9, 9])
    assert floor["line"]["dash"] != roof["line"]["dash"]


@pytest.mark.parametrize(("points", "marker"), [(FEW_POINTS, {"size": 9}), (FEW_POINTS + 1, {"size": 4, "opacity": 0.6})])
def test_few_points_are_large_and_many_see_through(points: int, marker: dict[str, float]) -> None:
    (trace,) = drawn("scatter", groups={"a": {"x": [0] * points, "y": [0] * points}}, square=True)["data"]

    assert trace["marker"] == {"color": COLORS[0]} | marker


def test_points_are_square_only_where_that_was_asked_for() -> None:
    group = {"a": {"x": [0], "y": [0]}}

    assert drawn("scatter", groups=group, square=True)["layout"]["yaxis"]["scaleanchor"] == "x"
    assert "scaleanchor" not in drawn("scatter", groups=group)["layout"]["yaxis"]


def test_histograms_over_each_other_see_through_and_one_alone_does_not() -> None:
    alone = drawn("histogram", edges=[0, 1, 3], counts={"a": [1, 2]})
    both = drawn("histogram", edges=[0, 1, 3], counts={"a": [1, 2], "b": [0, 1]}, log_y=True)

    assert [bar["opacity"] for bar in (*alone["data"], *both["data"])] == [1, 0.6, 0.6]
    assert alone["layout"]["xaxis"]["range"] == [0, 3] and alone["data"][0]["customdata"] == [[0, 1], [1, 3]]
    assert (alone["layout"]["yaxis"], both["layout"]["yaxis"]) == (
        {"title": {"text": "y"}},
        {"title": {"text": "y (log scale)"}, "type": "log"},
    )


@pytest.mark.parametrize(
    "view",
    [
        {},
        {"view": "lines"},
        {"view": "lines", "title": "t", "x": "x", "y": "y", "series": [1]},
        {"view": "lines", "title": "t", "x": "x", "y": "y", "series": {}, "levels": {"a": 1}},
        {"view": "bars", "title": "t", "x": "x", "y": "y", "series": {"a": None}, "labels": []},
        {"view": "heatmap", "title": "t", "x": "x", "y": "y", "rows": ["a"], "columns": 3, "values": []},
        {"view": ["lines"]},
    ],
)
def test_what_a_file_says_wrongly_is_not_drawn(view: dict[str, Any]) -> None:
    assert figure_of(view, color=COLORS[0]) is None
