"""A method's README as safe HTML, with its equations as MathML, and its settings as rows of a table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import tostring

import latex2mathml.converter
import markdown
import nh3

from engine.spec import catalog
from engine.spec.cards import TrainingSettings
from engine.spec.setting_words import helpful_limits, type_words
from webapp.catalog.models import Method

# Code comes first, so that a dollar sign in it is no formula.
CODE_OR_MATH = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]+`)|\$\$(?P<block>.+?)\$\$|(?<![\\\w])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$])?)\$(?!\d)",
    re.DOTALL | re.MULTILINE,
)
EXTENSIONS = ["tables", "fenced_code", "sane_lists"]
PRESETS = ("small", "paper", "tiny")
TAGS = nh3.ALLOWED_TAGS - {"img", "map", "area"}
UNSAFE = frozenset({"href", "style", "class", "id"})
"""Attributes that LaTeX can give to a part of a formula."""
REFERENCE = re.compile(r"&amp;(#x[0-9A-Fa-f]+;)")
"""Signs are references to characters already when the library hands them over."""


@dataclass(frozen=True)
class SettingRow:
    """One setting as the method's page shows it."""

    name: str
    kind: str
    default: str
    description: str


@lru_cache(maxsize=256)
def as_html(text: str) -> str:
    """Markdown, of which nothing that could run is kept. `$…$` and `$$…$$` become MathML; what is not valid LaTeX is shown as it is written."""
    formulas: list[str] = []

    def keep(found: re.Match[str]) -> str:
        if found["code"] is not None:
            return found["code"]
        formulas.append(_mathml(found["block"] or found["inline"], block=found["block"] is not None))
        # Digits between two rare letters: no part of Markdown's or HTML's syntax, and not in anyone's text.
        return f"⟦{len(formulas) - 1}⟧"

    html = markdown.markdown(CODE_OR_MATH.sub(keep, text), extensions=EXTENSIONS, output_format="html")
    safe = nh3.clean(html, tags=TAGS, link_rel="noopener noreferrer")
    return re.sub(r"⟦(\d+)⟧", lambda found: formulas[int(found[1])] if int(found[1]) < len(formulas) else found[0], safe)


def settings_of(method: Method) -> list[SettingRow]:
    """The method's settings: its own first, then those that every method has. The order is that of their declaration, which the database
    does not keep; of a method that is no longer installed they come by name."""
    schema = method.card.get("settings", {}).get("properties", {})
    card = catalog.methods().get(method.id)
    declared = list(card.settings.model_fields) if card else sorted(schema)
    names = sorted((name for name in declared if name in schema), key=lambda name: name in TrainingSettings.model_fields)
    return [_row(name, schema[name]) for name in names]


def presets_of(method: Method) -> list[tuple[str, str]]:
    """(name, description), the one for small machines first."""
    order = {name: place for place, name in enumerate(PRESETS)}
    presets = method.card.get("presets", {})
    return [(name, presets[name]["description"]) for name in sorted(presets, key=lambda name: (order.get(name, len(order)), name))]


def _row(name: str, schema: Mapping[str, Any]) -> SettingRow:
    default = schema.get("default")
    kind = " ".join([type_words(schema, truth="yes or no"), *(limit.in_signs for limit in helpful_limits(schema))])
    return SettingRow(name, kind, "–" if default is None else _plain(default), schema.get("description", ""))


def _mathml(latex: str, *, block: bool) -> str:
    """MathML by latex2mathml, whose own writer escapes no text, and which lets LaTeX set attributes; the source, escaped, where it can't be
    read."""
    try:
        formula = latex2mathml.converter.convert_to_element(latex.strip(), display="block" if block else "inline")
    except Exception:  # The library raises many kinds for what it can't parse, down to IndexError.
        return f"<code>{nh3.clean_text(latex)}</code>"
    for element in formula.iter():
        for name in UNSAFE & element.attrib.keys():
            del element.attrib[name]
    return REFERENCE.sub(r"&\1", tostring(formula, encoding="unicode"))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) if value != [] else "empty"
