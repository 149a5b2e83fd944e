"""The chain of networks: one generation after the other from random weights, the one before frozen as its teacher.

Where the share of the ground truth is estimated, one more network is trained for each generation after the first: a probe without ground
truth, so that the formula of the kernel's chain can be asked of outputs on held-out rows.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.losses.precision import full_precision
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.teacher_guidance import charts
from engine.methods.teacher_guidance.card import Settings, card
from engine.methods.teacher_guidance.chain import best_alpha
from engine.methods.teacher_guidance.generations import agreement, check_renewable, generation_loss, penalty, renew
from engine.methods.teacher_guidance.rows import labeled_rows
from engine.seeds import derived_seed


class NetworkChain(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        check_renewable(self.student)
        self.optimizer = self.make_optimizer(self.student)
        self.previous = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.first = copy.deepcopy(self.previous)
        self.probe = copy.deepcopy(self.student) if self.settings.estimator == "closed_form" else None
        self.probe_optimizer = None if self.probe is None else self.make_optimizer(self.probe)
        self.alphas = [1.0, *(self.settings.share(number) for number in range(1, self.settings.fits))]
        self.unclipped: list[float | None] = [None] * self.settings.fits
        self.generation = 0
        self.story: list[dict[str, Any]] = []  # what each finished generation came to

    def phases(self) -> Iterator[Phase]:
        for number in range(self.settings.fits):
            if number and self.probe is not None:
                yield self.act(f"probe {number}", self.probe_step, partial(self.begin_probe, number), self.end_probe, evaluate=False)
            yield self.act(f"generation {number}", self.step, partial(self.begin_generation, number), partial(self.end_generation, number))

    def act(
        self, name: str, step: Callable[[Batch], Logs], begin: Callable[[], None], end: Callable[[], None], *, evaluate: bool = True
    ) -> Phase:
        """One training of the run's length."""
        return Phase(name, step, self.budget.steps, batch_size=self.settings.batch_size, begin=begin, end=end, evaluate=evaluate)

    def step(self, batch: Batch) -> Logs:
        """A generation on its mix of the ground truth and the one before."""
        return self.learn(self.student, self.optimizer, batch, self.alphas[self.generation])

    def probe_step(self, batch: Batch) -> Logs:
        """The network without ground truth, of which the formula makes α."""
        assert self.probe is not None and self.probe_optimizer is not None
        return self.learn(self.probe, self.probe_optimizer, batch, 0.0)

    def learn(self, network: nn.Module, optimizer: Optimizer, batch: Batch, alpha: float) -> Logs:
        """L = α·MSE(softmax(z), onehot(y)) + (1 − α)·MSE(softmax(z), softmax(z_{g−1})) + c Σ_p ‖θ_p‖."""
        error = generation_loss(
            logits=network(batch.inputs), labels=batch.targets, teacher_probs=self.teacher_probs(batch.inputs), alpha=alpha
        )
        weight = penalty(network.parameters(), kind=self.settings.reg)
        loss = error + self.settings.reg_coef * weight
        self.update(optimizer, loss)
        return {"loss": loss, "loss/targets": error, "loss/norms": weight, "alpha": torch.full((), alpha, device=self.device)}

    @torch.no_grad()
    def teacher_probs(self, inputs: Tensor) -> Tensor | None:
        """What the generation before says, (batch, classes); None before there is one."""
        return full_precision(self.previous(inputs)).softmax(dim=-1) if self.generation > 0 else None

    def begin_probe(self, number: int) -> None:
        assert self.probe is not None
        self.generation = number
        renew(self.probe, self.seed_of("probe", number), self.device)
        self.probe_optimizer = self.make_optimizer(self.probe)

    @torch.no_grad()
    def end_probe(self) -> None:
        """α̂ of the generation that comes, from the validation rows: the first network stands for α = 1, the probe for α = 0."""
        assert self.probe is not None
        inputs, truth = self.task.splits["validation"].inputs, labeled_rows(self.task, "validation")[1]
        u, v = (full_precision(each.eval()(inputs)).double().softmax(dim=1) for each in (self.first, self.probe))
        self.probe.train()
        unclipped = float(best_alpha(first=u, pure=v, truth=truth))
        self.unclipped[self.generation] = unclipped
        self.alphas[self.generation] = used = min(max(unclipped, 0.0), 1.0)
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
        facts = self.facts_of_generation(number)
        self.story.append(facts)
        self.save_tensors(f"generation-{number}", dict(self.student.state_dict()), facts)
        self.previous.load_state_dict(self.student.state_dict())
        if number == 0:
            self.first.load_state_dict(self.student.state_dict())

    def facts_of_generation(self, number: int) -> dict[str, Any]:
        """Its α, its numbers on the validation rows, and on how many of them it agrees with the one before and with the first."""
        judged = self.task.judge(self.student, "validation", teacher=None, final=False).metrics
        numbers = {name: judged[name] for name in ("accuracy", "nll", "ece")}
        inputs, others = self.task.splits["validation"].inputs, {"previous": self.previous, "first": self.first}
        agreements = {f"agreement_{name}": agreement(self.student, other, inputs) if number else None for name, other in others.items()}
        return {"generation": number, "alpha": self.alphas[number], "unclipped": self.unclipped[number], **numbers, **agreements}

    def seed_of(self, what: str, number: int) -> int:
        """The seed of a network's new weights, from the run's own."""
        return derived_seed(self.generator.initial_seed(), what, number)

    def diagnostics(self) -> Diagnostics:
        """The course over the generations so far."""
        return Diagnostics({"generation": float(self.generation)}, charts.generations(self.story) if self.story else {})

    def finish(self) -> None:
        if self.story:
            best = max(self.story, key=lambda facts: facts["accuracy"] or 0.0)["generation"]
            self.save_table("generations", charts.table(self.story))
            self.log(f"Generation {best} is the most accurate on validation; the last one, {self.story[-1]['generation']}, is shipped.")
