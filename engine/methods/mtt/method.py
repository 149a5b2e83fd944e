"""Matching training trajectories: Cazenavette, Wang, Torralba, Efros & Zhu (2022), arXiv:2203.11932, algorithm 1.

Experts are trained on the real rows and their weights are recorded. Then pictures are moved so that a few steps of SGD on them take a network
from one of these snapshots to a later one. The pictures and the learning rate of these steps are what is trained.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.distilled_sets import pictures
from engine.distilled_sets.augmentation import apply, draw
from engine.distilled_sets.experts import ExpertGradient, loss_rise, plain_gradient
from engine.distilled_sets.flat import FlatNetwork, fresh_weights, sgd_step
from engine.distilled_sets.judging import random_rows
from engine.distilled_sets.making import config_of
from engine.distilled_sets.matching import GRADIENTS, Matched, inner_plan, trajectory_errors
from engine.distilled_sets.networks import trained_on
from engine.distilled_sets.settings import MatchingSettings
from engine.errors import SpecError
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.mtt.card import card
from engine.models.build import build
from engine.models.synthetic_set import SyntheticSet, set_blueprint
from engine.seeds import derived_seed
from engine.tasks.classification import PicturesTask
from engine.tasks.task import Split

LOWEST_RATE = 1e-4
FIRST, LAST = 10, 20
"""Iterations at the start and at the end whose mean outer loss is told."""
DIRECTIONS, RADIUS = 20, 0.2
"""How sharpness is measured; the directions are the same for all experts of all runs."""
NEAR_ONE = 0.9
SHOWN_EXPERTS, SHOWN_EPOCHS = 4, 21
"""Of the buffer, whose course its page shows."""


class MTT(Method):
    card = card
    settings: MatchingSettings

    def build(self) -> None:
        s, device = self.settings, self.device
        try:
            self.network = FlatNetwork.of(self.student)
        except ValueError as error:
            raise SpecError.at("student", f"{error}.") from None
        self.draws = torch.Generator().manual_seed(derived_seed(self.generator.initial_seed(), "distillation"))
        size = sum(parameter.numel() for parameter in self.student.parameters())
        # The experts: one vector of weights and of velocity at a time, and all snapshots. The held-out one comes last.
        self.theta, self.velocity = torch.zeros(size, device=device), torch.zeros(size, device=device)
        self.buffer = torch.zeros(len(self.seeds), s.expert_epochs + 1, size, device=device)
        self.expert_accuracy = torch.zeros(len(self.seeds), device=device)
        self.cosines = torch.zeros(len(self.seeds), s.expert_epochs, device=device)
        self.sharpness = torch.zeros(min(s.flatness_experts, s.experts), len(s.flatness_epochs), 3, device=device)
        # The set, and where its outer loop is.
        self.set = self.new_set()
        self.best = self.new_set() if s.keep == "best" else None
        self.best_accuracy = torch.full((), -1.0, device=device)
        self.initial = torch.zeros_like(self.set.images)
        self.image_optimizer = torch.optim.SGD([self.set.trained], lr=s.image_rate, momentum=s.outer_momentum)
        self.rate_optimizer = torch.optim.SGD([self.rate()], lr=s.learned_rate_rate, momentum=s.outer_momentum)
        self.iterations = 0
        self.losses, self.rates = torch.zeros(self.budget.steps, device=device), torch.zeros(self.budget.steps, device=device)
        self.starts = torch.zeros(self.budget.steps, dtype=torch.int64, device=device)
        self.image_gradient = torch.zeros((), device=device)
        self.draw_initial_rows()

    @property
    def seeds(self) -> list[int]:
        """Of all experts, the held-out one last."""
        s = self.settings
        return [s.expert_seed + at for at in range(s.experts)] + ([] if s.held_out_seed is None else [s.held_out_seed])

    @property
    def train_split(self) -> Split:
        return self.task.splits["train"]

    def new_set(self) -> SyntheticSet:
        made = build("synthetic_set", self.set_config())
        assert isinstance(made, SyntheticSet)
        return made.to(self.device)

    def set_config(self) -> dict[str, Any]:
        """Fields of engine.models.set_configs.SyntheticSetConfig."""
        s = self.settings
        return config_of(
            s, self.task.card, self.student_blueprint, learned_rate=True, soft_labels=s.labels == "expert", averaged=s.ema_decay is not None
        )

    def classes(self) -> int:
        assert self.task.card.classes is not None, f"{self.task.card.id} is no classification task"
        return self.task.card.classes

    def rate(self) -> nn.Parameter:
        """The learned learning rate, ()."""
        assert self.set.learning_rate is not None, "a set of this method learns its rate"
        return self.set.learning_rate

    def product(self) -> nn.Module:
        return self.set if self.best is None else self.best

    def blueprint(self) -> Mapping[str, Any]:
        return set_blueprint(self.set_config())

    def phases(self) -> Iterator[Phase]:
        s = self.settings
        steps = len(self.seeds) * s.expert_epochs * self.steps_per_epoch
        yield Phase("experts", self.train_expert, steps, data=self.expert_rows, end=self.end_experts, evaluate=False)
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

    def train_expert(self, batch: Batch) -> Logs:
        s = self.settings
        expert, epoch, within = self.place(self.position.phase_step)
        if epoch == within == 0:
            self.theta.copy_(fresh_weights(self.student_blueprint, self.seeds[expert], self.device))
            self.velocity.zero_()
            self.buffer[expert, 0] = self.theta
        number = torch.Generator().manual_seed(derived_seed(self.seeds[expert], "augmentation", epoch, within))
        inputs = apply(batch.inputs, draw(s.augmentation, len(batch), number, self.device))

        found = self.expert_gradient(lambda theta: F.cross_entropy(self.network(theta, inputs), batch.targets), self.theta)
        sgd_step(
            self.theta, self.velocity, found.direction, rate=s.expert_learning_rate, momentum=s.expert_momentum, decay=s.expert_weight_decay
        )

        if within == self.steps_per_epoch - 1:
            self.buffer[expert, epoch + 1] = self.theta
        terms = {"expert_loss": found.loss}
        if found.rise is not None and found.cosine is not None:
            self.cosines[expert, epoch] += found.cosine / self.steps_per_epoch
            terms |= {"expert_rise": found.rise, "expert_cosine": found.cosine}
        return terms

    def expert_gradient(self, loss_at: Callable[[Tensor], Tensor], theta: Tensor) -> ExpertGradient:
        """What an expert's optimizer is given; a child may make flatter experts."""
        return plain_gradient(loss_at, theta)

    def end_experts(self) -> None:
        s = self.settings
        for at in range(len(self.seeds)):
            self.expert_accuracy[at] = self.validated(self.buffer[at, -1])
        targets = self.train_split.targets
        assert targets is not None, "experts learn from labels"
        directions = torch.randn(DIRECTIONS, self.buffer.shape[-1], generator=torch.Generator().manual_seed(0)).to(self.device)
        for at in range(len(self.sharpness)):
            for place, epoch in enumerate(s.flatness_epochs):
                self.sharpness[at, place] = loss_rise(
                    self.network, self.buffer[at, epoch], self.train_split.inputs, targets, directions=directions, radius=RADIUS
                )
        facts = {"seeds": self.seeds, "names": list(self.network.names), "recipe": self.recipe_hash()}
        self.save_tensors("experts", {"trajectories": self.buffer}, facts, views=self.experts_views())
        self.log(f"The experts get {self.expert_accuracy.mean():.1%} of the validation rows right after {s.expert_epochs} epochs.")

    def experts_views(self) -> dict[str, Any]:
        """The course of a few experts over a few epochs, the first and the last among them."""
        last = self.settings.expert_epochs
        epochs = sorted({round(at * last / (SHOWN_EPOCHS - 1)) for at in range(SHOWN_EPOCHS)})
        snapshots = self.buffer[:SHOWN_EXPERTS, epochs]
        accuracies = torch.stack([torch.stack([self.validated(theta) for theta in expert]) for expert in snapshots])
        return pictures.experts_course(accuracies, snapshots, epochs=epochs, seeds=self.seeds[:SHOWN_EXPERTS])

    def recipe_hash(self) -> str:
        """Equal for buffers of equal data, architecture and recipe, so that runs that share experts can be told."""
        named = {name: value for name, value in self.settings.model_dump(mode="json").items() if name.startswith(("expert", "held_out"))}
        own = {name: getattr(self.settings, name) for name in ("rho", "alpha", "adaptive") if hasattr(self.settings, name)}
        task = {"task": self.task.card.id, "options": self.task.options.model_dump(mode="json")}
        facts = {**named, **own, **task, "augmentation": list(self.settings.augmentation), "student": dict(self.student_blueprint)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    # The set

    def draw_initial_rows(self) -> None:
        """Which rows the pictures begin as, and all of the set that does not change."""
        product = self.set
        assert isinstance(self.task, PicturesTask), f"{self.task.card.id} has no pictures to make a set of"
        with torch.no_grad():
            classes = torch.arange(self.classes(), device=self.device).repeat_interleave(self.settings.images_per_class)
            product.labels.copy_(F.one_hot(classes, self.classes()) if product.labels.dim() == 2 else classes)
            product.mean.copy_(self.task.mean)
            product.scale.copy_(self.task.scale)
            if self.settings.initial == "real":
                product.source.copy_(self.real_rows())
            self.rate().fill_(self.settings.learned_rate_start)

    def real_rows(self) -> Tensor:
        """As many different rows of each class as the set has pictures. Raises SpecError when a class has fewer."""
        targets, count = self.train_split.targets, self.settings.images_per_class
        assert targets is not None, "a set is made of rows with labels"
        try:
            return random_rows(targets, count, self.classes(), self.draws)
        except ValueError as error:
            text = f"must be at most the rows of each class; got {count}, and {error}."
            raise SpecError.at("settings.images_per_class", text) from None

    def initialize(self, batch: Batch) -> Logs:
        """The pictures become real rows, or noise of the real rows' mean and deviation; so does their average."""
        real = self.train_split.inputs
        with torch.no_grad():
            if self.settings.initial == "real":
                self.initial.copy_(real[self.set.source])
            else:
                noise = torch.randn(self.initial.shape, generator=self.draws).to(self.device)
                self.initial.copy_(real.mean() + real.std() * noise)
            self.set.images.copy_(self.initial)
            self.set.trained.copy_(self.initial)
            if self.best is not None:
                self.best.load_state_dict(self.set.state_dict())
        return {"learned_rate": self.rate().detach().clone(), "pixel_deviation": self.initial.std()}

    def distill(self, batch: Batch) -> Logs:
        s = self.settings
        # Drawn on the CPU, so that a GPU is not waited for.
        expert = int(torch.randint(s.experts, (), generator=self.draws))
        start = int(torch.randint(s.max_start_epoch, (), generator=self.draws))
        theta, target = self.buffer[expert, start], self.buffer[expert, start + s.matched_epochs]
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
            at = self.iterations
            self.losses[at], self.rates[at], self.starts[at] = found.loss, self.rate(), start
            self.image_gradient.copy_(found.images.norm())
        self.iterations = at + 1
        if self.best is not None and (self.iterations % s.keep_every == 0 or self.iterations == self.budget.steps):
            self.keep_best()
        return {
            "outer_loss": found.loss,
            "inner_loss": found.inner_loss,
            "learned_rate": self.rate().detach().clone(),
            "image_gradient": self.image_gradient.clone(),
            "start_epoch": torch.full((), float(start), device=self.device),
        }

    def match(self, theta: Tensor, target: Tensor) -> Matched:
        """One outer loss and its gradients, from the expert's weights theta to target, (parameters,) each."""
        s = self.settings
        plan = inner_plan(
            s.inner_steps, rows=len(self.set), chunk=s.inner_batch, operations=s.augmentation, generator=self.draws, device=self.device
        )
        return GRADIENTS[s.gradient](
            self.network, start=theta, target=target, images=self.set.trained, labels=self.set.labels, rate=self.rate(), plan=plan
        )

    def validated(self, theta: Tensor) -> Tensor:
        """Accuracy of the network with the weights theta on the validation rows, ()."""
        rows = self.task.splits["validation"]
        assert rows.targets is not None, "an accuracy is of rows with labels"
        return self.network.logits(theta, rows.inputs).argmax(dim=1).eq(rows.targets).float().mean()

    def keep_best(self) -> None:
        """Compares the set with the best one so far, on the validation rows."""
        assert self.best is not None, "only a run that keeps the best compares"
        recipe, right = self.set.config.recipe, []
        for seed in range(recipe.first_seed, recipe.first_seed + recipe.networks):
            theta = fresh_weights(self.student_blueprint, seed, self.device)
            images = self.set.images.detach()
            theta = trained_on(self.network, theta, images, self.set.labels, recipe=recipe, rate=recipe.learning_rate, seed=seed)
            right.append(self.validated(theta))
        accuracy = torch.stack(right).mean()
        better = accuracy > self.best_accuracy
        self.best_accuracy.copy_(torch.where(better, accuracy, self.best_accuracy))
        now, kept = self.set.state_dict(), self.best.state_dict()
        self.best.load_state_dict({name: torch.where(better, now[name], kept[name]) for name in kept})

    # What is told

    def diagnostics(self) -> Diagnostics:
        metrics: dict[str, float | None] = {"expert_accuracy": float(self.expert_accuracy.mean())}
        tables: dict[str, Any] = {}
        if self.iterations:
            metrics |= self.course()
            tables |= self.course_views()
        if self.iterations and self.settings.held_out_seed is not None:
            s = self.settings
            rate = self.rate().detach()
            errors = trajectory_errors(
                self.network, self.buffer[-1], self.set.images, self.set.labels, rate, steps=s.inner_steps, epochs=s.matched_epochs
            )
            if errors:
                # Where the matched starts end: later segments were never learned.
                known = max(1, (s.max_start_epoch + s.matched_epochs) // s.matched_epochs)
                metrics["trajectory_error"] = errors[min(known, len(errors)) - 1]
                tables["trajectory_error"] = pictures.error_curve(errors, epochs=s.matched_epochs)
        for place, epoch in enumerate(self.settings.flatness_epochs):
            loss, rise, largest = self.sharpness[:, place].mean(dim=0).tolist()
            metrics |= {f"expert_loss_{epoch}": loss, f"loss_rise_{epoch}": rise, f"loss_rise_max_{epoch}": largest}
        if self.settings.flatness_epochs:
            tables["sharpness"] = pictures.sharpness_table(
                self.sharpness, epochs=self.settings.flatness_epochs, seeds=self.seeds[: len(self.sharpness)]
            )
        return Diagnostics(metrics, tables)

    def course(self) -> dict[str, float | None]:
        """Numbers of the outer loop so far."""
        losses = self.losses[: self.iterations]
        center, spread = self.real_pixels()
        far = (self.set.images.detach() - center).abs() > pictures.WIDTH * spread
        moved = (self.set.images.detach() - self.initial).square().mean().sqrt()
        return {
            "outer_loss_start": float(losses[:FIRST].mean()),
            "outer_loss_end": float(losses[-LAST:].mean()),
            "image_gradient": float(self.image_gradient),
            "image_change": float(moved),
            "far_pixels": float(far.float().mean()),
            **({"peak_memory": float(torch.cuda.max_memory_allocated(self.device))} if self.device.type == "cuda" else {}),
        }

    def course_views(self) -> dict[str, Any]:
        """Pictures of the set and of the outer loop so far."""
        center, spread = self.real_pixels()
        done = self.iterations
        forms = {"initial": self.initial, "now": self.set.images.detach()}
        if self.set.last is not None:
            forms |= {"before averaging": self.set.last.detach()}
        return {
            "set_images": pictures.image_grid(
                forms, before="initial", after="now", per_class=self.settings.images_per_class, center=center, spread=spread
            ),
            "set_pixels": pictures.pixel_histogram(forms, center=center, spread=spread),
            "outer_loss": pictures.loss_by_start(self.losses[:done].cpu(), self.starts[:done].cpu()),
            "start_epochs": pictures.starts_drawn(self.starts[:done].cpu(), max_start=self.settings.max_start_epoch),
            "learned_rate": pictures.over_iterations(
                "Learned learning rate", self.rates[:done], y="learning rate", levels={"lowest": LOWEST_RATE}
            ),
        }

    def real_pixels(self) -> tuple[float, float]:
        """Mean and standard deviation of all pixels of the real rows, as networks see them."""
        real = self.train_split.inputs
        return float(real.mean()), float(real.std())

    def finish(self) -> None:
        if self.best is not None:
            self.save_tensors("last-set", dict(self.set.state_dict()), {"iteration": self.iterations}, views=self.course_views())
        for text in self.warnings():
            self.log(text)

    def warnings(self) -> list[str]:
        """What went wrong, as far as the numbers tell."""
        if not self.iterations:
            return []
        told, found = self.course(), []
        if told["image_gradient"] == 0:
            found.append("The gradient of the pictures is exactly 0: nothing reaches them.")
        elif (told["outer_loss_end"] or 0) > NEAR_ONE:
            found.append(
                f"The outer loss ends at {told['outer_loss_end']:.2f}, near 1: training on the set hardly comes closer to the experts."
            )
        if float(self.rate().detach()) <= LOWEST_RATE * (1 + 1e-6):
            found.append(f"The learned rate is at its lowest, {LOWEST_RATE:g}.")
        if (told["far_pixels"] or 0) > 0.05:
            found.append(
                f"{told['far_pixels']:.0%} of the set's pixels are farther than 2.5 standard deviations from the real pixels' mean."
            )
        if self.set.last is not None:
            average, last = ((images - self.initial).norm() for images in (self.set.images.detach(), self.set.last.detach()))
            if average < 0.5 * last:
                found.append(
                    "The averaged pictures have gone less than half of the way of those before averaging: ema_decay is too near 1."
                )
        return found
