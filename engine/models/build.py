"""Our own small architectures by name. Weights are PyTorch's default initialization, drawn from torch's global generator."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from engine.errors import ModelError
from engine.models.configs import CONFIGS


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
    return BUILDERS[builder](**checked.model_dump())


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


BUILDERS: dict[str, Callable[..., nn.Module]] = {"mlp": mlp, "narrow_cnn": narrow_cnn, "resnet": resnet}
