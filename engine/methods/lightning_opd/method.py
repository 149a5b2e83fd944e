"""Lightning OPD: Wu, Han & Cai (2026), arXiv:2604.13010.

Phase sft: the student learns text that the teacher wrote. Phase prepare: that student writes completions once, the teacher scores their
tokens once, and one number a token is kept. Phase distill: policy gradient towards the kept scores, with no teacher.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import SpecError
from engine.method import Batch, Diagnostics, Logs, Phase
from engine.methods.lightning_opd import earlier_state
from engine.methods.lightning_opd.cache import Tensors, core_of, log_probs, rows_of_step, scored, store
from engine.methods.lightning_opd.card import Settings, card
from engine.methods.lightning_opd.consistency import OTHER_WRITER, UNKNOWN_WRITER, consistency_of, fingerprints_of, refuse_other_writer
from engine.methods.lightning_opd.losses import advantages, mean_of_rows, mean_of_tokens, surrogate
from engine.methods.lightning_opd.pages import Facts, cache_diagnostics, cache_facts, cache_table, first_rollouts
from engine.methods.lightning_opd.watching import SHOWN_ROWS, WATCHED_ROWS, cache_warnings, distill_terms, fit, kl_on
from engine.models.language import CausalLM
from engine.rollout.fingerprint import weights_fingerprint
from engine.rollout.generate import generate
from engine.rollout.language_method import LanguageMethod
from engine.rollout.record import RolloutBatch
from engine.rollout.stopwatch import Stopwatch
from engine.rollout.teacher_calls import EVALUATION, TeacherCalls
from engine.seeds import derived_seed


class LightningOPD(LanguageMethod):
    card = card
    settings: Settings

    def build(self) -> None:
        chosen = self.settings
        longest = min(each.positions for each in (self.policy, self.scorer, self.writer))
        if chosen.prompt_tokens + chosen.max_new_tokens > longest:
            message = f"must fit all models' context of {longest} tokens with the prompt; got {chosen.max_new_tokens}."
            raise SpecError.at("settings.max_new_tokens", message)
        self.fingerprints = fingerprints_of(
            scorer=self.scorer, writer=self.writer if chosen.sft_steps else None, tokenizer=self.language.vocabulary.fingerprint()
        )
        refuse_other_writer(self.fingerprints, allowed=chosen.allow_other_teacher)

        sft = chosen.model_copy(update={"learning_rate": chosen.sft_learning_rate, "schedule": chosen.sft_schedule})
        self.sft_optimizer = self.make_optimizer(self.student, sft, steps=max(1, chosen.sft_steps))
        self.optimizer = self.make_optimizer(self.student, steps=self.budget.steps * chosen.updates_per_batch)
        self.texts: Tensors = {}
        self.cache: Tensors = {}

        self.asked = TeacherCalls("sft", "prepare", "distill")
        for teacher in {id(each): each for each in (self.scorer, self.writer)}.values():
            self.asked.watch(teacher)
        self.clock = Stopwatch("rollout", "scoring", "training")
        self.begin_kl: float | None = None
        self.begin_fit = 0.0

    def phases(self) -> Iterator[Phase]:
        chosen, counted = self.settings, self.asked.counted
        if chosen.sft_steps:
            yield counted(Phase("sft", self.sft_step, chosen.sft_steps, data=self.sft_batch, begin=self.begin_sft))
        if chosen.mode == "offline":
            steps, begin, end = -(-chosen.cache_rows // chosen.rollout_batch_size), self.begin_prepare, self.end_prepare
            yield counted(Phase("prepare", self.prepare_step, steps, data=self.rolled_out, begin=begin, end=end, evaluate=False))
        batches = self.cached_batch if chosen.mode == "offline" else self.online_batch
        yield counted(Phase("distill", self.distill_step, self.budget.steps, data=batches, begin=self.begin_distill, end=self.end_distill))

    # Phase sft: cross-entropy on the teacher's text

    def begin_sft(self) -> None:
        """The teacher, or the second one, writes all the text of the phase."""
        chosen, parts = self.settings, []
        if self.consistency == "inconsistent":
            self.log(OTHER_WRITER)
        for start in range(0, chosen.sft_rows, chosen.rollout_batch_size):
            prompts = self.prompts(min(chosen.rollout_batch_size, chosen.sft_rows - start), self.generator)
            with self.clock.timed("rollout"):
                parts.append(self.written(self.writer, prompts, self.generator))
        self.texts.update(core_of(RolloutBatch.joined(parts)))

    def sft_batch(self, step: int, generator: torch.Generator) -> Batch:
        rows = self.shuffled(step, self.settings.sft_rows, self.settings.sft_batch_size, "sft")
        inputs = {name: tensor[rows] for name, tensor in self.texts.items()}
        inputs["mean_length"] = inputs["completion_mask"].sum(dim=1).double().mean().clamp(min=1).expand(len(rows))
        return Batch(inputs, None, rows)

    def sft_step(self, batch: Batch) -> Logs:
        with self.clock.timed("training"):
            mask = batch.inputs["completion_mask"]
            nll = -log_probs(self.policy, batch.inputs)
            # Over the whole batch's tokens, whatever piece of the batch this is.
            loss = torch.where(mask.bool(), nll, 0.0).sum() / (len(batch) * batch.inputs["mean_length"][0]).to(nll.dtype)
            self.update(self.sft_optimizer, loss)
        return {"loss/sft": loss}

    # Phase prepare: the student writes, the teacher scores

    def begin_prepare(self) -> None:
        self.fingerprints["start"] = weights_fingerprint(self.policy)

    def rolled_out(self, step: int, generator: torch.Generator) -> Batch:
        """The next rows of the cache: prompts, the student's completions, and both models' log-probabilities of their tokens."""
        chosen = self.settings
        start = step * chosen.rollout_batch_size
        rows = min(chosen.rollout_batch_size, chosen.cache_rows - start)
        return self.rollout(rows, generator, index=torch.arange(start, start + rows, device=self.device))

    def rollout(self, rows: int, generator: torch.Generator, *, index: Tensor) -> Batch:
        """Completions of the student as it is, and what teacher and student say of them at temperature 1, as a batch without targets."""
        prompts = self.prompts(rows, generator)
        with self.clock.timed("rollout"):
            inputs = core_of(self.written(self.policy, prompts, generator, temperature=self.settings.sampling_temperature))
        with self.clock.timed("scoring"):
            inputs["teacher_log_probs"] = self.scored(self.scorer, inputs)
            inputs["start_log_probs"] = self.scored(self.policy, inputs)
        return Batch(inputs, None, index)

    def prepare_step(self, batch: Batch) -> Logs:
        """Stores what the batch brings. Updates nothing."""
        store(self.cache, batch.inputs, batch.index, size=self.settings.cache_rows, width=self.settings.max_new_tokens)
        mask = batch.inputs["completion_mask"]
        return {f"{whose}_log_prob": mean_of_tokens(batch.inputs[f"{whose}_log_probs"], mask) for whose in ("teacher", "start")}

    def end_prepare(self) -> None:
        facts = {**self.facts(), "fingerprints": dict(self.fingerprints)}
        self.save_tensors("rollouts", self.cache, facts, charts={"rollouts": first_rollouts(self.cache, self.language.vocabulary)})

    # Phase distill: no teacher

    def begin_distill(self) -> None:
        if self.consistency == "unknown":
            self.log(UNKNOWN_WRITER)
        self.begin_kl = self.fresh_kl()
        self.begin_fit = fit(self.scored_rows()) if self.cache else 0.0

    def cached_batch(self, step: int, generator: torch.Generator) -> Batch:
        """The next rows of the cache, which is passed over in a new order each time."""
        rows = self.shuffled(step, self.settings.cache_rows, self.settings.batch_size, "cache")
        return Batch({name: tensor[rows] for name, tensor in self.cache.items()}, None, rows)

    def online_batch(self, step: int, generator: torch.Generator) -> Batch:
        """New completions of the student as it is now, scored by the teacher."""
        rows = self.settings.batch_size
        return self.rollout(rows, generator, index=torch.arange(rows, device=self.device))

    def distill_step(self, batch: Batch) -> Logs:
        chosen, inputs = self.settings, batch.inputs
        mask, clip = inputs["completion_mask"], {"clip_low": chosen.clip_low, "clip_high": chosen.clip_high}
        with self.clock.timed("training"):
            now = log_probs(self.policy, inputs)
            before = now.detach()
            gap = inputs["teacher_log_probs"] - before
            advantage = advantages(teacher_log_probs=inputs["teacher_log_probs"], student_log_probs=before, clip=chosen.advantage_clip)
            weights = (before - inputs["start_log_probs"]).exp() if chosen.importance_weights else torch.ones_like(before)
            for update in range(chosen.updates_per_batch):
                now = log_probs(self.policy, inputs) if update else now
                loss = mean_of_rows(weights * surrogate(now, before=before, advantage=advantage, **clip), mask)
                self.update(self.optimizer, loss)
        return distill_terms(inputs, chosen, loss=loss, gap=gap, advantage=advantage, before=before, now=now.detach())

    def end_distill(self) -> None:
        for warning in self.warnings(self.scored_rows() if self.cache else None):
            self.log(f"Warning: {warning}")

    # What the phases share

    def prompts(self, rows: int, generator: torch.Generator) -> Tensor:
        """Prompts from random places of the training text, each as often as it gets completions: (rows, prompt_tokens)."""
        chosen = self.settings
        count = -(-rows // chosen.num_generations)
        source = self.language.continuations(count, prompt_tokens=chosen.prompt_tokens, completion_tokens=chosen.max_new_tokens)
        drawn: Tensor = source(0, generator).inputs
        return drawn.repeat_interleave(chosen.num_generations, dim=0)[:rows]

    def written(self, model: CausalLM, prompts: Tensor, generator: torch.Generator, *, temperature: float = 1.0) -> RolloutBatch:
        """One completion of each prompt by a model."""
        sampling = self.language.sampling(max_new_tokens=self.settings.max_new_tokens, temperature=temperature)
        with self.reduced():
            return generate(model, prompts, torch.ones_like(prompts), sampling, generator)

    def scored(self, model: CausalLM, inputs: Tensors) -> Tensor:
        """log π(a_t|s_t) of completions by a model as it is, at temperature 1, (rows, C) float32."""
        with self.reduced():
            return scored(model, inputs)

    def shuffled(self, step: int, rows: int, batch_size: int, what: str) -> Tensor:
        """The rows of a step, (batch,): all rows once before any comes again."""
        return rows_of_step(step, rows=rows, batch_size=batch_size, seed=self.generator.initial_seed(), what=what).to(self.device)

    @property
    def writer(self) -> CausalLM:
        """Who writes the text of the phase sft: the last teacher."""
        return self._language_model(self.teachers[-1])

    def reference(self) -> nn.Module:
        return self.scorer

    @classmethod
    def upgraded_state(cls, saved: Mapping[str, Any]) -> Mapping[str, Any]:
        """Checkpoints of before the teacher's calls and the seconds were counted by objects of their own are read too."""
        return earlier_state.upgraded(saved)

    # What is shown

    @property
    def consistency(self) -> str:
        return consistency_of(self.fingerprints)

    def facts(self) -> Facts:
        return cache_facts(self.cache, self.settings, self.consistency)

    def diagnostics(self) -> Diagnostics:
        rows = self.scored_rows() if self.cache and self.begin_kl is not None else None
        return cache_diagnostics(
            rows,
            asked=self.asked,
            clock=self.clock,
            table=cache_table(self.facts(), fingerprints=self.fingerprints, teacher_tokens=self.asked.tokens),
            warnings=None if self.begin_kl is None else self.warnings(rows),
        )

    def scored_rows(self) -> Tensors:
        """The first rows of the cache, with the student's log-probabilities as they are now."""
        rows = {name: tensor[:SHOWN_ROWS] for name, tensor in self.cache.items()}
        return {**rows, "now": self.scored(self.policy, rows)}

    def warnings(self, rows: Tensors | None) -> list[str]:
        """What is likely to go wrong, from the rows of `scored_rows`, if there is a cache, and from fresh text."""
        found = [] if self.consistency == "consistent" else [f"Teacher consistency: {self.consistency}."]
        if rows is None or self.begin_kl is None:
            return found
        clip = self.settings.advantage_clip
        return found + cache_warnings(rows, clip=clip, begin_fit=self.begin_fit, begin_kl=self.begin_kl, kl_now=self.fresh_kl)

    def fresh_kl(self) -> float:
        """KL(student ‖ teacher) on a few completions that the student writes now, always with the same generator. Asks the teacher."""
        generator = torch.Generator(self.device).manual_seed(derived_seed("watched"))
        rollouts = self.written(self.policy, self.prompts(WATCHED_ROWS, generator), generator)
        with self.asked.during(EVALUATION):
            return kl_on(rollouts, student=self.policy, teacher=self.scorer)
