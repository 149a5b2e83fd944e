"""What every method sets that trains a generator against a fake denoiser, and perhaps a discriminator. No torch."""

from typing import Literal

from pydantic import Field

from engine.spec.cards import OptimizerSettings


class DistributionMatchingSettings(OptimizerSettings):
    """A generator and a fake denoiser that keeps up with it, each with its optimizer."""

    levels: list[float] = Field(
        [20.0],
        max_length=64,
        description="Noise levels σ of the generator, descending, one a step; the first is the one that sampling begins from.",
    )

    start: Literal["teacher", "student"] = Field(
        "teacher", description="Whose weights the generator begins with: the teacher's, or its own, to go on from an earlier run."
    )
    fake_updates: int = Field(2, ge=1, le=100, description="Steps of the fake denoiser after each step of the generator.")
    batch_size: int = Field(64, ge=1, le=65536, description="Samples in one turn of the generator, and in each of the fake's.")
    gan_weight: float = Field(
        0.0,
        ge=0,
        le=1000,
        title="GAN weight",
        description="Weight of the adversarial loss in the generator's; 0 trains no discriminator and needs no real examples.",
    )
    critic_weight: float = Field(
        0.01, gt=0, le=1000, description="Weight of the discriminator's loss beside the fake's. With a gan_weight only."
    )
    fake_learning_rate: float = Field(1e-3, gt=0, le=100, description="Step size of the fake denoiser and the discriminator.")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adam", description="Update rule of both networks.")
    learning_rate: float = Field(3e-4, gt=0, le=100, description="Step size of the generator at the start of the schedule.")
    schedule: Literal["constant", "cosine", "cosine-per-epoch", "step", "step-50-75", "linear-tail"] = Field(
        "constant", description="Schedule of both learning rates over the budget."
    )
    gradient_clip: float | None = Field(
        10.0, gt=0, description="Largest norm of each network's gradient over all its parameters; empty for no clipping."
    )
