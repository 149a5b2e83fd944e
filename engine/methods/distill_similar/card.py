"""What a person chooses when models of other tasks teach a target task with few labels."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset, TrainingSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec

WEIGHABLE = ("parc", "rsa", "knn")


class Settings(TrainingSettings):
    selection: Literal["weighted", "nearest"] = Field(
        "weighted", description="Learn from all sources by their similarity to the target task, or from the most similar one alone."
    )
    similarity: Literal["parc", "rsa", "knn", "leep", "nce", "h-score"] = Field(
        "parc",
        description="How similarity is measured on the labeled rows. weighted takes parc, rsa or knn; all are in the run's table.",
    )
    power: float = Field(
        9.0,
        ge=0,
        le=1000,
        description="weighted: power of the similarity in a source's weight; 0 gives all positive ones the same, large ones all to the first.",
    )
    label_weight: float = Field(
        0.5, ge=0, le=1, description="Share of the labels' loss; the rest is the sources'. 1 is training on the labels alone."
    )
    least_weight: float = Field(
        1e-4,
        ge=0,
        lt=1,
        description="Sources below this weight are left out, and the others' weights sum to 1; where all are below it, the largest stays.",
    )
    labeled_batch: int = Field(64, ge=1, le=65536, description="Labeled rows in each step; all of them where there are not more.")
    components: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="parc: principal components that the standardized features are projected on, at most as many as labeled rows; empty for all features.",
    )
    probe_rows: int = Field(
        500, ge=4, le=10_000, description="Most labeled rows that similarity is measured on, each class with its share."
    )
    resamples: int = Field(
        100, ge=0, le=10_000, description="Bootstrap resamples of the labeled rows for the interval of the similarity; 0 for none."
    )
    reference_steps: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="rsa: steps on the labels that train a copy of the student, whose features the sources' are compared with.",
    )


def check(spec: "RunSpec") -> list[Problem]:
    """Weights are made of similarities that can be positive."""
    similarity = spec.settings["similarity"]
    if spec.settings["selection"] == "weighted" and similarity not in WEIGHABLE:
        return [
            Problem(
                "settings.similarity",
                f"must be {', '.join(WEIGHABLE[:-1])} or {WEIGHABLE[-1]} for weights; got {similarity!r}, which suits nearest.",
            )
        ]
    return []


card = MethodCard(
    id="distill-similar",
    version=2,
    family="multi-source",
    title="DistillNearest and DistillWeighted",
    summary="Models of other tasks, with other classes, teach a target task with few labels: each by as much as its features suit that task.",
    paper="arXiv:2304.12314",
    settings=Settings,
    student=Needs("classifier", trained_weights=False),
    teachers=Needs("classifier", at_least=1, at_most=16, foreign=True),
    check=check,
    task="multi-source",
    steps=240,
    presets={
        "small": Preset("AdamW at 0.01 for 240 steps, half of the loss from the labels, similarity to the 9th power: the digits protocol."),
        "paper": Preset(
            "The paper's weights: four fifths of the loss from the labels, similarity to the 12th power, half a cosine.",
            settings={"label_weight": 0.8, "power": 12.0, "schedule": "cosine", "learning_rate": 1e-3},
            budget={"steps": 20_000},
        ),
        "tiny": Preset("A second on one core.", settings={"resamples": 10}, budget={"steps": 8}),
    },
)
