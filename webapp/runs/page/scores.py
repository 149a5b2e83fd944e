"""How a run's student does, for its page: one table with the teacher beside it, pictures, and what to be careful about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.metrics.cards import METRICS
from engine.metrics.gap import NO_TEACHER, gap_closed
from engine.spec import catalog
from engine.spec.cards import MetricCard
from webapp.figures.confusion import confusion
from webapp.figures.figure import Figure
from webapp.figures.palette import COLORS, NEUTRAL, color_of
from webapp.figures.reliability import FEW, Bin, Reliability, reliability_diagram
from webapp.figures.selective import RiskCoverage, confidence_histogram, risk_coverage
from webapp.runs.history.headline import headline_of, latest_by_split
from webapp.runs.models import Evaluation, Run

MAIN = ("overconfidence_gap", "aurc", "temperature", "parameters", "latency_ms")
"""Rows that are always shown, after the headline of the student's kind; the others unfold."""

MOST_TILES = 6
AFTER_SCALING = {"nll": "scaled_nll", "ece": "scaled_ece"}
BOUNDS = {"ece": ("ece_low", "ece_high")}
"""Metrics with a 95 % bootstrap interval, and the metrics that hold its ends. Times have theirs in the table of costs."""

INTERVAL_ENDS = frozenset(end for ends in BOUNDS.values() for end in ends)
INSIDE_OTHERS = frozenset({*AFTER_SCALING.values(), *INTERVAL_ENDS})

Interval = tuple[float, float]
Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Row:
    """One metric: student and teacher, and both after temperature scaling where that changes it. The intervals are of 95 %.

    `student_bound` and `teacher_bound` say where the true value lies when the metric is None for that (`≤ 0.050`); `note` is where it was
    measured.
    """

    card: MetricCard
    student: float | None
    teacher: float | None
    student_scaled: float | None = None
    teacher_scaled: float | None = None
    baseline: float | None = None
    interval: Interval | None = None
    teacher_interval: Interval | None = None
    student_bound: str = ""
    teacher_bound: str = ""
    note: str = ""

    @property
    def overlaps(self) -> bool:
        """Whether the intervals share values, so that neither is better."""
        return overlapping(self.interval, self.teacher_interval)

    @property
    def delta(self) -> float | None:
        """Student minus teacher."""
        return None if self.student is None or self.teacher is None else self.student - self.teacher


@dataclass(frozen=True)
class Scores:
    """The newest evaluation: on the test split when the run is over, on validation until then."""

    step: int
    split: str
    final: bool
    rows_count: int | None
    has_teacher: bool
    has_scaled: bool
    has_baseline: bool
    headline: tuple[str, ...]
    main: list[Row]
    more: list[Row]
    figures: dict[str, Figure]
    warnings: list[str]
    disagreements: list[dict[str, Any]]

    @property
    def tiles(self) -> list[Row]:
        return [row for row in self.main if row.card.id in self.headline][:MOST_TILES]


def scores_of(run: Run) -> Scores | None:
    """The evaluation that judges the run, and its teacher's on the same split, beside its baseline. None before the first."""
    student = Evaluation.objects.filter(run=run, subject="student").judging().first()
    if student is None:
        return None
    teacher = Evaluation.objects.filter(run=run, subject="teacher", split=student.split).judging().first()
    baseline = latest_by_split(run.baseline).get(student.split, {}) if run.baseline is not None else {}
    # A gap is measured from where there is no teacher, which is not every method's baseline.
    start = baseline if run.baseline is not None and run.baseline.method_id == NO_TEACHER else {}
    return scores(student, teacher, number=run.number, headline=headline_of(run.spec), baseline=baseline, gap_from=start)


def scores(
    student: Evaluation,
    teacher: Evaluation | None = None,
    *,
    number: int,
    headline: Sequence[str] | None = None,
    baseline: Values | None = None,
    gap_from: Values | None = None,
) -> Scores:
    """From an evaluation of the student, and one of its teacher on the same split.

    `headline` are the metrics that a student of this kind is judged by first, those of the first kind when None. `baseline` holds the newest
    values, on that split, of the run that was launched beside it as its baseline; `gap_from` those of a run without a teacher, from which the gap
    to the teacher is measured.
    """
    headline = catalog.kind_of({}).headline if headline is None else headline
    tables, teacher_tables = student.tables, teacher.tables if teacher else {}
    first = (*headline, *MAIN)
    teacher_metrics = teacher.metrics if teacher else {}
    measured = student.metrics | _gap(student.metrics, teacher_metrics, gap_from or {})
    rows = _rows(measured, teacher_metrics, baseline or {}, tables, teacher_tables, first)
    return Scores(
        step=student.step,
        split=student.split,
        final=student.final,
        rows_count=tables.get("reliability", {}).get("n"),
        has_teacher=teacher is not None,
        has_scaled=any(row.student_scaled is not None for row in rows),
        has_baseline=bool(baseline),
        headline=tuple(headline),
        main=[row for row in rows if row.card.id in first],
        more=[row for row in rows if row.card.id not in first],
        figures=_figures(tables, teacher_tables, number=number),
        warnings=_warnings(student.metrics, tables),
        disagreements=list(tables.get("disagreements", {}).get("rows", [])),
    )


def bins_of(table: Mapping[str, Any]) -> list[Bin]:
    """The bins of a reliability table as the figures take them."""
    return [Bin(one["low"], one["high"], one["count"], one["conf"], one["acc"]) for one in table.get("bins", [])]


def interval_of(metrics: Values, tables: Mapping[str, Any], name: str) -> Interval | None:
    """The metric's interval within the run, where it has one: the bootstrap's over rows, or that of repeated timings."""
    low, high = (
        (metrics.get(end) for end in BOUNDS[name]) if name in BOUNDS else (tables.get("cost") or {}).get(f"{name}_interval", (None, None))
    )
    return None if low is None or high is None else (low, high)


def overlapping(one: Interval | None, other: Interval | None) -> bool:
    """Whether the two share a value; False where either is missing."""
    return one is not None and other is not None and max(one[0], other[0]) <= min(one[1], other[1])


def _rows(
    student: Values,
    teacher: Values,
    baseline: Values,
    student_tables: Mapping[str, Any],
    teacher_tables: Mapping[str, Any],
    first: Sequence[str],
) -> list[Row]:
    names = [name for name in METRICS if (name in student or name in teacher) and name not in INSIDE_OTHERS]
    order = {name: place for place, name in enumerate(first)}
    rows = []
    for name in sorted(names, key=lambda n: order.get(n, len(first))):
        scaled = AFTER_SCALING.get(name, "")
        rows.append(
            Row(
                METRICS[name],
                student.get(name),
                teacher.get(name),
                student.get(scaled),
                teacher.get(scaled),
                baseline.get(name),
                interval_of(student, student_tables, name),
                interval_of(teacher, teacher_tables, name),
                student_bound=_temperature_bound(student_tables) if name == "temperature" else "",
                teacher_bound=_temperature_bound(teacher_tables) if name == "temperature" else "",
                note=_hardware(student_tables, teacher_tables) if name == "latency_ms" else "",
            )
        )
    unknown = [name for name in student if name not in METRICS]
    return rows + [
        Row(MetricCard(name, name.replace("_", " "), None, "A number of the method's own.", format=".4g"), student[name], None)
        for name in unknown
    ]


def _temperature_bound(tables: Mapping[str, Any]) -> str:
    """`≤ 0.050` or `≥ 54.6` where the search for T* ended at its bound; empty where it found one."""
    table = tables.get("reliability_scaled", {})
    side, value = table.get("at_bound"), table.get("temperature")
    if side is None or value is None:
        return ""
    return f"≤ {value:.3f}" if side == "lower" else f"≥ {value:.1f}"


def _hardware(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> str:
    """What the latency was measured on: times of different hardware can't be compared."""
    ours, theirs = (tables.get("cost", {}).get("device", "") for tables in (student, teacher))
    return f"on {ours}; teacher on {theirs}" if ours and theirs and ours != theirs else f"on {ours or theirs}" if ours or theirs else ""


def _gap(student: Values, teacher: Values, start: Values) -> dict[str, float | None]:
    """The share of the way from a run without a teacher to the teacher that the student went, where all three are known."""
    ours, best, least = student.get("accuracy"), teacher.get("accuracy"), start.get("accuracy")
    if ours is None or best is None or least is None:
        return {}
    return {"gap_closed": gap_closed(student=ours, teacher=best, baseline=least)}


def _figures(student: Mapping[str, Any], teacher: Mapping[str, Any], *, number: int) -> dict[str, Figure]:
    color = color_of(number)
    scaled = COLORS[5] if color != COLORS[5] else COLORS[4]
    figures: dict[str, Figure] = {}
    models = []
    if "reliability" in student:
        models.append(Reliability("student", bins_of(student["reliability"]), color))
    if "reliability_scaled" in student:
        models.append(Reliability("student, scaled", bins_of(student["reliability_scaled"]), scaled, "dash"))
    if "reliability" in teacher:
        models.append(Reliability("teacher", bins_of(teacher["reliability"]), NEUTRAL, "dashdot"))
    if models:
        figures["reliability"] = reliability_diagram(models)
    if "risk_coverage" in student:
        curves = [RiskCoverage("student", student["risk_coverage"]["coverage"], student["risk_coverage"]["risk"], color)]
        if "risk_coverage" in teacher:
            curves.append(
                RiskCoverage("teacher", teacher["risk_coverage"]["coverage"], teacher["risk_coverage"]["risk"], NEUTRAL, "dashdot")
            )
        figures["risk_coverage"] = risk_coverage(curves)
    if "confusion" in student:
        figures["confusion"] = confusion(student["confusion"]["counts"])
    if "confusion_teacher" in student:
        figures["confusion_teacher"] = confusion(
            student["confusion_teacher"]["counts"], rows="teacher's class", columns="student's class", title="Student against teacher"
        )
    if "confidence_histogram" in student:
        table = student["confidence_histogram"]
        figures["confidence"] = confidence_histogram(edges=table["edges"], correct=table["right"], wrong=table["wrong"])
    return figures


def _warnings(metrics: Mapping[str, float | None], tables: Mapping[str, Any]) -> list[str]:
    """What keeps a number from meaning what it seems to."""
    found = []
    reliability, saturated = tables.get("reliability", {}), tables.get("confidence_histogram", {}).get("saturated", 0.0)
    bins, total = bins_of(reliability), reliability.get("n") or 0
    ece, scaled = metrics.get("ece"), metrics.get("scaled_ece")
    if ece and total:
        few = [
            b
            for b in bins
            if 0 < b.count < FEW
            and b.confidence is not None
            and b.accuracy is not None
            and b.count / total * abs(b.confidence - b.accuracy) > 0.05 * ece
        ]
        if few:
            found.append(
                f"{len(few)} bin{'s' * (len(few) > 1)} with fewer than {FEW} examples carr{'y' if len(few) > 1 else 'ies'} more than 5 % of the ECE: read it as rough."
            )
    if metrics.get("accuracy") in (0.0, 1.0):
        found.append("Every answer is right or every answer is wrong, so the AUROC of confidence is undefined.")
    if saturated > 0.01:
        found.append(f"{saturated:.1%} of the confidences are exactly 1: the model is saturated, and these answers can't be ranked.")
    if ece is not None and scaled is not None and ece > 0.15 and scaled < ece / 3:
        found.append(
            "Most of the raw ECE is a matter of scale: one temperature removes it. Methods that standardize logits leave the scale free; compare after scaling."
        )
    return found
