"""InceptionV3 as the literature's FID uses it: the network of 2015-12-05 that TensorFlow published, in the layout of pytorch-fid and torch-fidelity.

Szegedy et al. (2016), arXiv:1512.00567, for the network; Heusel et al. (2017), arXiv:1706.08500, for its last pooling layer as features. It
differs from torchvision's InceptionV3 in the pooling branches: averages leave the border's zeros out of the count, and the last block takes
the maximum. Its weights, known as `pt_inception-2015-12-05-6726825d`, don't come with Stillhouse: whoever runs a worker names a safetensors
file that holds them. They could not be had where this was written, so what is tested is the network's layout, the names and shapes of its
weights, its arithmetic against a plain version, and a run with random weights, but no published FID.
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.errors import ModelError, SpecError
from engine.metrics.extractors import Extractor, fingerprint

NAME, DIMS, SIDE = "inception-v3", 2048, 299
AT_ONCE = 32
"""Pictures that go through the network together."""
UNREAD = ("fc.weight", "fc.bias")
"""The published file's classifier of 1,008 classes, which no feature depends on."""


class Convolution(nn.Module):
    """Convolution without bias, batch normalization with ε = 0.001, ReLU."""

    def __init__(
        self, channels: int, out: int, kernel: int | tuple[int, int], *, stride: int = 1, padding: int | tuple[int, int] = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _wide(channels: int, out: int, length: int) -> Convolution:
    """With a kernel of 1×length."""
    return Convolution(channels, out, (1, length), padding=(0, length // 2))


def _tall(channels: int, out: int, length: int) -> Convolution:
    """With a kernel of length×1."""
    return Convolution(channels, out, (length, 1), padding=(length // 2, 0))


class BlockA(nn.Module):
    """35×35: kernels of 1, of 5 and of two times 3, and an average."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, 64, 1)
        self.branch5x5_1 = Convolution(channels, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(channels, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(_average(x))], dim=1)


class BlockB(nn.Module):
    """35×35 to 17×17."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(channels, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], dim=1)


class BlockC(nn.Module):
    """17×17: kernels of 7 in two parts, once and twice, and an average."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, 192, 1)
        self.branch7x7_1 = Convolution(channels, inner, 1)
        self.branch7x7_2 = _wide(inner, inner, 7)
        self.branch7x7_3 = _tall(inner, 192, 7)
        self.branch7x7dbl_1 = Convolution(channels, inner, 1)
        self.branch7x7dbl_2 = _tall(inner, inner, 7)
        self.branch7x7dbl_3 = _wide(inner, inner, 7)
        self.branch7x7dbl_4 = _tall(inner, inner, 7)
        self.branch7x7dbl_5 = _wide(inner, 192, 7)
        self.branch_pool = Convolution(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_average(x))], dim=1)


class BlockD(nn.Module):
    """17×17 to 8×8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(channels, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(channels, 192, 1)
        self.branch7x7x3_2 = _wide(192, 192, 7)
        self.branch7x7x3_3 = _tall(192, 192, 7)
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, stride=2)], dim=1)


class BlockE(nn.Module):
    """8×8: kernels of 3 that part into 1×3 and 3×1, and an average, or in the last block a maximum."""

    def __init__(self, channels: int, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.branch1x1 = Convolution(channels, 320, 1)
        self.branch3x3_1 = Convolution(channels, 384, 1)
        self.branch3x3_2a = _wide(384, 384, 3)
        self.branch3x3_2b = _tall(384, 384, 3)
        self.branch3x3dbl_1 = Convolution(channels, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _wide(384, 384, 3)
        self.branch3x3dbl_3b = _tall(384, 384, 3)
        self.branch_pool = Convolution(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.last else _average(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(parts, dim=1)


def _average(x: Tensor) -> Tensor:
    """The mean over 3×3; at the border over what there is."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Inception(nn.Module):
    """The network up to its last pooling, frozen by `load`. The modules' names are those of the published weights."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c = BlockC(768, 128), BlockC(768, 160)
        self.Mixed_6d, self.Mixed_6e = BlockC(768, 160), BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, last=False), BlockE(2048, last=True)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, 3, 299, 299) in −1…1 → (rows, 2048)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, stride=2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean(dim=(2, 3))


def prepared(pictures: Tensor) -> Tensor:
    """Pictures (rows, 1 or 3, height, width) in −1…1 as the network takes them: rounded to 256 levels, as a file would hold them, with three
    channels, and 299×299 by linear interpolation without antialiasing, as in pytorch-fid."""
    levels = pictures.float().clamp(-1, 1).add(1).mul(127.5).round() / 127.5 - 1
    colors = levels.expand(-1, 3, -1, -1)
    return F.interpolate(colors, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def extractor_of(network: Inception) -> Extractor:
    """Features of pictures (rows, 1 or 3, height, width) in −1…1, on the network's device."""

    @torch.no_grad()
    def features(pictures: Tensor) -> Tensor:
        return torch.cat([network(prepared(piece)).double() for piece in pictures.split(AT_ONCE)])

    return Extractor(NAME, DIMS, fingerprint(*network.state_dict().values(), text=NAME), features)


def configured() -> Inception:
    """The network with the weights that this worker was given, frozen, on the CPU. Raises SpecError where it was given none, ModelError."""
    name = os.environ.get("STILLHOUSE_INCEPTION_WEIGHTS", "")
    if not name:
        raise SpecError.at(
            "task_options.features",
            "must be task on this worker, which has no Inception weights; whoever runs it names a safetensors file in "
            "STILLHOUSE_INCEPTION_WEIGHTS. Got 'inception'.",
        )
    return load(Path(name))


def load(file: Path) -> Inception:
    """The network with the weights of a safetensors file, frozen. Raises ModelError with what to do."""
    where = f"STILLHOUSE_INCEPTION_WEIGHTS names {file}, "
    if not file.is_file():
        raise ModelError(f"{where}which is no file on this worker.")
    if file.suffix != ".safetensors":
        raise ModelError(
            f"{where}which is no safetensors file; a pickle can run code when it is opened. Convert it once, where you trust it: "
            "save_file(torch.load(FILE, weights_only=True), 'inception.safetensors'), with save_file of safetensors.torch."
        )
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{where}which can't be read: {error}.") from None
    network = Inception()
    needed = network.state_dict()
    given = {name: tensor for name, tensor in tensors.items() if name not in UNREAD}
    counters = {name for name in needed if name.endswith(".num_batches_tracked")}  # no feature depends on them, and some files have none
    for name in sorted((needed.keys() ^ given.keys()) - counters):
        raise ModelError(f"{where}whose weights are not those of pt_inception-2015-12-05: {name} is in only one of the two.")
    for name, tensor in given.items():
        if tensor.shape != needed[name].shape:
            shapes = f"{name} has the shape {list(tensor.shape)} and not {list(needed[name].shape)}"
            raise ModelError(f"{where}whose weights are not those of pt_inception-2015-12-05: {shapes}.")
    network.load_state_dict({name: tensor for name, tensor in given.items() if name not in counters}, strict=False)
    return network.eval().requires_grad_(False)
