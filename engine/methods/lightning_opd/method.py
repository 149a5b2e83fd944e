"""Lightning OPD: Wu, Han & Cai (2026), arXiv:2604.13010.

Phase sft: the student learns text that the teacher wrote. Phase prepare: that student writes completions once, the teacher scores their
tokens once, and one number a token is kept. Phase distill: policy gradient towards the kept scores, with no teacher.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from engine import charts
from engine.errors import SpecError
from engine.losses.divergences import reverse_kl, softened_log_probs
from engine.losses.tokens import completion_log_probs, completion_logits
from engine.method import Batch, Diagnostics, Logs, Phase
from engine.methods.lightning_opd.card import Settings, card
from engine.methods.lightning_opd.losses import advantages, clipped, drift, mean_of_rows, mean_of_tokens, surrogate
from engine.models.language import CausalLM
from engine.rollout.generate import evaluating, generate
from engine.rollout.language_method import LanguageMethod
from engine.rollout.record import RolloutBatch
from engine.seeds import derived_seed

WATCHED_ROWS = 64  # fresh completions for the warning that the student got worse while the stored loss fell
SHOWN_ROWS = 512  # of the cache, for the pictures of an evaluation
WIDE_WEIGHTS = 0.3
HISTOGRAM_BINS = 40
SHOWN_TEXTS = 12  # of the cache, on its page
Tensors = dict[str, Tensor]


class LightningOPD(LanguageMethod):
    card = card
    settings: Settings

    def build(self) -> None:
        chosen = self.settings
        longest = min(each.positions for each in (self.policy, *self.teachers) if isinstance(each, CausalLM))
        if chosen.prompt_tokens + chosen.max_new_tokens > longest:
            message = f"must fit all models' context of {longest} tokens with the prompt; got {chosen.max_new_tokens}."
            raise SpecError.at("settings.max_new_tokens", message)
        self.fingerprints = {"teacher": fingerprint(self.teachers[0]), "tokenizer": self.language.vocabulary.fingerprint(), "start": ""}
        self.fingerprints["sft_teacher"] = fingerprint(self.writer) if chosen.sft_steps else "unknown"
        if self.consistency == "inconsistent" and not chosen.allow_other_teacher:
            raise SpecError.at(
                "teachers.1",
                "must be the first teacher's equal, because the student has to learn from the one whose text it began with; set "
                "settings.allow_other_teacher to go on all the same.",
            )
        sft = chosen.model_copy(update={"learning_rate": chosen.sft_learning_rate, "schedule": chosen.sft_schedule})
        self.sft_optimizer = self.make_optimizer(self.student, sft, steps=max(1, chosen.sft_steps))
        self.optimizer = self.make_optimizer(self.student, steps=self.budget.steps * chosen.updates_per_batch)
        self.texts: Tensors = {}
        self.cache: Tensors = {}
        self.calls = {"sft": 0, "prepare": 0, "distill": 0, "evaluation": 0}
        self.tokens = dict.fromkeys(self.calls, 0)
        self.seconds = {"rollout": 0.0, "scoring": 0.0, "training": 0.0}
        self.asking = "evaluation"  # what for, when the teacher is asked now
        self.teachers[0].register_forward_pre_hook(self.count)
        self.begin_kl: float | None = None
        self.begin_fit = 0.0

    def phases(self) -> Iterator[Phase]:
        chosen = self.settings
        if chosen.sft_steps:
            yield Phase("sft", self.sft_step, chosen.sft_steps, data=self.sft_batch, begin=self.begin_sft)
        if chosen.mode == "offline":
            steps = -(-chosen.cache_rows // chosen.rollout_batch_size)
            yield Phase(
                "prepare", self.prepare_step, steps, data=self.rolled_out, begin=self.begin_prepare, end=self.end_prepare, evaluate=False
            )
        batches = self.cached_batch if chosen.mode == "offline" else self.online_batch
        yield Phase("distill", self.distill_step, self.budget.steps, data=batches, begin=self.begin_distill, end=self.end_distill)

    def reference(self) -> nn.Module:
        return self.teachers[0]

    # Phase sft: cross-entropy on the teacher's text

    def begin_sft(self) -> None:
        """The teacher, or the second one, writes all the text of the phase."""
        chosen, parts = self.settings, []
        if self.consistency == "inconsistent":
            self.log(
                "WARNING: the text of the phase sft is by another teacher than the one that scores, as settings.allow_other_teacher allows."
            )
        for start in range(0, chosen.sft_rows, chosen.rollout_batch_size):
            rows = min(chosen.rollout_batch_size, chosen.sft_rows - start)
            prompts = self.prompts(rows, self.generator)
            with self.timed("rollout"):
                parts.append(self.written(self.writer, prompts, self.generator))
            self.calls["sft"] += parts[-1].completion_width
            self.tokens["sft"] += rows * parts[-1].completion_width
        self.texts.update(_core(RolloutBatch.joined(parts)))

    def sft_batch(self, step: int, generator: torch.Generator) -> Batch:
        rows = self.shuffled(step, self.settings.sft_rows, self.settings.sft_batch_size, "sft")
        inputs = {name: tensor[rows] for name, tensor in self.texts.items()}
        inputs["mean_length"] = inputs["completion_mask"].sum(dim=1).double().mean().clamp(min=1).expand(len(rows))
        return Batch(inputs, None, rows)

    def sft_step(self, batch: Batch) -> Logs:
        with self.timed("training"):
            mask = batch.inputs["completion_mask"]
            nll = -self.log_probs(batch.inputs)
            # Over the whole batch's tokens, whatever piece of the batch this is.
            loss = torch.where(mask.bool(), nll, 0.0).sum() / (len(batch) * batch.inputs["mean_length"][0]).to(nll.dtype)
            self.update(self.sft_optimizer, loss)
        return {"loss/sft": loss}

    # Phase prepare: the student writes, the teacher scores

    def begin_prepare(self) -> None:
        self.fingerprints["start"] = fingerprint(self.student)

    def rolled_out(self, step: int, generator: torch.Generator) -> Batch:
        """The next rows of the cache: prompts, the student's completions, and both models' log-probabilities of their tokens."""
        chosen = self.settings
        start = step * chosen.rollout_batch_size
        rows = min(chosen.rollout_batch_size, chosen.cache_rows - start)
        return self.rollout(rows, generator, index=torch.arange(start, start + rows, device=self.device), phase="prepare")

    def rollout(self, rows: int, generator: torch.Generator, *, index: Tensor, phase: str) -> Batch:
        """Completions of the student as it is, and what teacher and student say of them at temperature 1, as a batch without targets."""
        prompts = self.prompts(rows, generator)
        with self.timed("rollout"):
            written = self.written(self.student, prompts, generator, temperature=self.settings.sampling_temperature)
        inputs = _core(written)
        with self.timed("scoring"):
            self.asking = phase
            inputs["teacher_log_probs"] = self.scored(self.teachers[0], inputs)
            self.asking = "evaluation"
            inputs["start_log_probs"] = self.scored(self.student, inputs)
        return Batch(inputs, None, index)

    def prepare_step(self, batch: Batch) -> Logs:
        """Stores what the batch brings. Updates nothing."""
        if not self.cache:
            self.cache.update({name: self.room(name, tensor) for name, tensor in batch.inputs.items()})
        for name, tensor in batch.inputs.items():
            self.cache[name][batch.index, : tensor.shape[1]] = tensor
        mask = batch.inputs["completion_mask"]
        return {f"{whose}_log_prob": mean_of_tokens(batch.inputs[f"{whose}_log_probs"], mask) for whose in ("teacher", "start")}

    def room(self, name: str, tensor: Tensor) -> Tensor:
        """Zeros for the whole cache of what `tensor` has some rows of; completions may yet be longer than those."""
        width = tensor.shape[1] if name.startswith("prompt") else self.settings.max_new_tokens
        return tensor.new_zeros(self.settings.cache_rows, width)

    def end_prepare(self) -> None:
        facts = {**self.facts(), "fingerprints": dict(self.fingerprints)}
        self.save_tensors("rollouts", self.cache, facts, views={"rollouts": self.rollouts_view()})

    def rollouts_view(self) -> charts.ChartSpec:
        """The first rows of the cache as text; a token's shade is how improbable the teacher finds it."""
        pieces, items = self.language.vocabulary.pieces, []
        for row in range(min(SHOWN_TEXTS, self.settings.cache_rows)):
            mask = self.cache["completion_mask"][row].bool()
            prompt = self.cache["prompt_ids"][row][self.cache["prompt_mask"][row].bool()]
            scores = self.cache["teacher_log_probs"][row][mask]
            written = pieces(self.cache["completion_ids"][row][mask].tolist())
            items.append(
                {
                    "label": f"row {row}: teacher's log-probability a token {float(scores.mean()):.3f}",
                    "prompt": "".join(pieces(prompt.tolist())),
                    "text": "".join(written),
                    "pieces": written,
                    "weights": (1 - scores.double().exp()).tolist(),
                }
            )
        return charts.texts("First rollouts of the student", items, scale="1 − the teacher's probability")

    # Phase distill: no teacher

    def begin_distill(self) -> None:
        if self.consistency == "unknown":
            self.log("WARNING: nobody knows whose text the student began with; it should be that of the teacher which scored.")
        self.begin_kl = self.fresh_kl()
        if self.cache:
            self.begin_fit = self.fit(self.scored_rows())

    def cached_batch(self, step: int, generator: torch.Generator) -> Batch:
        """The next rows of the cache, which is passed over in a new order each time."""
        rows = self.shuffled(step, self.settings.cache_rows, self.settings.batch_size, "cache")
        return Batch({name: tensor[rows] for name, tensor in self.cache.items()}, None, rows)

    def online_batch(self, step: int, generator: torch.Generator) -> Batch:
        """New completions of the student as it is now, scored by the teacher."""
        rows = self.settings.batch_size
        return self.rollout(rows, generator, index=torch.arange(rows, device=self.device), phase="distill")

    def distill_step(self, batch: Batch) -> Logs:
        chosen, inputs = self.settings, batch.inputs
        mask, clip = inputs["completion_mask"], {"clip_low": chosen.clip_low, "clip_high": chosen.clip_high}
        with self.timed("training"):
            now = self.log_probs(inputs)
            before = now.detach()
            gap = inputs["teacher_log_probs"] - before
            advantage = advantages(teacher_log_probs=inputs["teacher_log_probs"], student_log_probs=before, clip=chosen.advantage_clip)
            weights = (before - inputs["start_log_probs"]).exp() if chosen.importance_weights else torch.ones_like(before)
            for update in range(chosen.updates_per_batch):
                now = self.log_probs(inputs) if update else now
                loss = mean_of_rows(weights * surrogate(now, before=before, advantage=advantage, **clip), mask)
                self.update(self.optimizer, loss)
        terms = {
            "loss": loss,
            "advantage": mean_of_tokens(advantage, mask),
            "advantage_squared": mean_of_tokens(gap.square(), mask),
            # J of the paper, up to its sign: on text of the student itself an estimate of the sequences' KL(student ‖ teacher)
            "sequence_gap": -torch.where(mask.bool(), gap, 0.0).sum(dim=1).mean(),
        }
        if chosen.advantage_clip is not None:
            terms["advantage_clipped"] = mean_of_tokens((gap.abs() >= chosen.advantage_clip).to(gap.dtype), mask)
        if chosen.updates_per_batch > 1:
            terms["ratio_clipped"] = mean_of_tokens(clipped(now.detach(), before=before, advantage=advantage, **clip).to(gap.dtype), mask)
        if chosen.mode == "offline":
            found = drift(log_probs=before, start_log_probs=inputs["start_log_probs"], mask=mask)
            terms |= {f"drift/{name}": value for name, value in found.items()}
        return terms

    def end_distill(self) -> None:
        for warning in self.warnings(self.scored_rows() if self.cache else None):
            self.log(f"Warning: {warning}")

    # What the phases share

    def count(self, teacher: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        """Called before each forward pass of the teacher that scores."""
        self.calls[self.asking] += 1
        self.tokens[self.asking] += arguments[0].numel()

    def log_probs(self, inputs: Tensors) -> Tensor:
        """log π_θ(a_t|s_t) of stored completions, at temperature 1, (rows, C), with gradient."""
        return _log_probs(self.policy, inputs)

    @torch.no_grad()
    def scored(self, model: nn.Module, inputs: Tensors) -> Tensor:
        """log π(a_t|s_t) by a model in eval mode: one parallel forward pass, in float32 for a cache that lives long."""
        assert isinstance(model, CausalLM), f"{self.card.id} takes causal language models, got a {type(model).__name__}"
        with evaluating(model), self.reduced():
            return _log_probs(model, inputs).float()

    def written(self, model: nn.Module, prompts: Tensor, generator: torch.Generator, *, temperature: float = 1.0) -> RolloutBatch:
        assert isinstance(model, CausalLM), f"{self.card.id} takes causal language models, got a {type(model).__name__}"
        sampling = self.language.sampling(max_new_tokens=self.settings.max_new_tokens, temperature=temperature)
        with self.reduced():
            return generate(model, prompts, torch.ones_like(prompts), sampling, generator)

    def prompts(self, rows: int, generator: torch.Generator) -> Tensor:
        """Prompts from random places of the training text, each as often as it gets completions: (rows, prompt_tokens)."""
        chosen = self.settings
        count = -(-rows // chosen.num_generations)
        source = self.language.continuations(count, prompt_tokens=chosen.prompt_tokens, completion_tokens=chosen.max_new_tokens)
        drawn: Tensor = source(0, generator).inputs
        return drawn.repeat_interleave(chosen.num_generations, dim=0)[:rows]

    def shuffled(self, step: int, rows: int, batch_size: int, what: str) -> Tensor:
        """The rows of a step, (batch,): all rows once before any comes again. A pure function of the run's seed and the step."""
        epoch, within = divmod(step, -(-rows // batch_size))
        generator = torch.Generator().manual_seed(derived_seed(self.generator.initial_seed(), what, epoch))
        order = torch.randperm(rows, generator=generator)
        return order[within * batch_size : (within + 1) * batch_size].to(self.device)

    def reduced(self) -> torch.autocast:
        """The run's number format, outside of a step."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not torch.float32)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Adds to the seconds of `what`, as the CPU sees them."""
        start = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - start

    @property
    def writer(self) -> nn.Module:
        """Who writes the text of the phase sft: the last teacher."""
        return self.teachers[-1]

    @property
    def consistency(self) -> str:
        """Whether the teacher that scores is the one whose text the student began with: consistent, inconsistent, unknown."""
        if self.fingerprints["sft_teacher"] == "unknown":
            return "unknown"
        return "consistent" if self.fingerprints["sft_teacher"] == self.fingerprints["teacher"] else "inconsistent"

    # What is shown

    def facts(self) -> dict[str, int | float | str]:
        """Of the cache."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in self.cache.values())
        return {
            "rows": self.settings.cache_rows,
            "bytes": size,
            "tokens": int(self.cache["completion_mask"].sum()) if self.cache else 0,
            "sampling temperature": self.settings.sampling_temperature,
            "teacher consistency": self.consistency,
        }

    def diagnostics(self) -> Diagnostics:
        metrics: dict[str, float | None] = {f"teacher_calls_{phase}": float(count) for phase, count in self.calls.items()}
        metrics |= {f"{what}_seconds": seconds for what, seconds in self.seconds.items()}
        tables = {"cache": self.cache_table()}
        if self.begin_kl is None:
            return Diagnostics(metrics, tables)
        scored = self.scored_rows() if self.cache else None
        if scored is not None:
            found = drift(log_probs=scored["now"], start_log_probs=scored["start_log_probs"], mask=scored["completion_mask"])
            metrics |= {f"drift_{name}": float(value) for name, value in found.items()}
            tables["advantages"] = self.advantage_table(scored)
        tables["warnings"] = charts.rows("Early warnings", ("warning",), [[each] for each in self.warnings(scored)] or [["none"]])
        return Diagnostics(metrics, tables)

    def cache_table(self) -> charts.ChartSpec:
        """What is stored, whose it is, and how often the teacher was asked."""
        cells: list[list[str | int | float | None]] = [
            [f"fingerprint of {what.replace('_', ' ')}", digest[:16] or None] for what, digest in self.fingerprints.items()
        ]
        cells += [[name, value] for name, value in self.facts().items()]
        cells += [[f"teacher's tokens for {phase}", count] for phase, count in self.tokens.items()]
        return charts.rows("Cache and teacher", ("what", "value"), cells)

    def advantage_table(self, scored: Tensors) -> charts.ChartSpec:
        """A of stored tokens at the start and now, before clipping."""
        real = scored["completion_mask"].bool()
        whose = {"at the start": "start_log_probs", "now": "now"}
        gaps = {name: (scored["teacher_log_probs"] - scored[key])[real].float().cpu() for name, key in whose.items()}
        largest = max(float(gap.abs().max()) for gap in gaps.values()) or 1.0
        edges = torch.linspace(-largest, largest, HISTOGRAM_BINS + 1)
        counts = {name: torch.histogram(gap, edges).hist.int().tolist() for name, gap in gaps.items()}
        return charts.histogram("Advantages of stored tokens", edges.tolist(), counts, x="log π_T − log π_θ in nats", y="tokens")

    def scored_rows(self) -> Tensors:
        """The first rows of the cache, with the student's log-probabilities as they are now."""
        rows = {name: tensor[:SHOWN_ROWS] for name, tensor in self.cache.items()}
        return {**rows, "now": self.scored(self.student, rows)}

    def fit(self, scored: Tensors) -> float:
        """Mean of A² before clipping: what the last phase makes smaller."""
        return float(mean_of_tokens((scored["teacher_log_probs"] - scored["now"]).square(), scored["completion_mask"]))

    def warnings(self, scored: Tensors | None) -> list[str]:
        """What is likely to go wrong, from the rows of `scored_rows`, if there is a cache, and from fresh text."""
        found = [] if self.consistency == "consistent" else [f"Teacher consistency: {self.consistency}."]
        if scored is None or self.begin_kl is None:
            return found
        now, start, mask = scored["now"], scored["start_log_probs"], scored["completion_mask"]
        spread = float(drift(log_probs=now, start_log_probs=start, mask=mask)["weight_std"])
        if spread > WIDE_WEIGHTS:
            found.append(f"The weights π_θ/π_ref have a standard deviation of {spread:.2f}, above {WIDE_WEIGHTS}: the cache has grown old.")
        if (tau := self.settings.advantage_clip) is not None:
            before, after = (
                float(mean_of_tokens(((scored["teacher_log_probs"] - whose).abs() >= tau).float(), mask)) for whose in (start, now)
            )
            if after > before:
                found.append(f"{after:.2%} of the stored tokens are at the advantage's limit; at the start {before:.2%} were.")
        if self.fit(scored) < self.begin_fit and (kl := self.fresh_kl()) > self.begin_kl:
            found.append(f"KL on fresh text rose from {self.begin_kl:.3f} to {kl:.3f} nats, while the fit to the cache got better.")
        return found

    @torch.no_grad()
    def fresh_kl(self) -> float:
        """KL(student ‖ teacher) a token on a few completions that the student writes now, always with the same generator. Asks the teacher."""
        generator = torch.Generator(self.device).manual_seed(derived_seed("watched"))
        rollouts = self.written(self.student, self.prompts(WATCHED_ROWS, generator), generator)
        inputs, teacher = _core(rollouts), self.teachers[0]
        assert isinstance(teacher, CausalLM)
        with evaluating(self.policy):
            log_probs = [softened_log_probs(_logits(model, inputs), 1.0) for model in (self.policy, teacher)]
        per_token = reverse_kl(student_log_probs=log_probs[0], teacher_log_probs=log_probs[1])
        return float(mean_of_tokens(per_token, rollouts.completion_mask))


def fingerprint(module: nn.Module) -> str:
    """SHA-256 in hexadecimal over names, shapes, number formats and bytes of all weights: equal weights have equal ones."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _core(rollouts: RolloutBatch) -> Tensors:
    return {name: getattr(rollouts, name) for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")}


def _logits(model: CausalLM, inputs: Tensors) -> Tensor:
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    width = inputs["completion_ids"].shape[1]
    return completion_logits(model(ids, mask, keep=width + 1), width)


def _log_probs(model: CausalLM, inputs: Tensors) -> Tensor:
    return completion_log_probs(_logits(model, inputs), inputs["completion_ids"])
