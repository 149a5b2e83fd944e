"""Our own small architectures by name. Their modules are imported when one is built: a classifier needs no language library."""

import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from torch import nn

from engine.errors import ModelError
from engine.models.configs import CONFIGS

BUILDERS: dict[str, str] = {
    "edm_mlp": "engine.models.denoisers",
    "edm_unet": "engine.models.unet",
    "vp_mlp": "engine.models.points",
    "mlp": "engine.models.pictures",
    "narrow_cnn": "engine.models.pictures",
    "resnet": "engine.models.pictures",
    "kernel_ridge": "engine.models.kernel",
    "convnet": "engine.models.pictures",
    "lenet": "engine.models.pictures",
    "synthetic_set": "engine.models.synthetic_set",
    "gpt2": "engine.models.language",
    "llama": "engine.models.language",
    "bigram": "engine.models.bigram",
    "pretrained": "engine.models.language",
    "word_bag": "engine.models.encoders",
    "bert": "engine.models.encoders",
    "minilm": "engine.models.encoders",
    "latent_llama": "engine.models.latent_attention",
    "knowledge_base": "engine.models.knowledge",
    "surfel_scene": "engine.models.scene",
}
"""The module in which a function of the builder's name makes the network, from the fields of its configuration as keyword arguments."""


def build(builder: str, config: Mapping[str, Any]) -> nn.Module:
    """The network that `builder` makes of `config`. Raises ModelError when there is no such builder or the config does not fit it."""
    if builder not in BUILDERS:
        raise ModelError(f"There is no architecture {builder!r:.80}; this engine builds {', '.join(BUILDERS)}.")
    try:
        checked = CONFIGS[builder].model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"The configuration of {builder} does not fit at {where!r:.80}: {first['msg']}; got {first['input']!r:.80}."
        ) from None
    network: nn.Module = getattr(importlib.import_module(BUILDERS[builder]), builder)(**checked.model_dump())
    return network
