"""What a metric is computed from, checked and converted once at the door: float64 on the CPU, finite, at least one row.

Every function here raises ValueError with one sentence that names the argument.
"""

import numpy as np
import numpy.typing as npt
import torch

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Rows = torch.Tensor | npt.ArrayLike


def finite(values: Rows, name: str, *, axes: int) -> FloatArray:
    """`values` as finite float64 with `axes` axes and at least one row. Half-precision tensors are widened, never rounded."""
    array = _on_cpu(values).astype(np.float64)
    if array.ndim != axes:
        raise ValueError(f"{name} must have {axes} {'axes' if axes > 1 else 'axis'}; got shape {array.shape}.")
    if len(array) == 0:
        raise ValueError(f"{name} has no rows; at least one is needed to compute a metric.")
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"{name} must be finite; row {row} holds NaN or infinity.")
    return array


def logits_of(values: Rows, name: str = "logits") -> FloatArray:
    """Logits as float64, (rows, classes) with at least two classes."""
    array = finite(values, name, axes=2)
    if array.shape[1] < 2:
        raise ValueError(f"{name} must have at least 2 classes; got shape {array.shape}.")
    return array


def labels_of(values: Rows, *, rows: int, classes: int) -> IntArray:
    """Labels as int64, (rows,), each in 0 … classes − 1."""
    labels = finite(values, "labels", axes=1)
    if len(labels) != rows:
        raise ValueError(f"labels must have one entry for each of the {rows} rows of logits; got {len(labels)}.")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes) | (labels != np.floor(labels)))
    if len(wrong):
        raise ValueError(f"labels must be whole numbers from 0 to {classes - 1}; row {wrong[0]} holds {labels[wrong[0]]:g}.")
    return labels.astype(np.int64)


def confidence_of(values: Rows) -> FloatArray:
    """Confidences as float64, (rows,), each in [0, 1]."""
    confidence = finite(values, "confidence", axes=1)
    wrong = np.flatnonzero((confidence < 0) | (confidence > 1))
    if len(wrong):
        raise ValueError(f"confidence must lie in [0, 1]; row {wrong[0]} holds {confidence[wrong[0]]:g}.")
    return confidence


def correct_of(values: Rows, *, rows: int) -> FloatArray:
    """Correctness as float64, (rows,), each 0 or 1."""
    correct = finite(values, "correct", axes=1)
    if len(correct) != rows:
        raise ValueError(f"correct must have one entry for each of the {rows} confidences; got {len(correct)}.")
    wrong = np.flatnonzero((correct != 0) & (correct != 1))
    if len(wrong):
        raise ValueError(f"correct must hold 0 or 1; row {wrong[0]} holds {correct[wrong[0]]:g}.")
    return correct


def _on_cpu(values: Rows) -> npt.NDArray[np.generic]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        return values.double().numpy() if values.is_floating_point() else values.numpy()
    return np.asarray(values)
