"""What pages of other rooms show of comparing."""

from collections.abc import Sequence
from typing import Any

from django import template

from webapp.accounts.models import Project
from webapp.comparing.cells import Cell, MetricRow
from webapp.comparing.columns import SeedGroup
from webapp.comparing.comparison import LEAST_COMPARED, MOST_COMPARED
from webapp.comparing.words import between, explained
from webapp.runs.templatetags.shown import signed

register = template.Library()


@register.inclusion_tag("comparing/_selection.html")
def selected_for_comparison(project: Project) -> dict[str, Any]:
    """The bar that says how many runs of a table are selected, and leads to their comparison."""
    return {"project": project, "least": LEAST_COMPARED, "most": MOST_COMPARED}


TONES = {"better": "good", "worse": "bad"}


@register.inclusion_tag("comparing/_difference.html")
def difference(row: MetricRow, cell: Cell) -> dict[str, str]:
    """How far a cell is from the baseline's. Its color is its verdict's, and nothing else gives it one."""
    verdict = cell.verdict
    found = verdict.difference if verdict else None
    return {
        "delta": signed(cell.delta, row.card.id),
        "interval": between(found.interval, row.card) if found and found.interval else "",
        "word": verdict.word if verdict else "",
        "tone": TONES.get(verdict.word, "faint") if verdict else "faint",
        "why": explained(cell, sum(each.verdict is not None and each.verdict.p is not None for each in row.cells)),
    }


@register.filter
def pinned_label(columns: Sequence[SeedGroup]) -> str:
    """The label of the column that the others are measured against."""
    return next((column.label for column in columns if column.is_baseline), "")
