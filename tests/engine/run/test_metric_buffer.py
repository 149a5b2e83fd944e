"""Loss terms that are read later, as on a GPU, are the same terms, and the first bad one is named."""

import pytest
import torch

from engine.errors import NonFiniteError
from engine.events import Event, Metrics
from engine.run.metric_buffer import READ_STEPS, MetricBuffer


def test_terms_that_wait_are_emitted_together_in_order_when_they_are_read() -> None:
    emitted: list[Event] = []
    buffer = MetricBuffer(emitted.append, every=1, waits=True, seconds=3600)

    for step in (1, 2, 3):
        buffer.add(step, {"loss": torch.tensor(step / 2), "loss/teacher": torch.tensor(step, dtype=torch.float64)})
    before = list(emitted)
    buffer.flush()

    assert before == []
    assert emitted == [Metrics(step, {"loss": step / 2, "loss/teacher": float(step)}) for step in (1, 2, 3)]


def test_terms_never_wait_longer_than_so_many_steps() -> None:
    emitted: list[Event] = []
    buffer = MetricBuffer(emitted.append, every=1, waits=True, seconds=3600)

    for step in range(1, READ_STEPS + 1):
        buffer.add(step, {"loss": torch.tensor(0.0)})

    assert len(emitted) == READ_STEPS


@pytest.mark.parametrize("waits", [False, True])
def test_every_step_is_checked_though_not_every_one_is_emitted(waits: bool) -> None:
    emitted: list[Event] = []
    buffer = MetricBuffer(emitted.append, every=10, waits=waits)

    def four_steps() -> None:
        for step in range(1, 5):
            buffer.add(step, {"loss": torch.tensor(1.0), "loss/teacher": torch.tensor(float("inf") if step >= 3 else 1.0)})
        buffer.flush()

    with pytest.raises(NonFiniteError) as error:
        four_steps()

    assert (error.value.step, error.value.term) == (3, "loss/teacher")
    assert emitted == [Metrics(1, {"loss": 1.0, "loss/teacher": 1.0})]
