"""When two models are the same."""

import torch

from engine.rollout.fingerprint import weights_fingerprint
from tests.engine.methods.language import gpt2


def test_a_fingerprint_changes_with_any_weight_and_with_nothing_else():
    model, same, other = gpt2(1), gpt2(1), gpt2(1)
    with torch.no_grad():
        other.body.lm_head.weight[0, 0] += 1e-9

    assert weights_fingerprint(model) == weights_fingerprint(same.eval())
    assert weights_fingerprint(model) != weights_fingerprint(other)
