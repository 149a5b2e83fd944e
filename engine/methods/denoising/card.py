"""What a person chooses when a denoiser is trained on examples, to teach generators."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset, TrainingSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(TrainingSettings):
    level_mean: float = Field(-0.6, ge=-20, le=20, description="Mean of ln σ, the logarithm of the noise level, in training.")
    level_std: float = Field(
        1.4, gt=0, le=20, description="Standard deviation of ln σ in training; the wider, the more of it is spent at both ends."
    )
    level_low: float = Field(0.005, gt=0, le=1e6, description="Lowest noise level σ that is trained on.")
    level_high: float = Field(
        40.0, gt=0, le=1e6, description="Highest noise level σ that is trained on; it must reach the one that generators begin from."
    )
    label_dropout: float = Field(
        0.1, ge=0, le=1, description="Share of rows whose class is replaced by the null condition, which classifier-free guidance needs."
    )
    average_decay: float = Field(0.998, ge=0, lt=1, description="Decay of the average of the weights, which is what the run makes.")
    average_warmup: int = Field(500, ge=0, le=1_000_000, description="First steps, in which the average decays by 0.99 at most.")
    batch_size: int = Field(128, ge=1, le=65536, description="Examples in one step, drawn with replacement.")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adam", description="Update rule of the denoiser's weights.")
    learning_rate: float = Field(1e-3, gt=0, le=100, description="Step size at the start of the schedule.")
    schedule: Literal["constant", "cosine", "cosine-per-epoch", "step", "step-50-75", "linear-tail"] = Field(
        "linear-tail",
        description="Schedule of the learning rate over the budget; linear-tail is constant and in the last 30 % a line to 0.",
    )


def check(spec: "RunSpec") -> list[Problem]:
    """The lowest level is below the highest."""
    low, high = spec.settings["level_low"], spec.settings["level_high"]
    if low < high:
        return []
    return [Problem("settings.level_low", f"must be below level_high, which is {high:g}; got {low:g}.")]


card = MethodCard(
    id="denoising",
    version=1,
    family="baseline",
    title="Denoising",
    summary="A diffusion model by the EDM loss, with classes dropped now and then: the teacher of few-step generators.",
    paper="arXiv:2206.00364",
    settings=Settings,
    student=Needs("denoiser", trained_weights=False),
    check=check,
    presets={
        "small": Preset("The teacher of the digits bench: Adam at 0.001, batches of 128, 2,500 steps."),
        "paper": Preset(
            "EDM's settings for CIFAR-10: batches of 512, ln σ ~ N(−1.2, 1.2²), 390,000 steps.",
            settings={
                "batch_size": 512,
                "level_mean": -1.2,
                "level_std": 1.2,
                "level_low": 0.002,
                "level_high": 80.0,
                "average_decay": 0.9993,
                "schedule": "constant",
            },
            budget={"steps": 390_000},
        ),
        "tiny": Preset("A second on one core.", settings={"batch_size": 32}, budget={"steps": 8}),
    },
    baseline=None,
    task="digits-images",
    steps=2500,
)
