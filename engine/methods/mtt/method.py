"""Matching training trajectories: Cazenavette, Wang, Torralba, Efros & Zhu (2022), arXiv:2203.11932, algorithm 1.

Experts are trained on the real rows and their weights are recorded. Then pictures are moved so that a few steps of SGD on them take a network
from one of these snapshots to a later one. The pictures and the learning rate of these steps are what is trained.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.distilled_sets.augmentation import apply, draw
from engine.distilled_sets.buffers import ExpertBuffer
from engine.distilled_sets.experts import ExpertGradient, plain_gradient
from engine.distilled_sets.flat import FlatNetwork, fresh_weights, sgd_step
from engine.distilled_sets.making import config_of
from engine.distilled_sets.matching import GRADIENTS, Matched, inner_plan
from engine.distilled_sets.settings import TrajectorySettings
from engine.errors import SpecError
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.mtt import diagnostics, earlier_state, experts, recipe, warnings
from engine.methods.mtt.beginning import first_pictures, prepared_set
from engine.methods.mtt.card import card
from engine.methods.mtt.course import LOWEST_RATE, OuterLoopHistory
from engine.methods.mtt.selection import BestSet, accuracy_of
from engine.models.synthetic_set import SyntheticSet, set_blueprint
from engine.seeds import derived_seed
from engine.tasks.task import Split


class MTT(Method):
    card = card
    settings: TrajectorySettings
    EXPERT_SETTINGS: ClassVar[tuple[str, ...]] = ()
    """Settings that a child has of its own for its experts."""

    def build(self) -> None:
        s, device = self.settings, self.device
        try:
            self.network = FlatNetwork.of(self.student)
        except ValueError as error:
            raise SpecError.at("student", f"{error}.") from None
        self.draws = torch.Generator().manual_seed(derived_seed(self.generator.initial_seed(), "distillation"))
        # The experts: one vector of weights and of velocity at a time, and all snapshots.
        self.theta, self.velocity = (torch.zeros(self.network.size, device=device) for _ in range(2))
        self.experts = ExpertBuffer(len(self.seeds), s.expert_epochs, self.network.size, recipe=recipe.of(self), device=device)
        self.experts.take_over()
        self.expert_accuracy = torch.zeros(len(self.seeds), device=device)
        self.sharpness = torch.zeros(min(s.flatness_experts, s.experts), len(s.flatness_epochs), 3, device=device)
        # The set, and the two optimizers of the outer loop.
        self.set = prepared_set(self.set_config(), self.task, s, self.draws, device)
        self.best = BestSet(self.set_config()).to(device) if s.keep == "best" else None
        self.initial = torch.zeros_like(self.set.images)
        self.image_optimizer = torch.optim.SGD([self.set.trained], lr=s.image_rate, momentum=s.outer_momentum)
        self.rate_optimizer = torch.optim.SGD([self.rate()], lr=s.learned_rate_rate, momentum=s.outer_momentum)
        self.course = OuterLoopHistory(self.budget.steps, device)

    @property
    def seeds(self) -> list[int]:
        """Of all experts, the held-out one last."""
        s = self.settings
        return [s.expert_seed + at for at in range(s.experts)] + ([] if s.held_out_seed is None else [s.held_out_seed])

    @property
    def train_split(self) -> Split:
        return self.task.splits["train"]

    def set_config(self) -> dict[str, Any]:
        """Fields of engine.models.set_configs.SyntheticSetConfig."""
        s = self.settings
        return config_of(
            s, self.task.card, self.student_blueprint, learned_rate=True, soft_labels=s.labels == "expert", averaged=s.ema_decay is not None
        )

    def rate(self) -> nn.Parameter:
        """The learned learning rate, ()."""
        assert self.set.learning_rate is not None, "a set of this method learns its rate"
        return self.set.learning_rate

    def product(self) -> SyntheticSet:
        return self.set if self.best is None else self.best.set

    def blueprint(self) -> Mapping[str, Any]:
        return set_blueprint(self.set_config())

    def phases(self) -> Iterator[Phase]:
        steps = 0 if self.experts.reused else len(self.seeds) * self.settings.expert_epochs * self.steps_per_epoch
        yield Phase(
            "experts",
            self.experts.timed(self.train_expert),
            steps,
            data=self.expert_rows,
            begin=self.begin_experts,
            end=self.end_experts,
            evaluate=False,
        )
        yield Phase("initialize", self.initialize, 1, data=None, evaluate=False)
        yield Phase("distill", self.distill, self.budget.steps, data=None)

    # Experts

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.train_split) // self.settings.expert_batch_size)

    def place(self, step: int) -> tuple[int, int, int]:
        """Which expert, epoch and step within it the phase's step is."""
        expert, within = divmod(step, self.settings.expert_epochs * self.steps_per_epoch)
        return expert, *divmod(within, self.steps_per_epoch)

    def expert_rows(self, step: int, generator: torch.Generator) -> Batch:
        """Real rows in an order of the expert's seed and epoch alone, whatever the run's seed."""
        expert, epoch, within = self.place(step)
        order = torch.Generator().manual_seed(derived_seed(self.seeds[expert], "expert", epoch))
        rows = torch.randperm(len(self.train_split), generator=order).to(self.device)
        return self.train_split.take(rows.split(self.settings.expert_batch_size)[within])

    def begin_experts(self) -> None:
        if self.experts.remark:
            self.log(self.experts.remark)

    def train_expert(self, batch: Batch) -> Logs:
        s = self.settings
        expert, epoch, within = self.place(self.position.phase_step)
        if epoch == within == 0:
            self.theta.copy_(fresh_weights(self.student_blueprint, self.seeds[expert], self.device))
            self.velocity.zero_()
            self.experts.record(expert, 0, self.theta)
        number = torch.Generator().manual_seed(derived_seed(self.seeds[expert], "augmentation", epoch, within))
        inputs = apply(batch.inputs, draw(s.augmentation, len(batch), number, self.device))

        found = self.expert_gradient(lambda theta: F.cross_entropy(self.network(theta, inputs), batch.targets), self.theta)
        sgd_step(
            self.theta, self.velocity, found.direction, rate=s.expert_learning_rate, momentum=s.expert_momentum, decay=s.expert_weight_decay
        )

        if within == self.steps_per_epoch - 1:
            self.experts.record(expert, epoch + 1, self.theta)
        terms = {"expert_loss": found.loss}
        if found.rise is not None and found.cosine is not None:
            self.experts.cosines[expert, epoch] += found.cosine / self.steps_per_epoch
            terms |= {"expert_rise": found.rise, "expert_cosine": found.cosine}
        return terms

    def expert_gradient(self, loss_at: Callable[[Tensor], Tensor], theta: Tensor) -> ExpertGradient:
        """What an expert's optimizer is given; a child may make flatter experts."""
        return plain_gradient(loss_at, theta)

    def end_experts(self) -> None:
        experts.judge(self)
        experts.leave(self)

    # The set

    def initialize(self, batch: Batch) -> Logs:
        """The pictures become real rows, or noise of the real rows' mean and deviation; so does their average."""
        with torch.no_grad():
            self.initial.copy_(first_pictures(self.set, self.train_split.inputs, self.settings, self.draws))
            self.set.images.copy_(self.initial)
            self.set.trained.copy_(self.initial)
        if self.best is not None:
            self.best.set.load_state_dict(self.set.state_dict())
        return {"learned_rate": self.rate().detach().clone(), "pixel_deviation": self.initial.std()}

    def distill(self, batch: Batch) -> Logs:
        s = self.settings
        # Drawn on the CPU, so that a GPU is not waited for.
        expert = int(torch.randint(s.experts, (), generator=self.draws))
        start = int(torch.randint(s.max_start_epoch, (), generator=self.draws))
        theta, target = self.experts.trajectories[expert, start], self.experts.trajectories[expert, start + s.matched_epochs]
        if s.labels == "expert":
            self.set.labels.copy_(self.network.logits(target, self.set.trained.detach()).softmax(dim=1))

        found = self.match(theta, target)

        self.set.trained.grad, self.rate().grad = found.images, found.rate
        for optimizer in (self.image_optimizer, self.rate_optimizer):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.rate().clamp_(min=LOWEST_RATE)
            if s.ema_decay is not None:
                # x̄ ← d·x̄ + (1 − d)·x; labels and rate are not averaged.
                self.set.images.mul_(s.ema_decay).add_(self.set.trained, alpha=1 - s.ema_decay)
        terms = self.course.note(found, rate=self.rate(), start=start)
        if self.best is not None and (self.course.iterations % s.keep_every == 0 or self.course.iterations == self.budget.steps):
            self.best.offer(self.set, accuracy_of(self.set, self.network, self.student_blueprint, self.task.splits["validation"]))
        return terms

    def match(self, theta: Tensor, target: Tensor) -> Matched:
        """One outer loss and its gradients, from the expert's weights theta to target, (parameters,) each."""
        s = self.settings
        plan = inner_plan(
            s.inner_steps, rows=len(self.set), chunk=s.inner_batch, operations=s.augmentation, generator=self.draws, device=self.device
        )
        return GRADIENTS[s.gradient](
            self.network, start=theta, target=target, images=self.set.trained, labels=self.set.labels, rate=self.rate(), plan=plan
        )

    @classmethod
    def upgraded_state(cls, saved: Mapping[str, Any]) -> Mapping[str, Any]:
        """Checkpoints of before the experts, the best set and the outer loop had objects of their own are read too."""
        return earlier_state.upgraded(saved)

    # What a person sees of it

    def diagnostics(self) -> Diagnostics:
        return diagnostics.of(self)

    def finish(self) -> None:
        if self.best is not None:
            facts = {"iteration": self.course.iterations}
            self.save_tensors("last-set", dict(self.set.state_dict()), facts, charts=diagnostics.course_charts(self))
        for text in self.warnings():
            self.log(text)

    def warnings(self) -> list[str]:
        """What went wrong, as far as the numbers show."""
        return warnings.of(self)
