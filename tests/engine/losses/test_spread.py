import pytest
import torch

from engine.losses.spread import mean_logit_std


def test_the_spread_is_the_mean_over_rows_with_divisor_classes_minus_one():
    # Rows (0, 2) and (0, 4) have the standard deviations √2 and 2√2 with divisor 1.
    assert mean_logit_std(torch.tensor([[0.0, 2.0], [0.0, 4.0]])) == pytest.approx(1.5 * 2**0.5)
