"""What a person chooses when a model teaches its own successors, with more or less of the ground truth."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset, TrainingSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec

MOST_ROWS = 5000


class Settings(TrainingSettings):
    variant: Literal["deep", "kernel"] = Field(
        "deep", description="deep trains a new network for each generation; kernel fits ridge regressions in closed form, with no gradient."
    )
    fits: int = Field(5, ge=1, le=1000, description="How many fits are made, each taught by the one before: generations 0 to this less 1.")
    estimator: Literal["closed_form", "grid", "fixed"] = Field(
        "closed_form",
        description="Where each fit's share of the ground truth comes from: the best on validation by formula (deep trains one more network for it), "
        "the best of 21 tried on validation (kernel only), or alpha.",
    )
    alpha: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=lambda: [0.25],
        min_length=1,
        max_length=1000,
        description="fixed: share of the ground truth in the targets, one number for all fits or one for each; the first fit has the labels alone.",
    )
    reg_coef: float = Field(1e-4, ge=0, le=1e6, description="deep: weight of the norms of the weights in the loss.")
    reg: Literal["norm", "squared"] = Field(
        "norm", description="deep: whether each tensor's norm is taken as it is, as in the released code, or squared."
    )
    ridge: float = Field(0.2, gt=0, le=1e9, description="kernel: λ, the weight of the function's norm.")
    gamma: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="kernel: γ of exp(−γ‖x − x'‖²); empty for one over the median squared distance of the training rows.",
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adam", description="Update rule of each generation's weights.")
    learning_rate: float = Field(3e-3, gt=0, le=100, description="Step size at the start of the schedule.")
    schedule: Literal["constant", "cosine", "cosine-per-epoch", "step", "step-50-75", "linear-tail"] = Field(
        "constant", description="Schedule of the learning rate over one generation, as for supervised training."
    )

    def share(self, number: int) -> float:
        """α of fit `number`, from 0, as `alpha` gives it."""
        return self.alpha[number if len(self.alpha) > 1 else 0]


def check(spec: "RunSpec") -> list[Problem]:
    """What variant, estimator, shares and student do not allow together."""
    settings, problems = spec.settings, []
    if settings["variant"] == "deep" and settings["estimator"] == "grid":
        problems.append(
            Problem(
                "settings.estimator",
                "must be closed_form or fixed for networks: a grid would train 21 of them in each generation; got 'grid'.",
            )
        )
    if len(settings["alpha"]) not in (1, settings["fits"]):
        problems.append(
            Problem(
                "settings.alpha", f"must have one number, or one for each of the {settings['fits']} fits; got {len(settings['alpha'])}."
            )
        )
    if spec.student is not None and spec.student.source == "run":
        problems.append(
            Problem("student", f"must be an architecture, because every generation starts from random weights; got {spec.student}.")
        )
    elif spec.student is not None and spec.task_card.architectures[spec.student.name].pretrained is not None:
        problems.append(
            Problem(
                "student",
                f"must have random weights, because every generation starts from them; {spec.student} begins as a pretrained model.",
            )
        )
    if settings["variant"] == "kernel" and spec.task_card.words is not None:
        problems.append(
            Problem("settings.variant", f"must be deep for the words of {spec.task}, between which there are no distances; got 'kernel'.")
        )
    rows = spec.task_options.get("train_limit") or spec.task_card.train_rows
    if settings["variant"] == "kernel" and rows > MOST_ROWS:
        problems.append(
            Problem(
                "settings.variant",
                f"must be deep for more than {MOST_ROWS:,} training rows, whose kernel has a number for each pair; got {rows:,}.",
            )
        )
    return problems


card = MethodCard(
    id="teacher-guidance",
    version=1,
    family="self-distillation",
    title="Iterated self-distillation with ground truth",
    summary="A model teaches its successor, which teaches the next; how much ground truth each of them still gets decides how far that smooths.",
    paper="arXiv:2102.13088",
    settings=Settings,
    student=Needs("classifier", trained_weights=False),
    check=check,
    epochs=30,
    presets={
        "small": Preset(
            "Five generations of 30 epochs, Adam at a constant 0.003, the ground truth's share by the formula: the digits protocol."
        ),
        "paper": Preset(
            "The released script: six generations of 75 epochs, Adam at 0.001, a quarter of ground truth.",
            settings={"fits": 6, "estimator": "fixed", "alpha": [0.25], "learning_rate": 1e-3},
            budget={"epochs": 75},
        ),
        "tiny": Preset("A second on one core.", settings={"fits": 2}, budget={"epochs": 2}),
    },
)
