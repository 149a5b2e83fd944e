"""Progressive self-knowledge distillation: Kim, Ji, Yoon & Hwang (2021), arXiv:2006.12000, algorithm 1.

A network's target for a row is the mix of its label and its own prediction from the epoch before. The prediction's share α_t grows with
the epoch t, counted from 0, and changes between epochs only.
"""

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.losses.divergences import softened_log_probs
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.ps_kd.bank import TargetBank
from engine.methods.ps_kd.card import Settings, card
from engine.methods.ps_kd.suspects import histogram_of, likely_label_errors, own_label_probabilities
from engine.pictures import png


def prediction_share(epoch: int, *, epochs: int, alpha_T: float, schedule: str = "linear") -> float:
    """α_t of epoch t = 0 … E − 1: linear α_T·(t + 1)/E, so that it is α_T in the last; constant α_T; step 0, and α_T from E/2 on.

    In epoch 0 the earlier prediction is the label itself, so its share has no effect there.
    """
    match schedule:
        case "linear":
            return max(0.0, alpha_T * (epoch + 1) / epochs)
        case "constant":
            return alpha_T
        case "step":
            return alpha_T if 2 * epoch >= epochs else 0.0
    raise AssertionError(f"unknown schedule {schedule!r}")


def mixed_targets(one_hot: Tensor, previous: Tensor, alpha: float) -> Tensor:
    """(1 − α)·O + α·A, (batch, classes) each. Written so that the mix of two equal rows is that row, bit for bit."""
    return torch.lerp(one_hot.to(previous.dtype), previous, alpha)


class PSKD(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        self.optimizer = self.make_optimizer(self.student)
        self.bank: TargetBank | None = None
        self.previous: nn.Module | None = None
        if self.settings.target_source == "bank":
            dtype = getattr(torch, self.settings.bank_dtype)
            self.bank = TargetBank(self.labels(), self.classes(), dtype=dtype, top_k=self.settings.bank_top_k)
        else:
            self.previous = copy.deepcopy(self.student).eval().requires_grad_(False)

    def phases(self) -> Iterator[Phase]:
        yield Phase("self-distill", self.step, self.budget.steps, batch_size=self.settings.batch_size)

    def step(self, batch: Batch) -> Logs:
        if self.previous is not None and self.position.step_in_epoch == 0:
            self.previous.load_state_dict(self.student.state_dict())
        alpha = self.alpha()
        one_hot = F.one_hot(batch.targets, self.classes()).float()
        # Read before the bank is written: targets that held the current prediction would shrink the gradient by 1 − α.
        soft = mixed_targets(one_hot, self.earlier_predictions(batch.inputs, batch.index, one_hot), alpha)

        log_probs = softened_log_probs(self.student(batch.inputs), 1.0)
        loss = -(soft * log_probs).sum(dim=-1).mean()

        self.update(self.optimizer, loss)
        if self.bank is not None:
            self.bank.write(batch.index, log_probs.exp())
        return {"loss": loss, "alpha": torch.full((), alpha, device=self.device), "target_entropy": entropy_of(soft).mean()}

    def alpha(self) -> float:
        """α_t of the running epoch."""
        epochs = self.budget.steps // self.budget.steps_per_epoch
        epoch = min(self.position.epoch, epochs - 1)
        return prediction_share(epoch, epochs=epochs, alpha_T=self.settings.alpha_T, schedule=self.settings.alpha_schedule)

    @torch.no_grad()
    def earlier_predictions(self, inputs: Tensor, index: Tensor, one_hot: Tensor) -> Tensor:
        """A of these rows, (batch, classes): the bank's rows, or what last epoch's weights say of the same inputs. One-hot in epoch 0."""
        if self.bank is not None:
            return self.bank.read(index)
        assert self.previous is not None, "a run without a bank keeps last epoch's weights"
        return one_hot if self.position.epoch == 0 else softened_log_probs(self.previous(inputs), 1.0).exp()

    def labels(self) -> Tensor:
        """(rows,) int64 of the training split."""
        labels = self.task.splits["train"].targets
        assert labels is not None, f"{self.card.id} needs a label for every training row"
        return labels

    def classes(self) -> int:
        assert self.task.card.classes is not None, f"{self.task.card.id} is no classification task"
        return self.task.card.classes

    def diagnostics(self) -> Diagnostics:
        """What the network thinks of its own training labels: A[i, y_i] over all rows i, and which rows it believes least."""
        predictions, one_hot = self.all_predictions()
        own = own_label_probabilities(predictions, self.labels())
        soft = mixed_targets(one_hot, predictions, self.alpha())
        metrics = {"alpha": self.alpha(), "target_entropy": float(entropy_of(soft).mean()), "own_label_probability": float(own.mean())}
        suspects = likely_label_errors(predictions, self.labels(), self.example)
        return Diagnostics(metrics, {"own_label_probability": histogram_of(own), "likely_label_errors": suspects})

    def finish(self) -> None:
        predictions, _ = self.all_predictions()
        self.save_table("likely_label_errors", likely_label_errors(predictions, self.labels(), self.example))
        if self.settings.keep_bank:
            self.save_table("target_bank", {"n": len(predictions), "split": "train", "rows": predictions.tolist()})

    @torch.no_grad()
    def all_predictions(self) -> tuple[Tensor, Tensor]:
        """The newest predictions and the one-hot labels O of the whole training split, (rows, classes) each.

        They are the bank's rows, or what the student's current weights say: last epoch's would be one epoch behind.
        """
        one_hot = F.one_hot(self.labels(), self.classes()).float()
        if self.bank is not None:
            return self.bank.all(), one_hot
        current = copy.deepcopy(self.student).eval()  # the student itself may be in training mode when the run finishes
        return softened_log_probs(current(self.task.splits["train"].inputs), 1.0).exp(), one_hot

    def example(self, row: int) -> str | None:
        """A training row as a PNG address, or as its text; None where the task has neither."""
        gray = self.task.picture("train", row)
        return self.task.text("train", row) if gray is None else png(torch.tensor(gray) / 255)


def entropy_of(probs: Tensor) -> Tensor:
    """−Σ_c p_c log p_c in nats, (rows, classes) → (rows,), with 0·log 0 = 0."""
    contributions: Tensor = torch.special.entr(probs)
    return contributions.sum(dim=-1)
