"""Evidence: claims held against hand-made numbers, and one small experiment that really runs."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.cli.main import main
from engine.errors import EngineError, SpecError
from engine.evidence import experiment
from engine.evidence.experiment import (
    Arm,
    ChangedModel,
    Claim,
    Evidence,
    Identity,
    Results,
    higher,
    higher_than,
    identity,
    lower,
    lower_than,
    within,
)
from engine.evidence.report import HOW_CLAIMS_ARE_TESTED, Report, verdicts_on
from engine.spec import catalog
from engine.tasks.digits import protocol

RESULTS = Results(
    (10, 11, 12),
    {
        "base": {"accuracy": [0.90, 0.92, 0.94], "nll": [0.30, 0.30, 0.30], "temperature": [1.0, None, 2.0]},
        "ours": {"accuracy": [0.91, 0.91, 0.94], "nll": [0.20, 0.25, 0.36], "temperature": [None, None, None]},
        "far": {"accuracy": [0.80, 0.83, 0.84], "nll": [0.51, 0.49, 0.50], "temperature": [3.0, 2.5, None]},
    },
)


def evidence_with(*claims: Claim, metrics: tuple[str, ...] = ("accuracy", "nll", "temperature"), published: str = "") -> Evidence:
    titles = {"base": "The base", "ours": "Ours, T = 4", "far": "Far off"}
    return Evidence(
        method="ps-kd",
        protocol="",
        arms=tuple(Arm(id=name, title=title, spec=lambda seed: {}) for name, title in titles.items()),
        baseline="base",
        metrics=metrics,
        claims=claims,
        published=published,
    )


def test_means_and_deviations_are_over_the_seeds_with_divisor_one_less():
    # Mean 0.92, deviations ±0.02 and 0: √(0.0008/2) = 0.02.
    assert RESULTS.mean("base", "accuracy") == pytest.approx(0.92)
    assert RESULTS.std("base", "accuracy") == pytest.approx(0.02)


def test_undefined_values_are_left_out_and_all_undefined_is_undefined():
    assert RESULTS.mean("base", "temperature") == 1.5
    assert RESULTS.mean("ours", "temperature") is None
    assert RESULTS.std("ours", "temperature") is None


# Claims


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        (higher("accuracy", "base", "far"), "shown"),  # 0.10, 0.09, 0.10: 0.0967 ∓ 0.0143
        (higher("accuracy", "far", "base"), "contradicted"),
        (higher("accuracy", "base", "far", margin=0.09), "leaning"),
        (higher("accuracy", "base", "far", margin=0.08), "shown"),
        (higher("accuracy", "base", "far", margin=0.1), "not shown"),
        (higher("accuracy", "base", "far", margin=0.12), "contradicted"),
        (higher("accuracy", "ours", "base"), "not shown"),  # 0.01, −0.01, 0: their mean is 0
        (higher("accuracy", "ours", "base", margin=-0.005), "leaning"),
        (higher("accuracy", "ours", "base", margin=-0.03), "shown"),  # 0 ∓ 0.0248
        (lower("nll", "base", "far"), "shown"),
        (lower("nll", "far", "base"), "contradicted"),
        (lower("nll", "ours", "base"), "leaning"),  # 0.10, 0.05, −0.06
        (lower("nll", "base", "far", times=0.5), "contradicted"),  # half of about 0.5 is below 0.3
        (lower("nll", "base", "far", times=0.7), "shown"),
        (higher("accuracy", "base", "base", other_metric="nll"), "shown"),
        (within("accuracy", "ours", "base", by=0.03), "shown"),
        (within("accuracy", "ours", "base", by=0.02), "leaning"),
        (within("accuracy", "base", "far", by=0.03), "contradicted"),
        (higher_than("accuracy", "far", 0.7), "shown"),
        (higher_than("accuracy", "far", 0.82), "leaning"),
        (lower_than("accuracy", "far", 0.9), "shown"),
        (lower_than("accuracy", "far", 0.7), "contradicted"),
        (lower("nll", "base", "base"), "not shown"),  # an arm against itself: no difference, no spread
        (higher_than("nll", "base", 0.2), "leaning"),  # no spread over three seeds
        (higher("temperature", "far", "base"), "not shown"),  # one pair of three
        (identity("probabilities are", lambda values: 0 <= values["far"]["accuracy"] <= 1), "identity"),
        (identity("the first seed alone", lambda values: values["far"]["accuracy"] < 0.82), "contradicted"),
    ],
)
def test_a_test_is_held_against_the_differences_of_the_seeds(test, verdict):
    assert test.judged(RESULTS).verdict == verdict


def test_differences_are_counted_in_the_claims_direction():
    assert lower("nll", "ours", "base").judged(RESULTS).differences == pytest.approx((0.10, 0.05, -0.06))
    assert higher("nll", "ours", "base").judged(RESULTS).differences == pytest.approx((-0.10, -0.05, 0.06))
    assert lower_than("nll", "ours", 0.3).judged(RESULTS).differences == pytest.approx((0.10, 0.05, -0.06))
    assert within("nll", "ours", "base", by=1.0).judged(RESULTS).differences == pytest.approx((-0.10, -0.05, 0.06))


def test_a_judged_test_has_mean_interval_differences_and_seeds_in_favor():
    judged = lower("nll", "ours", "base", margin=0.05).judged(RESULTS)

    # Mean 0.03, s = √(0.0067) = 0.08185, 4.302653 · s/√3 = 0.20333.
    assert (judged.mean, judged.low, judged.high) == pytest.approx((0.03, -0.17333, 0.23333), abs=1e-5)
    assert (judged.in_favor, judged.seeds, judged.pairs) == (1, 3, 3)  # 0.05 is a tie with the margin


def test_a_seed_without_a_pair_is_missing_and_counted():
    judged = higher("temperature", "far", "base").judged(RESULTS)

    assert judged.differences == (2.0, None, None)
    assert (judged.pairs, judged.seeds, judged.low) == (1, 3, None)


def test_an_undefined_number_holds_no_identity():
    holds = identity("it is positive", lambda values: values["base"]["temperature"] > 0).judged(RESULTS)

    assert (holds.verdict, holds.in_favor, holds.seeds) == ("contradicted", 2, 3)


def test_of_several_tests_the_weakest_gives_the_claims_verdict():
    shown, leaning, identical = higher("accuracy", "base", "far"), lower("nll", "ours", "base"), identity("so", lambda values: True)

    assert Claim("", shown, identical).judged(RESULTS).verdict == "shown"
    assert Claim("", identical, leaning, shown).judged(RESULTS).verdict == "leaning"
    assert Claim("", identical, identical).judged(RESULTS).verdict == "identity"
    assert Claim("", shown, higher("accuracy", "far", "base")).judged(RESULTS).verdict == "contradicted"


def test_a_claim_without_a_test_is_refused():
    with pytest.raises(AssertionError, match=r"^the claim 'It is good\.' is not tested$"):
        Claim("It is good.")


def test_arms_that_may_not_differ_at_all_are_refused():
    with pytest.raises(ValueError, match=r"^by must be greater than 0; got 0\.$"):
        within("accuracy", "ours", "base", by=0)


# A small experiment


@torch.no_grad()
def silence(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.zero_()


def short(method: str, seed: int, **settings: object) -> dict:
    return protocol.run(method, seed, settings=settings, student="mlp-16", options={"train_limit": 64}) | {"budget": {"epochs": 2}}


SMALL = Evidence(
    method="vanilla-kd",
    protocol="A small one.",
    arms=(
        Arm(id="teacher", title="teacher", spec=lambda seed: short("supervised", seed, learning_rate=0.02)),
        Arm(id="ce", title="CE", spec=lambda seed: short("supervised", seed), fidelity_to="teacher"),
        Arm(id="same", title="CE again", spec=lambda seed: short("vanilla-kd", seed, ce_weight=1.0, kd_weight=0.0), teachers=("teacher",)),
        Arm(id="kd", title="KD", spec=lambda seed: short("vanilla-kd", seed), teachers=("teacher",)),
        Arm(id="silent", title="KD from silence", spec=lambda seed: short("vanilla-kd", seed), teachers=("silent-teacher",)),
        Arm(id="best", title="the best of both", best_of=("silent", "kd")),
    ),
    changed=(ChangedModel(id="silent-teacher", of="teacher", title="a teacher that says nothing", change=silence),),
    baseline="ce",
    metrics=("accuracy", "agreement", "nll", "validation/accuracy"),
    claims=(
        Claim(
            "Without a weight on the teacher nothing changes.",
            identity("the NLL is the same to 1e-6", lambda values: abs(values["same"]["nll"] - values["ce"]["nll"]) <= 1e-6),
        ),
    ),
    published="Nothing.",
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Results, list[str]]:
    said: list[str] = []
    return experiment.measure(SMALL, (10, 11), tmp_path_factory.mktemp("evidence"), say=said.append), said


def test_every_arm_is_run_with_every_seed_and_read_from_its_final_test_evaluation(measured):
    results, said = measured

    assert set(results.values) == {"teacher", "ce", "same", "kd", "silent", "best"}
    assert all(len(values["accuracy"]) == 2 and all(0 <= value <= 1 for value in values["accuracy"]) for values in results.values.values())
    assert len(said) == 12


def test_arms_without_a_teacher_are_compared_with_the_model_they_name(measured):
    results, _ = measured

    assert results.values["teacher"]["agreement"] == [None, None]
    # The same weights as the arm that has the teacher but gives it no weight, and so the same agreement.
    assert results.values["ce"]["agreement"] == results.values["same"]["agreement"]


def test_a_changed_teacher_teaches_otherwise(measured):
    results, _ = measured

    assert results.values["silent"]["nll"] != results.values["kd"]["nll"]


def test_the_best_of_several_arms_is_chosen_on_validation_in_each_seed(measured):
    results, _ = measured
    silent, kd, best = (results.values[name] for name in ("silent", "kd", "best"))

    for seed, scores in enumerate(zip(kd["validation/accuracy"], silent["validation/accuracy"], strict=True)):
        chosen = kd if scores[0] > scores[1] else silent
        assert {name: values[seed] for name, values in best.items()} == {name: values[seed] for name, values in chosen.items()}
    # Two epochs of a teacher that says nothing are worth less, so one that took the first would be seen.
    assert kd["validation/accuracy"] != silent["validation/accuracy"] and best["nll"] != silent["nll"]


def test_an_arm_that_fails_ends_the_measurement_with_the_runs_own_sentence(tmp_path):
    def diverging(seed: int) -> dict:
        return short("supervised", seed, optimizer="sgd", learning_rate=100.0, weight_decay=10.0) | {"budget": {"epochs": 60}}

    hot = Evidence(
        method="supervised",
        protocol="",
        arms=(Arm(id="hot", title="too hot", spec=diverging),),
        baseline="hot",
        metrics=("accuracy",),
        claims=(),
        published="",
    )

    with pytest.raises(EngineError, match=r"^The arm hot ended as failed with seed 3: loss became (nan|inf) at step \d+\."):
        experiment.measure(hot, (3,), tmp_path)


def test_a_report_holds_table_claims_command_and_what_it_ran_on(measured):
    report = Report(SMALL, measured[0], "python -m engine evidence vanilla-kd --seeds 2")

    page, data = report.to_markdown(), json.loads(json.dumps(report.to_dict()))

    assert page.startswith("# Evidence: Knowledge distillation\n")
    assert "python -m engine evidence vanilla-kd --seeds 2" in page
    assert f"torch {torch.__version__}" in page and "Seeds: 10, 11." in page
    assert "| Without a weight on the teacher nothing changes. | in every seed: the NLL is the same to 1e-6 | **identity** |" in page
    assert "| CE (baseline)" in page and "a teacher that says nothing" in page
    assert data["claims"][0]["verdict"] == "identity"
    assert data["arms"][1]["metrics"]["accuracy"]["values"] == list(measured[0].values["ce"]["accuracy"])
    assert data["seeds"] == [10, 11]


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


def test_the_index_counts_each_verdict_and_counts_none_of_a_page_not_measured_again():
    from docs.generate import evidence_row

    page = Report(evidence_with(Claim("lower NLL", lower("nll", "base", "far"))), RESULTS, "").to_markdown()
    card = catalog.methods()["supervised"]
    old = "# Evidence\n\n## Claims\n\n| claim | verdict | numbers |\n|---|---|---|\n| lower NLL | **shown** | 0.2 against 0.3 |\n"

    assert evidence_row(card, page) == ("[supervised](supervised.md)", card.title, "1", "0", "0", "0", "0", "not measured")
    assert evidence_row(card, old) == ("[supervised](supervised.md)", card.title, "not measured again", "", "", "", "", "not measured")
    assert evidence_row(card, "") == ("supervised", card.title, "not measured", "", "", "", "", "not measured")


def test_a_report_marks_numbers_that_are_undefined_for_some_seeds():
    lines = Report(evidence_with(metrics=("accuracy", "temperature")), RESULTS, "").table().splitlines()

    assert lines[0].split("|")[2].strip() == "Accuracy ↑"
    assert [cell.strip() for cell in lines[2].split("|")[1:4]] == ["The base (baseline)", "0.920 ± 0.020", "1.500 ± 0.707 (2 of 3 seeds)"]
    assert [cell.strip() for cell in lines[3].split("|")[1:4]] == ["Ours, T = 4", "0.920 ± 0.017", "–"]


# The whole catalog


def test_every_method_has_evidence_whose_arms_are_valid_and_whose_names_fit():
    from engine.metrics.cards import METRICS
    from engine.spec.run_spec import RunSpec

    for method_id in catalog.methods():
        found = experiment.load(method_id)
        names = [arm.id for arm in found.arms] + [model.id for model in found.changed]

        assert found.method == method_id and len(set(names)) == len(names)
        assert found.baseline in names
        # A number of the method's own, or one that an arm measures, has no card.
        assert [n for n in found.metrics if n not in METRICS and n not in found.read and not re.fullmatch(r"[a-z0-9_/]+", n)] == []
        assert found.claims, f"{method_id} claims nothing"
        for arm in found.arms:
            assert {*arm.teachers, *([arm.student] if arm.student else [])} <= set(names)
            ways = (arm.spec is not None, arm.measured is not None, bool(arm.best_of))
            assert sum(ways) == 1, f"{method_id}: {arm.id} is either a run, or measured, or the best of others"
            assert set(arm.best_of) <= set(names[: names.index(arm.id)])
            if arm.spec is not None:
                models = {"teachers": [f"run:00000000-0000-4000-8000-00000000000{k}" for k in range(len(arm.teachers))]}
                models |= {"student": "run:00000000-0000-4000-8000-00000000000f"} if arm.student else {}
                RunSpec.parse(arm.spec(10) | models)


@pytest.mark.parametrize("method_id", catalog.methods())
def test_every_claim_is_tested_on_arms_and_metrics_that_its_evidence_has(method_id):
    found = experiment.load(method_id)
    arms, measured = {arm.id for arm in found.arms}, {arm.id: dict.fromkeys(found.metrics, 1.0) for arm in found.arms}

    for claim in found.claims:
        for test in claim.tests:
            if isinstance(test, Identity):
                test.holds(measured)  # a name that does not exist is a KeyError
            else:
                assert {test.arm, getattr(test, "other", test.arm)} <= arms, f"{method_id}: {claim.text}"
                assert {test.metric, getattr(test, "other_metric", test.metric)} <= set(found.metrics), f"{method_id}: {claim.text}"


def steps_behind(found: Evidence, name: str) -> set[int]:
    """Optimizer steps of an arm's budget and of the arms that its weights come from; of each candidate where it is the best of several. Empty
    where nothing was trained."""
    from engine.spec.run_spec import RunSpec

    name = next((model.of for model in found.changed if model.id == name), name)
    arm = next(arm for arm in found.arms if arm.id == name)
    if arm.spec is None:
        return {steps for each in arm.best_of for steps in steps_behind(found, each)}
    models = {"teachers": [f"run:00000000-0000-4000-8000-00000000000{k}" for k in range(len(arm.teachers))]}
    models |= {"student": "run:00000000-0000-4000-8000-00000000000f"} if arm.student else {}
    own = RunSpec.parse(arm.spec(10) | models).total_steps
    return {own + before for before in (steps_behind(found, arm.student) if arm.student else set()) or {0}}


@pytest.mark.parametrize("method_id", catalog.methods())
def test_arms_that_a_claim_compares_have_made_equally_many_steps(method_id):
    found = experiment.load(method_id)

    for claim in found.claims:
        for test in claim.tests:
            counts = {
                steps for arm in {getattr(test, "arm", None), getattr(test, "other", None)} - {None} for steps in steps_behind(found, arm)
            }
            assert len(counts) <= 1, f"{method_id}: {claim.text!r} compares arms after {sorted(counts)} steps"


def test_every_method_of_the_catalog_has_its_page_of_evidence():
    folder = Path(__file__).parents[3] / "docs" / "evidence"

    for method_id, card in catalog.methods().items():
        page = (folder / f"{method_id}.md").read_text(encoding="utf-8")
        verdicts = verdicts_on(page)
        assert f"Method `{card.id}`, version " in page
        if verdicts is None:  # the index says that it was not measured again
            continue
        claims = experiment.load(method_id).claims
        assert f"Method `{card.id}`, version {card.version}." in page
        for claim in claims:
            assert claim.text.replace("|", "\\|") in page
        assert sum(verdicts.values()) == len(claims)


CELL = re.compile(r"(-?\d+\.\d+) ± (\d+\.\d+)")


def rounds_to(measured: tuple[float, float], cell: tuple[str, str]) -> bool:
    """Whether a README's mean and deviation are these numbers, with as many decimals as the README gives."""
    return all(abs(number - float(text)) <= 0.501 * 10 ** -len(text.partition(".")[2]) for number, text in zip(measured, cell, strict=True))


def test_the_results_in_a_methods_readme_are_those_of_its_page_of_evidence():
    folder = Path(__file__).parents[3] / "docs" / "evidence"

    for method_id in catalog.methods():
        results = catalog.readme(method_id).partition("## Results")[2]
        cells = CELL.findall(results)
        page = (folder / f"{method_id}.md").read_text(encoding="utf-8")

        assert cells or f"docs/evidence/{method_id}.md" in results, f"the README of {method_id} shows no result and names no page of them"
        measured = [(float(mean), float(std)) for mean, std in CELL.findall(page)]
        assert [cell for cell in cells if not any(rounds_to(pair, cell) for pair in measured)] == [], f"the README of {method_id} is stale"


def test_evidence_of_a_method_that_does_not_exist_is_refused():
    with pytest.raises(SpecError) as refused:
        experiment.load("vanila-kd")

    assert str(refused.value).startswith(f"method: there is no method 'vanila-kd'; choose one of {', '.join(catalog.methods())}")


def test_the_command_prints_json_and_writes_the_page(tmp_path, capsys):
    page = tmp_path / "supervised.md"

    code = main(["evidence", "supervised", "--seeds", "1", "--json", "--write", str(page)])

    assert code == 0
    reported, text = json.loads(capsys.readouterr().out), page.read_text()
    assert reported["seeds"] == [10]
    assert "python -m engine evidence supervised --seeds 1 --first-seed 10 --write docs/evidence/supervised.md" in text
    assert reported["memory"]["with_run_bytes"] > reported["memory"]["alone_bytes"]
    assert text.index("## What the paper reports") < text.index("## Memory") < text.index("## Specs of seed 10")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["supervised", "--seeds", "0"], "error: --seeds must be at least 1; got 0.\n"),
        (["supervised", "--first-seed", "-1"], "error: --first-seed must be at least 0; got -1.\n"),
        (
            ["supervised", "--write", "/no/such/folder/page.md"],
            "error: --write names a file in /no/such/folder, which is no folder; make it first.\n",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence_with_exit_code_two(arguments, sentence, capsys):
    code = main(["evidence", *arguments])

    assert (code, capsys.readouterr().err) == (2, sentence)
