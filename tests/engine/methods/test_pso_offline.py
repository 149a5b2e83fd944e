"""Pairwise sample optimization offline: training examples against samples of the starting model."""

import math

import pytest
import torch

from tests.engine.methods.pso_bench import LEVELS, new, points, run


def test_offline_begins_at_log_2_plus_the_weighted_error_of_the_negatives():
    method = new({"mode": "offline", "negatives": 20, "prior_weight": 0.25})

    [(batch, terms)] = run(method, 1)

    clean, sigma, noise = (batch.inputs[name] for name in ("clean", "sigma", "noise"))
    x = clean[:, 1] + sigma[:, None] * noise
    prior = ((method.start(x, sigma) - clean[:, 1]) ** 2).mean(dim=1) / sigma**2
    assert float(terms["loss/preference"]) == pytest.approx(math.log(2), abs=1e-6)
    assert float(terms["loss/prior"]) == pytest.approx(float(prior.mean()), rel=1e-5)
    assert float(terms["loss"]) == pytest.approx(math.log(2) + 0.25 * float(prior.mean()), rel=1e-5)
    assert set(sigma.tolist()) <= set(LEVELS)


def test_offline_targets_are_training_examples_and_negatives_different_samples_of_the_start():
    method = new({"mode": "offline", "negatives": 12, "targets": 50})

    [(batch, _)] = run(method, 1)

    targets, negatives = batch.inputs["clean"].unbind(dim=1)
    train = points().splits["train"].inputs
    assert all((train == target).all(dim=1).any() for target in targets)
    assert len(negatives.unique(dim=0)) == 6
    assert all((method.negatives == negative).all(dim=1).any() for negative in negatives)
    assert len(method.targets) == 50 and len(method.negatives) == 12


def test_offline_takes_the_share_of_targets_with_the_highest_reward():
    every, best = (new({"mode": "offline", "negatives": 12, "targets": 40, "target_share": share}) for share in (1.0, 0.25))
    for method in (every, best):
        method.choose_targets()

    distance = (every.targets - torch.tensor([-0.6, 0.6])).norm(dim=1)
    assert len(best.targets) == 10
    assert torch.allclose((best.targets - torch.tensor([-0.6, 0.6])).norm(dim=1).sort().values, distance.sort().values[:10], atol=1e-6)


def test_offline_negatives_stay_unless_they_are_to_be_refreshed():
    kept, refreshed = (new({"mode": "offline", "negatives": 12, "negatives_refresh": every}) for every in (None, 2))
    seen = {}
    for name, method in (("kept", kept), ("refreshed", refreshed)):
        run(method, 2)
        first = method.negatives
        method.matches(2, torch.Generator().manual_seed(7))
        seen[name] = torch.equal(first, method.negatives)

    assert seen == {"kept": True, "refreshed": False}


def test_the_hinge_does_not_look_at_the_start():
    terms = []
    for shift in (0.0, 1.0):
        method = new({"mode": "offline", "negatives": 12, "offline_loss": "pso_db", "beta": 2.0})
        [phase] = method.phases()
        phase.begin()
        batch = phase.data(0, torch.Generator().manual_seed(0))
        with torch.no_grad():
            for parameter in method.start.parameters():
                parameter.add_(shift)
        clean, sigma = batch.inputs["clean"], batch.inputs["sigma"]
        x = clean + sigma[:, None, None] * batch.inputs["noise"][:, None]
        errors = torch.stack([((method.student(x[:, i], sigma) - clean[:, i]) ** 2).mean(dim=1) / sigma**2 for i in range(2)])
        expected = (1 - 2.0 * (errors[1] - errors[0])).clamp(min=0).mean()
        terms.append(float(phase.step(batch)["loss/preference"].detach()))
        assert terms[-1] == pytest.approx(float(expected.detach()), rel=1e-5)

    assert terms[0] == terms[1]


def test_offline_tuning_tells_targets_from_negatives():
    made = run(new({"mode": "offline", "negatives": 64, "batch_size": 64, "learning_rate": 3e-3, "prior_weight": 0.0}), 30)

    assert float(made[-1][1]["loss/preference"]) < math.log(2) - 0.01
    assert sum(float(terms["implicit_accuracy"]) for _, terms in made[-10:]) / 10 > 0.6
