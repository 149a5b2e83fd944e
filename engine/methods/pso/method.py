"""Pairwise sample optimization: Miao et al. (2024), arXiv:2410.03190.

A few-step generator's sampler is a short chain of Gaussian steps, so the likelihood of a step is known in closed form. Of a pair of samples
the preferred one's steps are made likelier, relative to the generator as it was at the start, than the other one's. Offline, a training
example is preferred to a sample of the starting model, and denoising errors stand in for likelihoods.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine import rewards
from engine.diffusion.denoiser import Sampler, beside
from engine.diffusion.levels import architecture_name
from engine.errors import SpecError
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.pso.card import Settings, card
from engine.methods.pso.charts import pictures_of
from engine.methods.pso.diagnosis import BESIDE_START, SIGNS, beside_start, offline_signs, online_signs
from engine.methods.pso.losses import denoising_error, hinge_loss, log_ratios, offline_logits, online_logits, pairwise_loss, preferences
from engine.methods.pso.sampling import log_likelihood, trajectories
from engine.methods.pso.signs import warnings_of

VIEWED, VIEW_SEED = 1000, 45
MEMORY = 30
"""Updates over which the running means of SIGNS go back."""


class PSO(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        assert isinstance(self.student, Sampler), f"a generator has levels and samples; got {type(self.student).__name__}"
        assert self.settings.reward is not None, "a parsed spec names the reward"
        self.reward = self.settings.reward
        # What is judged and shipped is sampled as it was tuned; so is the starting model beside it.
        self.student.levels = tuple(self.settings.levels) or self.student.levels
        self.student.transition = self.settings.sampler
        refuse_too_few(len(self.student.levels), self.settings.mode)
        self.levels = torch.tensor(self.student.levels, dtype=torch.float32, device=self.device)
        self.start = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.optimizer = self.make_optimizer(self.student)
        # Online: the pairs of trajectories that were sampled last, and the order in which they are visited.
        self.states, self.pair_rewards = self.nothing(), self.nothing()
        self.pair_labels, self.order = self.nothing().long(), self.nothing().long()
        # Offline: the examples, and the samples that they are preferred to.
        self.targets, self.negatives = self.nothing(), self.nothing()
        self.target_labels, self.negative_labels = self.nothing().long(), self.nothing().long()
        self.recent = torch.zeros(len(SIGNS), device=self.device)

    def nothing(self) -> Tensor:
        """(0,)."""
        return torch.empty(0, device=self.device)

    def phases(self) -> Iterator[Phase]:
        size, steps = self.settings.batch_size, self.budget.steps
        if self.settings.mode == "online":
            yield Phase("tune", self.online_step, steps, data=self.pairs, batch_size=size)
        else:
            yield Phase("tune", self.offline_step, steps, data=self.matches, batch_size=size, begin=self.choose_targets)

    # Online

    def pairs(self, step: int, generator: torch.Generator) -> Batch:
        """The batch of an update, with all that is random in it. When those at hand were all visited, the generator as it is now samples new
        pairs."""
        size, batches = self.settings.batch_size, self.settings.batches_per_sampling
        visit, turn = divmod(step, len(self.levels) - 1 if self.settings.step_per_transition else 1)
        place = visit % batches
        if place == 0 and turn == 0:
            self.sample_pairs(size * batches, generator)
        rows = self.order[place * size : (place + 1) * size]
        turns = self.turns(size, turn, generator)
        scores, several = self.pair_rewards[rows], self.settings.several_rewards
        preferred = [preferences(scores, several=several, generator=generator) for _ in turns.unbind(dim=1)]
        inputs = {"states": self.states[rows], "turns": turns, "preferred": torch.stack(preferred, dim=1)}
        return Batch(inputs, self.pair_labels[rows] if self.has_classes() else None, rows)

    def sample_pairs(self, count: int, generator: torch.Generator) -> None:
        """Two trajectories with the same class and starting noises of their own, for each of `count` pairs, and the rewards of their ends."""
        labels = self.new_labels(count, generator)
        both = None if labels is None else labels.repeat_interleave(2)
        states, ends = self.run_sampler(self.student, 2 * count, both, generator)
        self.states = states.unflatten(0, (count, 2))
        self.pair_rewards = self.rewards_of(ends, both).unflatten(0, (count, 2))
        if labels is not None:
            self.pair_labels = labels
        self.order = torch.randperm(count, generator=generator, device=self.device)

    def turns(self, rows: int, turn: int, generator: torch.Generator) -> Tensor:
        """Which transitions an update visits, (rows, visits) int64: one and the same for all, or all of them in an order of each pair's own."""
        if self.settings.step_per_transition:
            return torch.full((rows, 1), turn, device=self.device)
        order: Tensor = torch.rand(rows, len(self.levels) - 1, generator=generator, device=self.device).argsort(dim=1)
        return order

    def online_step(self, batch: Batch) -> Logs:
        """One transition of each pair, or one after the other with their losses averaged, and one update."""
        visits = zip(batch.inputs["turns"].unbind(dim=1), batch.inputs["preferred"].unbind(dim=1), strict=True)
        compared = [self.compare(batch.inputs["states"], number, preferred, batch.targets) for number, preferred in visits]
        loss = torch.stack([each for each, _ in compared]).mean()
        signs = torch.stack([each for _, each in compared]).mean(dim=0)
        self.update(self.optimizer, loss)
        self.remember(signs)
        return {"loss": loss, **dict(zip(SIGNS, signs.unbind(), strict=True))}

    def compare(self, states: Tensor, number: Tensor, preferred: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss of transition `number` (rows,) of pairs (rows, 2, S, …) with preferences (rows, 2), and what SIGNS names."""
        low, high = self.settings.ratio_low, self.settings.ratio_high
        lp = self.log_likelihoods(self.student, states, number, labels)
        with torch.no_grad():
            reference = self.log_likelihoods(self.start, states, number, labels)
        logits = online_logits(log_ratios(lp, reference, low=low, high=high), preferred)
        loss = pairwise_loss(logits, beta=self.settings.beta).mean()
        return loss, online_signs(logits, ratios=lp - reference, preferred=preferred, low=low, high=high)

    def log_likelihoods(self, model: nn.Module, states: Tensor, number: Tensor, labels: Tensor | None) -> Tensor:
        """log p, (rows, 2), of transition `number` (rows,) of pairs (rows, 2, S, …) under a model."""
        row = torch.arange(len(number), device=self.device)
        before, after = states[row, :, number].flatten(0, 1), states[row, :, number + 1].flatten(0, 1)
        sigma, sigma_to = self.levels[number].repeat_interleave(2), self.levels[number + 1].repeat_interleave(2)
        both = None if labels is None else labels.repeat_interleave(2)
        found = log_likelihood(model, before, after, both, sigma=sigma, sigma_to=sigma_to, sampler=self.settings.sampler)
        pairs: Tensor = found.unflatten(0, (-1, 2))
        return pairs

    # Offline

    def choose_targets(self) -> None:
        """Of the training examples, those with the highest reward."""
        split = self.task.splits["train"]
        looked_at = split.take(torch.randperm(len(split), generator=self.generator, device=self.device)[: self.settings.targets])
        keep = max(1, round(self.settings.target_share * len(looked_at)))
        best = self.rewards_of(looked_at.inputs, looked_at.targets).mean(dim=1).topk(keep).indices
        self.targets = looked_at.inputs[best]
        if looked_at.targets is not None:
            self.target_labels = looked_at.targets[best]

    def matches(self, step: int, generator: torch.Generator) -> Batch:
        """Targets, and as many different negatives, with one noise and one level for both; negatives are drawn anew when it is time."""
        size, count, refresh = self.settings.batch_size, self.settings.negatives, self.settings.negatives_refresh
        if step == 0 or (refresh is not None and step % refresh == 0):
            labels = self.new_labels(count, generator)
            _, self.negatives = self.run_sampler(self.start, count, labels, generator)
            if labels is not None:
                self.negative_labels = labels
        wanted = torch.randint(len(self.targets), (size,), generator=generator, device=self.device)
        unwanted = torch.randperm(count, generator=generator, device=self.device)[:size]
        clean = torch.stack([self.targets[wanted], self.negatives[unwanted]], dim=1)
        level = torch.randint(len(self.levels), (size,), generator=generator, device=self.device)
        noise = torch.randn(clean[:, 0].shape, generator=generator, device=self.device)
        both = torch.stack([self.target_labels[wanted], self.negative_labels[unwanted]], dim=1) if self.has_classes() else None
        return Batch({"clean": clean, "sigma": self.levels[level], "noise": noise}, both, wanted)

    def offline_step(self, batch: Batch) -> Logs:
        """The preference for the target over its negative, and the negative's own error."""
        clean, sigma = batch.inputs["clean"].flatten(0, 1), batch.inputs["sigma"].repeat_interleave(2)
        labels = None if batch.targets is None else batch.targets.flatten()
        x = clean + beside(sigma, clean) * batch.inputs["noise"].repeat_interleave(2, dim=0)

        def error_of(model: nn.Module) -> tuple[Tensor, Tensor]:
            target, negative = denoising_error(model(x, sigma, labels), clean, sigma=sigma).unflatten(0, (-1, 2)).unbind(dim=1)
            return target, negative

        target, negative = error_of(self.student)
        if self.settings.offline_loss == "pso":
            with torch.no_grad():
                start = error_of(self.start)
            logits = offline_logits(target, negative, reference=start, negative_weight=self.settings.negative_weight)
            preference = pairwise_loss(logits, beta=self.settings.beta).mean()
        else:
            logits = offline_logits(target, negative, negative_weight=self.settings.negative_weight)
            preference = hinge_loss(logits, beta=self.settings.beta).mean()
        prior = negative.mean()
        loss = preference + self.settings.prior_weight * prior

        self.update(self.optimizer, loss)
        signs = offline_signs(logits)
        self.remember(signs)
        return {"loss": loss, "loss/preference": preference, "loss/prior": prior, SIGNS[0]: signs[0]}

    # Both

    def run_sampler(self, model: nn.Module, count: int, labels: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """States (count, S, …) and samples (count, …) of this run's sampler."""
        noise = torch.randn(count, *self.task.card.input_shape, generator=generator, device=self.device)
        return trajectories(model, noise, labels, levels=self.levels.tolist(), sampler=self.settings.sampler, generator=generator)

    def has_classes(self) -> bool:
        return self.task.card.classes is not None

    def new_labels(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Classes to ask for, (count,), all alike; None where the task has none."""
        classes = self.task.card.classes
        return None if classes is None else torch.randint(classes, (count,), generator=generator, device=self.device)

    @torch.no_grad()
    def rewards_of(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        """(rows, kinds)."""
        kinds = rewards.rewards(self.reward, classifier=getattr(self.task, "classifier", None))
        return torch.stack([kind(samples, labels) for kind in kinds], dim=1)

    # What is made, and how it stands

    def blueprint(self) -> Mapping[str, Any]:
        """The student's own, with the sampler of this run."""
        assert isinstance(self.student, Sampler)
        own, sampling = self.student_blueprint, {"levels": list(self.student.levels), "transition": self.student.transition}
        return {**own, "config": {**own["config"], **sampling}, "architecture": architecture_name(self.student.levels)}

    def reference(self) -> nn.Module:
        """The starting model: it is judged once, and its samples are shown beside."""
        return self.start

    def remember(self, signs: Tensor) -> None:
        """Keeps running means of what SIGNS names, for the evaluations."""
        self.recent.lerp_(signs, 1 / min(self.position.phase_step + 1, MEMORY))

    def diagnostics(self) -> Diagnostics:
        """The generator beside its start: samples of both from the same noise, their rewards, and what the last updates were like."""
        labels = self.new_labels(VIEWED, torch.Generator(self.device).manual_seed(VIEW_SEED + 1))
        start, tuned = (
            self.run_sampler(model, VIEWED, labels, torch.Generator(self.device).manual_seed(VIEW_SEED))[1]
            for model in (self.start, self.student)
        )
        if not bool(tuned.isfinite().all()):
            return Diagnostics(dict.fromkeys(BESIDE_START))
        before, after = self.rewards_of(start, labels), self.rewards_of(tuned, labels)
        metrics = beside_start(start=start, tuned=tuned, start_rewards=before, tuned_rewards=after)
        signs = dict(zip(SIGNS, self.recent.tolist(), strict=True))
        metrics |= signs if self.settings.mode == "online" else {SIGNS[0]: signs[SIGNS[0]]}
        for sentence in warnings_of(metrics, progress=self.position.step / self.budget.steps):
            self.log(sentence)
        means = {"start_rewards": before.double().mean(dim=1), "tuned_rewards": after.double().mean(dim=1)}
        return Diagnostics(metrics, pictures_of(start=start, tuned=tuned, **means, reward=self.reward))


def refuse_too_few(steps: int, mode: str) -> None:
    """Raises SpecError when a sampler has no step to tune."""
    least = 2 if mode == "online" else 1
    if steps < least:
        raise SpecError.at(
            "student",
            f"must be a generator of at least {least} step{'s' * (least > 1)} for {mode} tuning, since the last step has no likelihood; "
            f"it has {steps}. Name more in settings.levels.",
        )
