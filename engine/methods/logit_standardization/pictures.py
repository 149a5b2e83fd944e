"""What standardization does to logits, for a person to see."""

from torch import Tensor

from engine import charts


def first_row(name: str, student: Tensor, teacher: Tensor) -> charts.ChartSpec:
    """The logits of the first row beside each other; (rows, classes) each."""
    labels = [str(index) for index in range(student.shape[1])]
    bars = {"student": student[0].tolist(), "teacher": teacher[0].tolist()}
    return charts.bars(f"Logits of one row, {name}", labels, bars, x="class", y="logit", note="validation, row 0")
