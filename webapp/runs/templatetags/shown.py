"""How numbers, times and specs are written for people."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import json_script

from engine.metrics.cards import METRICS
from webapp.figures import plotly
from webapp.figures.palette import slot_of

register = template.Library()


@register.filter
def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    first = next((i for i, (_, size) in enumerate(units) if whole >= size), len(units) - 1)
    parts = []
    for name, size in units[first : first + 2]:
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts)


@register.filter
def metric(value: float | None, name: str = "") -> str:
    """A metric's value in its card's format; a dash for None. Large counts are shortened: 1.42 M."""
    card = METRICS.get(name)
    return "–" if value is None else _in_style(value, card.format if card else ".4g")


def _in_style(value: float, style: str) -> str:
    """A format written out, but a count shortened, and a number of a diverged run as a power: its 25 digits would break the page's layout."""
    if style == ",.0f":
        return compact(value)
    text = format(value, ".4g" if abs(value) >= 1e6 else style)
    return f"−{text[1:]}" if text.startswith("-") else text


@register.filter
def compact(value: float | None) -> str:
    """`842`, `1.33 k`, `2.41 M`, `13.2 G`, `4.5 T`."""
    if value is None:
        return "–"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:  # what would be rounded up to a thousand of a unit is one of the next
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


@register.filter
def rate(value: float | None) -> str:
    """Steps a second."""
    if value is None:
        return ""
    return f"{value:,.0f} steps/s" if value >= 10 else f"{value:.2g} steps/s"


@register.filter
def slot(number: int) -> str:
    """The CSS class of the color of the run with this number."""
    return f"slot-{slot_of(number)}"


@register.filter
def pretty(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.filter
def signed(value: float | None, name: str = "") -> str:
    """A difference of a metric's values, with its sign: `+0.0120`; `=` for none, `≈` for one that is smaller than what is shown."""
    if value is None:
        return ""
    size = spread(abs(value), name) if name else f"{abs(value):.4f}"
    if value == 0:
        return "="
    return ("+" if value > 0 else "−") + size if size.strip("0.") else "≈"


@register.inclusion_tag("_charts_head.html", takes_context=True)
def charts_head(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a page with charts needs in its head."""
    return {"plotly_version": plotly.VERSION, "style_ids": plotly.style_ids(), "nonce": context["request"].csp_nonce}


@register.simple_tag
def figure_data(name: str, figure: Any) -> str:
    """A figure's JSON in a script element that is not run, for `data-figure="figure-<name>"`."""
    return json_script(figure, f"figure-{name}")


@register.filter
def top_class(probabilities: list[float] | None) -> str:
    """`7 (92 %)`: the most probable class of a distribution."""
    if not probabilities:
        return "–"
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    return f"{best} ({probabilities[best]:.0%})"


@register.filter
def get(mapping: Mapping[str, Any], key: str) -> Any:
    """`mapping[key]`, or None."""
    return mapping.get(key)


@register.filter
def ago(moment: datetime) -> str:
    """`now`, `5 min ago`, `3 h ago`, `2 d ago`, then the date."""
    seconds = (timezone.now() - moment).total_seconds()
    for limit, size, unit in ((60, 1, ""), (3600, 60, "min"), (86400, 3600, "h"), (7 * 86400, 86400, "d")):
        if seconds < limit:
            return f"{int(seconds // size)} {unit} ago" if unit else "just now"
    return f"{moment:%Y-%m-%d}"


@register.filter
def spread(value: float, name: str) -> str:
    """A standard deviation in the style of its metric, without a sign."""
    card = METRICS.get(name)
    return _in_style(value, card.format.lstrip("+") if card else ".4g")


@register.filter
def words(value: Any) -> str:
    """A setting's value for people."""
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(words(one) for one in value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[:12] + "…" if text.startswith("run:") else text
