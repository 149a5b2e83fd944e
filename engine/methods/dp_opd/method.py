"""Differentially private on-policy distillation: Khadem, Mousavi, Fang & Liu (2026), arXiv:2604.04461.

A student is trained on private text by DP-SGD, but towards a frozen teacher's next-token distributions, at some records on the student's own
continuations. Whatever is done with a record is done inside that record's loss, so its clipped gradient is all that it can change.

All that is drawn (batches, coins, samples, noise) comes from `self.chance`, whose state is a secret of the run's checkpoints. Who can draw the
noise again subtracts it; against who knows the batches, nothing is amplified by sampling; and to who can draw the samples again, one record
more shifts those of all after it, so that the sum changes by more than C.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from engine.errors import SpecError
from engine.losses.tokens import completion_log_probs, completion_logits, token_divergence
from engine.method import Batch, Diagnostics, Length, Logs, Phase
from engine.methods.dp_opd.card import Settings, card
from engine.methods.dp_opd.mechanism import Gradients, clipped_sum, noised_mean, per_record_gradients, zeros_like_parameters
from engine.methods.dp_opd.privacy import Account, noise_for
from engine.methods.dp_opd.private_text import private_records, refuse_readers, split_of
from engine.methods.dp_opd.report import PrivacyReport, early_warnings, watched_nll
from engine.methods.dp_opd.secret import secret_generator
from engine.models.language import CausalLM
from engine.optimizers import new_optimizer
from engine.rollout.generate import evaluating, generate
from engine.rollout.language_method import LanguageMethod
from engine.rollout.record import RolloutBatch, new_batch
from engine.spec.cards import TrainingSettings

KEPT_NORMS, KEPT_BATCHES = 1024, 1024


class DPOPD(LanguageMethod):
    card = card
    settings: Settings

    def build(self) -> None:
        chosen = self.settings
        _check_separable(self.student)
        width, longest = chosen.prompt_tokens + chosen.completion_tokens, min(self.policy.positions, self.scorer.positions)
        if width > longest:
            message = f"must fit both models' context of {longest} tokens with the prompt; got {chosen.completion_tokens}."
            raise SpecError.at("settings.completion_tokens", message)
        self.corpus = private_records(self.language, width=width, count=chosen.records)
        self.trained_elsewhere = refuse_readers(self.language, self.corpus, self.lineage)

        self.noise_multiplier = chosen.noise_multiplier if chosen.noise_multiplier is not None else self.noise_of_budget()
        self.account = Account()
        self.chance = secret_generator(self.device)
        momentum = 0.9 if chosen.optimizer == "adam" else 0.0
        rule = TrainingSettings(optimizer=chosen.optimizer, learning_rate=chosen.learning_rate, momentum=momentum, weight_decay=0.0)
        self.optimizer = new_optimizer([each for each in self.student.parameters() if each.requires_grad], rule)

        self.norms = torch.zeros(0, device=self.device)
        self.batch_rows: list[int] = []
        self.start_nll = 0.0

    def phases(self) -> Iterator[Phase]:
        yield Phase("distill", self.step, self.budget.steps, data=self.poisson_batch, begin=self.begin, end=self.end)

    def reads(self) -> tuple[str, ...]:
        return (split_of(self.language),)

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

    def lengthened(self, before: Length) -> None:
        """Raises SpecError where the noise follows from ε: it was made for the steps that the run began with."""
        if self.settings.noise_multiplier is None:
            raise SpecError.at(
                "budget.steps",
                f"must stay {before.steps}: the noise of the steps so far was chosen for as many, and more would pass ε = "
                f"{self.settings.epsilon:g}; got {self.budget.steps}. Start anew.",
            )

    def poisson_batch(self, step: int, generator: torch.Generator) -> Batch:
        """Each record with chance q, independently: a batch of any size, often enough another one, maybe of none.

        Not drawn from `generator`, which the run's seed makes: the account counts on nobody knowing who was in the batch.
        """
        chances = torch.rand(len(self.corpus), generator=self.chance, device=self.device)
        index = (chances < self.settings.sampling_rate).nonzero().squeeze(1)
        return Batch(self.corpus[index], None, index)

    def step(self, batch: Batch) -> Logs:
        rollouts, coins = self.continued(batch.inputs)
        sums, norms, losses = self.clipped_gradients(rollouts)
        gradients = noised_mean(
            sums,
            noise_multiplier=self.noise_multiplier,
            clip_norm=self.settings.clip_norm,
            expected_batch=self.settings.expected_batch,
            generator=self.chance,
        )
        for name, parameter in self.student.named_parameters():
            if parameter.requires_grad:
                parameter.grad = gradients[name].to(parameter.dtype)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.account.step(noise_multiplier=self.noise_multiplier, sampling_rate=self.settings.sampling_rate)

        self.norms = torch.cat([self.norms, norms.to(self.norms.dtype)])[-KEPT_NORMS:]
        self.batch_rows = [*self.batch_rows, len(batch)][-KEPT_BATCHES:]
        return self.report.terms(sums, norms, losses, coins)

    def continued(self, records: Tensor) -> tuple[RolloutBatch, Tensor]:
        """Records (b, P + C) with, by a coin of each record's own, the student's continuation in place of the private one; and the coins (b,)."""
        prompts, texts = records[:, : self.settings.prompt_tokens], records[:, self.settings.prompt_tokens :]
        coins = torch.rand(len(records), generator=self.chance, device=self.device) < self.settings.on_policy_share
        ones = torch.ones_like(prompts)
        completions, mask = texts, torch.ones_like(texts)
        if bool(coins.any()):
            sampling = self.language.sampling(max_new_tokens=self.settings.completion_tokens)
            written = generate(self.policy, prompts[coins], ones[coins], sampling, self.chance)
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
        # In eval mode: masks of dropout would come from the run's seed.
        with low, evaluating(self.student), _plain_attention(self.policy):
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

    # What is shown

    @property
    def report(self) -> PrivacyReport:
        """The run as it stands now."""
        return PrivacyReport(
            settings=self.settings,
            noise_multiplier=self.noise_multiplier,
            account=self.account,
            planned_steps=self.budget.steps,
            norms=self.norms,
            batch_rows=self.batch_rows,
            numbers=sum(each.numel() for each in self.student.parameters() if each.requires_grad),
        )

    def begin(self) -> None:
        self.start_nll = watched_nll(self.policy, self.language)
        if self.trained_elsewhere:
            models = " and ".join(self.trained_elsewhere)
            self.log(f"Nobody here knows what {models} has read: the guarantee holds only if that was none of the private text.")
        self.log(self.report.opening())
        self.log("The guarantee needs this run's checkpoints to be secret: they hold what noise, batches and samples are drawn from.")

    def end(self) -> None:
        for warning in self.warnings():
            self.log(f"Warning: {warning}")

    def finish(self) -> None:
        self.save_table("privacy", self.report.account_table())

    def diagnostics(self) -> Diagnostics:
        return self.report.diagnostics(self.warnings())

    def warnings(self) -> list[str]:
        """What is likely to be wrong with this run."""
        return early_warnings(self.report, start_nll=self.start_nll, nll=watched_nll(self.policy, self.language))


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
