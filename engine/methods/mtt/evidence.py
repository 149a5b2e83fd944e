"""One made-up picture of each digit, against the real pictures that it began as."""

from engine.distilled_sets import protocol
from engine.evidence.experiment import Arm, Claim, Evidence, above

evidence = Evidence(
    method="mtt",
    protocol=protocol.TEXT,
    arms=(
        Arm(id="mtt", title="distilled", spec=lambda seed: protocol.spec("mtt", seed)),
        Arm(id="initial", title="initial real pictures", measured=protocol.initial_pictures("mtt")),
    ),
    baseline="initial",
    metrics=(
        "set_accuracy",
        "unseen_accuracy",
        "learned_rate_accuracy",
        "kmeans_rows_accuracy",
        "validation/expert_accuracy",
        "validation/outer_loss_start",
        "validation/outer_loss_end",
        "learned_rate",
    ),
    claims=(
        Claim(
            "Networks that learn from the distilled pictures are better by 0.10 than those that learn from the initial ones.",
            above("set_accuracy", "mtt", "initial", by=0.1),
        ),
        Claim(
            "So are perceptrons, which took no part in the distillation.",
            above("unseen_accuracy", "mtt", "initial", by=0.1),
        ),
        Claim(
            "The outer loss at the end is below 0.6 of that at the start.",
            protocol.ratio_below("validation/outer_loss_end", "validation/outer_loss_start", "mtt", 0.6),
        ),
        Claim("The learned rate stays positive.", protocol.positive("learned_rate", "mtt")),
        Claim("The accuracy is 0.87 within 0.03.", protocol.within("set_accuracy", "mtt", 0.87, 0.03)),
    ),
    published="""
Cazenavette et al. (2022), ConvNet with three blocks of 128 channels on CIFAR-10, accuracy in %: 46.3 with one picture a class, 65.3 with ten, 71.6
with fifty; random real pictures 14.4, 26.0 and 43.4; all 50,000 pictures 84.8. No experiment of that size is run here.
""",
)
