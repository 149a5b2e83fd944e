"""What a person chooses when guidance and distribution matching are followed at noise levels of their own."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.diffusion.levels import level_problem
from engine.diffusion.settings import DistributionMatchingSettings
from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(DistributionMatchingSettings):
    levels: list[float] = Field(
        [20.0, 3.0, 1.0, 1 / 3],
        max_length=64,
        description="Noise levels σ of the generator, descending, one a step; the first is the one that sampling begins from.",
    )
    guidance: float = Field(
        3.0,
        ge=1,
        le=100,
        description="Scale of classifier-free guidance on the teacher; the augmentation grows with it, and 1 leaves it out.",
    )
    schedule_of_levels: Literal["coupled_shared", "decoupled_full", "decoupled_constrained", "decoupled_hybrid"] = Field(
        "decoupled_hybrid",
        description="Where the two terms are computed: at one level with one noise, at two levels anywhere, at two levels below the generator's, "
        "or the augmentation below the generator's and the matching anywhere.",
    )
    regularizer: Literal["matching", "mean_var", "none"] = Field(
        "matching",
        description="What keeps the augmentation in check: matching distributions with a fake denoiser, holding each sample's mean and variance, or nothing.",
    )
    balance: float = Field(
        1.0, gt=0, le=1000, description="Scale of both directions; above 1 each step aims further than the denoisers say."
    )
    normalize: bool = Field(
        True, description="Divide each direction by the teacher's mean error on that sample, at the level of that direction."
    )
    time_shift: float = Field(
        1.0, gt=0, le=100, description="Shift of the drawn shares of noise, as the teacher was trained with it; 1 for none."
    )
    share_low: float = Field(0.02, gt=0, lt=1, description="Smallest share of noise that is drawn: σ / (1 + σ) before the shift.")
    share_high: float = Field(0.95, gt=0, lt=1, description="Largest share of noise that is drawn: σ / (1 + σ) before the shift.")
    mean_target: float | None = Field(
        None, ge=-1e6, le=1e6, description="Mean of a sample's entries that mean_var aims at; empty for that of the training rows."
    )
    variance_target: float | None = Field(
        None, gt=0, le=1e6, description="Variance of a sample's entries that mean_var aims at; empty for that of the training rows."
    )
    fake_learning_rate: float = Field(
        1e-3, gt=0, le=100, description="Step size of the fake denoiser and the discriminator; results are sensitive to it."
    )


ROOM = 0.01
"""The narrowest interval of shares that levels are drawn from."""


def check(spec: "RunSpec") -> list[Problem]:
    """Levels descend and leave room below them, and something moves the generator."""
    settings, problems = spec.settings, []
    low, high, shift = settings["share_low"], settings["share_high"], settings["time_shift"]
    if low >= high:
        problems.append(Problem("settings.share_low", f"must be below share_high, which is {high:g}; got {low:g}."))
    wrong = level_problem(settings["levels"])
    lowest = shift * (low + ROOM) / (1 + (shift - 1) * (low + ROOM))
    if wrong is None and settings["levels"][-1] / (1 + settings["levels"][-1]) <= lowest:
        wrong = f"must end above σ = {lowest / (1 - lowest):.3g}, to leave room for lower levels; got {settings['levels'][-1]:g}."
    if wrong is not None:
        problems.append(Problem("settings.levels", wrong))
    if settings["guidance"] == 1 and settings["regularizer"] == "none" and settings["gan_weight"] == 0:
        problems.append(
            Problem("settings.guidance", "must be above 1 where nothing else moves the generator; got 1. Or choose another regularizer.")
        )
    return problems


card = MethodCard(
    id="decoupled-dmd",
    version=2,
    family="score distillation",
    title="Decoupled distribution matching distillation",
    summary="The direction of DMD in two: guidance, which turns many steps into few, and distribution matching, which keeps it in check, each at noise levels of its own.",
    paper="arXiv:2511.22677",
    settings=Settings,
    student=Needs("generator", trained_weights=False),
    teachers=Needs("denoiser"),
    check=check,
    presets={
        "small": Preset("The digits bench: four steps, guidance 3, two fake steps for each of the generator, 400 steps."),
        "paper": Preset(
            "Guidance 8 and four steps as for SDXL, with five fake steps as in DMD2; the paper states neither learning rate nor length, so they are DMD2's.",
            settings={
                "levels": [80.0, 3.0, 1.0, 1 / 3],
                "guidance": 8.0,
                "fake_updates": 5,
                "share_high": 0.98,
                "learning_rate": 2e-6,
                "fake_learning_rate": 2e-6,
                "optimizer": "adamw",
            },
            budget={"steps": 80_000},
        ),
        "tiny": Preset("A second on one core.", settings={"batch_size": 16, "gan_weight": 0.003}, budget={"steps": 6}),
    },
    baseline="dmd2",
    task="digits-images",
    steps=400,
)
