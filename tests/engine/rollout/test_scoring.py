"""What a model says of completions that are there already."""

import torch

from engine.rollout.generate import Sampling, generate, left_padded
from engine.rollout.scoring import log_probs_of, logits_of
from tests.engine.methods.language import gpt2


def test_a_parallel_pass_says_what_the_model_said_while_it_wrote():
    model = gpt2(1)
    ids, mask = left_padded([torch.tensor([0, 1, 2]), torch.tensor([3])])

    rollouts = generate(model, ids, mask, Sampling(5), torch.Generator().manual_seed(0), log_probs=True)

    found = log_probs_of(model, rollouts)
    assert torch.allclose(found, rollouts.behavior_log_probs, rtol=0, atol=1e-10)
    assert found.requires_grad


def test_the_logits_are_those_of_each_completion_token_given_all_before_it():
    model = gpt2(1)
    ids, mask = left_padded([torch.tensor([0, 1, 2]), torch.tensor([3])])
    rollouts = generate(model, ids, mask, Sampling(4), torch.Generator().manual_seed(0))

    found = logits_of(model, rollouts)

    assert found.shape == (2, 4, 5)
    for row, prompt in enumerate(([0, 1, 2], [3])):
        for at in range(4):
            before = torch.tensor([[*prompt, *rollouts.completion_ids[row, :at].tolist()]])
            assert torch.allclose(found[row, at], model(before)[0, -1], rtol=0, atol=1e-10)
