"""What is watched of the two terms: the noise levels that they were drawn at, their share, and the warning when one of them is nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.charts import ChartSpec, heatmap
from engine.diffusion.schedules import share_of_sigma

BINS = 20
TERMS = ("augmentation", "matching")
NO_GUIDANCE = "The augmentation is 0: the teacher says the same with and without a class, so guidance has nothing to give."


def counted(shares: tuple[Tensor, Tensor]) -> Tensor:
    """How many of each term's shares of noise (batch,) lie in each bin, (2, BINS)."""
    bins = [(share * BINS).long().clamp(max=BINS - 1) for share in shares]
    return torch.stack([torch.zeros(BINS, device=each.device).index_add(0, each, torch.ones_like(each).float()) for each in bins])


def levels_drawn(drawn: Tensor, levels: Sequence[float]) -> ChartSpec:
    """A heat map of the counts (2, steps, BINS) of both terms for each step of a generator with these levels σ."""
    inputs = [f"σ = {level:.3g}" for level in levels]
    own = ", ".join(f"{float(share_of_sigma(torch.tensor(level))):.2f}" for level in levels)
    return heatmap(
        "Noise levels drawn for each step of the generator",
        drawn.flatten(0, 1).int().tolist(),
        rows=[f"{term}, {given}" for term in TERMS for given in inputs],
        columns=[f"{place / BINS:.2f}" for place in range(BINS)],
        x="share of noise, from",
        y="term and generator's input",
        note=f"The generator's own shares: {own}.",
    )


def augmentation_share(sizes: Tensor) -> float | None:
    """|D_CA| / (|D_CA| + |D_DM|) from their mean sizes (2,); None where both are 0."""
    ca, dm = sizes.tolist()
    return ca / (ca + dm) if ca + dm > 0 else None
