"""Points of a plane, to be made: the smallest task on which a generator can be looked at whole."""

from typing import Any, Literal

from pydantic import Field, field_validator

from engine import rewards
from engine.spec.cards import Architecture, Preset, TaskCard
from engine.tasks.options import GenerationOptions

TRAIN, HELD_OUT = 40_000, 4000
SIGMA_DATA = 0.676
"""Standard deviation of the two moons over both coordinates."""
GRID = {"levels": [], "sampler_steps": 18, "sigma_min": 0.02, "sigma_max": 20.0}


class Options(GenerationOptions):
    """What the points are, and how many of them samples are held against."""

    mixture: Literal["two-moons", "eight-gaussians"] = Field(
        "two-moons", description="Where points come from: two half circles, one with a quarter of them, or eight round groups on a circle."
    )
    samples: int = Field(
        2000, ge=100, le=100_000, description="Samples that an evaluation draws; distances are comparable only when it is equal."
    )
    held_out: int = Field(
        HELD_OUT,
        ge=100,
        le=HELD_OUT,
        description="Points of the validation set and of the test set; distances are comparable only when it is equal.",
    )
    reward: str | None = Field(
        None,
        max_length=200,
        description="What samples are scored by as well, such as near:-0.6,0.6: minus the squared distance to that point; empty for nothing.",
    )

    @field_validator("reward")
    @classmethod
    def _scores_points(cls, text: str | None) -> str | None:
        if text is not None:
            rewards.parse(text)
            misfit = rewards.misfit(text, input_shape=(2,), classes=None)
            if misfit is not None:
                raise ValueError(misfit)
        return text


def _edm(width: int, blocks: int) -> dict[str, Any]:
    return {"inputs": 2, "width": width, "blocks": blocks, "classes": 0, "sigma_data": SIGMA_DATA, **GRID}


card = TaskCard(
    id="points-2d",
    version=1,
    title="Points of a plane, generated",
    summary="Make points of two moons with unequal weights, or of eight groups: 40,000 for training, 4,000 each for validation and test.",
    kind="generator",
    also=("denoiser",),
    options=Options,
    input_shape=(2,),
    classes=None,
    train_rows=TRAIN,
    architectures={
        "edm-mlp-96": Architecture(
            "edm_mlp",
            _edm(96, 3),
            "A residual perceptron of width 96 with EDM's preconditioning; denoiser and generator alike.",
            ("teacher", "student"),
        ),
        "vp-mlp-96": Architecture(
            "vp_mlp",
            {"inputs": 2, "width": 96, "layers": 3, "sigma_data": SIGMA_DATA, **GRID, "sampler_steps": 100},
            "A plain perceptron of three layers of 96 that predicts the clean point, sampled by DDIM; rougher than the one with preconditioning.",
            ("teacher", "student"),
        ),
    },
    student="edm-mlp-96",
    teacher="edm-mlp-96",
    teacher_method="denoising",
    teacher_preset=Preset("A denoiser of the plane: 2,500 steps of the EDM loss."),
    headline=("energy_distance", "nearest_distance", "fid_xy", "reward", "evaluations"),
    reward="near:-0.6,0.6",
)
