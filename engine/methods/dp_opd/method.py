"""Differentially private on-policy distillation: Khadem, Mousavi, Fang & Liu (2026), arXiv:2604.04461.

A student is trained on private text by DP-SGD, but towards a frozen teacher's next-token distributions, at some records on the student's own
continuations. Whatever is done with a record is done inside that record's loss, so its clipped gradient is all that it can change.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from engine import charts
from engine.errors import SpecError
from engine.losses.tokens import completion_log_probs, completion_logits, token_divergence
from engine.method import Batch, Diagnostics, Logs, Phase
from engine.methods.dp_opd.card import Settings, card
from engine.methods.dp_opd.mechanism import (
    Gradients,
    clip_factors,
    clipped_sum,
    noised_mean,
    per_record_gradients,
    zeros_like_parameters,
)
from engine.metrics.language import held_out_report
from engine.models.language import CausalLM
from engine.optimizers import new_optimizer
from engine.privacy import ORDERS_IN_WORDS, Account, noise_for, spent
from engine.rollout.generate import generate
from engine.rollout.language_method import LanguageMethod
from engine.rollout.record import RolloutBatch, new_batch
from engine.seeds import derived_seed
from engine.spec.cards import TrainingSettings
from engine.tasks.language import LanguageTask

KEPT_NORMS, KEPT_BATCHES = 1024, 1024
CURVE_POINTS = 50
WATCHED_WINDOWS = 64  # of the validation text, for the warning that training made the start worse
WEAK_SIGNAL = 0.05
OWNER = "For the data owner: computed from private records, outside the guarantee."


class DPOPD(LanguageMethod):
    card = card
    settings: Settings

    def build(self) -> None:
        chosen = self.settings
        _check_separable(self.student)
        longest = min(each.positions for each in (self.policy, self.teacher) if isinstance(each, CausalLM))
        if chosen.prompt_tokens + chosen.completion_tokens > longest:
            message = f"must fit both models' context of {longest} tokens with the prompt; got {chosen.completion_tokens}."
            raise SpecError.at("settings.completion_tokens", message)
        self.corpus = records_of(self.language, chosen.prompt_tokens + chosen.completion_tokens)[: chosen.records]
        if len(self.corpus) < chosen.records:
            message = f"must be at most {len(self.corpus)}, as many as the private text of {self.task.card.id} has; got {chosen.records}."
            raise SpecError.at("settings.records", message)
        self.noise_multiplier = chosen.noise_multiplier if chosen.noise_multiplier is not None else self.noise_of_budget()
        self.account = Account()
        # Of its own, so that runs which differ in their losses get the same noise.
        self.noise = torch.Generator(self.device).manual_seed(derived_seed(self.generator.initial_seed(), "noise"))
        momentum = 0.9 if chosen.optimizer == "adam" else 0.0
        rule = TrainingSettings(optimizer=chosen.optimizer, learning_rate=chosen.learning_rate, momentum=momentum, weight_decay=0.0)
        self.optimizer = new_optimizer([each for each in self.student.parameters() if each.requires_grad], rule)
        self.norms = torch.zeros(0, device=self.device)
        self.batch_rows: list[int] = []
        self.start_nll = 0.0

    def noise_of_budget(self) -> float:
        """The σ whose ε after all planned steps is the budget, and not above it."""
        chosen = self.settings
        assert chosen.epsilon is not None, "a checked spec has a budget or the noise"
        try:
            return noise_for(
                epsilon=chosen.epsilon, delta=chosen.delta_or_default, sampling_rate=chosen.sampling_rate, steps=self.budget.steps
            )
        except ValueError as error:
            raise SpecError.at("settings.epsilon", f"{error}; got {chosen.epsilon:g}.") from None

    def phases(self) -> Iterator[Phase]:
        yield Phase("distill", self.step, self.budget.steps, data=self.poisson_batch, begin=self.begin, end=self.end)

    def poisson_batch(self, step: int, generator: torch.Generator) -> Batch:
        """Each record with chance q, independently: a batch of any size, often enough another one, maybe of none."""
        chances = torch.rand(len(self.corpus), generator=generator, device=self.device)
        index = (chances < self.settings.sampling_rate).nonzero().squeeze(1)
        return Batch(self.corpus[index], None, index)

    def begin(self) -> None:
        chosen = self.settings
        self.start_nll = self.watched_nll()
        if "private" not in self.task.splits:
            self.log("The private records are this task's training text: the guarantee holds only if the teacher has not seen that text.")
        if self.noise_multiplier == 0:
            self.log("WARNING: the noise is 0, so this run gives NO privacy; ε is infinite.")
        else:
            found = self.planned()
            self.log(
                f"σ = {self.noise_multiplier:.4f}, q = {chosen.sampling_rate:g}, {self.budget.steps} steps: "
                f"ε = {found.epsilon:.4f} at δ = {found.delta:g}."
            )
        self.log("The guarantee needs the run's seed to be secret: it makes the noise.")

    def step(self, batch: Batch) -> Logs:
        rollouts, coins = self.continued(batch.inputs)
        sums, norms, losses = self.clipped_gradients(rollouts)
        gradients = noised_mean(
            sums,
            noise_multiplier=self.noise_multiplier,
            clip_norm=self.settings.clip_norm,
            expected_batch=self.settings.expected_batch,
            generator=self.noise,
        )
        for name, parameter in self.student.named_parameters():
            if parameter.requires_grad:
                parameter.grad = gradients[name].to(parameter.dtype)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.account.step(noise_multiplier=self.noise_multiplier, sampling_rate=self.settings.sampling_rate)
        self.norms = torch.cat([self.norms, norms.to(self.norms.dtype)])[-KEPT_NORMS:]
        self.batch_rows = [*self.batch_rows, len(batch)][-KEPT_BATCHES:]
        return self.terms(sums, norms, losses, coins)

    def terms(self, sums: Gradients, norms: Tensor, losses: Tensor, coins: Tensor) -> dict[str, Tensor]:
        """ε so far, which may be told to everyone, and what only the data owner may see. An empty batch has no means."""
        found = self.spent()
        terms = {} if math.isinf(found) else {"epsilon": torch.full((), found, device=self.device)}
        terms["private/batch_rows"] = torch.full((), float(len(norms)), device=self.device)
        if self.noise_multiplier > 0:
            terms["private/signal_to_noise"] = self.signal_to_noise(sums)
        if len(norms):
            terms |= {
                "loss": losses.mean(),
                "private/norm_mean": norms.mean(),
                "private/norm_median": norms.median(),
                "private/clipped_share": (clip_factors(norms, self.settings.clip_norm) < 1).float().mean(),
                "private/on_policy_share": coins.float().mean(),
            }
        return terms

    def signal_to_noise(self, sums: Gradients) -> Tensor:
        """‖Σ f_i g_i‖ / (σ C √d) with d trained numbers: the length of what is learned over the noise's expected length."""
        numbers = sum(total.numel() for total in sums.values())
        signal = torch.stack([total.norm() for total in sums.values()]).norm()
        ratio: Tensor = signal / (self.noise_multiplier * self.settings.clip_norm * math.sqrt(numbers))
        return ratio

    def continued(self, records: Tensor) -> tuple[RolloutBatch, Tensor]:
        """Records (b, P + C) with, by a coin of each record's own, the student's continuation in place of the private one; and the coins (b,)."""
        prompts, texts = records[:, : self.settings.prompt_tokens], records[:, self.settings.prompt_tokens :]
        coins = torch.rand(len(records), generator=self.generator, device=self.device) < self.settings.on_policy_share
        ones = torch.ones_like(prompts)
        completions, mask = texts, torch.ones_like(texts)
        if bool(coins.any()):
            sampling = self.language.sampling(max_new_tokens=self.settings.completion_tokens)
            written = generate(self.policy, prompts[coins], ones[coins], sampling, self.generator)
            missing = texts.shape[1] - written.completion_width  # all may have ended early
            completions, mask = completions.clone(), mask.clone()
            completions[coins] = nn.functional.pad(written.completion_ids, (0, missing), value=sampling.pad_id)
            mask[coins] = nn.functional.pad(written.completion_mask, (0, missing))
        batch = new_batch(prompt_ids=prompts, prompt_mask=ones, completion_ids=completions, completion_mask=mask, source="data")
        return batch, coins

    def clipped_gradients(self, rollouts: RolloutBatch) -> tuple[Gradients, Tensor, Tensor]:
        """Σ_i f_i g_i over the whole batch, a few records at a time; all norms before clipping, and all losses, (b,) each."""
        parameters = {name: each.detach() for name, each in self.student.named_parameters() if each.requires_grad}
        sums, norms, losses = zeros_like_parameters(self.student), [self.norms[:0]], [self.norms[:0]]
        # The cache of low-precision weights would outlive the step's functional parameters.
        low = torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not torch.float32, cache_enabled=False)
        with low, _plain_attention(self.policy):
            for start in range(0, len(rollouts), self.settings.gradients_at_once):
                part = rollouts.take(slice(start, start + self.settings.gradients_at_once))
                gradients, each = per_record_gradients(
                    self.record_loss, parameters, part.ids, part.completion_mask, self.teacher_logits(part)
                )
                total, lengths = clipped_sum(gradients, self.settings.clip_norm)
                sums = {name: sums[name] + total[name] for name in sums}
                norms.append(lengths)
                losses.append(each)
        return sums, torch.cat(norms), torch.cat(losses)

    def record_loss(self, parameters: dict[str, Tensor], ids: Tensor, mask: Tensor, teacher_logits: Tensor) -> Tensor:
        """l_i = Σ_t m_t d_t / max(1, Σ_t m_t) of one record: ids (P + C,), mask (C,), teacher_logits (C, V), or (0, V) with loss labels."""
        width = len(mask)
        # No attention mask: prompts are full, and what stands after a text's end is behind everything that counts.
        logits = completion_logits(functional_call(self.student, parameters, (ids[None],), {"keep": width + 1}), width)
        if self.settings.loss == "labels":
            per_token = -completion_log_probs(logits, ids[None, -width:])
        else:
            per_token = token_divergence(
                student_logits=logits,
                teacher_logits=teacher_logits[None],
                beta=self.settings.beta,
                temperature=self.settings.temperature,
            )
        return (mask * per_token[0]).sum() / mask.sum().clamp(min=1)

    @torch.no_grad()
    def teacher_logits(self, rollouts: RolloutBatch) -> Tensor:
        """What the teacher says of the completions, (b, C, V); (b, 0, V) where the loss does not ask it."""
        width = rollouts.completion_width
        if self.settings.loss == "labels":
            return torch.zeros(len(rollouts), 0, 1, device=self.device)
        return completion_logits(self.teacher(rollouts.ids, keep=width + 1), width)

    # The account

    def spent(self) -> float:
        """ε of the steps really taken."""
        return self.account.spent(self.settings.delta_or_default).epsilon

    def planned(self, steps: int | None = None) -> Any:
        """What will be spent after so many steps, or at the planned end."""
        stretch = (self.noise_multiplier, self.settings.sampling_rate, steps or self.budget.steps)
        return spent([stretch], delta=self.settings.delta_or_default)

    def end(self) -> None:
        for warning in self.warnings():
            self.log(f"Warning: {warning}")

    def finish(self) -> None:
        self.save_table("privacy", self.account_table())

    # What is shown

    def diagnostics(self) -> Diagnostics:
        found = self.spent()
        metrics: dict[str, float | None] = {
            "epsilon": None if math.isinf(found) else found,
            "delta": self.settings.delta_or_default,
            "noise_multiplier": self.noise_multiplier,
            "sampling_rate": self.settings.sampling_rate,
            "clipped_share": float((clip_factors(self.norms, self.settings.clip_norm) < 1).float().mean()) if len(self.norms) else None,
            "batch_rows_mean": sum(self.batch_rows) / len(self.batch_rows) if self.batch_rows else None,
        }
        tables = {
            "privacy": self.account_table(),
            "norms": self.norm_table(),
            "batches": self.batch_table(),
            "warnings": self.warning_table(),
        }
        if self.noise_multiplier > 0:
            tables["epsilon"] = self.epsilon_curve()
        return Diagnostics(metrics, tables)

    def account_table(self) -> charts.ChartSpec:
        """What the guarantee says and what went into it. Nothing here depends on the records."""
        chosen, found = self.settings, self.account.spent(self.settings.delta_or_default)
        infinite = math.isinf(found.epsilon)
        cells: list[list[str | float | int | bool | None]] = [
            ["ε spent", "infinite" if infinite else round(found.epsilon, 6)],
            ["δ", found.delta],
            ["ε planned", chosen.epsilon],
            ["noise multiplier σ", self.noise_multiplier],
            ["clip norm C", chosen.clip_norm],
            ["sampling rate q", chosen.sampling_rate],
            ["records n", chosen.records],
            ["steps taken", self.account.steps],
            ["order that ε is at", None if math.isnan(found.order) else found.order],
            ["orders tried", ORDERS_IN_WORDS],
            ["accountant", "Rényi, subsampled Gaussian, records added or removed"],
        ]
        note = "Holds for the student's weights, if seed, teacher's outputs, norms and losses stay with the data's owner."
        return charts.rows("Privacy account", ("what", "value"), cells, note=note)

    def epsilon_curve(self) -> charts.ChartSpec:
        """ε against steps, taken and to come, with the budget as a line."""
        taken, planned = self.account.steps, max(self.budget.steps, self.account.steps)
        steps = sorted({max(1, round(planned * part / CURVE_POINTS)) for part in range(1, CURVE_POINTS + 1)} | ({taken} - {0}))
        values = {step: self.planned(step).epsilon for step in steps}
        before, after = [step for step in steps if step <= taken], [step for step in steps if step >= taken]
        series = {"spent": (before, [values[step] for step in before]), "planned": (after, [values[step] for step in after])}
        levels = {} if self.settings.epsilon is None else {"budget": self.settings.epsilon}
        return charts.lines("Privacy spent", series, x="step", y=f"ε at δ = {self.settings.delta_or_default:g}", levels=levels)

    def norm_table(self) -> charts.ChartSpec:
        """Norms of the newest records' gradients, with the clip norm among the edges."""
        clip = self.settings.clip_norm
        top = max(float(self.norms.max()) if len(self.norms) else 0.0, clip)
        below, above = torch.linspace(0, clip, 11), torch.linspace(clip, max(top, 1.001 * clip), 11)[1:]
        edges = torch.cat([below, above])
        counts = torch.histogram(self.norms.float().cpu(), edges).hist.int().tolist() if len(self.norms) else [0] * 20
        return charts.histogram(
            f"Norms of single records' gradients; clipped above {clip:g}",
            edges.tolist(),
            {"records": counts},
            x="norm before clipping",
            note=OWNER,
        )

    def batch_table(self) -> charts.ChartSpec:
        """Realized batch sizes against the expected one."""
        last = self.account.steps
        steps = list(range(last - len(self.batch_rows) + 1, last + 1))
        return charts.lines(
            "Records in a batch",
            {"drawn": (steps, list(self.batch_rows))},
            x="step",
            y="records",
            levels={"expected": float(self.settings.expected_batch)},
            note=OWNER,
        )

    def warning_table(self) -> charts.ChartSpec:
        return charts.rows("Early warnings", ("warning",), [[warning] for warning in self.warnings()] or [["none"]], note=OWNER)

    def warnings(self) -> list[str]:
        """What is likely to be wrong with this run."""
        if not self.batch_rows:
            return []
        chosen, found = self.settings, []
        if self.noise_multiplier == 0:
            found.append("There is no noise, hence no privacy.")
        if len(self.norms) and float(self.norms.max()) <= chosen.clip_norm:
            found.append(f"No record is clipped: a clip norm below {chosen.clip_norm:g} would need less noise.")
        expected, count = chosen.expected_batch, len(self.batch_rows)
        spread = math.sqrt(expected * (1 - chosen.sampling_rate) / count)
        mean = sum(self.batch_rows) / count
        if abs(mean - expected) > 4 * spread + 1e-9:
            found.append(f"Batches have {mean:.1f} records on average, {expected} are expected: the sampler may not be Poisson's.")
        if len(self.norms) and self.noise_multiplier > 0:
            # Bounded from above: the sum of a batch is no longer than its records' clipped gradients end to end.
            clipped = self.norms.clamp(max=chosen.clip_norm).mean().item() * mean
            numbers = sum(each.numel() for each in self.student.parameters() if each.requires_grad)
            best = clipped / (self.noise_multiplier * chosen.clip_norm * math.sqrt(numbers))
            if best < WEAK_SIGNAL:
                found.append(f"The signal is at most {best:.3f} of the noise: larger batches, fewer steps or a smaller student would help.")
        over = self.account.steps >= self.budget.steps
        if over and chosen.epsilon is not None and not chosen.epsilon - 0.011 <= self.spent() <= chosen.epsilon + 1e-9:
            found.append(f"ε at the planned end is {self.spent():.4f}, the budget is {chosen.epsilon:g}.")
        if 4 * self.account.steps >= self.budget.steps and (worse := self.watched_nll() - self.start_nll) > 0:
            found.append(f"The validation text is {worse:.3f} nats a token less likely than at the start.")
        return found

    def watched_nll(self) -> float:
        """NLL on a few windows of the validation text, which is not private."""
        split = self.task.splits["validation"]
        rows = torch.linspace(0, len(split) - 1, WATCHED_WINDOWS, device=self.device).long()
        windows = split.take(rows)
        nll = held_out_report(self.policy, windows.inputs, windows.targets)["nll"]
        assert nll is not None
        return nll


def records_of(task: LanguageTask, width: int) -> Tensor:
    """The private text, or where a task has none the training text, cut into consecutive pieces: (records, width) int64."""
    tokens = task.tokens.get("private", task.tokens["train"])
    return tokens[: len(tokens) // width * width].view(-1, width)


def _check_separable(student: nn.Module) -> None:
    """Each record's loss must be a function of that record alone."""
    for name, module in student.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise SpecError.at("student", f"must treat each record alone; its {name} normalizes over the batch.")


@contextmanager
def _plain_attention(model: CausalLM) -> Iterator[None]:
    """Attention in plain operations, which vmap can take apart; afterwards as before, so that sampling and judging keep their kernels."""
    before = model.body.config._attn_implementation
    model.body.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.body.set_attn_implementation(before)
