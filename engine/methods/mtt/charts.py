"""What experts and a distilled set look like, as charts: pictures, pixels, and the course of the outer loop."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine import charts
from engine.distilled_sets.buffers import ExpertBuffer
from engine.pictures import png

SHOWN_CLASSES, SHOWN_EACH = 10, 3
WIDTH = 2.5
"""Pixels are shown, and counted as far, beyond so many standard deviations of the real ones."""
BINS, POINTS = 25, 100


def image_grid(forms: Mapping[str, Tensor], *, before: str, after: str, per_class: int, center: float, spread: float) -> charts.ChartSpec:
    """Pictures of the set (rows, channels, height, width), sorted by class, a row of the grid for each form and for the difference of two.

    Pixels are in the networks' space: mean − 2.5 std is black, mean + 2.5 std white; of a difference 0 is gray. At most 10 classes with 3
    pictures each are shown.
    """
    count = len(forms[after])
    shown = [row for row in range(count) if row // per_class < SHOWN_CLASSES and row % per_class < SHOWN_EACH]
    half = WIDTH * spread
    rows = {name: [png((images[row] - center + half) / (2 * half)) for row in shown] for name, images in forms.items()}
    rows["difference"] = [png((forms[after][row] - forms[before][row] + half) / (2 * half)) for row in shown]
    return charts.images(
        "Pictures of the set",
        rows,
        columns=[str(row // per_class) for row in shown],
        note=f"Columns are classes. Black and white are the real pixels' mean ∓ {WIDTH:g} standard deviations; of the difference, gray is none.",
    )


def pixel_histogram(forms: Mapping[str, Tensor], *, center: float, spread: float) -> charts.ChartSpec:
    """Pixels of each form between mean ± 5 standard deviations of the real ones; what lies beyond is in the outer bins."""
    low, high = center - 2 * WIDTH * spread, center + 2 * WIDTH * spread
    counts = {name: images.detach().float().cpu().clamp(low, high).histc(BINS, low, high).int().tolist() for name, images in forms.items()}
    return charts.histogram("Pixels of the set", torch.linspace(low, high, BINS + 1).tolist(), counts, x="standardized pixel")


def loss_by_start(losses: Tensor, starts: Tensor) -> charts.ChartSpec:
    """The outer loss over iterations, losses (iterations,), a curve for each start epoch of starts (iterations,): means over windows."""
    window = max(1, -(-len(losses) // BINS))
    series: dict[str, tuple[Sequence[float], Sequence[charts.Number]]] = {}
    for start in sorted(set(starts.tolist())):
        xs, ys = [], []
        for first in range(0, len(losses), window):
            piece = losses[first : first + window][starts[first : first + window] == start]
            if len(piece):
                xs.append(first + 1)
                ys.append(float(piece.mean()))
        series[f"from epoch {start}"] = (xs, ys)
    note = f"Means over windows of {window} iterations. 1 is a network that did not come closer to the expert."
    return charts.lines("Outer loss by start epoch", series, x="iteration", y="normalized distance", levels={"no gain": 1.0}, note=note)


def starts_drawn(starts: Tensor, *, max_start: int) -> charts.ChartSpec:
    """How often each start epoch was drawn, starts (iterations,)."""
    counts = starts.bincount(minlength=max_start).tolist()
    return charts.bars("Start epochs", [str(start) for start in range(max_start)], {"iterations": counts}, x="start epoch", y="iterations")


def over_iterations(title: str, values: Tensor, *, y: str, levels: Mapping[str, float] | None = None) -> charts.ChartSpec:
    """A curve in at most 100 points, values (iterations,)."""
    kept = torch.linspace(0, len(values) - 1, min(POINTS, len(values))).round().long()
    return charts.lines(title, {y: ((kept + 1).tolist(), values.cpu()[kept].tolist())}, x="iteration", y=y, levels=levels)


def error_curve(errors: Sequence[float], *, epochs: int) -> charts.ChartSpec:
    """The accumulated trajectory error after each `epochs` epochs of the held-out expert."""
    xs = [epochs * (at + 1) for at in range(len(errors))]
    return charts.lines(
        "Accumulated trajectory error",
        {"trained on the set": (xs, list(errors))},
        x="expert epoch",
        y="squared distance / squared displacement",
        levels={"no gain": 1.0},
        note="Against an expert that took no part; the network began as it did.",
    )


def experts_course(accuracies: Tensor, snapshots: Tensor, *, epochs: Sequence[int], seeds: Sequence[int]) -> dict[str, charts.ChartSpec]:
    """What a buffer of experts holds: accuracies (experts, epochs) and snapshots (experts, epochs, parameters), the first before training."""
    moved = (snapshots - snapshots[:, :1]).norm(dim=-1).cpu()
    names = [f"expert {seed}" for seed in seeds]

    def course(title: str, values: Tensor, y: str) -> charts.ChartSpec:
        return charts.lines(title, {name: (list(epochs), each.tolist()) for name, each in zip(names, values, strict=True)}, x="epoch", y=y)

    return {
        "accuracy": course("Validation accuracy of the experts", accuracies.cpu(), "share of right rows"),
        "distance": course("How far the experts have moved", moved, "distance from the first weights"),
    }


def experts_table(experts: ExpertBuffer, *, accuracies: Tensor, seeds: Sequence[int], matched: int) -> charts.ChartSpec:
    """The experts that are matched and the one that is held out: how good they are, accuracies (experts,), and what an earlier run's saved."""
    cells: list[list[str | int | float]] = []
    for name, group in (("matched", slice(0, matched)), ("held out", slice(matched, None))):
        count = len(seeds[group])
        if count:
            share = count / len(seeds) if experts.reused else 0.0
            shown = str(seeds[group][0]) if count == 1 else f"{seeds[group][0]} to {seeds[group][-1]}"
            saved = [round(share * experts.steps), round(share * experts.seconds, 1)]
            cells.append([name, count, shown, float(accuracies[group].mean()), *saved])
    origin = f"Taken over from the buffer {experts.reused} of an earlier run." if experts.reused else "Trained by this run."
    columns = ("experts", "count", "seeds", "accuracy on validation rows", "steps saved", "seconds saved")
    return charts.rows("Experts", columns, cells, note=origin)


def sharpness_table(measured: Tensor, *, epochs: Sequence[int], seeds: Sequence[int]) -> charts.ChartSpec:
    """measured (experts, epochs, 3): loss, mean rise and largest rise."""
    cells = [
        [seed, epoch, *(float(number) for number in measured[at, place])]
        for at, seed in enumerate(seeds)
        for place, epoch in enumerate(epochs)
    ]
    return charts.rows(
        "Sharpness of the experts",
        ("expert's seed", "epoch", "loss", "mean rise", "largest rise"),
        cells,
        note="Rise of the loss on all training rows along 20 random directions scaled by the weights, at a relative radius of 0.2.",
    )
