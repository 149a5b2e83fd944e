"""How accuracies over networks are reported, and what a set takes up."""

import pytest
import torch

from engine.metrics.distilled_sets import mean_and_spread, size_report


def test_the_spread_has_the_divisor_n():
    assert mean_and_spread([0.8, 0.9]) == pytest.approx((0.85, 0.05))
    assert mean_and_spread([0.7]) == (0.7, 0.0)


def test_hard_labels_take_eight_bytes_a_picture_and_soft_ones_four_a_class():
    images = torch.zeros(20, 1, 8, 8)

    hard = size_report(images, torch.zeros(20, dtype=torch.int64), classes=10, real_rows=1000)
    soft = size_report(images, torch.zeros(20, 10), classes=10, real_rows=1000)

    assert hard == {"images_per_class": 2.0, "compression": 0.02, "image_bytes": 20 * 64 * 4, "label_bytes": 160}
    assert soft["label_bytes"] == 20 * 10 * 4
