"""Messages between child and supervisor."""

import json

import numpy as np
import pytest
import torch

from engine.events import Activity, Artifact, Checkpoint, Evaluation, Event, Log, Metrics, Outcome, PhaseStarted, Progress
from workers import wire


def test_metrics_of_the_same_names_become_one_block_of_numbers() -> None:
    batch: list[Event] = [Metrics(1, {"loss": 0.5, "loss/labels": 0.25}), Metrics(2, {"loss": 0.75, "loss/labels": 0.125})]

    message = wire.decode(wire.encode(batch))

    (block,) = message.blocks
    assert block.names == ("loss", "loss/labels")
    assert block.steps.tolist() == [1, 2]
    assert block.values.tolist() == [[0.5, 0.25], [0.75, 0.125]]


def test_a_step_with_other_names_begins_a_block_and_the_order_is_kept() -> None:
    batch: list[Event] = [Metrics(1, {"a": 1.0}), Metrics(1, {"b": 2.0}), Metrics(2, {"a": 3.0}), Metrics(3, {})]

    message = wire.decode(wire.encode(batch))

    assert [(block.names, block.steps.tolist(), block.values.tolist()) for block in message.blocks] == [
        (("a",), [1], [[1.0]]),
        (("b",), [1], [[2.0]]),
        (("a",), [2], [[3.0]]),
    ]


def test_tensors_and_numbers_may_be_mixed_and_of_any_precision() -> None:
    values = {
        "half": torch.tensor(0.5, dtype=torch.bfloat16),
        "double": torch.tensor(0.1, dtype=torch.float64),
        "number": 0.1,
        "row": torch.tensor([2]),
    }

    message = wire.decode(wire.encode([Metrics(7, values)]))

    assert message.blocks[0].values.tolist() == [[0.5, 0.1, 0.1, 2.0]]


def test_numbers_that_are_not_finite_arrive_as_they_are() -> None:
    message = wire.decode(wire.encode([Metrics(1, {"loss": float("nan"), "norm": float("inf")})]))

    assert np.isnan(message.blocks[0].values[0, 0])
    assert message.blocks[0].values[0, 1] == np.inf


def test_every_other_event_arrives_as_it_was() -> None:
    batch: list[Event] = [
        PhaseStarted("distill", 0, None, 0, 100),
        Activity("an evaluation"),
        Progress(10, 100, "distill", 1.5, 6.7),
        Evaluation(10, "student", "validation", False, {"accuracy": 0.5, "auroc": None}, {"reliability": {"n": 3}}),
        Artifact("student", "model", "student", 12, "0" * 64, {"parameters": 3}),
        Checkpoint(10, "checkpoints/step-000000010"),
        Log("warning", "A line with ‖ and a quote \"."),
        Outcome("failed", 11, "loss became nan at step 11.", "loss"),
    ]  # fmt: skip

    message = wire.decode(wire.encode(batch))

    assert message.events == batch


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\xff\xff\xff\xff{}", b"\x02\x00\x00\x00[]", b"\x02\x00\x00\x00{}"],
    ids=["nothing", "too short", "a length beyond the end", "a list", "no blocks"],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.decode(data)


def test_a_message_that_names_an_unknown_event_is_refused() -> None:
    text = json.dumps({"blocks": [], "events": [{"is": "Sneaky"}]}).encode()

    with pytest.raises(ValueError, match="not a message"):
        wire.decode(len(text).to_bytes(4, "little") + text)
