"""Evidence: claims held against hand-made numbers, and one small experiment that really runs."""

import json

import pytest
import torch
from torch import nn

from engine.errors import EngineError
from engine.evidence import experiment
from engine.evidence.experiment import (
    Arm,
    ChangedModel,
    Claim,
    Evidence,
    Results,
    higher,
    higher_than,
    identity,
    lower,
    lower_than,
    within,
)
from engine.evidence.report import Report
from engine.tasks.digits import protocol
from tests.engine.evidence.numbers import RESULTS


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
