"""What the web knows of the numbers."""

import subprocess
import sys

import torch
from torch import nn

from engine.metrics.calibration import calibration_report, scalar_metrics
from engine.metrics.cards import METRICS
from engine.metrics.cost import cost_report
from engine.metrics.fidelity import fidelity_report


def test_every_number_that_is_measured_has_a_card():
    logits, labels = torch.eye(3), torch.tensor([0, 1, 2])
    cost = cost_report(nn.Linear(3, 3), torch.zeros(1, 3), "cpu")

    measured = set(scalar_metrics(calibration_report(logits, labels)))
    measured |= set(fidelity_report(student_logits=logits, teacher_logits=logits, labels=labels))
    measured |= {name for name in cost if not name.endswith("_interval")} - {"device", "batch_size"}

    assert measured <= set(METRICS)


def test_cards_are_filed_under_their_ids_and_no_two_have_one_title():
    assert all(name == card.id for name, card in METRICS.items())
    assert len({card.title for card in METRICS.values()}) == len(METRICS)


def test_errors_are_better_low_and_accuracies_better_high():
    lower = {
        "nll",
        "brier",
        "ece",
        "mce",
        "rmsce",
        "ada_ece",
        "aurc",
        "e_aurc",
        "kl_teacher_student",
        "parameters",
        "flops",
        "latency_ms",
        "scaled_nll",
    }
    higher = {"accuracy", "top5_accuracy", "auroc", "spr", "agreement", "selective_accuracy_80", "gap_closed", "kendall_tau"}

    assert {METRICS[name].better for name in lower} == {"lower"}
    assert {METRICS[name].better for name in higher} == {"higher"}
    assert METRICS["overconfidence_gap"].better is None
    assert METRICS["temperature"].better is None
    assert METRICS["ece_low"].better is METRICS["ece_high"].better is None


def test_cards_and_gap_closed_need_no_torch():
    code = "import sys; from engine.metrics import cards, gap; print(len(cards.METRICS), 'torch' in sys.modules)"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.split() == [str(len(METRICS)), "False"]
