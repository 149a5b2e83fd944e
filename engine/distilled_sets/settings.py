"""What a person chooses when a data set is distilled, and what of it does not go together. No torch."""

from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from engine.errors import Problem
from engine.models.set_configs import Operation
from engine.spec.cards import MethodSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


BUFFERS_ENVIRONMENT: Final = {
    "STILLHOUSE_BUFFERS": "Folder in which `mtt` and `ftd` keep their experts for later runs of the same recipe; files there may be deleted at any time. "
    "Workers: `buffers` in the store unless set. `python -m engine`: unset, each run trains its own.",
}
"""What the variable means that the cards of both methods name."""


class SetSettings(MethodSettings):
    """Of every method that makes a data set: how large it is, and how it is judged."""

    images_per_class: int = Field(1, ge=1, le=5000, description="Pictures of each class in the set.")
    initial: Literal["real", "noise"] = Field("real", description="What the pictures begin as: random real rows of their class, or noise.")
    augmentation: list[Operation] = Field(
        default_factory=list,
        description="Differentiable augmentation wherever a network learns: one of these for each batch. Color and flip do not suit digits.",
    )
    networks: int = Field(5, ge=1, le=100, description="Fresh networks of each architecture that the final evaluation trains on the set.")
    network_steps: int = Field(
        150, ge=2, le=1_000_000, description="Optimizer steps of each of these networks; the rate is divided by ten at half."
    )
    network_learning_rate: float = Field(
        0.03, gt=0, le=100, description="Their learning rate, the same for every set compared; the learned one is tried beside it."
    )
    unseen: list[str] = Field(
        default_factory=lambda: ["mlp-64"],
        max_length=8,
        description="Architectures of the task that take no part in making the set and are trained on it in the end.",
    )
    unseen_learning_rate: float = Field(0.05, gt=0, le=100, description="Learning rate of these.")
    baselines: Literal["all", "small"] = Field(
        "all", description="Whether the final evaluation also trains networks on all real rows; small compares with as many rows only."
    )


class TrajectorySettings(SetSettings):
    """Of the methods that match the trajectories of experts."""

    experts: int = Field(4, ge=1, le=1000, description="Networks that are trained on the real rows, whose weights are recorded each epoch.")
    expert_epochs: int = Field(12, ge=1, le=1000, description="Epochs of each expert.")
    expert_seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the first expert, each next has one more; not the run's seed, so that runs share experts."
    )
    expert_learning_rate: float = Field(0.03, gt=0, le=100, description="Step size of the experts' SGD, constant.")
    expert_batch_size: int = Field(64, ge=1, le=65536, description="Real rows in a step of an expert.")
    expert_momentum: float = Field(0.0, ge=0, lt=1, description="Momentum of the experts' SGD.")
    expert_weight_decay: float = Field(0.0, ge=0, le=10, description="Weight decay of the experts' SGD.")
    inner_steps: int = Field(12, ge=1, le=10_000, description="Steps on the set that must take a network where the expert went.")
    matched_epochs: int = Field(2, ge=1, le=1000, description="Epochs of the expert that these steps must match.")
    max_start_epoch: int = Field(
        6, ge=1, le=1000, description="Starts are drawn from the expert's first so many snapshots; larger sets can match later ones."
    )
    inner_batch: int | None = Field(None, ge=1, le=1_000_000, description="Pictures of the set in an inner step; empty for all.")
    image_rate: float = Field(
        20.0, gt=0, le=1e7, description="Step size of the pictures; large, because their gradient passed through many steps."
    )
    learned_rate_start: float = Field(0.03, ge=1e-4, le=100, description="The learned learning rate's first value.")
    learned_rate_rate: float = Field(1e-4, ge=0, le=100, description="Step size of the learned learning rate; it stays at least 0.0001.")
    outer_momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of both outer optimizers, which are SGD.")
    gradient: Literal["full", "constant_memory"] = Field(
        "full",
        description="full passes back through all inner steps; constant_memory takes the visited weights for constants: cheaper, and biased.",
    )
    labels: Literal["hard", "expert"] = Field(
        "hard", description="hard labels are classes; expert labels are the matched expert's probabilities, renewed in each iteration."
    )
    ema_decay: float | None = Field(
        None,
        ge=0,
        le=1,
        title="EMA decay",
        description="Decay of a moving average of the pictures, which is then the product; empty for the pictures themselves.",
    )
    keep: Literal["last", "best"] = Field(
        "last", description="Which iteration's set is the product: the last, or the best one by accuracy on the validation rows."
    )
    keep_every: int = Field(50, ge=1, le=1_000_000, description="Iterations between the validations that decide which set is the best.")
    held_out_seed: int | None = Field(
        None,
        ge=0,
        lt=2**32,
        description="Seed of one more expert that is not matched, against which the accumulated trajectory error is measured; empty for none.",
    )
    flatness_epochs: list[int] = Field(
        default_factory=list, max_length=50, description="Epochs after which the experts' sharpness is measured; empty for never."
    )
    flatness_experts: int = Field(2, ge=1, le=1000, description="How many experts it is measured on.")


def check_set(spec: "RunSpec") -> list[Problem]:
    """The student must be an architecture, and the unseen ones must be of the task. Gradients of gradients are made in float32 only."""
    problems = []
    assert spec.student is not None, "a completed spec has a student"
    if spec.student.source != "builtin":
        problems.append(
            Problem("student", f"must be an architecture of the task, of which fresh networks are made; got {spec.student!s:.80}.")
        )
    known = spec.task_card.architectures
    for at, name in enumerate(spec.settings["unseen"]):
        if name not in known:
            problems.append(Problem(f"settings.unseen.{at}", f"must be one of {', '.join(known)}; got {name!r:.80}."))
    if spec.precision != "float32":
        problems.append(
            Problem("precision", f"must be float32, because gradients of gradients lose too much in less; got {spec.precision}.")
        )
    return problems


def check_matching(spec: "RunSpec") -> list[Problem]:
    """The target of the latest start must be within the expert's epochs; the held-out expert must be none of the matched."""
    problems, chosen = check_set(spec), TrajectorySettings.model_validate({k: v for k, v in spec.settings.items() if k in _FIELDS})
    latest = chosen.expert_epochs - chosen.matched_epochs + 1
    if latest < 1:
        problems.append(
            Problem("settings.matched_epochs", f"must be at most the experts' {chosen.expert_epochs} epochs; got {chosen.matched_epochs}.")
        )
    elif chosen.max_start_epoch > latest:
        text = f"must be at most {latest}, so that each start has {chosen.matched_epochs} of the experts' {chosen.expert_epochs} epochs after it"
        problems.append(Problem("settings.max_start_epoch", f"{text}; got {chosen.max_start_epoch}."))
    last = chosen.expert_seed + chosen.experts - 1
    if chosen.held_out_seed is not None and chosen.expert_seed <= chosen.held_out_seed <= last:
        problems.append(
            Problem(
                "settings.held_out_seed",
                f"must not be one of the experts' seeds {chosen.expert_seed} to {last}; got {chosen.held_out_seed}.",
            )
        )
    for at, epoch in enumerate(chosen.flatness_epochs):
        if not 0 <= epoch <= chosen.expert_epochs:
            problems.append(
                Problem(f"settings.flatness_epochs.{at}", f"must be from 0 to the experts' {chosen.expert_epochs} epochs; got {epoch}.")
            )
    return problems


_FIELDS = frozenset(TrajectorySettings.model_fields)
