"""How a classifier is judged on one split: from its logits and labels, and from a teacher's logits where there is one.

Every number is defined in `engine.metrics`; this module chooses which ones a run shows, and when.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from engine.metrics.bootstrap import ece_interval
from engine.metrics.calibration import calibration_report, scalar_metrics, top_k_accuracy, top_label
from engine.metrics.cost import cost_report
from engine.metrics.fidelity import fidelity_report
from engine.metrics.temperature import fit_temperature
from engine.tasks import tables as make
from engine.tasks.task import Judgement

N_BINS = 15
Metrics = dict[str, float | None]
Tables = dict[str, Any]


def judge_classifier(
    *,
    logits: Tensor,
    labels: Tensor,
    split: str,
    teacher_logits: Tensor | None = None,
    calibration: tuple[Tensor, Tensor] | None = None,
    measured: tuple[nn.Module, Tensor] | None = None,
    show: Callable[[int], Mapping[str, Any]] | None = None,
) -> Judgement:
    """logits (rows, classes), labels (rows,) and teacher_logits (rows, classes) of one split.

    Only the final evaluation gives `calibration`, logits and labels of the split that the temperature is fitted on, and `measured`, the
    model with one example on its device, for the cost. `show` returns what the table of disagreements shows of a row: a picture, a text.
    """
    report = calibration_report(logits, labels, n_bins=N_BINS)
    confidence, correct = top_label(logits, labels)
    metrics: Metrics = scalar_metrics(report)
    if logits.shape[1] >= 6:
        metrics["top5_accuracy"] = top_k_accuracy(logits, labels, 5)
    tables: Tables = {
        "reliability": make.reliability(report, split=split),
        "risk_coverage": make.risk_coverage(report, split=split),
        "confusion": make.confusion(logits, labels, split=split),
        "confidence_histogram": make.confidence_histogram(logits, labels, split=split, n_bins=N_BINS),
    }

    if teacher_logits is not None:
        metrics |= fidelity_report(student_logits=logits, teacher_logits=teacher_logits, labels=labels)
        tables["confusion_teacher"] = make.confusion(logits, teacher_logits.argmax(dim=1), split=split)
        if calibration is not None:
            tables["disagreements"] = _disagreements(logits, teacher_logits, labels, split, show)
    if calibration is not None:
        metrics["ece_low"], metrics["ece_high"] = ece_interval(confidence, correct, n_bins=N_BINS)
        scaled_metrics, tables["reliability_scaled"] = _scaled(logits, labels, calibration, split)
        metrics |= scaled_metrics
    if measured is not None:
        model, example = measured
        cost = cost_report(model, example, example.device)
        metrics |= {name: float(cost[name]) for name in ("parameters", "flops", "latency_ms")}
        tables["cost"] = {"n": len(labels), "split": split, **cost}
    return Judgement(metrics, tables)


def _scaled(logits: Tensor, labels: Tensor, held_out: tuple[Tensor, Tensor], split: str) -> tuple[Metrics, Tables]:
    """After temperature scaling. `temperature` is None where the search ended at its bound; the table then says at which."""
    fitted = fit_temperature(*held_out)
    report = calibration_report(logits, labels, n_bins=N_BINS, temperature=fitted.value)
    metrics: Metrics = {"temperature": fitted.number, "scaled_nll": report["nll"], "scaled_ece": report["ece"]}
    return metrics, make.reliability(report, split=split) | {"at_bound": fitted.at_bound}


def _disagreements(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, split: str, show: Callable[[int], Mapping[str, Any]] | None
) -> Tables:
    table = make.disagreements(student_logits=logits, teacher_logits=teacher_logits, labels=labels, split=split)
    if show is not None:
        table["rows"] = [{**row, **show(row["index"])} for row in table["rows"]]
    return table
