"""Evidence: claims held against hand-made numbers, and one small experiment that really runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.errors import EngineError, SpecError
from engine.evidence import experiment
from engine.evidence.experiment import Arm, ChangedModel, Claim, Evidence, Results, above, all_of, at_least, below, same_in_every_seed
from engine.evidence.report import Report, verdicts_on
from engine.spec import catalog
from engine.tasks.digits import protocol

RESULTS = Results(
    (10, 11, 12),
    {
        "base": {"accuracy": [0.90, 0.92, 0.94], "nll": [0.30, 0.30, 0.30], "temperature": [1.0, None, 2.0]},
        "ours": {"accuracy": [0.91, 0.91, 0.94], "nll": [0.20, 0.25, 0.36], "temperature": [None, None, None]},
    },
)


def test_means_and_deviations_are_over_the_seeds_with_divisor_one_less():
    # Mean 0.92, deviations ±0.02 and 0: √(0.0008/2) = 0.02.
    assert RESULTS.mean("base", "accuracy") == pytest.approx(0.92)
    assert RESULTS.std("base", "accuracy") == pytest.approx(0.02)


def test_undefined_values_are_left_out_and_all_undefined_is_undefined():
    assert RESULTS.mean("base", "temperature") == 1.5
    assert RESULTS.mean("ours", "temperature") is None
    assert RESULTS.std("ours", "temperature") is None


@pytest.mark.parametrize(
    ("check", "holds"),
    [
        (at_least("accuracy", "ours", "base"), True),
        (at_least("accuracy", "base", "ours"), True),  # the means are 0.92 both
        (above("accuracy", "ours", "base"), False),
        (above("nll", "base", "ours", by=0.03), True),  # 0.30 and 0.27
        (above("nll", "base", "ours", by=0.031), False),
        (below("nll", "ours", "base"), True),
        (below("nll", "base", "ours"), False),
        (at_least("nll", "ours", "base", margin=0.03), True),
        (at_least("nll", "ours", "base", margin=0.029), False),
        (same_in_every_seed("accuracy", "ours", "base", within=0.01), True),
        (same_in_every_seed("accuracy", "ours", "base", within=0.009), False),
        (all_of(at_least("accuracy", "ours", "base"), below("nll", "ours", "base")), True),
        (all_of(at_least("accuracy", "ours", "base"), below("nll", "base", "ours")), False),
    ],
)
def test_a_check_holds_when_its_inequality_does(check, holds):
    assert check(RESULTS).holds is holds


def test_a_check_tells_its_numbers_and_in_how_many_seeds_it_went_that_way():
    finding = below("nll", "ours", "base")(RESULTS)

    assert finding.numbers == "nll 0.2700 against 0.3000, lower in 2 of 3 seeds"


def test_a_claim_is_shown_or_shown_in_a_weaker_form_or_not_shown():
    weaker = ("the accuracy is not lower", at_least("accuracy", "ours", "base"))
    failing = above("accuracy", "ours", "base", by=0.01)

    shown = Claim("lower NLL", below("nll", "ours", "base"), weaker=weaker).judged(RESULTS)
    weak = Claim("higher accuracy", failing, weaker=weaker).judged(RESULTS)
    not_shown = Claim("higher accuracy", failing, weaker=("much lower NLL", below("nll", "base", "ours"))).judged(RESULTS)
    neither = Claim("higher accuracy", failing).judged(RESULTS)

    assert [claim.verdict for claim in (shown, weak, not_shown, neither)] == ["shown", "weaker check shown", "not shown", "not shown"]
    assert weak.numbers == (
        "accuracy 0.9200 against 0.9200, higher in 1 of 3 seeds; "
        "weaker: the accuracy is not lower: accuracy 0.9200 against 0.9200, higher in 1 of 3 seeds"
    )


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
    ),
    changed=(ChangedModel(id="silent-teacher", of="teacher", title="a teacher that says nothing", change=silence),),
    baseline="ce",
    metrics=("accuracy", "agreement", "nll"),
    claims=(Claim("Without a weight on the teacher nothing changes.", same_in_every_seed("nll", "same", "ce", within=1e-6)),),
    published="Nothing.",
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Results, list[str]]:
    said: list[str] = []
    return experiment.measure(SMALL, (10, 11), tmp_path_factory.mktemp("evidence"), say=said.append), said


def test_every_arm_is_run_with_every_seed_and_read_from_its_final_test_evaluation(measured):
    results, said = measured

    assert set(results.values) == {"teacher", "ce", "same", "kd", "silent"}
    assert all(len(values["accuracy"]) == 2 and all(0 <= value <= 1 for value in values["accuracy"]) for values in results.values.values())
    assert len(said) == 10


def test_arms_without_a_teacher_are_compared_with_the_model_they_name(measured):
    results, _ = measured

    assert results.values["teacher"]["agreement"] == [None, None]
    # The same weights as the arm that has the teacher but gives it no weight, and so the same agreement.
    assert results.values["ce"]["agreement"] == results.values["same"]["agreement"]


def test_a_changed_teacher_teaches_otherwise(measured):
    results, _ = measured

    assert results.values["silent"]["nll"] != results.values["kd"]["nll"]


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
    assert "| Without a weight on the teacher nothing changes. | **shown** |" in page
    assert "| CE (baseline)" in page and "a teacher that says nothing" in page
    assert data["claims"][0]["verdict"] == "shown"
    assert data["arms"][1]["metrics"]["accuracy"]["values"] == list(measured[0].values["ce"]["accuracy"])
    assert data["seeds"] == [10, 11]


def test_the_verdicts_on_a_page_are_those_of_its_claims():
    claims = (
        Claim("**shown** | as it is said", below("nll", "ours", "base")),
        Claim("lower NLL", below("nll", "ours", "base")),
        Claim("higher accuracy", above("accuracy", "ours", "base"), weaker=("not lower", at_least("accuracy", "ours", "base"))),
        Claim("higher NLL", above("nll", "ours", "base")),
    )
    evidence = Evidence(
        method="ps-kd",
        protocol="",
        arms=tuple(Arm(id=name, title=name, spec=lambda seed: {}) for name in ("base", "ours")),
        baseline="base",
        metrics=("accuracy", "nll"),
        claims=claims,
        published="| a | **shown** | of another table |",
    )

    page = Report(evidence, RESULTS, "").to_markdown()

    assert verdicts_on(page) == {"shown": 2, "weaker check shown": 1, "not shown": 1}


def test_a_report_marks_numbers_that_are_undefined_for_some_seeds():
    evidence = Evidence(
        method="ps-kd",
        protocol="",
        arms=tuple(Arm(id=name, title=name, spec=lambda seed: {}) for name in ("base", "ours")),
        baseline="base",
        metrics=("accuracy", "temperature"),
        claims=(),
        published="",
    )

    lines = Report(evidence, RESULTS, "").table().splitlines()

    assert lines[0].split("|")[2].strip() == "Accuracy ↑"
    assert [cell.strip() for cell in lines[2].split("|")[1:4]] == ["base (baseline)", "0.920 ± 0.020", "1.500 ± 0.707 (2 of 3 seeds)"]
    assert [cell.strip() for cell in lines[3].split("|")[1:4]] == ["ours", "0.920 ± 0.017", "–"]


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
            assert (arm.spec is None) == (arm.measured is not None), f"{method_id}: {arm.id} is either a run or measured"
            if arm.spec is not None:
                models = {"teachers": [f"run:00000000-0000-4000-8000-00000000000{k}" for k in range(len(arm.teachers))]}
                models |= {"student": "run:00000000-0000-4000-8000-00000000000f"} if arm.student else {}
                RunSpec.parse(arm.spec(10) | models)


def test_every_method_of_the_catalog_has_its_page_of_evidence():
    folder = Path(__file__).parents[3] / "docs" / "evidence"

    for method_id, card in catalog.methods().items():
        page = (folder / f"{method_id}.md").read_text(encoding="utf-8")
        assert f"Method `{card.id}`, version {card.version}." in page
        claims = experiment.load(method_id).claims
        for claim in claims:
            assert claim.text.replace("|", "\\|") in page
        assert sum(verdicts_on(page).values()) == len(claims)


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


def test_the_command_prints_json_and_writes_the_page(tmp_path):
    page = tmp_path / "supervised.md"

    done = subprocess.run(
        [sys.executable, "-m", "engine", "evidence", "supervised", "--seeds", "1", "--json", "--write", str(page)],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    told, text = json.loads(done.stdout), page.read_text()
    assert told["seeds"] == [10]
    assert "python -m engine evidence supervised --seeds 1 --first-seed 10 --write docs/evidence/supervised.md" in text
    assert told["memory"]["with_run_bytes"] > told["memory"]["alone_bytes"]
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
    from engine.cli.main import main

    code = main(["evidence", *arguments])

    assert (code, capsys.readouterr().err) == (2, sentence)
