"""How a person has set up the table of runs: columns, sort, page, all in the address, so that it can be shared. Columns are remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from django.http import HttpResponse

from engine.metrics.cards import HEADLINE, METRICS
from webapp.requests import SignedIn

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

MOST_OF_ONE_KIND, MOST_OF_EACH_KIND = 4, 2
"""Metrics in the table of a project whose students are all of one kind, and of one with several kinds."""


@dataclass(frozen=True)
class Column:
    """One column that is shown. `sort` is what a click on its head asks for, `sorted` is "ascending", "descending" or empty."""

    id: str
    title: str
    description: str
    metric: bool
    better: str
    sort: str
    sorted: str


@dataclass(frozen=True)
class TableState:
    """`chosen` are the ids of the shown columns, in their order; `metrics` all that the project has."""

    sort: str
    page: int
    chosen: tuple[str, ...]
    remembering: bool
    metrics: tuple[str, ...] = ()

    @classmethod
    def read(cls, request: SignedIn) -> Self:
        """From the address; columns from the cookie where the address names none."""
        asked = [name for text in request.GET.getlist("columns") for name in text.split(",")]
        names = asked or request.COOKIES.get(COOKIE, "").split(".")
        chosen = tuple(dict.fromkeys(name for name in names if name in FIXED or (name.isascii() and name.isidentifier())))[:40]
        page = request.GET.get("page", "1")
        return cls(
            sort=request.GET.get("sort") or "-created",
            page=int(page) if page.isdecimal() and 0 < len(page) < 7 and int(page) else 1,
            chosen=chosen,
            remembering=bool(asked) and "remember" in request.GET,
        )

    def with_metrics(self, names: Sequence[str]) -> Self:
        """Metrics in the order in which their cards explain them; then a method's own. Where no columns are chosen, those that tell most."""
        order = {name: place for place, name in enumerate(METRICS)}
        metrics = tuple(sorted(names, key=lambda name: (order.get(name, len(order)), name)))
        return replace(self, metrics=metrics, chosen=self.chosen or (*BEFORE, *_telling(metrics), *AFTER))

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
        return self._built("name", "Run", "", metric=False, better="", first="name")

    @property
    def state_column(self) -> Column:
        return self._built("state", "State", "", metric=False, better="", first="state")

    def _column(self, name: str) -> Column:
        if name in FIXED:
            title, first = FIXED[name]
            return self._built(name, title, "", metric=False, better="", first=first)
        card = METRICS.get(name)
        title = card.title if card else name.replace("_", " ")
        better = (card.better if card else None) or ""
        # The best comes first at the first click.
        return self._built(
            name, title, card.description if card else "", metric=True, better=better, first=name if better == "lower" else f"-{name}"
        )

    def _built(self, name: str, title: str, description: str, *, metric: bool, better: str, first: str) -> Column:
        now = "" if self.sort.lstrip("-") != name else ("descending" if self.sort.startswith("-") else "ascending")
        sortable = bool(first) and (not metric or name in self.metrics)
        flipped = {"ascending": f"-{name}", "descending": name}.get(now, first)
        return Column(name, title, description, metric, better, flipped if sortable else "", now)


def _telling(metrics: Sequence[str]) -> tuple[str, ...]:
    """What the kinds of students in a project are told by first; a classifier's where nothing was judged yet."""
    every = list(dict.fromkeys(HEADLINE.values()))
    told = [one for one in every if set(one) & set(metrics) - {name for other in every if other != one for name in other}]
    told = told or [HEADLINE["classifier"]]
    most = MOST_OF_ONE_KIND if len(told) == 1 else MOST_OF_EACH_KIND
    return tuple(dict.fromkeys(name for headline in told for name in [one for one in headline if one in metrics or len(told) == 1][:most]))
