"""Rewards: their texts, what they fit, and their values by hand."""

import pytest
import torch
from torch import nn

from engine import rewards


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("near:-0.6,0.6", [("near", (-0.6, 0.6))]),
        ("ink", [("ink", ())]),
        (" ink + near: 1 ,2e-1", [("ink", ()), ("near", (1.0, 0.2))]),
    ],
)
def test_a_text_names_rewards_in_order(text, parsed):
    assert rewards.parse(text) == parsed


@pytest.mark.parametrize("text", ["", "beauty", "near", "near:", "near:a,1", "near:nan,1", "near:inf,1", "ink:1", "ink + ", "confidence:2"])
def test_a_text_that_names_none_is_refused_with_what_would_be_right(text):
    with pytest.raises(
        ValueError, match=r"^must be near:<coordinates with commas>, ink or confidence, or several with \+ between them; got "
    ) as refused:
        rewards.parse(text)

    assert str(refused.value).endswith(f"got {text!r}")


def test_nearness_is_minus_the_squared_distance_to_the_point():
    [near] = rewards.rewards("near:1,-2")

    assert near(torch.tensor([[1.0, -2.0], [4.0, 2.0]]), None).tolist() == [0.0, -25.0]


def test_ink_is_the_mean_brightness_between_black_and_white():
    [ink] = rewards.rewards("ink")
    pictures = torch.stack([torch.full((1, 2, 2), -1.0), torch.full((1, 2, 2), 1.0), torch.tensor([[[-1.0, -1.0], [-1.0, 1.0]]])])

    assert ink(pictures, None).tolist() == [0.0, 1.0, 0.25]


def test_confidence_is_the_probability_of_the_class_that_was_asked_for():
    classifier = nn.Linear(2, 3)
    samples, labels = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1])

    first, second = rewards.rewards("confidence + near:0,0", classifier=classifier)

    expected = torch.stack([classifier(row).softmax(0)[label] for row, label in zip(samples, labels, strict=True)])
    assert torch.allclose(first(samples, labels), expected)
    assert torch.allclose(second(samples, labels), -(samples.norm(dim=1) ** 2))


@pytest.mark.parametrize(
    ("text", "shape", "classes", "sentence"),
    [
        ("near:1,2", (2,), None, None),
        ("ink + confidence", (1, 8, 8), 10, None),
        ("near:1,2,3", (2,), None, "must name a point with as many coordinates as an example of shape [2] has; got 'near:1,2,3'."),
        ("near:1,2", (1, 8, 8), 10, "must name a point with as many coordinates as an example of shape [1, 8, 8] has; got 'near:1,2'."),
        ("near:1,2 + ink", (2,), None, "must fit examples of shape [2], and ink is a reward for pictures; got 'near:1,2 + ink'."),
        ("confidence", (2,), None, "must fit examples without classes, and confidence is that in a class; got 'confidence'."),
    ],
)
def test_a_reward_fits_some_examples_and_not_others(text, shape, classes, sentence):
    assert rewards.misfit(text, input_shape=shape, classes=classes) == sentence
