"""Even your teacher needs guidance: Borup & Andersen (2021), arXiv:2102.13088.

A model is fitted, then a new one to a mix of the ground truth and the first one's outputs, and so on. In kernel ridge regression all of it is
closed form: without ground truth every step smooths further, and the best share of it on held-out rows has a formula. The networks' variant
does the same by gradient steps, each generation from random weights.
"""

import copy
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.losses.precision import full_precision
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.teacher_guidance import chain, charts
from engine.methods.teacher_guidance.card import Settings, card
from engine.methods.teacher_guidance.generations import check_renewable, generation_loss, penalty, renew
from engine.models.kernel import KernelRidge, rbf, squared_distances
from engine.seeds import derived_seed


class TeacherGuidance(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        self.kernel: KernelRidge | None = None
        self.ridge: chain.Ridge | None = None
        if self.settings.variant == "kernel":
            self.build_kernel()
        else:
            self.build_networks()

    def phases(self) -> Iterator[Phase]:
        if self.kernel is not None:
            yield Phase("fit", self.fit, self.settings.fits, data=None)
            return
        steps, rows = self.budget.steps, self.settings.batch_size
        for number in range(self.settings.fits):
            if number and self.probe is not None:
                prepare, conclude = partial(self.begin_probe, number), self.end_probe
                yield Phase(f"probe {number}", self.probe_step, steps, batch_size=rows, begin=prepare, end=conclude, evaluate=False)
            begin, end = partial(self.begin_generation, number), partial(self.end_generation, number)
            yield Phase(f"generation {number}", self.step, steps, batch_size=rows, begin=begin, end=end)

    def share(self, number: int) -> float:
        """α of fit `number`, from 0, as the settings give it."""
        return self.settings.alpha[number if len(self.settings.alpha) > 1 else 0]

    # Kernel ridge regression

    def build_kernel(self) -> None:
        inputs, labels = self.rows("train")
        held_out, truth = self.rows("validation")
        gamma = self.settings.gamma or median_gamma(inputs)
        self.kernel = KernelRidge(rows=len(inputs), inputs=inputs.shape[1], classes=labels.shape[1], gamma=gamma).to(self.device)
        self.kernel.support.copy_(inputs)
        self.ridge = chain.Ridge.of(rbf(inputs, inputs, gamma), self.settings.ridge)
        self.labels, self.truth, self.cross = labels, truth, rbf(held_out, inputs, gamma)
        self.values = labels.clone()  # Y^{τ−1}, which is Y before the first fit
        fits = self.settings.fits
        self.coefficients = torch.zeros(fits, *labels.shape, dtype=torch.float64, device=self.device)
        self.diagonals = torch.ones(fits, len(inputs), dtype=torch.float64, device=self.device)
        self.grids = torch.zeros(fits, len(chain.GRID), dtype=torch.float64, device=self.device)
        self.facts = torch.zeros(fits, len(charts.FACTS), dtype=torch.float64, device=self.device)
        self.done = 0

    def rows(self, split: str) -> tuple[Tensor, Tensor]:
        """Flat inputs (rows, inputs) and one-hot labels (rows, classes) of a split, in float64."""
        rows = self.task.splits[split]
        assert rows.targets is not None and self.task.card.classes is not None, f"{self.card.id} needs labels"
        return rows.inputs.flatten(1).double(), F.one_hot(rows.targets, self.task.card.classes).double()

    @torch.no_grad()
    def fit(self, batch: Batch) -> Logs:
        """One fit of the chain, solved exactly; nothing is updated by a gradient."""
        assert self.kernel is not None and self.ridge is not None
        number = self.position.phase_step
        predict = self.ridge.coefficients
        first, pure = self.cross @ predict(self.labels), self.cross @ predict(self.values)
        self.grids[number] = chain.grid_errors(first=first, pure=pure, truth=self.truth)
        unclipped = chain.best_alpha(first=first, pure=pure, truth=self.truth)
        alpha = self.chosen_alpha(number, unclipped)

        targets = chain.mixed(self.labels, self.values, alpha)
        self.coefficients[number] = predict(targets)
        self.kernel.coefficients.copy_(self.coefficients[number])
        self.values = self.ridge.smoothed(targets)
        before = self.diagonals[number - 1] if number else torch.ones_like(self.diagonals[0])
        self.diagonals[number] = chain.next_diagonal(self.ridge.shrinkage, before, alpha)
        error = chain.squared_error(self.cross @ self.coefficients[number], self.truth)
        train_error = chain.squared_error(self.values, self.labels)
        self.facts[number] = torch.stack([alpha, unclipped, error, train_error, self.diagonals[number].sum()])
        self.done = number + 1
        return {"alpha": alpha, "alpha_unclipped": unclipped, "validation_mse": error, "train_mse": train_error}

    def chosen_alpha(self, number: int, unclipped: Tensor) -> Tensor:
        """α as it is used: in the first fit 1, which changes nothing there."""
        if number == 0:
            return torch.ones_like(unclipped)
        match self.settings.estimator:
            case "closed_form":
                return unclipped.clamp(0, 1)
            case "grid":
                return torch.tensor(chain.GRID, dtype=torch.float64, device=self.device)[self.grids[number].argmin()]
            case "fixed":
                return torch.full_like(unclipped, self.share(number))

    # Networks

    def build_networks(self) -> None:
        check_renewable(self.student)
        self.optimizer = self.make_optimizer(self.student)
        self.previous = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.first = copy.deepcopy(self.previous)
        self.probe = copy.deepcopy(self.student) if self.settings.estimator == "closed_form" else None
        self.probe_optimizer = None if self.probe is None else self.make_optimizer(self.probe)
        self.alphas = [1.0, *(self.share(number) for number in range(1, self.settings.fits))]
        self.unclipped: list[float | None] = [None] * self.settings.fits
        self.generation = 0
        self.story: list[dict[str, Any]] = []  # what each finished generation came to

    def step(self, batch: Batch) -> Logs:
        return self.learn(self.student, self.optimizer, batch, self.alphas[self.generation])

    def probe_step(self, batch: Batch) -> Logs:
        """The network without ground truth, of which the formula makes α."""
        assert self.probe is not None and self.probe_optimizer is not None
        return self.learn(self.probe, self.probe_optimizer, batch, 0.0)

    def learn(self, network: nn.Module, optimizer: Optimizer, batch: Batch, alpha: float) -> Logs:
        teacher_probs = None
        if self.generation > 0:
            with torch.no_grad():
                teacher_probs = full_precision(self.previous(batch.inputs)).softmax(dim=-1)
        logits = network(batch.inputs)
        error = generation_loss(logits=logits, labels=batch.targets, teacher_probs=teacher_probs, alpha=alpha)
        weight = penalty(network.parameters(), kind=self.settings.reg)
        loss = error + self.settings.reg_coef * weight
        self.update(optimizer, loss)
        return {"loss": loss, "loss/targets": error, "loss/norms": weight, "alpha": torch.full((), alpha, device=self.device)}

    def begin_probe(self, number: int) -> None:
        assert self.probe is not None
        self.generation = number
        renew(self.probe, self.seed_of("probe", number), self.device)
        self.probe_optimizer = self.make_optimizer(self.probe)

    @torch.no_grad()
    def end_probe(self) -> None:
        """α̂ of the generation that comes, from the validation rows: the first network stands for α = 1, the probe for α = 0."""
        assert self.probe is not None
        inputs, truth = self.task.splits["validation"].inputs, self.rows("validation")[1]
        first, pure = (full_precision(each.eval()(inputs)).double().softmax(dim=1) for each in (self.first, self.probe))
        unclipped = float(chain.best_alpha(first=first, pure=pure, truth=truth))
        self.probe.train()
        self.unclipped = [*self.unclipped[: self.generation], unclipped, *self.unclipped[self.generation + 1 :]]
        used = min(max(unclipped, 0.0), 1.0)
        self.alphas = [*self.alphas[: self.generation], used, *self.alphas[self.generation + 1 :]]
        self.log(f"Generation {self.generation} gets {used:.3f} of the ground truth; the formula says {unclipped:.3f}.")

    def begin_generation(self, number: int) -> None:
        """The first generation is the run's student as it came; every other one is made new in its place."""
        self.generation = number
        if number:
            renew(self.student, self.seed_of("generation", number), self.device)
            self.optimizer = self.make_optimizer(self.student)

    @torch.no_grad()
    def end_generation(self, number: int) -> None:
        """Notes what the generation came to, keeps it as an artifact, and makes it the teacher of the next."""
        judged = self.task.judge(self.student, "validation", teacher=None, final=False).metrics
        inputs, training = self.task.splits["validation"].inputs, self.student.training
        own = self.student.eval()(inputs).argmax(dim=1)
        self.student.train(training)
        agreement = {
            f"agreement_{name}": float((own == other(inputs).argmax(dim=1)).double().mean()) if number else None
            for name, other in (("previous", self.previous), ("first", self.first))
        }
        numbers = {name: judged[name] for name in ("accuracy", "nll", "ece")}
        told = {"generation": number, "alpha": self.alphas[number], "unclipped": self.unclipped[number], **numbers, **agreement}
        self.story = [*self.story, told]
        self.save_tensors(f"generation-{number}", dict(self.student.state_dict()), told)
        self.previous.load_state_dict(self.student.state_dict())
        if number == 0:
            self.first.load_state_dict(self.student.state_dict())

    def seed_of(self, what: str, number: int) -> int:
        return derived_seed(self.generator.initial_seed(), what, number)

    # What comes out

    def product(self) -> nn.Module:
        """The last fit, or the last generation."""
        return self.student if self.kernel is None else self.kernel

    def blueprint(self) -> Mapping[str, Any] | None:
        if self.kernel is None:
            return None
        rows, inputs = self.kernel.support.shape
        config = {"rows": rows, "inputs": inputs, "classes": self.kernel.coefficients.shape[1], "gamma": self.kernel.gamma}
        return {"builder": "kernel_ridge", "config": config, "architecture": "kernel ridge"}

    def diagnostics(self) -> Diagnostics:
        """The course over fits or generations."""
        if self.kernel is None:
            return Diagnostics({"generation": float(self.generation)}, charts.generations(self.story) if self.story else {})
        if not self.done:
            return Diagnostics()
        facts = {name: self.facts[: self.done, column].tolist() for column, name in enumerate(charts.FACTS)}
        metrics: dict[str, float | None] = {name: values[-1] for name, values in facts.items()}
        metrics["limit_mse"] = self.limit_error(facts["alpha"][-1])
        if self.done > 1:
            # What the formula's α leaves above the best of the grid, at most over all fits: never above 0 but for rounding.
            best = self.grids[1 : self.done].min(dim=1).values
            metrics["above_grid"] = float((self.facts[1 : self.done, charts.FACTS.index("validation_mse")] - best).max())
        return Diagnostics(metrics, charts.fits(facts, self.diagonals[: self.done], self.grids[: self.done], limit=metrics["limit_mse"]))

    def limit_error(self, alpha: float) -> float:
        """Validation MSE that the chain tends to if it goes on with this α."""
        assert self.ridge is not None
        return float(chain.squared_error(self.cross @ self.ridge.limit_coefficients(self.labels, alpha), self.truth))

    def finish(self) -> None:
        if self.kernel is not None:
            kept = {"coefficients": self.coefficients, "support": self.kernel.support, "diagonals": self.diagonals, "facts": self.facts}
            self.save_tensors("fits", kept, {"gamma": self.kernel.gamma, "ridge": self.settings.ridge, "facts": list(charts.FACTS)})
            unclipped = self.facts[1 : self.done, charts.FACTS.index("alpha_unclipped")]
            if len(unclipped) and bool(((unclipped < 0) | (unclipped > 1)).all()):
                self.log(
                    "The formula's share of the ground truth is outside 0 to 1 at every fit: with this λ there is nothing to gain from it."
                )
        elif self.story:
            best = max(self.story, key=lambda told: told["accuracy"] or 0.0)["generation"]
            self.save_table("generations", charts.table(self.story))
            self.log(f"Generation {best} is the most accurate on validation; the last one, {self.story[-1]['generation']}, is shipped.")


def median_gamma(inputs: Tensor) -> float:
    """One over the median squared distance of two different rows; inputs (rows, inputs). 1 where all rows are equal."""
    above = torch.triu_indices(len(inputs), len(inputs), offset=1)
    median = float(squared_distances(inputs, inputs)[above[0], above[1]].median())
    return 1 / median if median > 0 else 1.0
