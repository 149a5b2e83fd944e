"""What a classifier knows before its last layer."""

import pytest
import torch

from engine.errors import ModelError
from engine.models.build import build
from engine.models.pictures import body, features_and_logits, head

BUILT = [
    ("mlp", {"inputs": 64, "hidden": [12, 7], "classes": 3}, 7),
    ("narrow_cnn", {"channels": 1, "widths": [4, 6], "grid": 2, "classes": 3}, 24),
    ("resnet", {"channels": 1, "widths": [4, 8], "blocks": 1, "grid": 1, "classes": 3}, 8),
]


@pytest.mark.parametrize(("builder", "config", "width"), BUILT, ids=[builder for builder, _, _ in BUILT])
def test_logits_are_the_last_layer_of_the_features(builder: str, config: dict, width: int):
    model, inputs = build(builder, config), torch.randn(5, 1, 8, 8)

    features, logits = features_and_logits(model, inputs)

    assert features.shape == (5, width) and head(model).out_features == 3
    assert torch.equal(logits, model(inputs))
    assert torch.allclose(logits, features @ head(model).weight.T + head(model).bias, atol=1e-6)


def test_the_body_shares_the_models_weights():
    model = build("mlp", {"inputs": 4, "hidden": [3], "classes": 2})

    body(model)(torch.ones(1, 4)).sum().backward()

    assert model[1].weight.grad is not None and model[3].weight.grad is None


def test_a_model_without_a_last_linear_layer_has_no_features():
    with pytest.raises(ModelError, match="A KernelRidge has no features to read"):
        features_and_logits(build("kernel_ridge", {"rows": 2, "inputs": 3, "classes": 2, "gamma": 1.0}), torch.zeros(1, 3))
