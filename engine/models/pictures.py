"""Our own small classifiers of pictures. Weights are PyTorch's default initialization, drawn from torch's global generator."""

from typing import cast

from torch import Tensor, nn

from engine.errors import ModelError


def features_and_logits(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What a classifier made here knows before its last layer, (batch, features), and its logits (batch, classes).

    Raises ModelError for a model that is no chain of layers with a linear one at its end.
    """
    features: Tensor = body(model)(inputs)
    return features, head(model)(features)


def head(model: nn.Module) -> nn.Linear:
    """The last layer. Raises ModelError when the model is no chain of layers with a linear one at its end."""
    if not (isinstance(model, nn.Sequential) and len(model) > 1 and isinstance(model[-1], nn.Linear)):
        raise ModelError(f"A {type(model).__name__} has no features to read: it is no chain of layers with a linear one at its end.")
    return model[-1]


def body(model: nn.Module) -> nn.Sequential:
    """All layers but the last, sharing their weights with the model. Raises ModelError as `head`."""
    head(model)
    return cast(nn.Sequential, cast(nn.Sequential, model)[:-1])


def mlp(*, inputs: int, hidden: list[int], classes: int) -> nn.Sequential:
    """(batch, …) with `inputs` numbers a row → logits (batch, classes). Linear layers with biases, ReLU between them."""
    widths = [inputs, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def narrow_cnn(*, channels: int, widths: list[int], classes: int, grid: int = 1) -> nn.Sequential:
    """(batch, channels, height, width) → logits (batch, classes). One 3×3 convolution a stage, the mean over each cell of a
    grid × grid picture, one linear layer."""
    layers: list[nn.Module] = []
    for stage, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
        layers += [nn.Conv2d(before, after, 3, stride=1 if stage == 0 else 2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(grid), nn.Flatten(), nn.Linear(widths[-1] * grid**2, classes))


def resnet(*, channels: int, widths: list[int], blocks: int, classes: int, grid: int = 1, stem_stride: int = 1) -> nn.Sequential:
    """(batch, channels, height, width) → logits (batch, classes). A small residual network: He et al. (2015), arXiv:1512.03385, figure 3.

    Its norms are over groups of channels, not over the batch: a row's logits then depend on that row alone, so that cutting a batch into
    pieces changes nothing, a last batch of one row is no special case, and training and evaluation mode agree.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, stride=stem_stride, padding=1, bias=False), _norm(widths[0]), nn.ReLU()]
    for stage, (before, after) in enumerate(zip([widths[0], *widths], widths, strict=False)):
        for block in range(blocks):
            first = block == 0
            layers.append(Residual(before if first else after, after, stride=2 if first and stage > 0 else 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(grid), nn.Flatten(), nn.Linear(widths[-1] * grid**2, classes))


def convnet(*, channels: int, width: int, depth: int, grid: int, classes: int) -> nn.Sequential:
    """(batch, channels, height, width) → logits (batch, classes). The ConvNet of the literature on data set distillation: `depth` blocks of
    3×3 convolution, norm of each channel alone (instance norm with weights and biases), ReLU and 2×2 mean; then a linear layer on
    width · grid² numbers. Gidaris & Komodakis (2018), arXiv:1804.09458; widths and depths as in Zhao et al. (2021), arXiv:2006.05929."""
    layers: list[nn.Module] = []
    for before in [channels, *[width] * (depth - 1)]:
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(width, width), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * grid**2, classes))


def lenet(*, channels: int, widths: list[int], hidden: list[int], grid: int, classes: int) -> nn.Sequential:
    """(batch, channels, height, width) → logits (batch, classes). After LeCun et al. (1998), with ReLU, padding, and means for pooling."""
    layers: list[nn.Module] = []
    for before, after in zip([channels, widths[0]], widths, strict=True):
        layers += [nn.Conv2d(before, after, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2)]
    layers.append(nn.Flatten())
    for before, after in zip([widths[1] * grid**2, hidden[0]], hidden, strict=True):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[1], classes))


class Residual(nn.Module):
    """relu(x + f(x)) with two 3×3 convolutions in f; where the shape changes, x goes through a 1×1 convolution."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            _norm(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            _norm(after),
        )
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, height, width) → (batch, after, height / stride, width / stride), rounded up."""
        return nn.functional.relu(self.body(x) + self.shortcut(x))


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(4 if width % 4 == 0 else 1, width)
