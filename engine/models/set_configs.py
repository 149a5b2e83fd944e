"""The configuration of a synthetic data set, without torch: its size, and the networks that it is for."""

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.spec.cards import StrictModel

Operation = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
"""What differentiable augmentation can do to a batch: see `engine.distilled_sets.augmentation`."""

Size = Annotated[int, Field(ge=1, le=65536)]


class NetworkConfig(StrictModel):
    """A network by its blueprint, as `engine.models.build.build` makes it."""

    architecture: str = Field(description="Its name, for people.")
    builder: str = Field(description="The function of engine.models that makes it.")
    config: dict[str, Any] = Field(description="What that function is called with.")


class TrainingRecipe(StrictModel):
    """How networks are trained from scratch on a set, to say what the set is worth. The same for every set that is compared.

    SGD with momentum 0.9 and weight decay 0.0005; the rate is divided by ten at half of the steps; the last step's weights are read.
    """

    networks: Annotated[int, Field(ge=1, le=1000)] = Field(description="Networks of each architecture; their initial weights differ.")
    first_seed: Annotated[int, Field(ge=0, lt=2**62)] = Field(1000, description="Seed of the first network; each next has one more.")
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Optimizer steps of each network.")
    batch_size: Size = Field(256, description="Rows of a step; the whole set where it has no more.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(description="Rate of the architecture that the set was distilled for.")
    unseen_learning_rate: Annotated[float, Field(gt=0)] = Field(description="Rate of the architectures that took no part in it.")
    augmentation: list[Operation] = Field(default_factory=list, description="What is done to the pictures in training.")
    baselines: Literal["all", "small"] = Field(
        "all", description="Whether networks on all real rows are compared too; small leaves them out."
    )


class SyntheticSetConfig(StrictModel):
    """A set of pictures to learn from."""

    rows: Size = Field(description="Pictures in the set.")
    shape: list[Size] = Field(min_length=3, max_length=3, description="Channels, height and width of a picture.")
    classes: Annotated[int, Field(ge=2, le=1_000_000)] = Field(description="Classes that the labels tell apart.")
    soft_labels: bool = Field(False, description="Whether a label is a distribution over the classes.")
    learned_rate: bool = Field(False, description="Whether the set brings a learning rate to train with.")
    averaged: bool = Field(
        False, description="Whether the pictures are a moving average, which the set keeps beside those of the last step."
    )
    network: NetworkConfig = Field(description="The architecture that it was distilled for.")
    unseen: list[NetworkConfig] = Field(default_factory=list, description="Architectures that took no part, to be trained on it as well.")
    recipe: TrainingRecipe = Field(description="How networks are trained on it when it is judged.")
