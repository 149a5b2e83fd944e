"""Softened probabilities against labels alone, and against unsoftened probabilities, on the digits protocol."""

from engine.evidence.experiment import Arm, Claim, Evidence, higher, lower
from engine.tasks.digits import protocol

evidence = Evidence(
    method="vanilla-kd",
    protocol=protocol.TEXT + protocol.TEACHER_TEXT,
    arms=(
        Arm(id="teacher", title="teacher", spec=protocol.teacher),
        Arm(id="ce", title="CE only", spec=lambda seed: protocol.small_student("supervised", seed), fidelity_to="teacher"),
        Arm(id="kd", title="KD, T = 4", spec=lambda seed: protocol.small_student("vanilla-kd", seed), teachers=("teacher",)),
        Arm(
            id="kd-t1",
            title="KD, T = 1",
            spec=lambda seed: protocol.small_student("vanilla-kd", seed, temperature=1.0),
            teachers=("teacher",),
        ),
    ),
    baseline="ce",
    metrics=("accuracy", "agreement", "nll", "scaled_nll", "temperature", "ece", "scaled_ece", "brier"),
    claims=(
        Claim("KD at T = 4 costs no accuracy: accuracy > CE − 0.005.", higher("accuracy", "kd", "ce", margin=-0.005)),
        Claim("Softening costs none either: accuracy of T = 4 > that of T = 1 − 0.005.", higher("accuracy", "kd", "kd-t1", margin=-0.005)),
        Claim("After temperature scaling on validation, KD at T = 4 has a lower NLL than CE.", lower("scaled_nll", "kd", "ce")),
    ),
    notes="""
- The difference in accuracy, about 0.01, is below the spread of one seed: a single seed shows nothing. The NLL after scaling is the clear effect.
- The NLL of KD at T = 4 is worse than that of CE *before* scaling. That is no fault: at T = 4 the student matches softened probabilities, and
  at temperature 1 its own are then too sure (T\\* above 1).
- Agreement is the share of test rows on which the student and the teacher choose the same class.
""",
    published="""
Hinton et al. (2015), section 3, on MNIST: a network of two layers of 1,200 units with dropout made 67 test errors, one of two layers of 800
without regularization 146, and the same one distilled at temperature 20 made 74. Those sizes and the full 60,000 pictures are not used here,
so the numbers can't be compared; the direction can.
""",
)
