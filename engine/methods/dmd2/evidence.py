"""Improved distribution matching distillation on the digits bench: one step against the teacher in one step."""

from typing import Any

from engine.evidence.experiment import Arm, Check, Claim, Evidence, Finding, Results, all_of
from engine.tasks.digits_images import protocol

FID = f"validation/{protocol.FID}"
FOUR = [20.0, 3.0, 1.0, 1 / 3]


def student(seed: int, **settings: Any) -> dict[str, Any]:
    return protocol.run("dmd2", seed, settings=settings)


def below_share(share: float, arm: str, other: str) -> Check:
    """In every seed arm < share · other, in validation FID."""

    def check(results: Results) -> Finding:
        pairs = list(zip(results.of(arm, FID), results.of(other, FID), strict=True))
        return Finding(
            all(ours < share * theirs for ours, theirs in pairs),
            ", ".join(f"{ours:.2f} against {theirs:.2f}" for ours, theirs in pairs),
        )

    return check


def diverse(arm: str, other: str) -> Check:
    """In every seed the arm's diversity is more than twice the other's, and its conditional accuracy at least 0.9."""

    def check(results: Results) -> Finding:
        spread = list(zip(results.of(arm, "validation/diversity"), results.of(other, "validation/diversity"), strict=True))
        right = results.of(arm, "validation/conditional_accuracy")
        return Finding(
            all(ours > 2 * theirs for ours, theirs in spread) and min(right) >= 0.9,
            f"diversity {', '.join(f'{ours:.2f} against {theirs:.2f}' for ours, theirs in spread)}; accuracy at least {min(right):.3f}",
        )

    return check


evidence = Evidence(
    method="dmd2",
    protocol=protocol.TEXT + protocol.TEACHER_TEXT,
    arms=(
        protocol.TEACHER,
        protocol.ONE_STEP_TEACHER,
        Arm(id="one", title="DMD2, 1 step", teachers=("teacher",), spec=student),
        Arm(id="gan", title="DMD2, 1 step, with GAN", teachers=("teacher",), spec=lambda seed: student(seed, gan_weight=3e-3)),
        Arm(id="four", title="DMD2, 4 steps", teachers=("teacher",), spec=lambda seed: student(seed, levels=FOUR)),
    ),
    baseline="one-step-teacher",
    metrics=(
        FID,
        "FID, last three",
        "validation/diversity",
        "validation/conditional_accuracy",
        protocol.FID,
        "fid_digits_mlp_24",
        "diversity",
        "conditional_accuracy",
        "precision",
        "coverage",
        "variance_ratio",
        "evaluations",
    ),
    claims=(
        Claim(
            "A student of one step is much nearer to the data than the teacher in one step: validation FID[digits-pca-20] below 0.6 times the "
            "teacher's in every seed.",
            below_share(0.6, "one", "one-step-teacher"),
        ),
        Claim(
            "It does not get there by a few samples: diversity more than twice that of the teacher in one step, accuracy at least 0.9.",
            diverse("one", "one-step-teacher"),
        ),
        Claim(
            "With the adversarial loss and with four steps it is below 0.6 times the teacher in one step too.",
            all_of(below_share(0.6, "gan", "one-step-teacher"), below_share(0.6, "four", "one-step-teacher")),
        ),
    ),
    notes="""
- The gate of 0.6 was chosen from the reference values of the bench's specification (one-step DMD 1.94, 1.89 and 1.95 after 400 steps, the
  teacher in one step 4.89, 4.85 and 4.80), before these runs. It guards against regressions.
- No arm has converged after 400 steps. The validation FID of the last evaluation is noisy; *last three* is the mean over three.
- How many steps and whether the adversarial loss help is reported and not claimed: on 64 numbers an example they need not.
""",
    published="""
Yin et al. (2024): FID 1.28 on ImageNet 64×64 in one step against 2.32 of the teacher with 511 evaluations.
Nothing of that size is run here.
""",
    read={"FID, last three": protocol.mean_of_last_three(protocol.FID)},
)
