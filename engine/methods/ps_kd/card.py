"""What a person chooses when a network is taught by its own earlier predictions."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import TINY, MethodCard, Needs, Preset, TrainingSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(TrainingSettings):
    alpha_T: float = Field(
        0.8, ge=0, lt=1, description="Share of the network's own prediction in the targets of the last epoch; the rest is the label."
    )
    alpha_schedule: Literal["linear", "constant", "step"] = Field(
        "linear",
        description="Schedule of that share: linear grows with each epoch, constant holds it from the second epoch, step begins with the second half.",
    )
    target_source: Literal["bank", "previous_checkpoint"] = Field(
        "bank",
        description="Where earlier predictions come from: noted row by row while training, or made anew by the last epoch's weights at twice the forward cost.",
    )
    bank_dtype: Literal["float32", "float64"] = Field("float32", description="Number format of the noted predictions.")
    bank_top_k: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Note only so many largest probabilities of a row and spread the rest evenly, to save memory; empty for all.",
    )
    keep_bank: bool = Field(False, description="Leave the last noted predictions of all training rows as an artifact.")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("sgd", description="Update rule of the network's weights.")
    learning_rate: float = Field(0.1, gt=0, le=100, description="Step size at the start of the schedule.")
    weight_decay: float = Field(
        5e-4, ge=0, le=10, description="Decay of all parameters (decoupled for AdamW, added to the gradient for SGD and Adam)."
    )
    nesterov: bool = Field(True, description="Nesterov's form of momentum (SGD only).")


def check(spec: "RunSpec") -> list[Problem]:
    """The targets change between epochs only, so the run must be made of whole ones. `bank_top_k` can't exceed the classes."""
    problems = []
    steps, per_epoch = spec.total_steps, spec.steps_per_epoch
    if steps % per_epoch:
        below = steps // per_epoch * per_epoch
        choices = f"{below} or {below + per_epoch}" if below else f"{per_epoch}"
        problems.append(
            Problem(
                "budget.steps",
                f"must be whole epochs of {per_epoch} steps, because the targets change between epochs; got {steps}, choose {choices}.",
            )
        )
    top_k, classes = spec.settings["bank_top_k"], spec.task_card.classes
    if top_k is not None and classes is not None and top_k > classes:
        problems.append(Problem("settings.bank_top_k", f"must be at most the task's {classes} classes, or empty; got {top_k}."))
    return problems


card = MethodCard(
    id="ps-kd",
    version=1,
    family="self-distillation",
    title="Progressive self-knowledge distillation",
    summary="The network is its own teacher: each row's target mixes the label with the network's prediction of one epoch before, more so as training goes on.",
    paper="arXiv:2006.12000",
    settings=Settings,
    student=Needs("classifier", trained_weights=False),
    check=check,
    presets={
        "small": Preset("SGD at 0.1 for 60 epochs with a cosine per epoch, α growing to 0.8: the digits protocol."),
        "paper": Preset(
            "The CIFAR-100 recipe of the paper: SGD at 0.1, divided by ten at half and at three quarters, batch 128, 300 epochs.",
            settings={"batch_size": 128, "schedule": "step-50-75"},
            budget={"epochs": 300},
        ),
        "tiny": TINY,
    },
)
