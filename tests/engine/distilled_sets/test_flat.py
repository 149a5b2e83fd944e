"""Networks as functions of one vector of weights."""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from engine.distilled_sets.flat import FlatNetwork, fresh_weights, sgd_step
from engine.models.build import build
from tests.engine.distilled_sets.small import network, numbers, pictures, weights

CONVNET = {"builder": "convnet", "config": {"channels": 1, "width": 4, "depth": 2, "grid": 2, "classes": 10}}


def test_with_a_modules_own_weights_it_answers_as_the_module_does():
    module = build(**CONVNET)
    inputs = torch.randn(3, 1, 8, 8)

    answer = FlatNetwork.of(module)(parameters_to_vector(module.parameters()), inputs)

    assert torch.equal(answer, module(inputs))


def test_other_weights_leave_the_module_as_it_was():
    flat = network()
    before = parameters_to_vector(flat.module.parameters()).detach().clone()

    flat(weights(1), pictures(4)[0])

    assert torch.equal(parameters_to_vector(flat.module.parameters()), before)


def test_a_network_with_running_statistics_is_refused():
    sentence = "1.running_mean is a buffer, and a trajectory holds weights only; choose a network without batch norm"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        FlatNetwork.of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))


def test_fresh_weights_are_those_of_a_network_built_at_the_seed_and_disturb_no_generator():
    torch.manual_seed(3)
    expected = parameters_to_vector(build(**CONVNET).parameters()).detach()
    torch.manual_seed(0)
    before = torch.get_rng_state()

    found = fresh_weights(CONVNET, 3, torch.device("cpu"))

    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_three_steps_are_those_of_torchs_sgd():
    parameter = nn.Parameter(numbers(7, seed=1).clone())
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.01)
    theta, velocity = numbers(7, seed=1).clone(), torch.zeros(7, dtype=torch.float64)

    for seed in range(3):
        gradient = numbers(7, seed=10 + seed)
        parameter.grad = gradient.clone()
        optimizer.step()
        sgd_step(theta, velocity, gradient, rate=0.1, momentum=0.9, decay=0.01)

    assert torch.allclose(theta, parameter.detach(), atol=1e-15)
