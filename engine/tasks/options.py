"""Options that the tasks with labeled rows share: how the data is cut and spoiled. No torch."""

from typing import Literal

from pydantic import Field

from engine.spec.cards import TaskOptions


class LabelOptions(TaskOptions):
    """How labeled rows are cut into train, validation and test, and how the training labels are spoiled."""

    split: Literal["stratified", "random"] = Field(
        "stratified", description="stratified keeps the classes' shares equal in all parts; random is one permutation of all rows."
    )
    split_seed: int = Field(0, ge=0, lt=2**32, description="Seed of the cut; runs are comparable only when it is equal.")
    label_noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Chance of each training label to be replaced by a class drawn uniformly from all; validation and test stay clean.",
    )
    label_noise_seed: int = Field(0, ge=0, lt=2**63, description="Seed of the label noise.")


class ClassificationOptions(LabelOptions):
    """As for all labeled rows, and how the training pictures are varied."""

    augment_shift: int = Field(
        0,
        ge=0,
        le=8,
        description="Shift each training picture by up to so many pixels either way, anew in every batch; pixels of the edge are repeated.",
    )
    augment_noise: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Standard deviation of normal noise that is added to the standardized training pixels, anew in every batch.",
    )


class GenerationOptions(TaskOptions):
    """How generators and denoisers are judged."""

    samples: int = Field(
        1500, ge=100, le=100_000, description="Samples that an evaluation draws; distances are comparable only when it is equal."
    )


class PictureGenerationOptions(GenerationOptions):
    """How generators and denoisers of pictures are judged."""

    features: Literal["task", "inception"] = Field(
        "task",
        description="What space distances are measured in first: the task's own, or that of InceptionV3, whose weights the worker must have "
        "(STILLHOUSE_INCEPTION_WEIGHTS). Inception takes minutes an evaluation on a CPU, and FID with it needs more than 2,048 samples.",
    )


INCEPTION_ENVIRONMENT = {
    "STILLHOUSE_INCEPTION_WEIGHTS": "On a worker: the safetensors file with the weights of the literature's InceptionV3 (`pt_inception-2015-12-05`), "
    "for runs whose task option `features` is `inception`. Unset: such runs are refused."
}
"""What a task with PictureGenerationOptions reads of its worker's environment."""
