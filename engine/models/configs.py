"""The configurations of our own architectures, without torch, so that a spec that changes one can be checked in a web process."""

from collections.abc import Sequence
from math import prod
from typing import Annotated

from pydantic import Field

from engine.cards import StrictModel

Width = Annotated[int, Field(ge=1, le=65536)]
Classes = Annotated[int, Field(ge=2, le=1_000_000)]


class MlpConfig(StrictModel):
    """Layers with biases and ReLU between them."""

    inputs: Width = Field(description="Numbers in one flattened example.")
    hidden: list[Width] = Field(max_length=64, description="Width of each hidden layer.")
    classes: Classes = Field(description="Numbers in one row of logits.")


class CnnConfig(StrictModel):
    """Convolutions over a square picture."""

    channels: Annotated[int, Field(ge=1, le=1024)] = Field(description="Channels of the picture.")
    widths: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        min_length=1, max_length=8, description="Channels of each stage; every stage after the first halves height and width."
    )
    grid: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Height and width that the last mean over the picture leaves.")
    classes: Classes = Field(description="Numbers in one row of logits.")


class ResnetConfig(CnnConfig):
    """A convolutional network with residual blocks."""

    blocks: Annotated[int, Field(ge=1, le=64)] = Field(description="Residual blocks in each stage.")
    stem_stride: Annotated[int, Field(ge=1, le=4)] = Field(1, description="Stride of the first convolution.")


def sizes_of_task(input_shape: Sequence[int], classes: int | None) -> dict[str, int]:
    """What these fields of a configuration must be for examples of `input_shape` in `classes` classes: the task decides, not the network.

    A shape of three is (channels, height, width); without one there are no channels to be right or wrong.
    """
    sizes = {"inputs": prod(input_shape)}
    if classes is not None:
        sizes["classes"] = classes
    if len(input_shape) == 3:
        sizes["channels"] = input_shape[0]
    return sizes


CONFIGS: dict[str, type[StrictModel]] = {"mlp": MlpConfig, "narrow_cnn": CnnConfig, "resnet": ResnetConfig}
