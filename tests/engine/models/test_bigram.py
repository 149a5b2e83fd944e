"""A table of logits as a language model: what it says, that it samples as others do, and that it can be saved."""

import torch

from engine.models.build import build
from engine.rollout.generate import Sampling, generate
from engine.run.export import load_model, save_model


def test_it_begins_with_all_tokens_equally_probable_and_looks_at_the_last_one_alone():
    model = build("bigram", {"vocabulary": 5})
    ids = torch.tensor([[0, 3, 1], [2, 3, 4]])

    assert model(ids).abs().max() == 0
    with torch.no_grad():
        model.body.table[3] = torch.arange(5.0)
    assert model(ids)[:, 1].tolist() == [[0, 1, 2, 3, 4]] * 2
    assert torch.equal(model(ids, keep=2), model(ids)[:, 1:])


def test_it_samples_along_its_table():
    model = build("bigram", {"vocabulary": 3})
    with torch.no_grad():
        model.body.table.copy_(100 * torch.eye(3).roll(1, dims=1))  # 0 → 1 → 2 → 0
    prompts = torch.tensor([[0, 1], [1, 0]])

    rollouts = generate(model, prompts, torch.ones_like(prompts), Sampling(4), torch.Generator().manual_seed(0))

    assert rollouts.completion_ids.tolist() == [[2, 0, 1, 2], [1, 2, 0, 1]]


def test_it_comes_back_from_its_folder(tmp_path):
    model = build("bigram", {"vocabulary": 4, "positions": 16})
    with torch.no_grad():
        model.body.table.normal_()
    facts = {"kind": "causal-lm", "task": "t", "builder": "bigram", "config": {"vocabulary": 4, "positions": 16}, "architecture": "bigram"}

    save_model(tmp_path / "model", model, {**facts, "classes": 4, "input_shape": [8]})

    loaded, _ = load_model(tmp_path / "model")
    assert torch.equal(loaded.body.table, model.body.table)
    assert (loaded.vocabulary, loaded.positions) == (4, 16)
