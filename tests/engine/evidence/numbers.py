"""Numbers of three arms over three seeds, made by hand, and the evidence of claims about them."""

from engine.evidence.experiment import (
    Arm,
    Claim,
    Evidence,
    Results,
)

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
