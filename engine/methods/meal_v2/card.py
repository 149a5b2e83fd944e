"""What a person chooses when several teachers teach a student that is already trained, without labels."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset, TrainingSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(TrainingSettings):
    adversarial: Literal["none", "joint", "gan"] = Field(
        "none",
        description="Whether a discriminator tells student and teachers apart by their logits: none; joint as the released code does it, which makes "
        "the student easier to tell apart; gan with the gradient reversed, as the paper says it.",
    )
    lambda_d: float = Field(0.1, ge=0, le=1e6, description="gan: weight of the discriminator's reversed gradient in the student's.")
    reduction: int = Field(2, ge=2, le=1024, description="How much narrower each layer of the discriminator is than the one before.")
    final_relu: bool = Field(True, description="ReLU after the discriminator's last layer, as in the released code.")
    lr_d: float = Field(
        1e-4, gt=0, le=100, title="LR d", description="The discriminator's step size at the start, where it does not follow the main one."
    )
    lr_d_follows_main: bool = Field(
        True, title="LR d follows main", description="Give the discriminator the student's step size, as the released code in fact does."
    )
    combine: Literal["average", "random_teacher"] = Field(
        "average", description="What teaches a batch: the average of all teachers' probabilities, or one teacher drawn anew for each batch."
    )
    hard_label_weight: float = Field(0.0, ge=0, le=1e6, description="Weight of the cross-entropy with the labels; 0 needs no labels.")
    warm_up_epochs: int = Field(
        30,
        ge=0,
        le=100_000,
        description="Epochs of supervised training that make the student's starting point; 0 for the student of an earlier run, which the baseline then starts from as well, or to start from scratch.",
    )
    warm_up_learning_rate: float = Field(1e-2, gt=0, le=100, description="Step size at the start of those epochs; all else is as set here.")
    learning_rate: float = Field(3e-3, gt=0, le=100, description="Step size at the start of the schedule.")


def check(spec: "RunSpec") -> list[Problem]:
    """A student is warmed up once, and the discriminator needs a layer of two."""
    settings, classes, problems = spec.settings, spec.task_card.classes, []
    if spec.student is not None and spec.student.source == "run" and settings["warm_up_epochs"]:
        problems.append(
            Problem("settings.warm_up_epochs", f"must be 0, because {spec.student} is trained already; got {settings['warm_up_epochs']}.")
        )
    if settings["adversarial"] != "none" and classes is not None and classes // settings["reduction"] // settings["reduction"] < 2:
        problems.append(
            Problem(
                "settings.reduction",
                f"must leave the discriminator's second layer at least 2 units, {classes} classes divided by it twice; got {settings['reduction']}.",
            )
        )
    return problems


card = MethodCard(
    id="meal-v2",
    version=1,
    family="logits",
    title="MEAL V2",
    summary="A trained student goes on from the averaged probabilities of several teachers, without labels, and if wanted with a discriminator that tells them apart.",
    paper="arXiv:2009.08453",
    settings=Settings,
    student=Needs("classifier", trained_weights=False),
    teachers=Needs("classifier", at_least=1, at_most=16),
    check=check,
    # From the same checkpoint, for as many steps: with the student of an earlier run and no warm-up, both start from its weights.
    baseline="supervised",
    epochs=80,
    presets={
        "small": Preset(
            "30 epochs of supervised training, then AdamW at 0.003 for 80 epochs on the teachers' average: the digits protocol."
        ),
        "paper": Preset(
            "The released ImageNet recipe for a student that is trained already: SGD at 0.01, no weight decay, the discriminator on; about 180 epochs.",
            settings={
                "optimizer": "sgd",
                "learning_rate": 0.01,
                "batch_size": 512,
                "schedule": "step-50-75",
                "adversarial": "joint",
                "warm_up_epochs": 0,
            },
            budget={"epochs": 180},
        ),
        "tiny": Preset(
            "A second on one core, with every part.", settings={"adversarial": "gan", "warm_up_epochs": 1}, budget={"epochs": 2}
        ),
    },
)
