"""Logit standardization: Sun, Ren, Li, Wang & Cao (2024), arXiv:2403.01427.

Each row of logits, the student's and the teacher's, becomes its Z-score before softmax and KL, whatever the method around it. The labels'
cross-entropy, evaluation and the exported student use the raw logits.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from engine.losses.divergences import entropy, softened_log_probs
from engine.losses.labels import label_cross_entropy
from engine.losses.reversal import reversed_gradient
from engine.losses.spread import mean_logit_std
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.logit_standardization import losses
from engine.methods.logit_standardization.card import Settings, card
from engine.methods.logit_standardization.pictures import first_row
from engine.methods.logit_standardization.views import strong_view

DIAGNOSTIC_ROWS = 256


class LearnedTemperature(nn.Module):
    """T_θ = 1 + 20·sigmoid(θ), θ = 1 at first: the curriculum temperature of Li et al. (2022), arXiv:2211.16231."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(()))

    def forward(self) -> Tensor:
        """A scalar between 1 and 21."""
        return 1 + 20 * torch.sigmoid(self.theta)


def warm_up(epoch: int, *, epochs: int) -> float:
    """DKD's weight w_e = min(e / epochs, 1) with e = epoch + 1 counted from 1; 1 without a warm-up."""
    return min((epoch + 1) / epochs, 1.0) if epochs else 1.0


def reversal(epoch: int, *, epochs: int) -> float:
    """CTKD's λ_e = ½ (1 − cos(π·min(e, E) / E)) with e = epoch + 1 counted from 1."""
    return 0.5 * (1 - math.cos(math.pi * min(epoch + 1, epochs) / epochs))


class LogitStandardization(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        self.temperature = LearnedTemperature().to(self.device) if self.settings.base_method == "ctkd" else None
        learned = [] if self.temperature is None else list(self.temperature.parameters())
        self.optimizer = self.make_optimizer([*self.student.parameters(), *learned])

    def phases(self) -> Iterator[Phase]:
        step = self.multi_level_step if self.settings.base_method == "mlkd" else self.step
        yield Phase("distill", step, self.budget.steps, batch_size=self.settings.batch_size)

    def step(self, batch: Batch) -> Logs:
        student_logits, teacher_logits = self.student(batch.inputs), self.teacher(batch.inputs)
        student_z, teacher_z, keep = self.standardized_pair(student_logits, teacher_logits)
        match self.settings.base_method:
            case "dkd":
                teacher_loss, weight, terms = self.decoupled(student_z, teacher_z, keep, batch.targets)
            case "ctkd":
                teacher_loss, weight, terms = self.curriculum(student_z, teacher_z, keep)
            case _:
                teacher_loss, weight, terms = self.plain(student_z, teacher_z, keep, self.settings.base_temperature), 1.0, {}
        ce = label_cross_entropy(student_logits, batch.targets)  # of the raw logits: standardized ones could never become certain
        loss = self.settings.used_ce_weight * ce + self.settings.kd_weight * weight * teacher_loss

        self.update(self.optimizer, loss)
        return {"loss": loss, "loss/teacher": teacher_loss, "loss/labels": ce, **terms, "rows_left_out": (~keep).sum().float()}

    def standardized_pair(self, student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Z of both, (batch, classes) each, and which rows count, (batch,) bool."""
        keep = losses.rows_with_spread(student_logits, teacher_logits)
        student_z, teacher_z = (
            losses.standardized(losses.with_safe_rows(logits, keep), epsilon=self.settings.epsilon)
            for logits in (student_logits, teacher_logits)
        )
        return student_z, teacher_z, keep

    def plain(self, student_z: Tensor, teacher_z: Tensor, keep: Tensor, temperature: float | Tensor) -> Tensor:
        """L_KD = T² · mean KL(teacher ‖ student) over the kept rows."""
        return losses.mean_of_kept(losses.softened_kl(student_z=student_z, teacher_z=teacher_z, temperature=temperature), keep)

    def decoupled(self, student_z: Tensor, teacher_z: Tensor, keep: Tensor, labels: Tensor) -> tuple[Tensor, float, dict[str, Tensor]]:
        """α·TCKD + β·NCKD, its warm-up weight, and both parts. Needs a label for every row."""
        parts = losses.decoupled_kl(student_z=student_z, teacher_z=teacher_z, labels=labels, temperature=self.settings.base_temperature)
        target, others = (losses.mean_of_kept(part, keep) for part in parts)
        loss = self.settings.dkd_alpha * target + self.settings.dkd_beta * others
        weight = warm_up(self.position.epoch, epochs=self.settings.warmup_epochs)
        return loss, weight, {"loss/target": target, "loss/others": others}

    def curriculum(self, student_z: Tensor, teacher_z: Tensor, keep: Tensor) -> tuple[Tensor, float, dict[str, Tensor]]:
        """L_KD at the learned temperature, which goes up the gradient that the student goes down."""
        assert self.temperature is not None, "ctkd has a learned temperature"
        strength = reversal(self.position.epoch, epochs=self.settings.curriculum_epochs)
        temperature = self.temperature()
        loss = self.plain(student_z, teacher_z, keep, reversed_gradient(temperature, strength))
        return loss, 1.0, {"temperature": temperature, "reversal": torch.full((), strength, device=self.device)}

    def multi_level_step(self, batch: Batch) -> Logs:
        """MLKD of Jin, Wang & Lin (CVPR 2023) with standardized logits in its KL terms."""
        views = {"weak": batch.inputs, "strong": strong_view(batch.inputs, self.generator)}
        student = {name: self.student(view) for name, view in views.items()}
        teacher = {name: self.teacher(view) for name, view in views.items()}
        pairs = {name: self.standardized_pair(student[name], teacher[name]) for name in views}
        rows, classes = losses.shares_below_the_median(teacher["weak"])
        temperatures = losses.multi_level_temperatures(self.settings.base_temperature)
        raw = {"student_logits": student["weak"], "teacher_logits": teacher["weak"]}

        weak, strong = (torch.stack([self.plain(*pairs[name], tau) for tau in temperatures]).sum() for name in ("weak", "strong"))
        class_part = torch.stack([losses.class_correlation(**raw, temperature=tau) for tau in temperatures]).sum()
        batch_part = torch.stack([losses.batch_correlation(**raw, temperature=tau) for tau in temperatures]).sum()
        teacher_loss = rows * weak + strong + classes * class_part + rows * batch_part
        ce = label_cross_entropy(student["weak"], batch.targets) + label_cross_entropy(student["strong"], batch.targets)
        loss = self.settings.used_ce_weight * ce + self.settings.kd_weight * teacher_loss

        self.update(self.optimizer, loss)
        left_out = sum((~keep).sum() for _, _, keep in pairs.values())
        parts = {"loss/weak": weak, "loss/strong": strong, "loss/classes": class_part, "loss/batch": batch_part}
        return {"loss": loss, "loss/teacher": teacher_loss, "loss/labels": ce, **parts, "rows_left_out": torch.as_tensor(left_out).float()}

    def diagnostics(self) -> Diagnostics:
        """The spread of the logits on the first validation rows, and one row's logits before and after."""
        inputs = self.task.splits["validation"].inputs[:DIAGNOSTIC_ROWS]
        student_logits, teacher_logits = self.student(inputs), self.teacher(inputs)
        student_z, teacher_z, _ = self.standardized_pair(student_logits, teacher_logits)
        targets = softened_log_probs(teacher_z, self.settings.base_temperature)
        pairs = {"raw": (student_logits, teacher_logits), "standardized": (student_z, teacher_z)}
        return Diagnostics(
            {
                "student_logit_std": mean_logit_std(student_logits),
                "teacher_logit_std": mean_logit_std(teacher_logits),
                "target_entropy": float(entropy(targets).mean()),
            },
            {f"logits_{name}": first_row(name, *pair) for name, pair in pairs.items()},
        )
