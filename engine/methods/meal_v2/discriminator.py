"""Who wrote these logits, student or teachers: the discriminator, and its loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.losses.precision import full_precision

STUDENT, TEACHER = 0, 1


def discriminator(classes: int, *, reduction: int, final_relu: bool) -> nn.Sequential:
    """Logits (rows, classes) → (rows, 2): C → ⌊C/r⌋ → ⌊⌊C/r⌋/r⌋ → 2 with biases and ReLU, after the last layer too with `final_relu`.

    Output 0 stands for the student, 1 for the teachers. The released code writes the layers as 1×1 convolutions.
    """
    first = classes // reduction
    second = first // reduction
    layers = [nn.Linear(classes, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 2)]
    return nn.Sequential(*layers, nn.ReLU()) if final_relu else nn.Sequential(*layers)


def discriminator_loss(verdicts: Tensor) -> Tensor:
    """Mean over rows and outputs of the binary cross-entropy with logits; verdicts (2B, 2), the student's B rows first → a scalar.

    Targets are (1, 0) for the student's rows and (0, 1) for the teachers'. With a final ReLU it is at least ½·log 2.
    """
    rows = len(verdicts) // 2
    targets = torch.zeros_like(verdicts)
    targets[:rows, STUDENT] = 1
    targets[rows:, TEACHER] = 1
    return F.binary_cross_entropy_with_logits(verdicts, targets)


def discriminator_accuracy(verdicts: Tensor) -> Tensor:
    """Share of rows whose own output is the larger one, as a scalar; a tie is wrong. 0.5 means that it is fooled."""
    rows = len(verdicts) // 2
    lead = verdicts[:, STUDENT] - verdicts[:, TEACHER]
    return torch.cat([lead[:rows] > 0, lead[rows:] < 0]).to(verdicts.dtype).mean()


def judged(network: nn.Module, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Its verdicts (2B, 2) on the logits of both, (B, classes) each, the student's first. Nothing flows into the teachers'."""
    verdicts: Tensor = network(torch.cat([full_precision(student_logits), full_precision(teacher_logits).detach()]))
    return full_precision(verdicts)


def is_dead(network: nn.Module, student_logits: Tensor, teacher_logits: Tensor) -> bool:
    """Whether it says the same of every row, as when all outputs or all units of a hidden layer are 0: then it can never learn to tell."""
    with torch.no_grad():
        verdicts = judged(network, student_logits, teacher_logits)
        return bool((verdicts == verdicts[:1]).all())
