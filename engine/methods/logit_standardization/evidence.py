"""Standardized against plain logits on the digits protocol, also with a teacher whose logits are ten times as large."""

import torch
from torch import nn

from engine.evidence.experiment import Arm, ChangedModel, Claim, Evidence, above, all_of, at_least, below, same_in_every_seed
from engine.tasks.digits import protocol

TEST_ROWS = 300


@torch.no_grad()
def ten_times_the_logits(model: nn.Module) -> None:
    """Scales the last layer: the same predictions, ten times the logits."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    for parameter in last.parameters():
        parameter.mul_(10)


evidence = Evidence(
    method="logit-standardization",
    protocol=protocol.TEXT
    + protocol.TEACHER_TEXT
    + "\nThe arms with “teacher ×10” are taught by the same teacher with weights and biases of its last layer multiplied by 10.\n",
    arms=(
        Arm(id="teacher", title="teacher", spec=protocol.teacher),
        Arm(id="ce", title="CE only", spec=lambda seed: protocol.small_student("supervised", seed), fidelity_to="teacher"),
        Arm(
            id="kd", title="KD, T = 4, weights 0.1/0.9", spec=lambda seed: protocol.small_student("vanilla-kd", seed), teachers=("teacher",)
        ),
        Arm(
            id="kd-9",
            title="KD, T = 4, weights 0.1/9",
            spec=lambda seed: protocol.small_student("vanilla-kd", seed, kd_weight=9.0),
            teachers=("teacher",),
        ),
        Arm(
            id="z",
            title="Z-KD, T = 2, weights 0.1/9",
            spec=lambda seed: protocol.small_student("logit-standardization", seed),
            teachers=("teacher",),
        ),
        Arm(id="kd-x10", title="KD, teacher ×10", spec=lambda seed: protocol.small_student("vanilla-kd", seed), teachers=("teacher-x10",)),
        Arm(
            id="z-x10",
            title="Z-KD, teacher ×10",
            spec=lambda seed: protocol.small_student("logit-standardization", seed),
            teachers=("teacher-x10",),
        ),
    ),
    changed=(ChangedModel(id="teacher-x10", of="teacher", title="teacher with ten times the logits", change=ten_times_the_logits),),
    baseline="kd",
    metrics=("accuracy", "agreement", "kendall_tau", "nll", "scaled_nll", "temperature", "ece", "scaled_ece"),
    claims=(
        Claim("(i) Z-KD is as accurate as KD: accuracy ≥ KD − 0.005.", at_least("accuracy", "z", "kd", margin=0.005)),
        Claim(
            "(ii) A teacher with ten times the logits leaves Z-KD unchanged, each seed's accuracy within one test row, and costs KD at least 0.01.",
            all_of(same_in_every_seed("accuracy", "z", "z-x10", within=1 / TEST_ROWS), above("accuracy", "kd", "kd-x10", by=0.01)),
            weaker=(
                "the ×10 changes Z-KD's mean accuracy by less than 0.005 and lowers KD's",
                all_of(
                    at_least("accuracy", "z-x10", "z", margin=0.005),
                    at_least("accuracy", "z", "z-x10", margin=0.005),
                    above("accuracy", "kd", "kd-x10"),
                ),
            ),
        ),
        Claim("(iii) Z-KD agrees with the teacher at least as often as KD.", at_least("agreement", "z", "kd")),
        Claim("(iv) After temperature scaling, Z-KD has a lower NLL than CE.", below("scaled_nll", "z", "ce")),
    ),
    notes="""
- The raw ECE and NLL of Z-KD are bad by design: its logits keep the small scale that matching standardized logits asks for, so the student is
  underconfident (T\\* far below 1). Only the values after scaling say how good its probabilities are.
- Accuracies differ by about one seed's spread, so claim (i) is a check that nothing is lost, not proof of a gain.
- KD with weight 9 is the control: what the larger weight does without standardization.
""",
    published="""
Sun et al. (2024) report gains over KD, DKD, CTKD and MLKD on CIFAR-100 and ImageNet pairs of teacher and student. Pictures of that kind are
not on this machine, so no number here can be held against theirs.
""",
)
