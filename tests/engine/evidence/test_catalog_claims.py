"""The evidence of every method of the catalog: its arms, its claims, and its page."""

import re
from pathlib import Path

import pytest

from engine.evidence import experiment
from engine.evidence.experiment import (
    Evidence,
    Identity,
)
from engine.evidence.report import verdicts_on
from engine.spec import catalog

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
        verdicts, claims = verdicts_on(page), experiment.load(method_id).claims
        assert verdicts is not None, f"the page of {method_id} does not say how its claims were tested"
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
