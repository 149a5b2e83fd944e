"""What a person chooses when a few-step generator is tuned by comparing pairs of its samples."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from engine import rewards
from engine.diffusion.levels import level_problem
from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset, TrainingSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(TrainingSettings):
    mode: Literal["online", "offline"] = Field(
        "online",
        description="online compares two samples of the generator by a reward; offline compares training examples with samples of the starting model.",
    )
    reward: str | None = Field(
        None,
        max_length=200,
        description="What to make more of: near:x,y for points (minus the squared distance to that point), ink or confidence for pictures, "
        "or several with + between them; empty for what the task names.",
    )
    several_rewards: Literal["random", "pareto"] = Field(
        "random",
        description="How several rewards rank a pair: by one of them, drawn anew at each transition, or by all, with no preference where they disagree.",
    )
    sampler: Literal["renoise", "ancestral"] = Field(
        "renoise",
        description="The sampler whose transitions are made likelier: renoise adds fresh noise to the predicted sample, ancestral takes an Euler step first.",
    )
    levels: list[Annotated[float, Field(gt=0, le=1e6)]] = Field(
        default_factory=list,
        max_length=100,
        description="Noise levels of the sampler to tune, falling, one a step; empty for those that the generator came with.",
    )
    beta: float = Field(
        1.0,
        gt=0,
        le=1e6,
        description="Slope of the preference's sigmoid on differences of mean log-ratios; the larger, the closer the generator stays to its start.",
    )
    ratio_low: float = Field(
        0.9, gt=0, lt=1, description="Smallest likelihood ratio to the starting model; below it a sample has no gradient."
    )
    ratio_high: float = Field(
        1.1, gt=1, le=1e6, description="Largest likelihood ratio to the starting model; above it a sample has no gradient."
    )
    step_per_transition: bool = Field(
        True,
        description="Update the weights after each transition of the sampler, in order; if off, one update averages over all of them. Online only.",
    )
    batches_per_sampling: int = Field(
        1, ge=1, le=4096, description="Batches of pairs that are sampled at once and then trained on in random order. Online only."
    )
    offline_loss: Literal["pso", "pso_db"] = Field(
        "pso", description="pso compares with the starting model, pso_db is a hinge without it. Offline only."
    )
    target_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the training examples taken as targets: those with the highest reward; 1 for all. Offline only.",
    )
    targets: int = Field(
        2048, ge=1, le=1_000_000, description="Training examples to choose targets from; fewer where the task has fewer. Offline only."
    )
    negatives: int = Field(
        256, ge=1, le=1_000_000, description="Samples of the starting model that targets are compared with. Offline only."
    )
    negatives_refresh: int | None = Field(
        None, ge=1, le=1_000_000, description="Draw new negatives every so many updates; empty to keep the first. Offline only."
    )
    negative_weight: float = Field(1.0, ge=0, le=1000, description="Weight of the negatives' error in the comparison. Offline only.")
    prior_weight: float = Field(
        0.5, ge=0, le=1000, description="Weight of the negatives' own error, which keeps them well modeled. Offline only."
    )
    batch_size: int = Field(128, ge=1, le=65536, description="Pairs in one update.")
    learning_rate: float = Field(5e-4, gt=0, le=100, description="Step size at the start of the schedule.")
    weight_decay: float = Field(
        1e-6, ge=0, le=10, description="Decay of all parameters (decoupled for AdamW, added to the gradient for SGD and Adam)."
    )
    schedule: Literal["constant", "cosine", "cosine-per-epoch", "step", "step-50-75", "linear-tail"] = Field(
        "constant", description="Schedule of the learning rate over the budget; see the other methods for the names."
    )
    gradient_clip: float | None = Field(1.0, gt=0, description="Largest norm of the gradient over all parameters; empty for no clipping.")

    @field_validator("reward")
    @classmethod
    def _is_a_reward(cls, text: str | None) -> str | None:
        if text is not None:
            rewards.parse(text)
        return text


def check(spec: "RunSpec") -> list[Problem]:
    """The reward must score the task's examples, levels fall, and negatives are drawn without replacement."""
    problems = []
    settings, task = spec.settings, spec.task_card
    misfit: str | None = f"must name a reward, since the task {task.id} names none; got None."
    if settings["reward"] is not None:
        misfit = rewards.misfit(settings["reward"], input_shape=task.input_shape, classes=task.classes)
    if misfit is not None:
        problems.append(Problem("settings.reward", misfit))
    wrong = level_problem(settings["levels"]) if settings["levels"] else None
    if wrong is not None:
        problems.append(Problem("settings.levels", wrong))
    if settings["mode"] == "offline" and settings["negatives"] < settings["batch_size"]:
        problems.append(
            Problem(
                "settings.negatives",
                f"must be at least batch_size, {settings['batch_size']}, because a batch takes each once; got {settings['negatives']}.",
            )
        )
    return problems


card = MethodCard(
    id="pso",
    version=1,
    family="preference",
    title="Pairwise sample optimization",
    summary="Tunes a few-step generator by pairs: of two of its samples, or of an example and a sample, the preferred one is made likelier than it was "
    "under the starting model.",
    paper="arXiv:2410.03190",
    settings=Settings,
    student=Needs("generator"),
    task="points-2d",
    steps=900,
    follows=lambda task: {"reward": task.reward},
    check=check,
    baseline=None,
    presets={
        "small": Preset("300 batches of 128 fresh pairs from a four-step generator, three updates each: the two-moons experiment."),
        "paper": Preset(
            "The online recipe for SDXL-Turbo: β 50, 16 pairs at once in batches of 4, two of them and all their transitions to an update.",
            settings={
                "beta": 50.0,
                "sampler": "ancestral",
                "step_per_transition": False,
                "batch_size": 8,
                "gradient_accumulation_steps": 2,
                "batches_per_sampling": 2,
                "learning_rate": 1e-5,
            },
            budget={"steps": 600},
        ),
        "tiny": Preset(
            "A second on one core.", settings={"levels": [20.0, 2.0, 0.5], "batch_size": 8, "batches_per_sampling": 2}, budget={"steps": 12}
        ),
    },
)
