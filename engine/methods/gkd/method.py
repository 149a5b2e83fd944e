"""Generalized knowledge distillation: Agarwal et al. (2024), arXiv:2306.13649, section 3; the masks and reductions are TRL's.

Sequences come from the student itself with probability λ, else from the text or the teacher. On each of their tokens the student is drawn to
the teacher by a divergence D_β. Nothing is differentiated through the sampling.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import SpecError
from engine.losses.divergences import entropy, softened_log_probs
from engine.losses.tokens import divergence_of_log_probs, reduce_tokens
from engine.method import Batch, Diagnostics, Length, Logs, Phase
from engine.methods.gkd.card import Settings, card
from engine.models.language import CausalLM
from engine.rollout.best_student import BestStudent
from engine.rollout.generate import evaluating, generate
from engine.rollout.language_method import LanguageMethod
from engine.rollout.record import SOURCES, RolloutBatch, Source, completion_mask_of, new_batch
from engine.rollout.scoring import logits_of
from engine.rollout.stopwatch import Stopwatch
from engine.seeds import derived_seed

COLLAPSED = 0.5  # of the entropy at the start
DIVISOR = "divisor"


class Gkd(LanguageMethod):
    card = card
    settings: Settings

    def build(self) -> None:
        self.check_context()
        self.optimizer = self.make_optimizer(self.student)
        # Rows so far by who wrote them, and the mean entropy of each step: read at the end, so that no step waits for a GPU.
        self.written = torch.zeros(len(SOURCES), device=self.device)
        self.entropies = torch.zeros(self.budget.steps, device=self.device)
        self.clock = Stopwatch("sampling", "learning")
        self.best = BestStudent()

    def phases(self) -> Iterator[Phase]:
        yield Phase("distill", self.step, self.budget.steps, data=self.rollouts, end=self.report_at_end)

    def lengthened(self, before: Length) -> None:
        self.entropies = F.pad(self.entropies, (0, self.budget.steps - len(self.entropies)))

    # Rollouts

    def rollouts(self, step: int, generator: torch.Generator) -> Batch:
        """The step's sequences: prompts from random places of the text with completions by the student, the teacher, or the text itself.

        Prompts, coins and samples are drawn from seeds of the step alone: whether one is drawn changes none of the others.
        """
        with self.clock.timed("sampling"):
            rollout = self.written_or_read(step, generator)
        divisor = {"batchmean": rollout.tokens, "sum": torch.ones_like(rollout.tokens), "mean": rollout.tokens * self.vocabulary}
        # Each row's part of what the sum over all tokens is divided by: a piece of the batch then has the same gradient as within the whole.
        share = divisor[self.settings.reduction].clamp(min=1) / len(rollout)
        tensors = rollout.to_tensors() | {DIVISOR: share.expand(len(rollout))}
        return Batch(tensors, None, torch.arange(len(rollout), device=self.device))

    def written_or_read(self, step: int, generator: torch.Generator) -> RolloutBatch:
        """`num_generations` completions of each prompt, by whom its coin says: the share of the student's own is that of the coins."""
        found = self.language.continuations(
            self.settings.batch_size, prompt_tokens=self.settings.prompt_tokens, completion_tokens=self.settings.max_new_tokens
        )(step, generator)
        # On the CPU, so that choosing the branch does not wait for a GPU.
        coins = torch.rand(len(found), generator=torch.Generator().manual_seed(derived_seed(generator.initial_seed(), "coin")))
        if self.settings.coin == "batch":
            coins = coins[:1].expand(len(found))
        own = coins < self.settings.on_policy_share
        # Places and not a mask: how many there are is known here, and a GPU need not be asked.
        ours, others = (which.nonzero()[:, 0].to(self.device).repeat_interleave(self.settings.num_generations) for which in (own, ~own))
        parts = [self.sampled(found, ours, "student", generator)] if len(ours) else []
        if len(others):
            parts.append(self.sampled(found, others, "teacher", generator) if self.settings.seq_kd else self.read(found, others))
        return RolloutBatch.joined(parts)

    def sampled(self, found: Batch, rows: Tensor, source: Source, generator: torch.Generator) -> RolloutBatch:
        """A completion of the prompt at each of the places `rows`, by one of the two models."""
        writer = self.policy if source == "student" else self.scorer
        prompts = found.inputs[rows]
        sampling = self.language.sampling(max_new_tokens=self.settings.max_new_tokens, temperature=self.settings.sampling_temperature)
        return generate(
            writer, prompts, torch.ones_like(prompts), sampling, generator, source=source, policy_version=self.position.phase_step
        )

    def read(self, found: Batch, rows: Tensor) -> RolloutBatch:
        """The text as it goes on after the prompt at each of the places `rows`; the same again for a prompt that is asked for again."""
        prompts, completions = found.inputs[rows], found.targets[rows]
        return new_batch(
            prompt_ids=prompts,
            prompt_mask=torch.ones_like(prompts),
            completion_ids=completions,
            completion_mask=completion_mask_of(completions, self.language.vocabulary.eos_id),
            source="data",
        )

    # Learning

    def step(self, batch: Batch) -> Logs:
        with self.clock.timed("learning"):
            tensors = dict(batch.inputs)
            divisor = tensors.pop(DIVISOR).sum()
            rollout = RolloutBatch.from_tensors(tensors)
            student_log_probs = self.student_log_probs(rollout)
            distance = divergence_of_log_probs(
                student_log_probs=student_log_probs, teacher_log_probs=self.teacher_log_probs(rollout), beta=self.settings.beta
            )
            loss = reduce_tokens(distance, rollout.completion_mask, "sum") / divisor
            if self.settings.scale_by_temperature:
                loss = loss * self.settings.temperature**2

            self.update(self.optimizer, loss)
            doubt = reduce_tokens(entropy(student_log_probs.detach()), rollout.completion_mask)
            return self.noted(loss, doubt, rollout)

    def student_log_probs(self, rollout: RolloutBatch) -> Tensor:
        """(B, C, V) at the loss's temperature, with a graph."""
        with evaluating(self.student) if self.settings.disable_dropout else nullcontext():
            return self.log_probs(self.policy, rollout)

    @torch.no_grad()
    def teacher_log_probs(self, rollout: RolloutBatch) -> Tensor:
        """(B, C, V) at the loss's temperature, of the very same tokens."""
        return self.log_probs(self.scorer, rollout)

    def log_probs(self, model: CausalLM, rollout: RolloutBatch) -> Tensor:
        return softened_log_probs(logits_of(model, rollout), self.settings.temperature)

    def noted(self, loss: Tensor, doubt: Tensor, rollout: RolloutBatch) -> Logs:
        """The step's terms, after what is reported at the end of the run is kept."""
        self.written += torch.bincount(rollout.source, minlength=len(SOURCES))
        self.entropies[min(self.position.phase_step, len(self.entropies) - 1)] = doubt
        own = (rollout.source == SOURCES.index("student")).float()
        return {"loss": loss, "entropy": doubt, "completion_length": rollout.tokens / len(rollout), "on_policy": own.mean()}

    # What is reported, and what is kept

    def judged(self, metrics: Mapping[str, float | None], *, final: bool) -> None:
        """Keeps the best student so far by the validation rows, and leaves it at the end beside the last one, which is the run's."""
        self.best.see(self.student, metrics, step=self.position.step)
        if final and self.best.weights:
            self.save_tensors("best_student", self.best.weights, {**self.best.facts(), **self.student_blueprint})

    def diagnostics(self) -> Diagnostics:
        """The share of the training sequences so far that the student wrote itself."""
        rows = float(self.written.sum())
        return Diagnostics({"on_policy_share": float(self.written[SOURCES.index("student")]) / rows if rows else None})

    def report_at_end(self) -> None:
        """What should make a person look twice."""
        self.log("Sampling took {sampling:.1f} seconds, learning {learning:.1f}.".format(**self.clock.seconds))
        tenth = max(1, len(self.entropies) // 10)
        first, last = float(self.entropies[:tenth].mean()), float(self.entropies[-tenth:].mean())
        if last < COLLAPSED * first:
            self.log(f"The student's entropy fell from {first:.3f} to {last:.3f} nats; if the NLL rose, it has collapsed to a few phrases.")

    # The two models

    @property
    def vocabulary(self) -> int:
        return self.policy.vocabulary

    def check_context(self) -> None:
        """Refuses completions that one of the models can't read, and models that do not share a vocabulary."""
        longest = self.settings.prompt_tokens + self.settings.max_new_tokens
        for name, model in (("student", self.policy), ("teacher", self.scorer)):
            if longest > model.positions:
                raise SpecError.at(
                    "settings.max_new_tokens",
                    f"must fit the {name}'s context of {model.positions} tokens together with a prompt of {self.settings.prompt_tokens}; "
                    f"got {self.settings.max_new_tokens}.",
                )
        if self.scorer.vocabulary != self.vocabulary:
            raise SpecError.at(
                "teachers.0", f"must have the student's vocabulary of {self.vocabulary} words; got {self.scorer.vocabulary}."
            )
