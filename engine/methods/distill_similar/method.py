"""DistillNearest and DistillWeighted: Borup, Phoo & Hariharan (2023), arXiv:2304.12314.

Sources were trained on other tasks. How well their features arrange the few labeled rows of the target says how much each is listened to; the
student then learns from the labels, and through one auxiliary head for each source from what that source says of unlabeled rows, in the
source's own classes. The heads are thrown away.
"""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from engine.errors import ModelError, SpecError
from engine.losses.divergences import entropy, soft_cross_entropy, softened_log_probs
from engine.losses.labels import label_cross_entropy
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.distill_similar import charts, selection, warnings
from engine.methods.distill_similar.card import Settings, card
from engine.methods.distill_similar.transferability import check_probe, stratified
from engine.metrics.cost import parameter_count
from engine.models.pictures import body, features_and_logits, head
from engine.seeds import derived_seed, undisturbed


class DistillSimilar(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        self.check_models()
        width, classes = head(self.student).in_features, [head(source).out_features for source in self.teachers]
        example = next(self.student.parameters())
        self.heads = nn.ModuleList(self.new_head(width, each, index) for index, each in enumerate(classes))
        self.heads.to(device=self.device, dtype=example.dtype)
        self.optimizer = self.make_optimizer([*self.student.parameters(), *self.heads.parameters()])
        self.said = [
            torch.zeros(self.transfer_rows(), each, device=self.device, dtype=example.dtype) for each in classes
        ]  # log-probabilities
        self.similarities: list[dict[str, float | None]] = []
        self.intervals: list[selection.Interval | None] = []
        self.weights: list[float] = []
        self.guide = copy.deepcopy(self.student) if self.settings.similarity == "rsa" else None
        steps = self.settings.reference_steps
        self.guide_optimizer = None if self.guide is None else self.make_optimizer(self.guide, steps=steps)

    def check_models(self) -> None:
        """All models have features to read, and the labels allow similarity to be measured. Raises SpecError otherwise."""
        for field, model in (("student", self.student), *((f"teachers.{index}", each) for index, each in enumerate(self.teachers))):
            try:
                head(model)
            except ModelError as error:
                raise SpecError.at(field, str(error)) from None
        try:
            check_probe(self.probe()[1].cpu().numpy())
        except ValueError as error:
            raise SpecError.at("task", f"{self.task.card.id} {error}.") from None

    def new_head(self, width: int, classes: int, source: int) -> nn.Linear:
        """An auxiliary head with weights of its own seed, so that a source's does not depend on which others there are."""
        with undisturbed(self.device):
            torch.manual_seed(derived_seed(self.generator.initial_seed(), "head", source))
            return nn.Linear(width, classes)

    def phases(self) -> Iterator[Phase]:
        if self.guide is not None:
            yield Phase(
                "train a reference", self.guide_step, self.settings.reference_steps, batch_size=self.settings.labeled_batch, evaluate=False
            )
        yield Phase("score the sources", self.score, len(self.teachers), data=None, evaluate=False, end=self.choose)
        yield Phase("transfer", self.step, self.budget.steps, data=self.transfer_split(), batch_size=self.settings.batch_size)

    def guide_step(self, batch: Batch) -> Logs:
        assert self.guide is not None and self.guide_optimizer is not None
        loss = label_cross_entropy(self.guide(batch.inputs), batch.targets)
        self.update(self.guide_optimizer, loss)
        return {"loss": loss}

    @torch.no_grad()
    def score(self, batch: Batch) -> Logs:
        """One source, asked once: its similarity from the labeled rows, and what it says of all rows that transfer."""
        index = self.position.phase_step
        source, (inputs, labels) = self.teachers[index], self.probe()
        features, logits = features_and_logits(source, inputs)
        reference = None if self.guide is None else body(self.guide.eval())(inputs)
        found = selection.measured(
            selection.Probe.of(features, logits, labels, reference),
            chosen=self.settings.similarity,
            components=self.settings.components,
            resamples=self.settings.resamples,
            seed=derived_seed(self.generator.initial_seed(), "interval"),
        )
        pieces = self.task.splits[self.transfer_split()].inputs.split(1024)
        self.said[index].copy_(torch.cat([softened_log_probs(source(piece), 1.0) for piece in pieces]))
        self.intervals = [*self.intervals, found.pop("interval")]
        self.similarities = [*self.similarities, found]
        return {"similarity": torch.tensor(found[self.settings.similarity], device=self.device)}

    def choose(self) -> None:
        """The weights, which stay for the whole run, as an artifact; and what already looks wrong."""
        chosen = self.chosen()
        power = None if self.settings.selection == "nearest" else self.settings.power
        self.weights = selection.weights_of(chosen, power=power, least=self.settings.least_weight)
        used = set(self.used())
        for index, each in enumerate(self.heads):
            each.requires_grad_(index in used)
        self.save_table("similarity", charts.similarity(self.rows(), self.settings.similarity))
        self.save_table("weights", charts.weights(self.weights))
        for text in warnings.of_similarities(chosen, self.intervals, self.settings):
            self.log(text)
        for text in warnings.of_outputs({index: self.spread(index) for index in self.used()}):
            self.log(text)

    def step(self, batch: Batch) -> Logs:
        share = self.settings.label_weight
        inputs, targets = self.labeled()
        labels = label_cross_entropy(self.student(inputs), targets)
        loss, terms = share * labels, {"loss/labels": labels}
        if self.used():
            features = body(self.student)(batch.inputs)
            for index in self.used():
                log_q = softened_log_probs(self.heads[index](features), 1.0)
                term = soft_cross_entropy(teacher_log_probs=self.said_of(index, batch), student_log_probs=log_q).mean()
                loss = loss + (1 - share) * self.weights[index] * term
                terms[f"loss/source {index + 1}"] = term
        self.update(self.optimizer, loss)
        return {"loss": loss, **terms}

    def said_of(self, index: int, batch: Batch) -> Tensor:
        """A source's log-probabilities (batch, C_s): noted before, or asked of the very view that the student sees."""
        if self.transfer_split() == "train" and self.task.augmentation() is not None:
            return softened_log_probs(self.teachers[index](batch.inputs), 1.0)
        return self.said[index][batch.index]

    def labeled(self) -> tuple[Tensor, Tensor]:
        """The step's labeled rows: all where they are few, else the next ones of an order that changes with each pass."""
        inputs, targets = self.labeled_rows()
        size = self.settings.labeled_batch
        if len(inputs) <= size:
            return inputs, targets
        turn, place = divmod(self.position.phase_step, len(inputs) // size)
        generator = torch.Generator().manual_seed(derived_seed(self.generator.initial_seed(), "labeled", turn))
        rows = torch.randperm(len(inputs), generator=generator)[place * size : (place + 1) * size].to(self.device)
        return inputs[rows], targets[rows]

    def labeled_rows(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the training rows."""
        split = self.task.splits["train"]
        assert split.targets is not None, f"{self.card.id} needs labels on the training rows"
        return split.inputs, split.targets

    def probe(self) -> tuple[Tensor, Tensor]:
        """The labeled rows that similarity is measured on."""
        inputs, targets = self.labeled_rows()
        rows = torch.from_numpy(stratified(targets.cpu().numpy(), self.settings.probe_rows)).to(self.device)
        return inputs[rows], targets[rows]

    def transfer_split(self) -> str:
        """The rows that sources speak of: the task's own for that, or its training rows."""
        return "transfer" if "transfer" in self.task.splits else "train"

    def transfer_rows(self) -> int:
        return len(self.task.splits[self.transfer_split()])

    def chosen(self) -> list[float]:
        """Each source's similarity by the measure that the weights are made of."""
        return [each[self.settings.similarity] or 0.0 for each in self.similarities]

    def used(self) -> list[int]:
        """Sources that the student learns from; none where the labels have all the weight."""
        if self.settings.label_weight == 1:
            return []
        return [index for index, weight in enumerate(self.weights) if weight > 0]

    def spread(self, index: int) -> float:
        """Mean entropy of a source's outputs on the rows that transfer, as a share of log(classes): 0…1."""
        return float(entropy(self.said[index]).mean()) / math.log(self.said[index].shape[1])

    def rows(self) -> list[charts.SourceRow]:
        ranked = selection.ranks(self.chosen())
        return [
            charts.SourceRow(
                rank=ranked[index],
                weight=self.weights[index],
                scores=self.similarities[index],
                interval=self.intervals[index],
                classes=self.said[index].shape[1],
                spread=self.spread(index),
                parameters=parameter_count(source),
            )
            for index, source in enumerate(self.teachers)
        ]

    def reference(self) -> None:
        """No fidelity: sources tell other classes apart."""

    def diagnostics(self) -> Diagnostics:
        """The sources' similarities and weights, what the student costs beside them, and how well it follows each on validation rows."""
        if not self.weights:
            return Diagnostics()
        metrics: dict[str, float | None] = {}
        for index in range(len(self.teachers)):
            metrics |= {f"similarity_{index + 1}": self.chosen()[index], f"weight_{index + 1}": self.weights[index]}
        inputs = self.task.splits["validation"].inputs
        features = body(self.student)(inputs)
        for index in self.used():
            said = softened_log_probs(self.teachers[index](inputs), 1.0)
            followed = soft_cross_entropy(teacher_log_probs=said, student_log_probs=softened_log_probs(self.heads[index](features), 1.0))
            metrics[f"source_loss_{index + 1}"] = float(followed.mean())
        tables = {"similarity": charts.similarity(self.rows(), self.settings.similarity), "weights": charts.weights(self.weights)}
        tables["cost"] = charts.cost(parameter_count(self.student), [parameter_count(source) for source in self.teachers])
        return Diagnostics(metrics, tables)
