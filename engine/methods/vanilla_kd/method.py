"""Knowledge distillation from softened probabilities: Hinton, Vinyals & Dean (2015), arXiv:1503.02531, section 2.

The student matches the teacher's distribution at temperature T, and the labels at temperature 1. The gradient of the first term shrinks
as 1/T², so it is multiplied by T² to keep the balance between the terms when T changes.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from engine.losses import divergences
from engine.losses.labels import label_cross_entropy
from engine.losses.precision import full_precision
from engine.losses.spread import mean_logit_std
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.vanilla_kd.card import Settings, card
from engine.models.ensemble import Ensemble

DIAGNOSTIC_ROWS = 256


def distillation_loss(
    *,
    student_logits: Tensor,
    teacher_logits: Sequence[Tensor],
    temperature: float,
    divergence: str = "forward_kl",
    weights: Sequence[float] = (),
) -> Tensor:
    """The teacher's term per example: T² · D(p, q) with p = Σ_k w_k softmax(z_t^k / T) and q = softmax(z_s / T).

    student_logits (batch, classes), teacher_logits one such tensor per teacher → (batch,), in nats; the
    same of (batch, length, vocabulary) token by token → (batch, length). Two divergences are means over the
    classes and have no T²: `mse_logits`, of raw logits with neither T nor centering, and `mse_probs`, of q and p.
    """
    if divergence == "mse_logits":
        (only,) = teacher_logits
        return (full_precision(student_logits) - full_precision(only)).square().mean(dim=-1)
    p = divergences.averaged_log_probs(teacher_logits, temperature, weights)
    q = divergences.softened_log_probs(student_logits, temperature)
    if divergence == "mse_probs":
        return (q.exp() - p.exp()).square().mean(dim=-1)
    return temperature**2 * divergences.BY_NAME[divergence](teacher_log_probs=p, student_log_probs=q)


class VanillaKD(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        self.net = self.prepare(self.student)
        self.optimizer = self.make_optimizer(self.student)
        self.cached = self.teacher_logits_of_all_rows() if self.settings.cache_targets else torch.empty(0)

    def phases(self) -> Iterator[Phase]:
        yield Phase("distill", self.step, self.budget.steps, batch_size=self.settings.batch_size)

    def step(self, batch: Batch) -> Logs:
        student_logits = self.net(batch.inputs)
        kd = distillation_loss(
            student_logits=student_logits,
            teacher_logits=self.teacher_logits(batch),
            temperature=self.settings.used_temperature,
            divergence=self.settings.divergence,
            weights=self.settings.teacher_weights,
        ).mean()
        ce = label_cross_entropy(student_logits, batch.targets)
        loss = self.settings.ce_weight * ce + self.settings.kd_weight * kd

        self.update(self.optimizer, loss)
        return {"loss": loss, "loss/teacher": kd, "loss/labels": ce}

    def teacher_logits(self, batch: Batch) -> Sequence[Tensor]:
        """One (batch, classes) tensor per teacher."""
        if self.settings.cache_targets:
            return self.cached[:, batch.index].unbind()
        return [teacher(batch.inputs) for teacher in self.teachers]

    @torch.no_grad()
    def teacher_logits_of_all_rows(self) -> Tensor:
        """(teachers, rows, classes) float32: logits, not probabilities, so that they hold for any temperature. Rows are never augmented here."""
        pieces = self.task.splits["train"].inputs.split(self.settings.batch_size)
        return torch.stack([torch.cat([full_precision(teacher(piece)) for piece in pieces]) for teacher in self.teachers])

    def reference(self) -> nn.Module | None:
        """What the student is to match: the teacher, or the average of several; an average of language models writes no text."""
        if len(self.teachers) > 1 and self.task.card.kind == "causal-lm":
            return None
        return self.teachers[0] if len(self.teachers) == 1 else Ensemble(self.teachers, self.settings.teacher_weights).eval()

    def diagnostics(self) -> Diagnostics:
        """The spread of the logits and of the targets, on the first validation rows."""
        inputs = self.task.splits["validation"].inputs[:DIAGNOSTIC_ROWS]
        teacher_logits = [teacher(inputs) for teacher in self.teachers]
        targets = divergences.averaged_log_probs(teacher_logits, self.settings.used_temperature, self.settings.teacher_weights)
        return Diagnostics(
            {
                "student_logit_std": mean_logit_std(self.student(inputs)),
                "teacher_logit_std": sum(mean_logit_std(each) for each in teacher_logits) / len(teacher_logits),
                "target_entropy": float(divergences.entropy(targets).mean()),
            }
        )
