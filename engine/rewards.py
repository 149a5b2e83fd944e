"""Rewards: what a generator can be tuned to make more of, and what its samples can be scored by. A reward is a pure function of samples.

A reward is named by a text, so that a setting or an option can hold it: `near:-0.6,0.6` for points, `ink` and `confidence` for pictures, and
`ink + confidence` for several. This module reads and checks such texts without torch; the functions work on the tensors that they are given.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    Score = Callable[[Tensor, Tensor | None], Tensor]

NEAR, INK, CONFIDENCE = "near", "ink", "confidence"
FORMS = "near:<coordinates with commas>, ink or confidence, or several with + between them"


def parse(text: str) -> list[tuple[str, tuple[float, ...]]]:
    """`near:-0.6,0.6 + ink` → [("near", (-0.6, 0.6)), ("ink", ())]. Raises ValueError with a sentence that says what would be right."""
    parsed = [_parse_one(part.strip()) for part in text.split("+")]
    if None in parsed:
        raise ValueError(f"must be {FORMS}; got {text!r:.80}")
    return [each for each in parsed if each is not None]


def _parse_one(text: str) -> tuple[str, tuple[float, ...]] | None:
    name, colon, rest = text.partition(":")
    if name in (INK, CONFIDENCE) and not colon:
        return name, ()
    try:
        point = tuple(float(part) for part in rest.split(","))
    except ValueError:
        return None
    return (name, point) if name == NEAR and all(math.isfinite(number) for number in point) else None


def misfit(text: str, *, input_shape: Sequence[int], classes: int | None) -> str | None:
    """One sentence when a reward, which parses, can't score examples of `input_shape` in `classes` classes; None when all can."""
    shape = list(input_shape)
    for name, point in parse(text):
        if name == NEAR and shape != [len(point)]:
            return f"must name a point with as many coordinates as an example of shape {shape} has; got {text!r:.80}."
        if name == INK and len(shape) != 3:
            return f"must fit examples of shape {shape}, and ink is a reward for pictures; got {text!r:.80}."
        if name == CONFIDENCE and classes is None:
            return f"must fit examples without classes, and confidence is that in a class; got {text!r:.80}."
    return None


def rewards(text: str, *, classifier: "nn.Module | None" = None) -> "list[Score]":
    """What a text names: functions of samples (batch, …) and the classes that they were asked for, (batch,) or None → (batch,).

    More is better. near: minus the squared distance to the point. ink: mean brightness of a picture in 0…1, from pixels in −1…1. confidence:
    probability that `classifier`, samples → logits (batch, classes), gives to the class that was asked for.
    """
    return [_score(name, point, classifier) for name, point in parse(text)]


def _score(name: str, point: tuple[float, ...], classifier: "nn.Module | None") -> "Score":
    if name == NEAR:
        return lambda samples, labels: -(samples - samples.new_tensor(point)).square().sum(dim=-1)
    if name == INK:
        return lambda samples, labels: (samples.flatten(1).mean(dim=1) + 1) / 2
    assert classifier is not None, "the reward confidence asks a classifier"

    def confidence(samples: "Tensor", labels: "Tensor | None") -> "Tensor":
        assert labels is not None, "the reward confidence needs the classes that were asked for"
        probabilities: Tensor = classifier(samples).softmax(dim=1)
        return probabilities.gather(1, labels[:, None]).squeeze(1)

    return confidence
