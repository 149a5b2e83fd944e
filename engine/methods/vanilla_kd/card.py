"""What a person chooses when choosing vanilla knowledge distillation."""

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from engine.errors import Problem
from engine.spec.cards import TINY, MethodCard, Needs, Preset, TrainingSettings, cifar_recipe

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(TrainingSettings):
    temperature: float | None = Field(
        None, gt=0, le=1e6, description="Softens both distributions; 1 is plain matching of probabilities; empty: 4, or 1 with mse_probs."
    )
    ce_weight: float = Field(
        0.1, ge=0, le=1e6, title="CE weight", description="Weight of the cross-entropy with the labels; 0 needs no labels."
    )
    kd_weight: float = Field(0.9, ge=0, le=1e6, title="KD weight", description="Weight of the teacher's term.")
    divergence: Literal["forward_kl", "reverse_kl", "jeffreys", "js", "soft_ce", "mse_logits", "mse_probs"] = Field(
        "forward_kl",
        description="How far the student is from the teacher. All are multiplied by the temperature's square but the two squared errors.",
    )
    teacher_weights: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=list,
        max_length=16,
        description="Each teacher's share in the average of their probabilities, in their order, with the sum 1; empty for equal shares.",
    )
    cache_targets: bool = Field(
        False,
        description="Ask the teacher once for each training row and keep its logits, in place of asking at every step. Costs memory, saves time.",
    )

    @property
    def used_temperature(self) -> float:
        """`temperature` where it is set, else the divergence's own: probabilities themselves are compared at 1."""
        if self.temperature is not None:
            return self.temperature
        return 1.0 if self.divergence == "mse_probs" else 4.0

    @field_validator("teacher_weights")
    @classmethod
    def _shares_sum_to_one(cls, weights: list[float]) -> list[float]:
        if weights and not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
            raise ValueError(f"must sum to 1; got a sum of {sum(weights):.6g}")
        return weights


def check(spec: "RunSpec") -> list[Problem]:
    """What follows only from settings and teachers together."""
    problems = []
    weights, teachers = spec.settings["teacher_weights"], len(spec.teachers)
    if weights and len(weights) != teachers:
        problems.append(
            Problem(
                "settings.teacher_weights", f"must have one weight for each of the {teachers} teachers, or be empty; got {len(weights)}."
            )
        )
    if spec.settings["divergence"] == "mse_logits" and teachers > 1:
        problems.append(
            Problem(
                "settings.divergence",
                f"mse_logits compares logits, and {teachers} teachers have only probabilities in common; choose another, or one teacher.",
            )
        )
    augmented = [name for name in ("augment_shift", "augment_noise") if spec.task_options.get(name)]
    if spec.settings["cache_targets"] and augmented:
        problems.append(
            Problem(
                "settings.cache_targets",
                f"must be false with task_options.{augmented[0]}: the student sees a new view of each row, and the teacher has to see the same.",
            )
        )
    if spec.settings["cache_targets"] and spec.kind == "causal-lm":
        problems.append(
            Problem("settings.cache_targets", "must be off for a language model: a row of logits for each token of the text would be kept.")
        )
    return problems


card = MethodCard(
    id="vanilla-kd",
    version=1,
    family="logits",
    title="Knowledge distillation",
    summary="The student matches the teacher's softened class probabilities and, with a smaller weight, the labels. Every other method is compared with it.",
    paper="arXiv:1503.02531",
    settings=Settings,
    student=Needs(("classifier", "causal-lm"), trained_weights=False),
    teachers=Needs(("classifier", "causal-lm"), at_least=1, at_most=None),
    check=check,
    data_parallel=True,
    presets={
        "small": Preset("AdamW at 0.01 for 60 epochs, temperature 4, weights 0.1 and 0.9: the digits protocol."),
        "paper": cifar_recipe("the reference code"),
        "tiny": TINY,
    },
)
