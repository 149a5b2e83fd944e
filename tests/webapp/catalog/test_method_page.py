"""A method's README as HTML that can't do harm, its formulas, and its settings for people."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.spec import catalog
from engine.spec.cards import TrainingSettings
from webapp.catalog.method_page import SettingRow, as_html, presets_of, settings_of
from webapp.catalog.models import Method
from webapp.catalog.sync import method_json


def method(identity: str = "gone", **card: Any) -> Method:
    return Method(id=identity, card=card)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<a href="javascript:alert(1)">x</a>',
        "[x](javascript:alert(1))",
        '<img src=x onerror="alert(1)">',
        '<p onclick="alert(1)" style="color:red">x</p>',
        "<svg/onload=alert(1)>",
        "$<script>alert(1)</script>$",
        "$$\\text{<img/src=x/onerror=alert(1)>}$$",
        "$\\href{javascript:alert(1)}{x}$",
        "$\\style{color:red}{x}$ $\\class{x}{y}$",
        "$\\unheardof{<script>alert(1)</script>}$",
        "`<script>alert(1)</script>`",
        "⟦0⟧<script>⟦1⟧</script>",
    ],
)
def test_nothing_in_a_page_runs(text: str) -> None:
    html = as_html(text)

    for harm in ("<script", "<img", "<svg", "<a href", "<p onclick", "style=", "href=", "class="):
        assert harm not in html, html


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It costs $5 and $6.", "<p>It costs $5 and $6.</p>"),
        ("a $ b $ c", "<p>a $ b $ c</p>"),
        (r"\$x\$ and C:\$y$", r"<p>$x$ and C:$y$</p>"),
        ("`$x$` and `$$`", "<p><code>$x$</code> and <code>$$</code></p>"),
        ("```\n$x$\n```", "<pre><code>$x$\n</code></pre>"),
        ("no ⟦7⟧ formula", "<p>no ⟦7⟧ formula</p>"),
    ],
)
def test_a_dollar_that_begins_no_formula_is_a_dollar(text: str, found: str) -> None:
    html = as_html(text).strip()

    assert "<math" not in html
    assert html.replace("\\", "") == found.replace("\\", "")


def test_text_in_a_formula_is_text() -> None:
    assert "<mtext>a&#x000A0;&lt;b>&#x000A0;&amp;&#x000A0;&lt;/mtext></mtext>" in as_html("$\\text{a <b> & </mtext>}$").replace("&gt;", ">")


@pytest.mark.parametrize(("text", "display"), [("$x_1$", "inline"), ("$$\nx_1\n$$", "block"), ("**bold $x_1$**", "inline")])
def test_a_formula_becomes_mathml_beside_the_text_or_alone(text: str, display: str) -> None:
    html = as_html(text)

    assert html.count("<math") == 1 and f'display="{display}"' in html and "<msub>" in html and "⟦" not in html


def test_formulas_stand_where_they_were_written() -> None:
    html = as_html("$a$ then $$b$$ then `$c$` then $d$")

    places = [html.index(f"<mi>{letter}</mi>") for letter in "abd"]
    assert places == sorted(places) and html.count("<math") == 3 and "<code>$c$</code>" in html


PIECES = st.sampled_from(
    ["<x>", "<script>", "$", "$$", "`", "```\n", "\\", "\\text{", "}", "&lt;", "⟦0⟧", "\n\n", "*", " ", "a", "1", "|", "_"]
)


@given(st.lists(PIECES, max_size=14).map("".join))
def test_any_text_has_a_page_without_a_tag_that_markdown_does_not_make(text: str) -> None:
    html = as_html(text)

    assert "<x" not in html and "<script" not in html


def test_tables_and_links_are_kept_and_links_say_nothing_of_us() -> None:
    html = as_html("| a | b |\n|---|---|\n| 1 | [x](https://example.org/) |")

    assert "<td>1</td>" in html and 'href="https://example.org/"' in html and 'rel="noopener noreferrer"' in html


# Settings and presets


def test_settings_are_told_with_their_kind_limits_and_default() -> None:
    rate = {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.10, "description": "How fast."}
    properties = {
        "rate": rate,
        "deep": {"type": "boolean", "default": True},
        "levels": {"type": "array", "items": {"type": "integer"}, "default": []},
        "word": {"type": "string"},
        "off": {"type": "boolean", "default": False},
    }

    rows = settings_of(method(settings={"properties": properties}))

    assert [row.name for row in rows] == ["deep", "levels", "off", "rate", "word"]  # of a method that is gone by name
    assert {row.name: row.default for row in rows} == {"deep": "yes", "levels": "empty", "off": "no", "rate": "0.1", "word": "–"}
    assert next(row for row in rows if row.name == "rate") == SettingRow("rate", "number > 0 ≤ 1", "0.1", "How fast.")
    assert next(row for row in rows if row.name == "deep").kind == "yes or no"


@pytest.mark.parametrize("identity", ["vanilla-kd", "pso", "supervised"])
def test_a_methods_own_settings_come_in_the_order_of_their_declaration_before_those_of_every_method(identity: str) -> None:
    card = catalog.methods()[identity]
    stored = dict(sorted(method_json(card)["settings"]["properties"].items()))  # the database keeps no order

    names = [row.name for row in settings_of(method(identity, settings={"properties": stored}))]

    own = [name for name in card.settings.model_fields if name not in TrainingSettings.model_fields]
    assert names[: len(own)] == own and set(names) == set(card.settings.model_fields)


def test_a_setting_that_the_stored_card_does_not_have_is_not_told() -> None:
    rows = settings_of(method("vanilla-kd", settings={"properties": {"temperature": {"type": "number"}}}))

    assert [row.name for row in rows] == ["temperature"]
    assert settings_of(method()) == []


def test_presets_come_with_the_one_for_small_machines_first_and_unknown_ones_last_by_name() -> None:
    presets = {name: {"description": f"for {name}"} for name in ("zoo", "tiny", "ant", "paper", "small")}

    assert presets_of(method(presets=presets)) == [(name, f"for {name}") for name in ("small", "paper", "tiny", "ant", "zoo")]
    assert presets_of(method()) == []
