"""What a distilled data set takes up, and how accuracies over networks are reported."""

import statistics
from collections.abc import Sequence

from torch import Tensor


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and population standard deviation (divisor n), as the literature on data set distillation reports them. 0 for one value."""
    return statistics.fmean(values), statistics.pstdev(values)


def size_report(images: Tensor, labels: Tensor, *, classes: int, real_rows: int) -> dict[str, float]:
    """images (rows, …) and labels as they are stored, against a training split of `real_rows`.

    images_per_class may be a fraction; compression = rows / real rows; bytes are those of the numbers, without a file's header. A static
    soft label takes `classes` numbers an image; nothing is stored for augmentation, which is drawn anew.
    """
    return {
        "images_per_class": len(images) / classes,
        "compression": len(images) / real_rows,
        "image_bytes": float(images.numel() * images.element_size()),
        "label_bytes": float(labels.numel() * labels.element_size()),
    }
