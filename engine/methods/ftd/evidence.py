"""Sets distilled from flat experts and from plain ones, and how flat the experts are."""

from typing import Any

from engine.distilled_sets import protocol
from engine.evidence.experiment import Arm, Check, Claim, Evidence, Finding, Results, above, all_of, at_least, below

EPOCHS = (4, 7, 10)


def run(method: str, seed: int) -> dict[str, Any]:
    """With a moving average, a held-out expert and the sharpness of experts 0 and 1."""
    return protocol.spec(method, seed, ema_decay=0.99, held_out_seed=9, flatness_epochs=list(EPOCHS), flatness_experts=2)


def flatter_at_equal_loss(results: Results) -> Finding:
    """The plain experts' rise, interpolated linearly in the loss between two snapshots, at the loss that a flat snapshot has."""

    def curve(arm: str) -> list[tuple[float, float]]:
        points = [
            (results.mean(arm, f"validation/expert_loss_{epoch}"), results.mean(arm, f"validation/loss_rise_{epoch}")) for epoch in EPOCHS
        ]
        return [(loss, rise) for loss, rise in points if loss is not None and rise is not None]

    plain, holds, texts = curve("mtt"), True, []
    for loss, rise in curve("ftd"):
        for (high, before), (low, after) in zip(plain, plain[1:], strict=False):
            if low <= loss <= high:
                there = before + (after - before) * (high - loss) / (high - low)
                holds &= rise < there
                texts.append(f"at loss {loss:.2f} {rise:.3f} against {there:.3f}")
    return Finding(holds and bool(texts), "; ".join(texts) or "no snapshot of the flat experts lies between two of the plain ones")


def gains(arm: str) -> Check:
    """0.10 above the initial pictures, averaged and before averaging."""

    def raw(results: Results) -> Finding:
        ours, theirs = results.mean(arm, "raw_accuracy"), results.mean("initial", "set_accuracy")
        assert ours is not None and theirs is not None, f"{arm} has no accuracy before averaging"
        return Finding(ours >= theirs + 0.1, f"before averaging {ours:.4f} against {theirs:.4f}")

    return all_of(above("set_accuracy", arm, "initial", by=0.1), raw)


evidence = Evidence(
    method="ftd",
    protocol=protocol.TEXT
    + """
Flat experts take GSAM's steps with ρ = 0.5, adaptive, and α = 0.4; plain experts those of SGD. Both arms average the pictures with a decay of 0.99 and
are read averaged and raw. Sharpness: mean rise of the loss on all training rows along 20 random directions scaled by the weights, relative radius
0.2, the same directions for both; means over the experts with seeds 0 and 1. The accumulated trajectory error is measured on an expert of the
arm's own recipe with seed 9 that is not matched, after 8 of its epochs.
""",
    arms=(
        Arm(id="mtt", title="plain experts (MTT)", spec=lambda seed: run("mtt", seed)),
        Arm(id="ftd", title="flat experts (FTD)", spec=lambda seed: run("ftd", seed)),
        Arm(id="initial", title="initial real pictures", measured=protocol.initial_pictures("mtt")),
    ),
    baseline="mtt",
    metrics=(
        "set_accuracy",
        "raw_accuracy",
        "unseen_accuracy",
        "raw_unseen_accuracy",
        "validation/expert_accuracy",
        "validation/trajectory_error",
        "validation/outer_loss_end",
        "learned_rate",
        *(f"validation/{name}_{epoch}" for name in ("expert_loss", "loss_rise") for epoch in EPOCHS),
    ),
    claims=(
        Claim("Distilled pictures are better by 0.10 than the initial ones, averaged and raw, with plain experts.", gains("mtt")),
        Claim("The same with flat experts.", gains("ftd")),
        Claim(
            "Flat experts have a lower rise of the loss along random directions than plain ones after the same epoch.",
            all_of(*(below(f"validation/loss_rise_{epoch}", "ftd", "mtt") for epoch in EPOCHS)),
        ),
        Claim("And at the same training loss.", flatter_at_equal_loss),
        Claim("Flat experts cost at most 0.02 of accuracy.", at_least("set_accuracy", "ftd", "mtt", margin=0.02)),
    ),
    notes="""
- That flat experts make better sets (1 to 3 points on CIFAR), and a smaller accumulated error, is the paper's claim; 8 epochs of so small a problem
  accumulate hardly any error, so both numbers are shown and neither is claimed.
- The experts are the same with every seed, and so are their sharpness and accuracy; only initial pictures and draws differ.
- The experts' accuracy is that on the validation rows.
""",
    published="""
Du et al. (2023), ConvNet on CIFAR-10 and CIFAR-100, accuracy in %: with ten pictures a class MTT 65.3 and FTD 66.6, MTT 40.1 and FTD 43.4; with fifty
MTT 71.6 and FTD 73.8, MTT 47.7 and FTD 50.7. No experiment of that size is run here.
""",
)
