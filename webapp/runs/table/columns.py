"""How a person has set up the table of runs: columns and sort, in the address, so that it can be shared. Columns are remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from django.http import HttpResponse

from engine.metrics.cards import METRICS
from engine.spec import catalog
from webapp.accounts.requests import SignedIn

COOKIE = "stillhouse_columns"
YEAR = 365 * 24 * 3600

FIXED = {
    "method": ("Method", "method"),
    "task": ("Task", "task"),
    "student": ("Student", ""),
    "seed": ("Seed", "seed"),
    "created": ("Created", "-created"),
    "seconds": ("Trained", "seconds"),
    "by": ("By", ""),
    "tags": ("Tags", ""),
    "priority": ("Priority", "-priority"),
}
"""Columns that are no metrics: title, and how the first click sorts (nothing: it can't)."""

BEFORE, AFTER = ("method", "student", "seed"), ("parameters", "created", "seconds")
"""The columns that stand around the metrics when nobody has chosen any."""

MOST_OF_EACH = {1: 4, 2: 2, 3: 2}
"""How many metrics of each kind of student are in the table of a project with so many kinds; of more kinds, one of each: more would not
fit beside each other."""


@dataclass(frozen=True)
class Column:
    """One column that is shown. `head` is its title, shortened where that is long. `sort` is what a click on it asks for, `sorted` is
    "ascending", "descending" or empty."""

    id: str
    title: str
    head: str
    description: str
    metric: bool
    better: str
    sort: str
    sorted: str


@dataclass(frozen=True)
class TableState:
    """`chosen` are the ids of the shown columns, in their order; `metrics` all that the project has."""

    sort: str
    chosen: tuple[str, ...]
    remembering: bool
    metrics: tuple[str, ...] = ()

    @classmethod
    def read(cls, request: SignedIn) -> Self:
        """From the address; columns from the cookie where the address names none."""
        asked = [name for text in request.GET.getlist("columns") for name in text.split(",")]
        names = asked or request.COOKIES.get(COOKIE, "").split(".")
        chosen = tuple(dict.fromkeys(name for name in names if name in FIXED or (name.isascii() and name.isidentifier())))[:40]
        return cls(
            sort=request.GET.get("sort") or "-created",
            chosen=chosen,
            remembering=bool(asked) and "remember" in request.GET,
        )

    def with_metrics(self, names: Sequence[str]) -> Self:
        """Metrics in the order in which their cards explain them; then a method's own. Where no columns are chosen, those that say most."""
        order = {name: place for place, name in enumerate(METRICS)}
        metrics = tuple(sorted(names, key=lambda name: (order.get(name, len(order)), name)))
        return replace(self, metrics=metrics, chosen=self.chosen or (*BEFORE, *_first_columns(metrics), *AFTER))

    def remember(self, response: HttpResponse) -> None:
        """Keeps the columns that there are: those with a title of ours, and the project's own metrics."""
        if self.remembering:
            response.set_cookie(COOKIE, ".".join(column.id for column in self.columns), max_age=YEAR, samesite="Lax", httponly=True)

    @property
    def columns(self) -> list[Column]:
        return [self._column(name) for name in self.chosen if name in FIXED or name in self.metrics or name in METRICS]

    @property
    def offered(self) -> list[Column]:
        return [self._column(name) for name in [*FIXED, *self.metrics]]

    @property
    def name_column(self) -> Column:
        return plain_column("name", "Run", "name", sort=self.sort)

    @property
    def state_column(self) -> Column:
        return plain_column("state", "State", "state", sort=self.sort)

    def _column(self, name: str) -> Column:
        if name in FIXED:
            title, first = FIXED[name]
            return plain_column(name, title, first, sort=self.sort)
        return metric_column(name, sort=self.sort, sortable=name in self.metrics)


def plain_column(name: str, title: str, first: str, *, sort: str) -> Column:
    """A column that is no metric. `first` is how the first click sorts (nothing: it can't), `sort` how the table is sorted."""
    return Column(name, title, title, "", False, "", *_sorting(name, first, sort))


def metric_column(name: str, *, sort: str, sortable: bool = True) -> Column:
    """A metric's column; the best come first at the first click."""
    card = METRICS.get(name)
    if card is None:
        title = name.replace("_", " ")
        return Column(name, title, title, "", True, "", *_sorting(name, f"-{name}" if sortable else "", sort))
    first = name if card.better == "lower" else f"-{name}"
    description = card.description if card.head == card.title else f"{card.title}: {card.description}"
    return Column(name, card.title, card.head, description, True, card.better or "", *_sorting(name, first if sortable else "", sort))


def _sorting(name: str, first: str, sort: str) -> tuple[str, str]:
    """What a click asks for, and how the column is sorted now."""
    now = "" if sort.lstrip("-") != name else ("descending" if sort.startswith("-") else "ascending")
    return ({"ascending": f"-{name}", "descending": name}.get(now, first) if first else "", now)


def _first_columns(metrics: Sequence[str]) -> tuple[str, ...]:
    """The first columns of the kinds of students that a project has; those of the first kind where nothing was judged yet."""
    every = list(dict.fromkeys(kind.first_columns for kind in catalog.kinds().values()))
    present = [one for one in every if set(one) & set(metrics) - {name for other in every if other != one for name in other}]
    present = present or every[:1]
    most = MOST_OF_EACH.get(len(present), 1)
    # Of the only kind all are shown, what was measured first: its tasks need not measure the same.
    shown = [
        sorted(one, key=lambda name: name not in metrics) if len(present) == 1 else [name for name in one if name in metrics]
        for one in present
    ]
    return tuple(dict.fromkeys(name for columns in shown for name in columns[:most]))
