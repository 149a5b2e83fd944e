"""X-EcoMLA: Li et al. (2025), arXiv:2503.11132, with the initialization and losses of the code AMD-AIG-AIMA/AMD-Hybrid-Models.

A trained Llama's attention is rewritten as latent attention (`conversion`), which keeps r + d_r numbers of a token in place of 2·h_kv·d. What
the rewriting lost is mended by KL to a frozen teacher, and, if asked for, by DPO on pairs of the student's own samples.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.losses.divergences import forward_kl, softened_log_probs
from engine.losses.labels import label_cross_entropy
from engine.losses.tokens import completion_log_probs, completion_logits
from engine.method import Batch, Diagnostics, Logs, Phase
from engine.methods.x_ecomla import pictures
from engine.methods.x_ecomla.card import Settings, card
from engine.methods.x_ecomla.conversion import Plan, Ranks, convert, convertible, sources_of
from engine.metrics import kv_cache
from engine.metrics.language import held_out_report
from engine.models.language import CausalLM
from engine.models.latent_attention import latent_layers
from engine.rollout.generate import evaluating, generate
from engine.rollout.language_method import LanguageMethod
from engine.seeds import undisturbed

WATCHED = 32  # most windows of the validation text on which the KL before training is measured
NEAR_UNIFORM = 0.8  # of ln V: a conversion that took the wrong rows leaves about as much
SHOWN_PAIRS = 8


def distillation_kl(*, student_logits: Tensor, teacher_logits: Tensor, reduction: str = "token_mean") -> Tensor:
    """KL(p_teacher ‖ p_student) at every position, the last one included, with no shift and no temperature: logits (batch, tokens, V) → a scalar.

    token_mean: mean over all tokens. batch_mean: sum over tokens divided by the rows, as the published code has it.
    """
    per_token = forward_kl(
        teacher_log_probs=softened_log_probs(teacher_logits, 1.0), student_log_probs=softened_log_probs(student_logits, 1.0)
    )
    return per_token.mean() if reduction == "token_mean" else per_token.sum() / len(per_token)


def preference_loss(*, margin: Tensor, reference_margin: Tensor, beta: float) -> Tensor:
    """DPO, Rafailov et al. (2023), arXiv:2305.18290, equation 7: −log σ(β [margin − reference_margin]), (pairs,) → (pairs,).

    margin = log π(y_w) − log π(y_l) of the student, reference_margin the same of the frozen reference; sums over completion tokens.
    """
    return -F.logsigmoid(beta * (margin - reference_margin))


class XEcoMLA(LanguageMethod):
    card = card
    settings: Settings
    student: CausalLM

    def build(self) -> None:
        source = convertible(self.student, self.settings.mla_layers)
        decomposed = sources_of(source, self.settings.mla_layers)
        plan = Plan(
            ranks=self.ranks(source.config.hidden_size),
            rope=self.settings.rope_width,
            norm=self.settings.latent_norm,
            how=self.settings.initialization,
        )
        self.before = self.cost_and_kl(CausalLM(source))
        self.student, self.config = convert(source, decomposed, plan)
        self.student.train()
        self.after = self.cost_and_kl(self.student)
        self.chosen = [pictures.facts(number, each, self.config["latent"][number]) for number, each in decomposed.items()]
        self.spectra = pictures.spectra(decomposed, self.config["latent"])
        self.compared: dict[str, dict[str, float]] = {}
        with undisturbed(self.device):
            for rank in self.settings.compared_ranks:
                tried = Plan(ranks=Ranks(q=plan.ranks.q, kv=rank, divisor=1), rope=plan.rope, norm=plan.norm)
                self.compared[f"{rank}"] = self.cost_and_kl(convert(source, decomposed, tried)[0])

        if self.settings.freeze_non_mla:
            self.student.requires_grad_(False)
            for layer in latent_layers(self.student).values():
                layer.requires_grad_(True)
        self.optimizer = self.make_optimizer(self.student)
        preferences = self.settings.model_copy(update={"learning_rate": self.settings.dpo_learning_rate})
        self.dpo_optimizer = self.make_optimizer(self.student, preferences, steps=max(1, self.settings.dpo_steps))
        self.pairs: dict[str, Tensor] = {}

    def ranks(self, width: int) -> Ranks:
        """How this run chooses ranks, for a model of this width."""
        settings = self.settings
        return Ranks(
            q=settings.q_rank or width,
            kv=settings.kv_rank,
            energies=(settings.q_energy, settings.kv_energy) if settings.rank_choice == "energy" else None,
            fixed_ends=settings.fixed_rank_ends,
            divisor=settings.rank_divisor,
        )

    def phases(self) -> Iterator[Phase]:
        yield Phase("distill", self.step, self.budget.steps, batch_size=self.settings.batch_size, begin=self.tell_conversion)
        if self.settings.dpo_steps:
            yield Phase("dpo", self.dpo_step, self.settings.dpo_steps, data=self.draw_pairs, begin=self.make_pairs)

    def blueprint(self) -> dict[str, Any]:
        ranks = sorted({sizes["kv_rank"] for sizes in self.config["latent"] if sizes is not None})
        span = f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
        return {"builder": "latent_llama", "config": self.config, "architecture": f"latent attention of rank {span}"}

    # Distillation

    def step(self, batch: Batch) -> Logs:
        student_logits = self.student(batch.inputs)
        with torch.no_grad():
            teacher_logits = self.teacher(batch.inputs)
        kl = distillation_kl(student_logits=student_logits, teacher_logits=teacher_logits, reduction=self.settings.reduction)
        loss, terms = self.settings.kl_weight * kl, {"loss/teacher": kl}
        if self.settings.ce_weight:
            terms["loss/labels"] = label_cross_entropy(student_logits.flatten(0, 1), batch.targets.flatten())
            loss = loss + self.settings.ce_weight * terms["loss/labels"]
        self.update(self.optimizer, loss)
        return {"loss": loss, **terms}

    # Preferences

    @torch.no_grad()
    def make_pairs(self) -> None:
        """Two samples of the student for each of some prompts of the training text; the one that the teacher finds more probable is preferred.

        The reference is the student as it is now, so all that is kept of it is what it says of these pairs.
        """
        task, settings = self.language, self.settings
        draw = task.continuations(
            settings.dpo_pairs, prompt_tokens=settings.dpo_prompt_tokens, completion_tokens=settings.dpo_completion_tokens
        )
        prompts = draw(0, self.generator).inputs.repeat_interleave(2, dim=0)
        sampling = task.sampling(max_new_tokens=settings.dpo_completion_tokens)
        rollouts = generate(self.student, prompts, torch.ones_like(prompts), sampling, self.generator)
        pieces = [rollouts.take(slice(start, start + settings.batch_size)) for start in range(0, len(rollouts), settings.batch_size)]
        with evaluating(self.student):
            said = {
                name: torch.cat([sequence_log_prob(model, each.ids, each.mask, each.completion_mask) for each in pieces]).view(-1, 2)
                for name, model in (("teacher", self.teacher), ("reference", self.student))
            }
        better = said["teacher"].argmax(dim=1, keepdim=True)
        order = torch.cat([better, 1 - better], dim=1)
        ordered = {"ids": rollouts.ids, "mask": rollouts.mask, "completion_mask": rollouts.completion_mask}
        rows = (torch.arange(settings.dpo_pairs, device=self.device)[:, None] * 2 + order).flatten()
        self.pairs = {name: tensor[rows].unflatten(0, (-1, 2)) for name, tensor in ordered.items()}
        self.pairs |= {name: each.gather(1, order) for name, each in said.items()}
        self.save_table("preference_pairs", pictures.preference_pairs(self.pairs, settings.dpo_prompt_tokens, task.vocabulary, SHOWN_PAIRS))

    def draw_pairs(self, step: int, generator: torch.Generator) -> Batch:
        """Pairs drawn with replacement; inputs by name, (batch, 2, …) each, the preferred one first."""
        rows = torch.randint(self.settings.dpo_pairs, (self.settings.batch_size,), generator=generator, device=self.device)
        return Batch({name: tensor[rows] for name, tensor in self.pairs.items()}, None, rows)

    def dpo_step(self, batch: Batch) -> Logs:
        ids, mask, completion_mask = (batch.inputs[name].flatten(0, 1) for name in ("ids", "mask", "completion_mask"))
        said = sequence_log_prob(self.student, ids, mask, completion_mask).view(-1, 2)
        reference = batch.inputs["reference"]
        margin, reference_margin = said[:, 0] - said[:, 1], reference[:, 0] - reference[:, 1]
        loss = preference_loss(margin=margin, reference_margin=reference_margin, beta=self.settings.dpo_beta).mean()
        self.update(self.dpo_optimizer, loss)
        return {"loss": loss, "margin": (margin - reference_margin).mean(), "preferred": (margin > reference_margin).float().mean()}

    # What is reported

    def tell_conversion(self) -> None:
        """The conversion as lines and artifacts, once."""
        self.log(
            f"Converted {len(self.chosen)} layers: {self.after['elements']:.0f} numbers of a token are cached in place of {self.before['elements']:.0f}, "
            f"{self.compression():.2f} times less. KL(teacher ‖ student) before training: {self.after['kl']:.4f} nats a token."
        )
        for warning in self.warnings(self.after["kl"]):
            self.log(warning)
        self.save_table("conversion", pictures.ranks_table(self.chosen))
        self.save_table("ranks", pictures.rank_bars(self.chosen))
        self.save_table("retained_energy", pictures.energy_bars(self.chosen))
        for name, spectrum in self.spectra.items():
            self.save_table(f"spectrum_{name}", spectrum)
        self.save_table("compression_quality", pictures.compression_quality(self.before, self.after, self.compared))

    def finish(self) -> None:
        trained = self.cost_and_kl(self.student)
        self.save_table("compression_quality", pictures.compression_quality(self.before, self.after, self.compared, trained=trained))

    def diagnostics(self) -> Diagnostics:
        """What the conversion began with, and what looks wrong."""
        metrics: dict[str, float | None] = {
            "initial_kl": self.after["kl"],
            "source_compression": self.compression(),
            "retained_energy_q": min(each["energy_q"] for each in self.chosen),
            "retained_energy_kv": min(each["energy_kv"] for each in self.chosen),
        }
        found = self.warnings(self.cost_and_kl(self.student)["kl"])
        return Diagnostics(metrics, {"warnings": pictures.warnings(found)} if found else {})

    def warnings(self, kl: float) -> list[str]:
        """What may have gone wrong, in sentences, with `kl` that of the validation text now."""
        found = []
        uniform = torch.tensor(float(self.student.vocabulary)).log().item()
        if self.settings.initialization == "svd" and self.after["kl"] > NEAR_UNIFORM * uniform:
            found.append(
                f"The KL before training, {self.after['kl']:.3f}, is near that of a uniform guess, {uniform:.3f}: the conversion kept little of the source."
            )
        if self.position.step > self.budget.steps / 10 and kl >= self.after["kl"]:
            found.append(
                f"The KL has not fallen after a tenth of the steps: {kl:.3f} now, {self.after['kl']:.3f} before training. "
                "Was the learning rate carried over from the other reduction?"
            )
        tried = [each["kl"] for each in self.compared.values()]
        if len({each["elements"] for each in self.compared.values()}) > 1 and max(tried) - min(tried) < 1e-6 * max(tried):
            found.append(f"The KL before training is {tried[0]:.3f} at every rank that was compared: the rank changes nothing.")
        difference = kv_cache.warning_of(kv_cache.layers_of(self.student), kv_cache.measured_layers(self.student))
        return [*found, difference] if difference else found

    def compression(self) -> float:
        """The source's bytes a token over the student's."""
        return self.before["elements"] / self.after["elements"]

    def cost_and_kl(self, model: CausalLM) -> dict[str, float]:
        """Numbers cached of a token, and the mean KL(teacher ‖ model) on equally spaced windows of the validation text."""
        rows, count = self.task.splits["validation"], min(WATCHED, self.language.options.evaluation_prompts)
        places = torch.arange(count, device=self.device) * (len(rows) - 1) // max(1, count - 1)
        batch, teacher = rows.take(places), self.teacher
        assert isinstance(teacher, CausalLM), f"{self.card.id} takes language models as teachers"
        kl = held_out_report(model, batch.inputs, batch.targets, teacher=teacher)["text_kl_teacher_student"]
        assert kl is not None
        return {"elements": float(kv_cache.bytes_per_token(kv_cache.layers_of(model), 1)), "kl": kl}


def sequence_log_prob(model: nn.Module, ids: Tensor, mask: Tensor, completion_mask: Tensor) -> Tensor:
    """log π(completion | prompt), summed over its real tokens: ids and mask (rows, prompt + C), completion_mask (rows, C) → (rows,)."""
    width = completion_mask.shape[1]
    log_probs = completion_log_probs(completion_logits(model(ids, mask, keep=width + 1), width), ids[:, -width:])
    return torch.where(completion_mask.bool(), log_probs, 0.0).sum(dim=1)
