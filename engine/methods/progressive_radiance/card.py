"""What a person chooses when a radiance field is distilled into light and material."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import MethodCard, MethodSettings, Needs, Preset

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(MethodSettings):
    progress: Literal["learned", "fixed"] = Field(
        "learned", description="Whether each patch learns the physical image's share, or all have a fixed one."
    )
    fixed_progress: float = Field(
        1.0,
        ge=0,
        le=1,
        description="That share where it is fixed; 1 fits light and material to the photos directly, with no radiance field.",
    )
    p_init: float = Field(0.01, gt=0, le=0.5, description="Progress at the start of a stage; above 0.1 bad materials get gradient at once.")
    push: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Weight λ_p of the push towards the physical image, where both explain the photos equally well; 0 for none.",
    )
    ssim_weight: float = Field(
        0.0, ge=0, le=1, title="SSIM weight", description="Share of 1 − SSIM in the loss; the rest is the mean absolute error."
    )
    radiance_steps: int = Field(400, ge=0, le=10_000_000, description="Steps of the first stage, which fits the radiance field alone.")
    mirror_steps: int = Field(
        0, ge=0, le=10_000_000, description="Steps of the second stage, which distills reflections alone; 0 leaves it out."
    )
    joint_steps: int = Field(
        0, ge=0, le=10_000_000, description="Steps of the last stage, which trains everything at a tenth of the rates; 0 leaves it out."
    )
    radiance_rate: float = Field(0.03, gt=0, le=10, description="Step size of the radiance field in the first stage.")
    late_radiance_rate: float = Field(
        0.001,
        ge=0,
        le=10,
        description="Step size of the radiance field afterwards; large, it explains everything and progress never rises.",
    )
    light_rate: float = Field(0.03, ge=0, le=10, description="Step size of the environment light.")
    material_rate: float = Field(0.02, ge=0, le=10, description="Step size of albedo and reflectivity.")
    progress_rate: float = Field(0.05, ge=0, le=10, description="Step size of the progress.")


def check(spec: "RunSpec") -> list[Problem]:
    """A fixed share leaves nothing for a stage of reflections to learn. No loss scale keeps small gradients from being 0 in float16."""
    settings, problems = spec.settings, []
    if settings["progress"] == "fixed" and settings["mirror_steps"]:
        message = f"must be 0 where the progress is fixed; got {settings['mirror_steps']}."
        problems.append(Problem("settings.mirror_steps", message))
    if spec.precision == "float16":
        problems.append(Problem("precision", "must be float32 or bfloat16: its updates have no loss scale; got float16."))
    return problems


card = MethodCard(
    id="progressive-radiance",
    version=2,
    family="scenes",
    title="Progressive radiance distillation",
    summary="A radiance field is fitted to photos, then light and material take over its image pixel by pixel, as far as they explain the photos.",
    paper="arXiv:2408.07595",
    settings=Settings,
    student=Needs("scene", trained_weights=False),
    baseline=None,
    task="toy-scene",
    steps=600,
    check=check,
    presets={
        "small": Preset("400 steps of radiance, 600 of distillation, all pixels at once: the specification's toy with the push."),
        "paper": Preset(
            "All four stages at the length derived for full scenes, with SSIM in the loss and the rates of 3DGS-DR.",
            settings={
                "ssim_weight": 0.2,
                "radiance_steps": 5000,
                "mirror_steps": 15_000,
                "joint_steps": 5000,
                "progress_rate": 0.006,
                "light_rate": 0.01,
                "material_rate": 0.01,
                "late_radiance_rate": 0.003,
            },
            budget={"steps": 10_000},
        ),
        "tiny": Preset(
            "A few steps of each stage.",
            settings={"radiance_steps": 5, "mirror_steps": 5, "joint_steps": 4},
            budget={"steps": 6},
        ),
    },
)
