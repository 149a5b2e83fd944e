"""What a person chooses when a data set is distilled from experts on flat trajectories."""

from pydantic import Field

from engine.distilled_sets.settings import BUFFERS_ENVIRONMENT, TrajectorySettings, check_matching
from engine.methods.mtt.card import TINY
from engine.spec.cards import MethodCard, Needs, Preset


class Settings(TrajectorySettings):
    rho: float = Field(
        0.5, ge=0, le=100, description="Radius of the perturbation in an expert's step: how flat the trajectory must be; 0 is SGD."
    )
    alpha: float = Field(
        0.4, ge=0, le=1, description="Weight of the gradient's part that is orthogonal to the perturbed one, GSAM's; 0 is SAM."
    )
    adaptive: bool = Field(True, description="Whether the perturbation is scaled by each weight's size, as in ASAM.")
    ema_decay: float | None = Field(
        0.99,
        ge=0,
        le=1,
        title="EMA decay",
        description="Decay of a moving average of the pictures, which is then the product, about 1 − 2/iterations; empty for the pictures themselves.",
    )
    held_out_seed: int | None = Field(
        9,
        ge=0,
        lt=2**32,
        description="Seed of one more expert that is not matched, against which the accumulated trajectory error is measured; empty for none.",
    )
    flatness_epochs: list[int] = Field(
        default_factory=lambda: [4, 7, 10],
        max_length=50,
        description="Epochs after which the experts' sharpness is measured; empty for never.",
    )


card = MethodCard(
    id="ftd",
    version=1,
    family="dataset distillation",
    title="Flat trajectory distillation",
    summary="As matching training trajectories, but the experts are trained to be flat, so that small deviations on the way matter less; the pictures are averaged.",
    paper="arXiv:2211.11004",
    settings=Settings,
    student=Needs("dataset", trained_weights=False),
    baseline="mtt",
    steps=200,
    check=check_matching,
    environment=BUFFERS_ENVIRONMENT,
    presets={
        "small": Preset("One picture a class on digits, from four flat experts of twelve epochs, 200 iterations: about a minute."),
        "paper": Preset(
            "Ten pictures a class as published for CIFAR-10 with the ConvNet: 100 experts of 50 epochs with a radius of 0.01, 5,000 iterations.",
            settings={
                "images_per_class": 10,
                "rho": 0.01,
                "ema_decay": 0.9995,
                "experts": 100,
                "expert_epochs": 50,
                "expert_learning_rate": 0.01,
                "expert_batch_size": 256,
                "held_out_seed": None,
                "inner_steps": 30,
                "matched_epochs": 2,
                "max_start_epoch": 20,
                "image_rate": 100.0,
                "learned_rate_start": 0.001,
                "learned_rate_rate": 1e-5,
                "augmentation": ["color", "crop", "cutout", "flip", "scale", "rotate"],
                "network_steps": 1000,
                "network_learning_rate": 0.01,
            },
            budget={"steps": 5000},
        ),
        "tiny": Preset("A second on one core.", settings={**TINY, "flatness_epochs": [3]}, budget={"steps": 6}),
    },
)
