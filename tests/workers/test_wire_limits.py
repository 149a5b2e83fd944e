"""Messages at their limits: whatever is said arrives as it was, and what is no message is refused and nothing else."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Artifact, Checkpoint, Evaluation, Event, Log, Metrics, Outcome, PhaseStarted, Progress
from workers import wire

names = st.text(max_size=8)
steps = st.integers(-(2**63), 2**63 - 1)
metrics = st.builds(Metrics, steps, st.dictionaries(names, st.floats(), max_size=3))
others = st.one_of(
    st.builds(Log, st.sampled_from(["info", "error"]), st.text(max_size=20)),
    st.builds(Checkpoint, st.integers(0, 2**60), names),
    st.builds(Progress, st.integers(0), st.integers(0), names, st.floats(0, 1e9), st.floats(0, 1e9)),
    st.builds(PhaseStarted, names, st.integers(0, 9), st.none() | st.integers(1, 9), st.integers(0), st.none() | st.integers(0)),
    st.builds(Artifact, names, st.just("table"), names, st.integers(0), names, st.dictionaries(names, st.none() | st.booleans())),
    st.builds(
        Evaluation, st.integers(0), st.just("student"), st.just("test"), st.booleans(), st.dictionaries(names, st.none() | st.integers())
    ),
    st.builds(Outcome, st.just("failed"), st.integers(0), names, names),
)
batches = st.lists(metrics | others, max_size=12)


def rows_of(message: wire.Message) -> list[tuple[int, dict[str, str]]]:
    """Each step's values by name, written so that NaN equals itself, and a zero its own sign alone."""
    return [
        (step, {name: repr(value) for name, value in zip(block.names, values, strict=True)})
        for block in message.blocks
        for step, values in zip(block.steps.tolist(), block.values.tolist(), strict=True)
    ]


@given(batches)
def test_what_was_said_arrives_in_its_order(batch: list[Event]) -> None:
    message = wire.decode(wire.encode(batch))

    said = [(event.step, {name: repr(value) for name, value in event.values.items()}) for event in batch if isinstance(event, Metrics)]
    assert rows_of(message) == [(step, values) for step, values in said if values]
    assert message.events == [event for event in batch if not isinstance(event, Metrics)]


@given(batches)
def test_neighbors_with_the_same_names_share_a_block_and_no_others_do(batch: list[Event]) -> None:
    message = wire.decode(wire.encode(batch))

    kinds = [tuple(event.values) for event in batch if isinstance(event, Metrics)]
    changes = [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind and kind != before]
    assert [block.names for block in message.blocks] == changes


@given(batches, st.data())
def test_a_message_that_was_cut_short_is_refused(batch: list[Event], data: st.DataObject) -> None:
    whole = wire.encode(batch)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]

    with pytest.raises(ValueError, match=r"."):
        wire.decode(cut)


def framed(head: Any) -> bytes:
    text = json.dumps(head).encode()
    return len(text).to_bytes(4, "little") + text


@pytest.mark.parametrize(
    "head",
    [
        {"blocks": []},
        {"events": []},
        {"blocks": {}, "events": [3]},
        {"blocks": [], "events": ["Log"]},
        {"blocks": [], "events": [{"level": "info", "text": "no kind"}]},
        {"blocks": [], "events": [{"is": "Log", "level": "info"}]},
        {"blocks": [], "events": [{"is": "Metrics", "step": 1, "values": {}}]},
        {"blocks": [], "events": [{"is": ["Log"]}]},
        {"blocks": [{"names": ["loss"], "rows": 2}], "events": []},
        {"blocks": [{"names": 3, "rows": 0}], "events": []},
        {"blocks": [{"names": ["loss"], "rows": "many"}], "events": []},
        {"blocks": [{"names": ["loss"], "rows": -1}], "events": []},
        {"blocks": ["loss"], "events": []},
        3,
        None,
    ],
)
def test_a_head_that_makes_no_sense_is_refused(head: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.decode(framed(head) + np.arange(2.0).tobytes())


def test_fields_that_an_event_does_not_have_are_not_taken_over() -> None:
    (event,) = wire.decode(framed({"blocks": [], "events": [{"is": "Log", "level": "info", "text": "t", "admin": True}]})).events

    assert event == Log("info", "t")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_tensor_of_any_kind_arrives_as_the_number_that_it_holds(dtype: torch.dtype) -> None:
    value = torch.tensor(1, dtype=dtype)

    (block,) = wire.decode(wire.encode([Metrics(1, {"alone": value}), Metrics(2, {"alone": 0.1})])).blocks

    assert block.values.tolist() == [[1.0], [0.1]]


def test_a_loss_with_its_graph_is_read_without_it_and_keeps_its_precision() -> None:
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    loss = weight * 3

    (block,) = wire.decode(wire.encode([Metrics(1, {"loss": loss, "lr": 1e-300, "none": math.nan})])).blocks

    assert block.values[0, :2].tolist() == [0.1 * 3, 1e-300] and np.isnan(block.values[0, 2])
    assert torch.autograd.grad(loss, weight)[0] == 3
