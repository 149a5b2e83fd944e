"""What a run of several teachers shows of itself."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine import charts
from engine.losses.divergences import averaged_log_probs, entropy, softened_log_probs
from engine.pictures import png

if TYPE_CHECKING:
    from engine.tasks.task import Task

SHOWN = 6
SURE = 0.02
"""Share of the largest possible entropy below which teachers count as certain."""


def largest_entropy(log_probs: Tensor) -> float:
    """log(classes), in nats."""
    return math.log(log_probs.shape[1])


def agreement(student_logits: Tensor, teacher_logits: Sequence[Tensor], ensemble: Tensor) -> charts.ChartSpec:
    """Share of rows on which each two choose the same class; (rows, classes) each."""
    names = [*(f"teacher {index + 1}" for index in range(len(teacher_logits))), "their average", "student"]
    chosen = [logits.argmax(dim=1) for logits in (*teacher_logits, ensemble, student_logits)]
    values = [[float((a == b).double().mean()) for b in chosen] for a in chosen]
    return charts.heatmap("Agreement on validation", values, rows=names, columns=names, x="model", y="model", note="Share of rows, 0 to 1.")


def disputed(task: "Task", split: str, *, student_logits: Tensor, teacher_logits: Sequence[Tensor]) -> dict[str, charts.ChartSpec]:
    """The rows on which the teachers differ most: their pictures, and what everyone says of them.

    They differ by H(average) − average of H, the Jensen–Shannon divergence of the teachers, in nats.
    """
    each = [softened_log_probs(logits, 1.0) for logits in teacher_logits]
    apart = entropy(averaged_log_probs(teacher_logits, 1.0)) - torch.stack([entropy(one) for one in each]).mean(dim=0)
    chosen = apart.argsort(descending=True, stable=True)[:SHOWN].tolist()
    targets = task.splits[split].targets
    names = [f"row {row}" + ("" if targets is None else f", label {int(targets[row])}") for row in chosen]
    probs = {f"teacher {index + 1}": one.exp() for index, one in enumerate(each)}
    probs["student"] = softened_log_probs(student_logits, 1.0).exp()
    cells = [[round(value, 4) for value in values[row].tolist()] for row in chosen for values in probs.values()]
    tables = {
        "disputed": charts.heatmap(
            "Where the teachers differ most",
            cells,
            rows=[f"{name}: {who}" for name in names for who in probs],
            columns=[str(index) for index in range(student_logits.shape[1])],
            x="class",
            y="validation row",
            note="Probabilities, 0 to 1.",
        )
    }
    pictures = [task.picture(split, row) for row in chosen]
    if all(picture is not None for picture in pictures):
        shown = [png(torch.tensor(picture) / 255) for picture in pictures]
        tables["disputed_pictures"] = charts.images("The rows on which the teachers differ most", {"picture": shown}, columns=names)
    return tables


def discriminator_course(history: Tensor) -> charts.ChartSpec:
    """L_D and its accuracy by epoch, from `history` (3, epochs): sums of both and their count."""
    sums, counts = history[:2].cpu(), history[2].cpu()
    epochs = [epoch for epoch in range(len(counts)) if counts[epoch] > 0]
    means = {name: [float(row[epoch] / counts[epoch]) for epoch in epochs] for name, row in zip(("L_D", "accuracy"), sums, strict=True)}
    xs = [epoch + 1 for epoch in epochs]
    return charts.lines(
        "Discriminator",
        {name: (xs, ys) for name, ys in means.items()},
        x="epoch",
        y="nats, and share of rows",
        levels={"chance: log 2": math.log(2), "least with a final ReLU: ½ log 2": math.log(2) / 2, "fooled: accuracy ½": 0.5},
    )


def warnings(metrics: Mapping[str, float | None], *, largest_entropy: float, adversarial: str) -> charts.ChartSpec:
    """Early signs that a run goes wrong, each with its number and whether to look at it."""

    def row(what: str, name: str, wrong: Any, remedy: str) -> list[str | float | None] | None:
        value = metrics.get(name)
        return None if value is None else [what, value, f"look: {remedy}" if wrong(value) else "as it should be"]

    found = [
        row(
            "validation accuracy since the start",
            "accuracy_since_start",
            lambda v: v < 0,
            "the rate is too high, or the teachers see other inputs",
        ),
        row("mean entropy of the teachers' average", "target_entropy", lambda v: v < SURE * largest_entropy, "too sure; add augmentation"),
        row("share of discriminator outputs that are not 0", "discriminator_alive", lambda v: v == 0, "it is dead and gives no gradient"),
        row(
            "discriminator accuracy",
            "discriminator_accuracy",
            lambda v: adversarial == "gan" and v == 1,
            "the student no longer hears it; raise lambda_d",
        ),
    ]
    return charts.rows("Early warnings", ["what", "now", "verdict"], [each for each in found if each is not None])
