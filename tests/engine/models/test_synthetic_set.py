"""A data set as a model: saved, loaded, and built from what model.json says."""

import pytest
import torch
from torch import nn

from engine.errors import ModelError
from engine.models.build import build
from engine.models.synthetic_set import set_blueprint, synthetic_set
from engine.run.export import load_model, save_model

NETWORK = {"architecture": "convnet", "builder": "convnet", "config": {"channels": 1, "width": 4, "depth": 2, "grid": 2, "classes": 10}}
CONFIG = {
    "rows": 20,
    "shape": [1, 8, 8],
    "classes": 10,
    "network": NETWORK,
    "recipe": {"networks": 2, "steps": 4, "learning_rate": 0.03, "unseen_learning_rate": 0.05},
}


def filled(**more: object):
    made, generator = synthetic_set(**{**CONFIG, **more}), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in made.state_dict().values():
            random = torch.rand(tensor.shape, generator=generator) * 9
            tensor.copy_(random if tensor.is_floating_point() else random.long())
    return made


def test_a_saved_set_comes_back_with_pictures_labels_rate_statistics_and_provenance(tmp_path):
    made = filled(learned_rate=True, averaged=True, soft_labels=True)
    meta = {"kind": "dataset", "task": "digits", "classes": 10, "input_shape": [1, 8, 8]}
    config = {**CONFIG, "learned_rate": True, "averaged": True, "soft_labels": True}

    save_model(tmp_path / "set", made, {**meta, **set_blueprint(config)})
    loaded, read = load_model(tmp_path / "set")

    assert read["architecture"] == "set for convnet"
    assert loaded.config == made.config
    assert set(loaded.state_dict()) == {"images", "last", "learning_rate", "labels", "mean", "scale", "source"}
    assert all(torch.equal(tensor, made.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_a_plain_set_has_no_average_no_rate_and_labels_that_are_classes():
    made = filled()

    assert made.last is None and made.learning_rate is None
    assert made.trained is made.images
    assert (made.labels.shape, made.labels.dtype, len(made)) == ((20,), torch.int64, 20)
    assert filled(averaged=True).trained is not filled(averaged=True).images


def test_pixels_are_the_pictures_with_the_standardization_taken_back():
    made = filled()

    assert torch.allclose((made.pixels(made.images) - made.mean) / made.scale, made.images.detach(), atol=1e-4)
    assert not made.pixels(made.images).requires_grad


def test_a_configuration_that_is_no_set_is_refused():
    with pytest.raises(ModelError) as refused:
        build("synthetic_set", {**CONFIG, "shape": [8, 8]})

    assert str(refused.value).startswith("The configuration of synthetic_set does not fit at 'shape': ")


def test_the_convnet_of_the_digits_protocol_has_6514_weights_and_norms_each_channel_alone():
    model = build("convnet", {"channels": 1, "width": 24, "depth": 2, "grid": 2, "classes": 10})

    kinds = [nn.Conv2d, nn.GroupNorm, nn.ReLU, nn.AvgPool2d]
    assert [type(layer) for layer in model] == [*kinds, *kinds, nn.Flatten, nn.Linear]
    assert all(layer.num_groups == layer.num_channels == 24 for layer in model if isinstance(layer, nn.GroupNorm))
    # 24·9 + 24, 48, 24·24·9 + 24, 48, 96·10 + 10
    assert sum(parameter.numel() for parameter in model.parameters()) == 240 + 48 + 5208 + 48 + 970


def test_a_lenet_has_two_convolutions_and_three_linear_layers():
    model = build("lenet", {"channels": 1, "widths": [6, 16], "hidden": [120, 84], "grid": 2, "classes": 10})

    # 6·25 + 6, 16·6·25 + 16, 64·120 + 120, 120·84 + 84, 84·10 + 10
    assert sum(parameter.numel() for parameter in model.parameters()) == 156 + 2416 + 7800 + 10164 + 850
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
