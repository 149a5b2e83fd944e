"""What a page, the JSON and a terminal say of claims."""

import json

import pytest

from engine.evidence.experiment import (
    Claim,
    higher,
    higher_than,
    identity,
    lower,
    within,
)
from engine.evidence.report import HOW_CLAIMS_ARE_TESTED, Report, verdicts_on
from engine.spec import catalog
from tests.engine.evidence.numbers import RESULTS, evidence_with

# The report of claims


def cells_of_claims(*claims: Claim) -> list[list[str]]:
    page = Report(evidence_with(*claims), RESULTS, "").to_markdown()
    rows = [line for line in page.partition("## Claims")[2].partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows if not row.startswith("|--")]


def test_a_page_says_how_each_claim_was_tested_and_gives_each_seeds_difference():
    head, *rows = cells_of_claims(
        Claim("lower NLL", lower("nll", "ours", "base", margin=0.05)),
        Claim("no loss", higher("accuracy", "ours", "base", margin=-0.005)),
        Claim("hotter", higher("temperature", "far", "base")),
        Claim("a constant", higher_than("nll", "base", 0.2)),
        Claim("the same", within("accuracy", "ours", "base", by=0.03)),
        Claim("undefined", higher("temperature", "ours", "base")),
        Claim("a share of another number", lower("nll", "base", "base", other_metric="accuracy", times=0.5)),
    )

    assert head == ["claim", "tested how", "verdict", "difference with 95 % interval", "each seed's difference", "seeds in favor"]
    assert rows == [
        [
            "lower NLL",
            "paired over seeds: `nll` of “Ours, T = 4” lower than that of “The base” by more than 0.05",
            "**not shown**",
            "+0.0300 (-0.1733 … +0.2333)",
            "+0.1000, +0.0500, -0.0600",
            "1 of 3",
        ],
        [
            "no loss",
            "paired over seeds: `accuracy` of “Ours, T = 4” less than 0.005 below that of “The base”",
            "**leaning**",
            "0 (-0.0248 … +0.0248)",
            "+0.0100, -0.0100, 0",
            "2 of 3",
        ],
        [
            "hotter",
            "paired over seeds: `temperature` of “Far off” higher than that of “The base”",
            "**not shown**",
            "+2.0000 (no interval)",
            "+2.0000, –, –",
            "1 of 3 (1 pair)",
        ],
        [
            "a constant",
            "over seeds: `nll` of “The base” above 0.2",
            "**leaning**",
            "+0.1000 (no interval)",
            "+0.1000, +0.1000, +0.1000",
            "3 of 3",
        ],
        [
            "the same",
            "paired over seeds: `accuracy` of “Ours, T = 4” within 0.03 of that of “The base”",
            "**shown**",
            "0 (-0.0248 … +0.0248)",
            "+0.0100, -0.0100, 0",
            "3 of 3",
        ],
        [
            "undefined",
            "paired over seeds: `temperature` of “Ours, T = 4” higher than that of “The base”",
            "**not shown**",
            "–",
            "–, –, –",
            "0 of 3 (no pairs)",
        ],
        [
            "a share of another number",
            "paired over seeds: `nll` of “The base” lower than 0.5 times `accuracy`",
            "**shown**",
            "+0.1600 (+0.1352 … +0.1848)",
            "+0.1500, +0.1600, +0.1700",
            "3 of 3",
        ],
    ]


def test_each_of_several_tests_has_a_row_and_the_claims_verdict_is_the_bold_one():
    _, *rows = cells_of_claims(Claim("both", higher("accuracy", "base", "far"), lower("nll", "ours", "base")))

    assert [row[:3] for row in rows] == [
        ["both", "all of these 2:", "**leaning**"],
        ["", "paired over seeds: `accuracy` of “The base” higher than that of “Far off”", "shown"],
        ["", "paired over seeds: `nll` of “Ours, T = 4” lower than that of “The base”", "leaning"],
    ]


def test_a_page_explains_once_how_claims_are_tested():
    page = Report(evidence_with(Claim("lower NLL", lower("nll", "ours", "base"))), RESULTS, "").to_markdown()

    assert page.count("**How claims are tested.**") == 1
    assert page.index("## Claims") < page.index(HOW_CLAIMS_ARE_TESTED) < page.index("| claim ")


def test_the_json_has_arms_metric_direction_margin_differences_interval_and_seeds_in_favor():
    claims = (
        Claim("lower NLL", lower("nll", "ours", "base", margin=0.05)),
        Claim("hotter", higher("temperature", "far", "base"), within("accuracy", "ours", "base", by=0.03)),
        Claim("a constant", higher_than("nll", "base", 0.2)),
        Claim("so it is", identity("always", lambda values: True)),
    )

    paired, several, constant, certain = json.loads(json.dumps(Report(evidence_with(*claims), RESULTS, "").to_dict()))["claims"]

    assert (paired["text"], paired["verdict"], len(paired["tests"])) == ("lower NLL", "not shown", 1)
    [test] = paired["tests"]
    assert {name: test[name] for name in ("arms", "metric", "direction", "margin", "in_favor", "n", "pairs", "verdict")} == {
        "arms": ["ours", "base"],
        "metric": "nll",
        "direction": "lower",
        "margin": 0.05,
        "in_favor": 1,
        "n": 3,
        "pairs": 3,
        "verdict": "not shown",
    }
    assert test["differences"] == pytest.approx([0.10, 0.05, -0.06])
    assert [test["mean"], test["low"], test["high"]] == pytest.approx([0.03, -0.17333, 0.23333], abs=1e-5)
    assert [(one["direction"], one["margin"], one["differences"][1]) for one in several["tests"][:1]] == [("higher", 0.0, None)]
    assert (several["tests"][1]["direction"], several["tests"][1]["margin"]) == ("within", 0.03)
    assert (constant["tests"][0]["arms"], constant["tests"][0]["value"]) == (["base"], 0.2)
    assert (certain["tests"][0]["asserted"], certain["tests"][0]["n"], certain["tests"][0]["low"]) == ("always", 3, None)


def test_a_terminal_gets_verdict_and_numbers_of_each_test():
    text = Report(evidence_with(Claim("lower NLL", lower("nll", "ours", "base"))), RESULTS, "").to_text()

    assert text.endswith(
        "- leaning: lower NLL\n"
        "  leaning: paired over seeds: `nll` of “Ours, T = 4” lower than that of “The base”; "
        "+0.0300 (-0.1733 … +0.2333); +0.1000, +0.0500, -0.0600; 2 of 3 in favor"
    )


def test_the_verdicts_on_a_page_are_those_of_its_claims():
    claims = (
        Claim("**shown** | as it is said", higher("accuracy", "base", "far")),
        Claim("both", higher("accuracy", "base", "far"), lower("nll", "ours", "base")),
        Claim("higher accuracy", higher("accuracy", "ours", "base")),
        Claim("higher accuracy than it is", higher("accuracy", "far", "base")),
        Claim("lower NLL", lower("nll", "base", "far")),
        Claim("so it is", identity("always", lambda values: True)),
    )

    page = Report(evidence_with(*claims, published="| a | b | **shown** | of another table |"), RESULTS, "").to_markdown()

    assert verdicts_on(page) == {"shown": 2, "leaning": 1, "not shown": 1, "contradicted": 1, "identity": 1}


def test_a_page_whose_claims_were_differences_of_means_has_no_verdicts():
    page = "# Evidence\n\n## Claims\n\n| claim | verdict   | numbers |\n|---|---|---|\n| lower NLL | **shown** | 0.2 against 0.3 |\n\n## Notes\n"

    assert verdicts_on(page) is None


def test_the_index_counts_each_verdict_and_counts_none_of_a_page_that_does_not_say_how_it_tested():
    from docs.generate import evidence_row

    page = Report(evidence_with(Claim("lower NLL", lower("nll", "base", "far"))), RESULTS, "").to_markdown()
    card = catalog.methods()["supervised"]
    old = "# Evidence\n\n## Claims\n\n| claim | verdict | numbers |\n|---|---|---|\n| lower NLL | **shown** | 0.2 against 0.3 |\n"

    assert evidence_row(card, page) == ("[supervised](supervised.md)", card.title, "1", "0", "0", "0", "0", "not measured")
    assert evidence_row(card, old) == ("[supervised](supervised.md)", card.title, "not measured", "", "", "", "", "not measured")
    assert evidence_row(card, "") == ("supervised", card.title, "not measured", "", "", "", "", "not measured")


def test_a_report_marks_numbers_that_are_undefined_for_some_seeds():
    lines = Report(evidence_with(metrics=("accuracy", "temperature")), RESULTS, "").table().splitlines()

    assert lines[0].split("|")[2].strip() == "Accuracy ↑"
    assert [cell.strip() for cell in lines[2].split("|")[1:4]] == ["The base (baseline)", "0.920 ± 0.020", "1.500 ± 0.707 (2 of 3 seeds)"]
    assert [cell.strip() for cell in lines[3].split("|")[1:4]] == ["Ours, T = 4", "0.920 ± 0.017", "–"]
