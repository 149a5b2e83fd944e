"""MEAL V2: Shen & Savvides (2020), arXiv:2009.08453.

A student that is already trained goes on from the averaged probabilities of frozen teachers, who see the same view of each picture. There are
no labels and no weight decay. A small discriminator may look at the logits of both sides; what its gradient does to the student is a setting,
because the released code and the paper differ in its sign.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.losses.divergences import averaged_log_probs, entropy, soft_cross_entropy, softened_log_probs
from engine.losses.labels import label_cross_entropy
from engine.losses.precision import full_precision
from engine.losses.reversal import reversed_gradient
from engine.method import Batch, Diagnostics, Length, Logs, Method, Phase
from engine.methods.meal_v2 import charts
from engine.methods.meal_v2.card import Settings, card
from engine.methods.meal_v2.discriminator import discriminator, discriminator_accuracy, discriminator_loss, is_dead, judged
from engine.models.ensemble import Ensemble
from engine.seeds import derived_seed, undisturbed

FIRST_ROWS = 512
TRIES = 50
MODES = {
    "none": "No discriminator: the student sees the teachers' average alone.",
    "joint": "The discriminator's gradient reaches the student unreversed, as in the released code: it learns to be told apart.",
    "gan": "The discriminator's gradient reaches the student reversed, as the paper says it: it learns to pass for its teachers.",
}


class MealV2(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        self.warm_up_optimizer = self.make_optimizer(self.student, self.warm_up_settings(), steps=self.warm_up_steps())
        self.optimizer = self.make_optimizer(self.student)
        self.discriminator = self.new_discriminator(0) if self.settings.adversarial != "none" else None
        # Student and discriminator are two groups of one optimizer in the paper. Two that step from gradients at the same weights are the same.
        self.discriminator_optimizer = (
            self.make_optimizer(self.discriminator, self.discriminator_settings()) if self.discriminator else None
        )
        self.start: dict[str, float] = {}  # the student's accuracy and NLL on validation before the teachers
        self.history = torch.zeros(3, self.epochs(), device=self.device)  # sums of L_D and of its accuracy, and their count, by epoch

    def lengthened(self, before: Length) -> None:
        self.history = F.pad(self.history, (0, self.epochs() - self.history.shape[1]))

    def phases(self) -> Iterator[Phase]:
        if self.settings.warm_up_epochs:
            yield Phase("warm up", self.warm_up_step, self.warm_up_steps(), batch_size=self.settings.batch_size)
        yield Phase("distill", self.step, self.budget.steps, batch_size=self.settings.batch_size, begin=self.begin)

    def warm_up_step(self, batch: Batch) -> Logs:
        loss = label_cross_entropy(self.student(batch.inputs), batch.targets)
        self.update(self.warm_up_optimizer, loss)
        return {"loss": loss}

    def step(self, batch: Batch) -> Logs:
        student_logits = self.student(batch.inputs)
        teacher_logits = self.teacher_logits(batch.inputs)
        soft = averaged_log_probs(teacher_logits, 1.0)  # an average of probabilities: that of logits goes to the discriminator alone
        similarity = soft_cross_entropy(teacher_log_probs=soft, student_log_probs=softened_log_probs(student_logits, 1.0)).mean()
        uncertainty = entropy(soft).mean()
        loss, terms = similarity, {"loss/teachers": similarity, "loss/gap": similarity - uncertainty, "target_entropy": uncertainty}
        if self.settings.hard_label_weight:
            terms["loss/labels"] = label_cross_entropy(student_logits, batch.targets)
            loss = loss + self.settings.hard_label_weight * terms["loss/labels"]
        if self.discriminator is None or self.discriminator_optimizer is None:
            self.update(self.optimizer, loss)
            return {"loss": loss, **terms}

        seen = student_logits if self.settings.adversarial == "joint" else reversed_gradient(student_logits, self.settings.lambda_d)
        verdicts = judged(self.discriminator, seen, mean_logits(teacher_logits))
        distinction, accuracy = discriminator_loss(verdicts), discriminator_accuracy(verdicts)
        # The student's update moves nothing that the discriminator's gradient is made of.
        self.update(self.optimizer, loss + distinction, retain_graph=True)
        self.update(self.discriminator_optimizer, distinction)
        self.note(distinction, accuracy)
        alive = (verdicts != 0).float().mean()
        return {
            "loss": loss + distinction,
            **terms,
            "loss/discriminator": distinction,
            "discriminator_accuracy": accuracy,
            "discriminator_alive": alive,
        }

    def teacher_logits(self, inputs: Tensor) -> list[Tensor]:
        """One (batch, classes) tensor for each teacher that this batch is taught by."""
        return [teacher(inputs) for teacher in self.heard()]

    def heard(self) -> Sequence[nn.Module]:
        """All teachers, or the one that this step drew: a function of the step, so that all pieces of a batch hear the same."""
        if self.settings.combine == "average":
            return self.teachers
        drawn = derived_seed(self.generator.initial_seed(), "teacher", self.position.step) % len(self.teachers)
        return self.teachers[drawn : drawn + 1]

    @torch.no_grad()
    def note(self, distinction: Tensor, accuracy: Tensor) -> None:
        epoch = min(self.position.epoch, self.epochs() - 1)
        self.history[:, epoch] += torch.stack([distinction, accuracy, torch.ones_like(accuracy)]).to(self.history)

    @torch.no_grad()
    def begin(self) -> None:
        """Where the student stands before its teachers speak, and what can already be seen to go wrong."""
        validation = self.task.judge(self.student, "validation", teacher=None, final=False).metrics
        self.start = {name: float(validation[name] or 0.0) for name in ("accuracy", "nll")}
        self.log(f"The student starts with accuracy {self.start['accuracy']:.4f} and NLL {self.start['nll']:.4f} on validation.")
        self.log(MODES[self.settings.adversarial])
        inputs = self.first_view()
        teacher_logits = [teacher(inputs) for teacher in self.teachers]
        soft = averaged_log_probs(teacher_logits, 1.0)
        uncertainty = float(entropy(soft).mean())
        if uncertainty < charts.SURE * charts.largest_entropy(soft):
            self.log(f"The teachers are nearly certain of the training rows: mean entropy {uncertainty:.3f} nats. Augmentation would help.")
        if self.discriminator is not None:
            self.revive(self.student(inputs), mean_logits(teacher_logits))

    def first_view(self) -> Tensor:
        """The first training rows, as a batch would show them."""
        inputs, augment = self.task.splits["train"].inputs[:FIRST_ROWS], self.task.augmentation()
        return inputs if augment is None else augment(inputs, torch.Generator(self.device).manual_seed(0))

    def revive(self, student_logits: Tensor, teacher_logits: Tensor) -> None:
        """Draws the discriminator again, with the next seed, while it says the same of all rows: about one in ten is born like that."""
        assert self.discriminator is not None
        tries = 0
        while is_dead(self.discriminator, student_logits, teacher_logits) and tries < TRIES:
            tries += 1
            self.discriminator.load_state_dict(self.new_discriminator(tries).state_dict())
        if tries:
            self.log(f"The discriminator said the same of all rows and was drawn again, {tries} time{'s' * (tries > 1)}.")

    def new_discriminator(self, attempt: int) -> nn.Module:
        """One with weights of its own seed: what else is drawn does not depend on whether there is one."""
        with undisturbed(self.device):
            torch.manual_seed(derived_seed(self.generator.initial_seed(), "discriminator", attempt))
            network = discriminator(self.classes(), reduction=self.settings.reduction, final_relu=self.settings.final_relu)
        example = next(self.student.parameters())
        return network.to(device=self.device, dtype=example.dtype)

    def warm_up_settings(self) -> Settings:
        return self.settings.model_copy(update={"learning_rate": self.settings.warm_up_learning_rate})

    def discriminator_settings(self) -> Settings:
        rate = self.settings.learning_rate if self.settings.lr_d_follows_main else self.settings.lr_d
        return self.settings.model_copy(update={"learning_rate": rate})

    def warm_up_steps(self) -> int:
        return self.settings.warm_up_epochs * self.budget.steps_per_epoch

    def epochs(self) -> int:
        return -(-self.budget.steps // self.budget.steps_per_epoch)

    def classes(self) -> int:
        assert self.task.card.classes is not None, f"{self.task.card.id} is no classification task"
        return self.task.card.classes

    def reference(self) -> nn.Module:
        """What the student is to match: the teacher, or the average of several."""
        return self.teachers[0] if len(self.teachers) == 1 else Ensemble(self.teachers).eval()

    def diagnostics(self) -> Diagnostics:
        """Student, teachers and their average on the validation rows, and what the discriminator makes of them."""
        rows = self.task.splits["validation"]
        student_logits, teacher_logits = self.student(rows.inputs), [teacher(rows.inputs) for teacher in self.teachers]
        soft = averaged_log_probs(teacher_logits, 1.0)
        gap = soft_cross_entropy(teacher_log_probs=soft, student_log_probs=softened_log_probs(student_logits, 1.0)) - entropy(soft)
        accuracy = accuracy_of(student_logits, rows.targets)
        metrics = {
            "gap_to_teachers": float(gap.mean()),
            "target_entropy": float(entropy(soft).mean()),
            "best_teacher_accuracy": max(accuracy_of(logits, rows.targets) for logits in teacher_logits),
            "ensemble_accuracy": accuracy_of(soft, rows.targets),
        }
        if self.start:
            metrics |= {"start_accuracy": self.start["accuracy"], "start_nll": self.start["nll"]}
            metrics["accuracy_since_start"] = accuracy - self.start["accuracy"]
        tables = {"agreement": charts.agreement(student_logits, teacher_logits, soft)}
        if len(teacher_logits) > 1:
            tables |= charts.disputed(self.task, "validation", student_logits=student_logits, teacher_logits=teacher_logits)
        if self.discriminator is not None:
            verdicts = judged(self.discriminator, student_logits, mean_logits(teacher_logits))
            metrics["discriminator_accuracy"] = float(discriminator_accuracy(verdicts))
            metrics["discriminator_alive"] = float((verdicts != 0).float().mean())
            tables["discriminator"] = charts.discriminator_course(self.history)
        tables["warnings"] = charts.warnings(metrics, largest_entropy=charts.largest_entropy(soft), adversarial=self.settings.adversarial)
        return Diagnostics(metrics, tables)


def mean_logits(logits: Sequence[Tensor]) -> Tensor:
    """z̄ = (1/K) Σ_k z_k, (batch, classes): what the discriminator sees of the teachers."""
    return torch.stack([full_precision(each) for each in logits]).mean(dim=0)


def accuracy_of(logits: Tensor, labels: Tensor | None) -> float:
    """Share of rows whose largest logit is the label's; logits (rows, classes), labels (rows,)."""
    assert labels is not None, "validation rows have labels"
    return float((logits.argmax(dim=1) == labels).double().mean())
