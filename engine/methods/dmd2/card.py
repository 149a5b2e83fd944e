"""What a person chooses when a denoiser is distilled into a generator of one or few steps by matching distributions."""

from typing import TYPE_CHECKING

from pydantic import Field

from engine.diffusion.levels import level_problem
from engine.diffusion.settings import DistributionMatchingSettings
from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(DistributionMatchingSettings):
    guidance: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Weight of classifier-free guidance on the teacher; 1 is its conditional prediction. The fake is never guided.",
    )
    level_low: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="Where the levels begin that the two denoisers are compared at, as a share of the table from its clean end.",
    )
    level_high: float = Field(
        0.98,
        gt=0,
        le=1,
        description="Where the levels end that the two denoisers are compared at, as a share of the table from its clean end.",
    )
    normalizer_eps: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Added to the mean error of the teacher, by which each sample's direction is divided; 0 sets what is not finite to 0.",
    )


def check(spec: "RunSpec") -> list[Problem]:
    """Levels descend, and there is something between the ends of the table."""
    problems = []
    wrong = level_problem(spec.settings["levels"])
    if wrong is not None:
        problems.append(Problem("settings.levels", wrong))
    low, high = spec.settings["level_low"], spec.settings["level_high"]
    if low >= high:
        problems.append(Problem("settings.level_low", f"must be below level_high, which is {high:g}; got {low:g}."))
    return problems


card = MethodCard(
    id="dmd2",
    version=2,
    family="score distillation",
    title="Improved distribution matching distillation",
    summary="A generator of one or few steps follows the difference between the teacher's denoiser and one that is trained on the generator's own samples.",
    paper="arXiv:2405.14867",
    settings=Settings,
    student=Needs("generator", trained_weights=False),
    teachers=Needs("denoiser"),
    check=check,
    presets={
        "small": Preset("The digits bench: one step, Adam at 0.0003 and 0.001, two fake steps for each of the generator, 400 steps."),
        "paper": Preset(
            "The settings for ImageNet 64×64: AdamW at 0.000002, batches of 280, five fake steps, the adversarial loss at 0.003 and 0.01.",
            settings={
                "levels": [80.0],
                "optimizer": "adamw",
                "learning_rate": 2e-6,
                "fake_learning_rate": 2e-6,
                "weight_decay": 0.01,
                "batch_size": 280,
                "fake_updates": 5,
                "gan_weight": 3e-3,
                "critic_weight": 1e-2,
            },
            budget={"steps": 80_000},
        ),
        "tiny": Preset(
            "A second on one core.", settings={"batch_size": 16, "levels": [20.0, 1.0], "gan_weight": 0.003}, budget={"steps": 6}
        ),
    },
    baseline=None,
    task="digits-images",
    steps=400,
)
