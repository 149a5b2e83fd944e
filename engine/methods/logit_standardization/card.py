"""What a person chooses when logits are standardized before they are compared."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import TINY, MethodCard, Needs, Preset, TrainingSettings, cifar_recipe

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(TrainingSettings):
    base_method: Literal["kd", "dkd", "ctkd", "mlkd"] = Field(
        "kd",
        description="What the standardized logits go into: plain, decoupled, curriculum-temperature or multi-level distillation.",
    )
    base_temperature: float = Field(
        2.0, gt=0, le=1e6, description="Softens the standardized logits of both; ctkd learns its own temperature instead."
    )
    kd_weight: float = Field(
        9.0, ge=0, le=1e6, title="KD weight", description="Weight of the teacher's term; large because standardized targets are soft."
    )
    ce_weight: float | None = Field(
        None,
        ge=0,
        le=1e6,
        title="CE weight",
        description="Weight of the cross-entropy of the raw logits with the labels; empty: 0.1, or 1 with dkd.",
    )
    epsilon: float = Field(1e-7, ge=0, le=1e-2, description="Added to each row's standard deviation before the division.")
    dkd_alpha: float = Field(1.0, ge=0, le=1e6, title="DKD alpha", description="dkd: weight of the target class's part, times kd_weight.")
    dkd_beta: float = Field(8.0, ge=0, le=1e6, title="DKD beta", description="dkd: weight of the other classes' part, times kd_weight.")
    warmup_epochs: int = Field(
        20, ge=0, le=100_000, description="dkd: epochs over which the teacher's term grows to its full weight; 0 for at once."
    )
    curriculum_epochs: int = Field(
        10, ge=1, le=100_000, description="ctkd: epochs over which the temperature's reversed gradient grows to its full strength."
    )

    @property
    def used_ce_weight(self) -> float:
        """`ce_weight` where it is set, else the base method's own: decoupled distillation keeps the labels in full."""
        if self.ce_weight is not None:
            return self.ce_weight
        return 1.0 if self.base_method == "dkd" else 0.1


def check(spec: "RunSpec") -> list[Problem]:
    """What follows only from settings and task together."""
    problems = []
    classes, base = spec.task_card.classes, spec.settings["base_method"]
    if classes is not None and classes < 3:
        problems.append(
            Problem(
                "task",
                f"logit-standardization needs at least 3 classes, for with 2 every standardized pair is the same; {spec.task} has {classes}.",
            )
        )
    if base == "mlkd" and spec.settings["gradient_accumulation_steps"] > 1:
        problems.append(
            Problem(
                "settings.gradient_accumulation_steps",
                f"must be 1 with mlkd, which compares the rows of a batch with each other; got {spec.settings['gradient_accumulation_steps']}.",
            )
        )
    if base == "mlkd" and len(spec.task_card.input_shape) != 3:
        problems.append(Problem("settings.base_method", f"mlkd shifts pictures, and {spec.task} has none; choose kd, dkd or ctkd."))
    return problems


card = MethodCard(
    id="logit-standardization",
    version=1,
    family="logits",
    title="Logit standardization",
    summary="Each row of logits is standardized before softmax and KL, so the student copies the teacher's order and relations and not its scale.",
    paper="arXiv:2403.01427",
    settings=Settings,
    student=Needs("classifier", trained_weights=False),
    teachers=Needs("classifier"),
    baseline="vanilla-kd",
    check=check,
    presets={
        "small": Preset("AdamW at 0.01 for 60 epochs, temperature 2, weights 0.1 and 9: the digits protocol."),
        "paper": cifar_recipe("the released code"),
        "tiny": TINY,
    },
)
