"""The course over fits and generations."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from engine import charts
from engine.methods.teacher_guidance.chain import GRID

FACTS = ("alpha", "alpha_unclipped", "validation_mse", "train_mse", "degrees_of_freedom")
SHOWN_DIRECTIONS, SHOWN_FITS = 20, 8


def fits(facts: Mapping[str, Sequence[float]], diagonals: Tensor, grids: Tensor, *, limit: float | None) -> dict[str, charts.ChartSpec]:
    """facts by name, one number a fit; diagonals (fits, n) of B^τ; grids (fits, 21) of the validation error over α."""
    count = len(facts["alpha"])
    xs = [number + 1 for number in range(count)]
    levels = {} if limit is None else {"limit at the last α": limit}
    errors = {"validation": (xs, facts["validation_mse"]), "training": (xs, facts["train_mse"])}
    alphas = {"formula, unclipped": (xs[1:], facts["alpha_unclipped"][1:]), "used": (xs[1:], facts["alpha"][1:])}
    latest = range(max(0, count - SHOWN_FITS), count)
    directions = min(SHOWN_DIRECTIONS, diagonals.shape[1])
    shrinkage = {f"fit {number + 1}": [round(value, 5) for value in diagonals[number, :directions].tolist()] for number in latest}
    parabolas: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        f"fit {number + 1}": (list(GRID), grids[number].tolist()) for number in latest if number
    }
    if count > 1:
        parabolas["used α"] = (facts["alpha"][1:], facts["validation_mse"][1:])
    return {
        "errors": charts.lines("Squared error by fit", errors, x="fit", y="mean squared error", levels=levels),
        "alphas": charts.lines("Share of the ground truth", alphas, x="fit", y="α", levels={"labels alone": 1.0, "teacher alone": 0.0}),
        "freedom": charts.lines(
            "Effective degrees of freedom", {"tr(B)": (xs, facts["degrees_of_freedom"])}, x="fit", y="degrees of freedom"
        ),
        "diagonals": charts.bars(
            "What is kept of each direction",
            [str(index + 1) for index in range(directions)],
            shrinkage,
            x="direction of the kernel, largest first",
            y="diagonal of B, 0 to 1",
        ),
        "parabolas": charts.lines("Validation error over α", parabolas, x="α", y="mean squared error"),
    }


def generations(story: Sequence[Mapping[str, Any]]) -> dict[str, charts.ChartSpec]:
    """Numbers on validation by generation, generation 0 being the baseline."""
    xs = [facts["generation"] for facts in story]
    quality = {
        title: (xs, [facts[name] for facts in story]) for title, name in (("accuracy", "accuracy"), ("NLL, in nats", "nll"), ("ECE", "ece"))
    }
    later = [facts for facts in story if facts["generation"]]
    agreement = {
        title: ([facts["generation"] for facts in later], [facts[name] for facts in later])
        for title, name in (("with the one before", "agreement_previous"), ("with generation 0", "agreement_first"))
    }
    return {
        "quality": charts.lines("Validation by generation", quality, x="generation", y="share of rows, and nats"),
        "agreement": charts.lines("Agreement of generations", agreement, x="generation", y="share of validation rows"),
        "generations": table(story),
    }


def table(facts: Sequence[Mapping[str, Any]]) -> charts.ChartSpec:
    """A row for each generation; the most accurate one is marked."""
    best = max(facts, key=lambda each: each["accuracy"] or 0.0)["generation"]
    columns = [
        "generation",
        "α",
        "α by formula",
        "accuracy",
        "NLL",
        "ECE",
        "agreement with the one before",
        "agreement with generation 0",
        "best",
    ]
    names = ("generation", "alpha", "unclipped", "accuracy", "nll", "ece", "agreement_previous", "agreement_first")
    return charts.rows("Generations", columns, [[*(each[name] for name in names), each["generation"] == best] for each in facts])
