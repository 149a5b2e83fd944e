"""Pairwise sample optimization: Miao et al. (2024), arXiv:2410.03190.

A few-step generator's sampler is a short chain of Gaussian steps, so the likelihood of a step is known in closed form. Of a pair of samples
the preferred one's steps are made likelier, relative to the generator as it was at the start, than the other one's. Offline, a training
example is preferred to a sample of the starting model, and denoising errors stand in for likelihoods.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from engine import rewards
from engine.diffusion.denoiser import Sampler, beside
from engine.diffusion.levels import architecture_name
from engine.errors import SpecError
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.pso.card import Settings, card
from engine.methods.pso.charts import pictures_of
from engine.methods.pso.losses import (
    denoising_error,
    hinge_loss,
    log_density,
    log_ratios,
    offline_logits,
    online_logits,
    pairwise_loss,
    preferences,
)
from engine.methods.pso.sampling import trajectories, transition
from engine.methods.pso.signs import warnings_of
from engine.metrics.distances import energy_distance, spread_within

VIEWED, VIEW_SEED = 1000, 45
RECENT: Final = ("implicit_accuracy", "clip_fraction", "log_ratio_winner", "log_ratio_loser")
MEMORY = 30
"""Updates over which the running means of RECENT go back."""


class PSO(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        assert isinstance(self.student, Sampler), f"a generator has levels and samples; got {type(self.student).__name__}"
        assert self.settings.reward is not None, "a parsed spec names the reward"
        self.reward = self.settings.reward
        if self.settings.levels:
            self.student.levels = tuple(self.settings.levels)
        least = 2 if self.settings.mode == "online" else 1
        if len(self.student.levels) < least:
            raise SpecError.at(
                "student",
                f"must be a generator of at least {least} step{'s' * (least > 1)} for {self.settings.mode} tuning, since the last step has no "
                f"likelihood; it has {len(self.student.levels)}. Name more in settings.levels.",
            )
        self.levels = torch.tensor(self.student.levels, dtype=torch.float32, device=self.device)
        self.start = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.optimizer = self.make_optimizer(self.student)
        # Online, what was sampled last: pairs of trajectories, their rewards and classes, and the order in which pairs are visited.
        self.states, self.pair_rewards = self.no_numbers(), self.no_numbers()
        self.pair_labels, self.order = self.no_numbers().long(), self.no_numbers().long()
        # Offline, what is compared with what.
        self.targets, self.negatives = self.no_numbers(), self.no_numbers()
        self.target_labels, self.negative_labels = self.no_numbers().long(), self.no_numbers().long()
        self.recent = torch.zeros(len(RECENT), device=self.device)

    def no_numbers(self) -> Tensor:
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
        preferred = [
            preferences(self.pair_rewards[rows], several=self.settings.several_rewards, generator=generator) for _ in turns.unbind(dim=1)
        ]
        inputs = {"states": self.states[rows], "turns": turns, "preferred": torch.stack(preferred, dim=1)}
        return Batch(inputs, None if self.task.card.classes is None else self.pair_labels[rows], rows)

    def turns(self, rows: int, turn: int, generator: torch.Generator) -> Tensor:
        """Which transitions an update visits, (rows, visits) int64: one and the same for all, or all of them in an order of each pair's own."""
        if self.settings.step_per_transition:
            return torch.full((rows, 1), turn, device=self.device)
        order: Tensor = torch.rand(rows, len(self.levels) - 1, generator=generator, device=self.device).argsort(dim=1)
        return order

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

    def online_step(self, batch: Batch) -> Logs:
        """One transition of each pair, or one after the other with their losses averaged, and one update."""
        compared = [
            self.compare(batch.inputs["states"], number, preferred, batch.targets)
            for number, preferred in zip(batch.inputs["turns"].unbind(dim=1), batch.inputs["preferred"].unbind(dim=1), strict=True)
        ]
        loss = torch.stack([each for each, _ in compared]).mean()
        found = torch.stack([each for _, each in compared]).mean(dim=0)
        self.update(self.optimizer, loss)
        self.remember(found)
        return {"loss": loss, **dict(zip(RECENT, found.unbind(), strict=True))}

    def compare(self, states: Tensor, number: Tensor, preferred: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss of transition `number` (rows,) of pairs (rows, 2, S, …) with preferences (rows, 2), and what RECENT names."""
        row = torch.arange(len(number), device=self.device)
        before, after = states[row, :, number].flatten(0, 1), states[row, :, number + 1].flatten(0, 1)
        sigma, sigma_to = self.levels[number].repeat_interleave(2), self.levels[number + 1].repeat_interleave(2)
        both = None if labels is None else labels.repeat_interleave(2)

        def log_density_under(model: nn.Module) -> Tensor:
            mean, std = transition(before, model(before, sigma, both), sigma=sigma, sigma_to=sigma_to, sampler=self.settings.sampler)
            density: Tensor = log_density(after, mean=mean, std=std).unflatten(0, (-1, 2))
            return density

        lp = log_density_under(self.student)
        with torch.no_grad():
            reference = log_density_under(self.start)
        low, high = self.settings.ratio_low, self.settings.ratio_high
        logits = online_logits(log_ratios(lp, reference, low=low, high=high), preferred)
        loss = pairwise_loss(logits, beta=self.settings.beta).mean()

        ratio = (lp - reference).detach()
        clipped = ((ratio.exp() < low) | (ratio.exp() > high)).float().mean()
        won, lost = (mean_where(ratio, chosen) for chosen in (preferred > 0, preferred < 0))
        return loss, torch.stack([(logits.detach() > 0).float().mean(), clipped, won, lost])

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
        labels = (
            None if self.task.card.classes is None else torch.stack([self.target_labels[wanted], self.negative_labels[unwanted]], dim=1)
        )
        return Batch({"clean": clean, "sigma": self.levels[level], "noise": noise}, labels, wanted)

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
        accuracy = (logits.detach() > 0).float().mean()
        self.remember(torch.stack([accuracy, *[torch.zeros_like(accuracy)] * (len(RECENT) - 1)]))
        return {"loss": loss, "loss/preference": preference, "loss/prior": prior, "implicit_accuracy": accuracy}

    # Both

    def remember(self, found: Tensor) -> None:
        """Keeps running means of what RECENT names, for the evaluations."""
        self.recent.lerp_(found, 1 / min(self.position.phase_step + 1, MEMORY))

    def run_sampler(self, model: nn.Module, count: int, labels: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """States (count, S, …) and samples (count, …) of this run's sampler."""
        noise = torch.randn(count, *self.task.card.input_shape, generator=generator, device=self.device)
        return trajectories(model, noise, labels, levels=self.levels, sampler=self.settings.sampler, generator=generator)

    def new_labels(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Classes to ask for, (count,), all alike; None where the task has none."""
        classes = self.task.card.classes
        return None if classes is None else torch.randint(classes, (count,), generator=generator, device=self.device)

    @torch.no_grad()
    def rewards_of(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        """(rows, kinds)."""
        kinds = rewards.rewards(self.reward, classifier=getattr(self.task, "classifier", None))
        return torch.stack([kind(samples, labels) for kind in kinds], dim=1)

    def blueprint(self) -> Mapping[str, Any] | None:
        """The student's own, with the levels of this run's sampler."""
        if not self.settings.levels:
            return None
        config = {**self.student_blueprint["config"], "levels": list(self.settings.levels)}
        return {**self.student_blueprint, "config": config, "architecture": architecture_name(self.settings.levels)}

    def reference(self) -> nn.Module:
        """The starting model: it is judged once, and its samples are shown beside."""
        return self.start

    def diagnostics(self) -> Diagnostics:
        """The generator beside its start: samples of both from the same noise, their rewards, and what the last updates were like."""
        labels = self.new_labels(VIEWED, torch.Generator(self.device).manual_seed(VIEW_SEED + 1))
        start, tuned = (
            self.run_sampler(model, VIEWED, labels, torch.Generator(self.device).manual_seed(VIEW_SEED))[1]
            for model in (self.start, self.student)
        )
        if not bool(tuned.isfinite().all()):
            return Diagnostics(dict.fromkeys(("reward_tuned", "reward_start", "win_rate", "drift", "drift_share")))
        before, after = self.rewards_of(start, labels).double(), self.rewards_of(tuned, labels).double()
        drift = energy_distance(start.flatten(1), tuned.flatten(1))
        metrics: dict[str, float] = {
            "reward_tuned": float(after.mean()),
            "reward_start": float(before.mean()),
            "win_rate": float(((after > before).double() + 0.5 * (after == before)).mean()),
            "drift": drift,
            "drift_share": drift / spread_within(start.flatten(1), None),
            **self.recent_means(),
        }
        for sentence in warnings_of(metrics, progress=self.position.step / self.budget.steps):
            self.log(sentence)
        pictures = pictures_of(
            start=start, tuned=tuned, start_rewards=before.mean(dim=1), tuned_rewards=after.mean(dim=1), reward=self.reward
        )
        return Diagnostics(metrics, pictures)

    def recent_means(self) -> dict[str, float]:
        """What RECENT names; offline there is no likelihood, so only the accuracy."""
        found = dict(zip(RECENT, self.recent.tolist(), strict=True))
        return found if self.settings.mode == "online" else {RECENT[0]: found[RECENT[0]]}


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of values where chosen, of the same shape; 0 when none is."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
