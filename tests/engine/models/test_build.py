import pytest
import torch
from torch import nn

from engine.errors import ModelError
from engine.models.build import BUILDERS, build
from engine.models.pictures import Residual


def outputs(builder: str, config: dict, shape: tuple[int, ...]) -> torch.Tensor:
    return build(builder, config)(torch.zeros(2, *shape))


def test_a_multilayer_perceptron_has_biases_and_a_relu_between_its_layers():
    model = build("mlp", {"inputs": 64, "hidden": [16, 8], "classes": 10})

    assert [type(layer) for layer in model] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    # 64·16 + 16, 16·8 + 8, 8·10 + 10
    assert sum(parameter.numel() for parameter in model.parameters()) == 1040 + 136 + 90


def test_a_perceptron_without_hidden_layers_is_linear():
    model = build("mlp", {"inputs": 4, "hidden": [], "classes": 3})
    rows = torch.randn(5, 4)

    assert torch.allclose(model(rows), rows @ model[1].weight.T + model[1].bias)


@pytest.mark.parametrize(
    ("builder", "config", "shape"),
    [
        ("mlp", {"inputs": 64, "hidden": [16], "classes": 10}, (1, 8, 8)),
        ("narrow_cnn", {"channels": 1, "widths": [8, 16], "classes": 10}, (1, 8, 8)),
        ("narrow_cnn", {"channels": 3, "widths": [8, 16, 16], "classes": 10}, (3, 28, 28)),
        ("resnet", {"channels": 1, "widths": [16, 32], "blocks": 2, "classes": 10}, (1, 8, 8)),
        ("resnet", {"channels": 3, "widths": [6, 10], "blocks": 1, "classes": 10}, (3, 9, 7)),
        ("resnet", {"channels": 1, "widths": [8, 16], "blocks": 1, "grid": 3, "stem_stride": 2, "classes": 10}, (1, 28, 28)),
    ],
)
def test_an_architecture_gives_a_row_of_logits_for_each_picture(builder, config, shape):
    assert outputs(builder, config, shape).shape == (2, 10)


@pytest.mark.parametrize(
    ("builder", "config"),
    [
        ("resnet", {"channels": 1, "widths": [8, 16], "blocks": 1, "classes": 3}),
        ("narrow_cnn", {"channels": 1, "widths": [8, 16], "classes": 3}),
    ],
)
def test_a_rows_logits_depend_on_that_row_alone_in_either_mode(builder, config):
    model = build(builder, config)
    rows = torch.randn(5, 1, 8, 8)

    together, alone, evaluated = model.train()(rows), model(rows[2:3]), model.eval()(rows)

    assert torch.allclose(together[2], alone[0], atol=1e-6)
    assert torch.allclose(together, evaluated, atol=1e-6)


def test_a_residual_block_with_a_silent_body_passes_positive_inputs_on():
    block = Residual(4, 4, stride=1)
    with torch.no_grad():
        block.body[-1].weight.zero_()
        block.body[-1].bias.zero_()
    rows = torch.rand(2, 4, 5, 5)

    assert torch.equal(block(rows), rows)


def test_the_last_layer_sees_every_cell_of_the_grid():
    model = build("narrow_cnn", {"channels": 1, "widths": [8, 16], "grid": 2, "classes": 3})

    assert model[-1].in_features == 16 * 2 * 2


def test_a_block_with_a_stride_halves_height_and_width():
    assert Residual(4, 8, stride=2)(torch.zeros(1, 4, 8, 8)).shape == (1, 8, 4, 4)


def test_the_weights_are_drawn_from_the_global_generator():
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return build("mlp", {"inputs": 4, "hidden": [], "classes": 3})[1].weight.detach()

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


@pytest.mark.parametrize(
    ("builder", "config", "sentence"),
    [
        ("vgg", {}, f"There is no architecture 'vgg'; this engine builds {', '.join(BUILDERS)}."),
        (
            "mlp",
            {"inputs": 64, "hidden": [0], "classes": 10},
            "The configuration of mlp does not fit at 'hidden.0': Input should be greater than or equal to 1; got 0.",
        ),
        (
            "mlp",
            {"inputs": 64, "classes": 10},
            "The configuration of mlp does not fit at 'hidden': Field required; got {'inputs': 64, 'classes': 10}.",
        ),
    ],
)
def test_what_can_not_be_built_is_refused_in_one_sentence(builder, config, sentence):
    with pytest.raises(ModelError) as refused:
        build(builder, config)

    assert str(refused.value) == sentence
