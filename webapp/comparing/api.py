"""The comparison over REST: the table, and the curves to draw over each other."""

from typing import Any, get_args
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from engine.errors import SpecError
from webapp.api.parameters import flag, whole_number, whole_number_parameter
from webapp.api.responses import reading
from webapp.comparing.cells import MetricRow
from webapp.comparing.columns import SeedGroup
from webapp.comparing.comparison import LEAST_COMPARED, MOST_COMPARED, UNPINNED, Comparison, comparable, comparison, pinned_by
from webapp.comparing.verdicts import Word
from webapp.comparing.words import verdict_lines
from webapp.runs.api.record import curve_json, names_among
from webapp.runs.api.serializers import CurveSerializer, NumberOrNull
from webapp.runs.history import curves

COMPARE = ["compare"]
RUNS = OpenApiParameter(
    "runs",
    required=True,
    description=f"{LEAST_COMPARED} to {MOST_COMPARED} ids of runs of one project, with commas between them.",
)
DEFAULT_POINTS = 300
MAX_POINTS = 2000


class ColumnSerializer(serializers.Serializer[Any]):
    """Runs that differ in nothing but their seeds, or one run."""

    label = serializers.CharField()  # type: ignore[assignment]
    runs = serializers.ListField(child=serializers.UUIDField())
    seeds = serializers.ListField(child=serializers.IntegerField())
    is_baseline = serializers.BooleanField()
    reliability = serializers.ListField(child=serializers.DictField(), help_text="A table for each run that has one.")


class IntervalField(serializers.ListField):
    """Low and high end, of 95 %."""

    def __init__(self, help_text: str) -> None:
        super().__init__(child=serializers.FloatField(), min_length=2, max_length=2, allow_null=True, help_text=help_text)


class DifferenceSerializer(serializers.Serializer[Any]):
    """The candidate's mean less the baseline's, over pairs of seeds that both have, else over the seeds of each."""

    mean = serializers.FloatField()
    n = serializers.IntegerField(help_text="Pairs, else the seeds of the smaller group.")
    is_paired = serializers.BooleanField()
    interval = IntervalField("Of the difference; null where the seeds are too few, or do not differ.")
    p = NumberOrNull()


class VerdictSerializer(serializers.Serializer[Any]):
    """Whether the seeds say that the candidate is better. `p` is Holm's, corrected for the number of candidates."""

    word = serializers.ChoiceField(choices=get_args(Word))
    difference = DifferenceSerializer()
    p = NumberOrNull()
    more_seeds = serializers.IntegerField(
        allow_null=True, help_text="So many seeds more would decide about a difference of this size, in four cases of five."
    )


class CellSerializer(serializers.Serializer[Any]):
    """A metric of a column. `std` is the sample standard deviation (n − 1).

    `verdict` is null for the baseline itself, for what has no better, for what follows from the architecture alone, and where the two can't be
    compared; `note` says why there is no verdict there, or no value.
    """

    mean = NumberOrNull()
    std = NumberOrNull()
    n = serializers.IntegerField()
    interval = IntervalField("Of the mean over three seeds or more, else a single run's own, over rows or repeated timings.")
    delta = NumberOrNull()
    verdict = VerdictSerializer(allow_null=True)
    note = serializers.CharField(allow_blank=True)


class MetricRowSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    better = serializers.ChoiceField(choices=["higher", "lower"], allow_null=True)
    unit = serializers.CharField()
    cells = CellSerializer(many=True)


class ConfigRowSerializer(serializers.Serializer[Any]):
    path = serializers.CharField()
    values = serializers.ListField()


class VerdictLineSerializer(serializers.Serializer[Any]):
    """What the comparison comes to for one candidate, in words."""

    label = serializers.CharField()  # type: ignore[assignment]
    text = serializers.CharField()


class ComparisonSerializer(serializers.Serializer[Any]):
    """`cells` and `values` are in the order of `columns`. `config` holds only what differs."""

    project = serializers.CharField()
    columns = ColumnSerializer(many=True)
    rows = MetricRowSerializer(many=True)
    config = ConfigRowSerializer(many=True)
    verdicts = VerdictLineSerializer(many=True)
    warnings = serializers.ListField(child=serializers.CharField())


class OverlaySerializer(serializers.Serializer[Any]):
    """Curves by run and by name."""

    runs = serializers.DictField(child=serializers.DictField(child=CurveSerializer()))


class Compare(APIView):
    @extend_schema(
        tags=COMPARE,
        operation_id="compare",
        parameters=[
            RUNS,
            OpenApiParameter(
                "baseline",
                description=f"The id of the run whose column the others are measured against. Without it, the one that the runs know; {UNPINNED}: no column.",
            ),
            OpenApiParameter(
                "grouped",
                OpenApiTypes.BOOL,
                description="false: one column a run. Otherwise runs that differ only in their seeds share one.",
            ),
        ],
        responses=reading(ComparisonSerializer),
    )
    def get(self, request: Request) -> Response:
        """The runs beside each other: metrics with mean, deviation and difference to the baseline, what differs in their specs, and warnings."""
        grouped = flag(request.query_params, "grouped", True)
        baseline, pin = pinned_by(request.query_params)
        run_ids = _ids(request.query_params.get("runs", ""), "runs")
        return Response(_json(comparison(request.user, run_ids, baseline, grouped=grouped, pin=pin)))


class Overlay(APIView):
    @extend_schema(
        tags=COMPARE,
        operation_id="compare_curves",
        parameters=[
            RUNS,
            OpenApiParameter("series", description="Names with commas between them; all when left out."),
            whole_number_parameter(
                "points", f"At most so many of each curve; {DEFAULT_POINTS} when left out.", least=curves.LEAST_POINTS, most=MAX_POINTS
            ),
        ],
        responses=reading(OverlaySerializer),
    )
    def get(self, request: Request) -> Response:
        """The curves of the runs, thinned out for drawing over each other."""
        run_ids = comparable(request.user, _ids(request.query_params.get("runs", ""), "runs"))
        points = whole_number(request.query_params, "points", DEFAULT_POINTS, least=curves.LEAST_POINTS, most=MAX_POINTS)
        assert points is not None
        found = curves.overlay(run_ids, series=names_among(request, "series"), points=points)
        return Response(
            {"runs": {str(run_id): {name: curve_json(curve) for name, curve in series.items()} for run_id, series in found.items()}}
        )


def _ids(text: str, field: str) -> list[UUID]:
    try:
        return [UUID(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        raise SpecError.at(field, f"must be ids of runs (UUIDs) with commas between them; got {text!r:.80}.") from None


def _json(found: Comparison) -> dict[str, Any]:
    return {
        "project": found.project.slug,
        "columns": [_column_json(column) for column in found.columns],
        "rows": [_row_json(row) for row in found.rows],
        "config": [{"path": row.path, "values": list(row.values)} for row in found.config],
        "verdicts": [{"label": line.label, "text": line.text} for line in verdict_lines(found.columns, found.rows)],
        "warnings": list(found.warnings),
    }


def _column_json(column: SeedGroup) -> dict[str, Any]:
    return {
        "label": column.label,
        "runs": column.run_ids,
        "seeds": column.seeds,
        "is_baseline": column.is_baseline,
        "reliability": list(column.reliability),
    }


def _row_json(row: MetricRow) -> dict[str, Any]:
    card = row.card
    return {
        "id": card.id,
        "title": card.title,
        "better": card.better,
        "unit": card.unit,
        "cells": CellSerializer(row.cells, many=True).data,
    }
