"""Improved distribution matching distillation on the digits bench: one step against the teacher in one step."""

from typing import Any

from engine.evidence.experiment import Arm, Claim, Evidence, higher, higher_than, lower
from engine.tasks.digits_images import protocol

FID = f"validation/{protocol.FID}"
FOUR = [20.0, 3.0, 1.0, 1 / 3]


def student(seed: int, **settings: Any) -> dict[str, Any]:
    return protocol.run("dmd2", seed, settings=settings)


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
            "A student of one step is much nearer to the data than the teacher in one step: validation FID[digits-pca-20] below 0.6 times the teacher's.",
            lower(FID, "one", "one-step-teacher", times=0.6),
        ),
        Claim(
            "It does not get there by a few samples: diversity more than twice that of the teacher in one step, accuracy above 0.9.",
            higher("validation/diversity", "one", "one-step-teacher", times=2.0),
            higher_than("validation/conditional_accuracy", "one", 0.9),
        ),
        Claim(
            "With the adversarial loss and with four steps it is below 0.6 times the teacher in one step too.",
            lower(FID, "gan", "one-step-teacher", times=0.6),
            lower(FID, "four", "one-step-teacher", times=0.6),
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
