"""The child's sender: what is emitted arrives, in order, and a supervisor that does not listen makes training wait."""

import threading
from multiprocessing import Pipe

from engine.events import Event, Log, Metrics
from tests.waiting import wait_for
from workers import wire
from workers.child import BUFFERED, EventSender


def hear(pipe: object, seen: list[int]) -> None:
    """Collects the steps of all metrics until the pipe ends."""
    try:
        while True:
            for block in wire.decode(pipe.recv_bytes()).blocks:  # type: ignore[attr-defined]
                seen.extend(block.steps.tolist())
    except EOFError:
        pass


def test_all_that_was_emitted_has_been_sent_when_close_returns() -> None:
    ours, its = Pipe()
    sender = EventSender(its)
    sender.start()
    events: list[Event] = [Metrics(1, {"loss": 1.0}), Log("info", "between"), Metrics(2, {"loss": 0.5})]

    for event in events:
        sender.emit(event)
    sender.close()

    messages = []
    while ours.poll():
        try:
            messages.append(wire.decode(ours.recv_bytes()))
        except EOFError:
            break
    assert [step for message in messages for block in message.blocks for step in block.steps.tolist()] == [1, 2]
    assert [event for message in messages for event in message.events] == [Log("info", "between")]


def test_training_waits_for_a_supervisor_that_does_not_listen_and_nothing_is_lost() -> None:
    ours, its = Pipe()
    sender = EventSender(its)
    count = 2 * BUFFERED
    done = threading.Event()
    emitted = [0]

    def train() -> None:
        for step in range(1, count + 1):
            sender.emit(Metrics(step, {"loss": 1.0}))
            emitted[0] = step
        sender.close()
        done.set()

    sender.start()
    trainer = threading.Thread(target=train, daemon=True)
    trainer.start()
    wait_for(lambda: emitted[0] >= BUFFERED - 1, what="the buffer to fill")
    waits = not done.is_set()
    seen: list[int] = []
    hear(ours, seen)

    assert waits
    assert seen == list(range(1, count + 1))
