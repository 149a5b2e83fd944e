"""A data set as a student: few made-up pictures on which a network trained from scratch should do as well as on the real rows."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.models.set_configs import SyntheticSetConfig


class SyntheticSet(nn.Module):
    """Pictures, labels and what is needed to train on them. Its state is the product: there is no forward pass.

    images (rows, channels, height, width): in the space in which networks see them. A pixel's value is `images * scale + mean`, in 0…1.
    last: the same shape, the pictures before averaging, where `images` is their moving average; else None.
    labels: (rows,) int64, or (rows, classes) distributions.
    learning_rate: (), a positive number that was learned with the pictures; None where the set has none.
    mean, scale: (channels, height, width). source (rows,) int64: the training row that a picture began as, −1 for noise.
    """

    images: nn.Parameter
    last: nn.Parameter | None
    learning_rate: nn.Parameter | None
    labels: Tensor
    mean: Tensor
    scale: Tensor
    source: Tensor

    def __init__(self, config: SyntheticSetConfig) -> None:
        super().__init__()
        self.config = config
        size = (config.rows, *config.shape)
        self.images = nn.Parameter(torch.zeros(size))
        self.register_parameter("last", nn.Parameter(torch.zeros(size)) if config.averaged else None)
        self.register_parameter("learning_rate", nn.Parameter(torch.tensor(0.0)) if config.learned_rate else None)
        shape = (config.rows, config.classes) if config.soft_labels else (config.rows,)
        self.register_buffer("labels", torch.zeros(shape, dtype=torch.float32 if config.soft_labels else torch.int64))
        self.register_buffer("mean", torch.zeros(tuple(config.shape)))
        self.register_buffer("scale", torch.ones(tuple(config.shape)))
        self.register_buffer("source", torch.full((config.rows,), -1, dtype=torch.int64))

    @property
    def trained(self) -> nn.Parameter:
        """The pictures that an optimizer moves: those before averaging, where they are averaged."""
        return self.images if self.last is None else self.last

    def pixels(self, images: Tensor) -> Tensor:
        """Pictures of this set's space as pixel values, black 0 and white 1; learned ones may lie beyond."""
        return images.detach() * self.scale + self.mean

    def __len__(self) -> int:
        return self.config.rows


def synthetic_set(**config: Any) -> SyntheticSet:
    """A set of `engine.models.set_configs.SyntheticSetConfig`, filled with zeros."""
    return SyntheticSet(SyntheticSetConfig.model_validate(config))


def set_blueprint(config: Mapping[str, Any]) -> dict[str, Any]:
    """How a set is built again, for `Method.blueprint`. `config` are the fields of SyntheticSetConfig."""
    checked = SyntheticSetConfig.model_validate(dict(config))
    return {
        "builder": "synthetic_set",
        "config": checked.model_dump(mode="json"),
        "architecture": f"set for {checked.network.architecture}",
    }
