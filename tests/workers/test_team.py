"""A run on several devices is as many processes: the first one is heard, and they live and die together. Tried on the CPU."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from engine.events import Event, Outcome
from engine.run.export import load_model
from engine.spec.run_spec import RunSpec
from tests.waiting import wait_for
from workers.launcher import Child, Order

pytestmark = pytest.mark.usefixtures("forkserver_ends")


def start(folder: Path, *, devices: int, environment: Mapping[str, str] | None = None, **spec: Any) -> Child:
    body = {"method": "supervised", "task": "digits", "budget": {"epochs": 1}, "settings": {"optimizer": "sgd"}, "devices": devices}
    return Child(
        Order(
            spec=RunSpec.parse(body | spec).model_dump(mode="json"),
            workdir=str(folder / "run"),
            output=str(folder / "output.log"),
            resume=None,
            from_step=0,
            models={},
            environment=environment or {},
            threads=1,
            devices=devices,
        )
    )


def heard(child: Child) -> list[Event]:
    """All events until the child's end."""
    events: list[Event] = []
    while True:
        try:
            message = child.receive(within=0.2)
        except EOFError:
            return events
        events += message.events if message is not None else []


def followers_of(child: Child) -> list[psutil.Process]:
    """The other processes that write to the same output."""
    own = psutil.Process(child.pid)
    return [each for each in psutil.Process(own.ppid()).children() if each.pid != own.pid]


def test_two_processes_train_what_one_does_and_are_heard_once(tmp_path: Path) -> None:
    outcomes = {}
    for devices in (1, 2):
        (tmp_path / str(devices)).mkdir()
        child = start(tmp_path / str(devices), devices=devices)
        outcomes[devices] = [event.status for event in heard(child) if isinstance(event, Outcome)]
        assert child.end() == 0, child.last_lines()

    one, two = (torch.cat([p.flatten() for p in load_model(tmp_path / str(devices) / "run/student")[0].parameters()]) for devices in (1, 2))
    assert outcomes == {1: ["succeeded"], 2: ["succeeded"]}
    assert torch.allclose(one, two, rtol=0, atol=1e-5)


def test_when_a_follower_is_killed_the_attempt_has_crashed_and_nobody_is_left(tmp_path: Path) -> None:
    child = start(tmp_path, devices=2, budget={"steps": 1_000_000})
    wait_for(lambda: len(followers_of(child)) == 1, what="the follower")
    first = child.receive(within=30)
    (follower,) = followers_of(child)

    os.kill(follower.pid, signal.SIGKILL)
    outcomes = {event.status for event in heard(child) if isinstance(event, Outcome)}
    code = child.end()

    assert first is not None
    assert child.lost_a_follower
    assert code == -signal.SIGKILL or outcomes == {"failed"}
    wait_for(lambda: not psutil.pid_exists(child.pid) or psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, what="its end")


def test_a_killed_leader_takes_its_followers_along(tmp_path: Path) -> None:
    child = start(tmp_path, devices=2, budget={"steps": 1_000_000})
    wait_for(lambda: len(followers_of(child)) == 1, what="the follower")
    (follower,) = followers_of(child)

    child.kill()
    code = child.end()

    assert code == -signal.SIGKILL
    wait_for(lambda: not follower.is_running() or follower.status() == psutil.STATUS_ZOMBIE, what="the follower's end")


def test_a_gpu_that_torch_can_not_use_is_the_machines_fault_and_no_run_trains_on_the_cpu_in_its_place(tmp_path: Path) -> None:
    child = start(tmp_path, devices=1, environment={"CUDA_VISIBLE_DEVICES": "GPU-that-is-broken"})

    events = heard(child)

    assert events == [Outcome("failed", 0, "This worker's GPU can't be used: torch finds no CUDA device there.", machine=True)]
    assert child.end() == 0


def test_the_processor_time_of_a_child_is_that_of_all_who_train_and_it_stands_still_when_they_do(tmp_path: Path) -> None:
    child = start(tmp_path, devices=2, budget={"steps": 1_000_000})
    wait_for(lambda: len(followers_of(child)) == 1, what="the follower")
    family = [psutil.Process(child.pid), *followers_of(child)]
    wait_for(lambda: child.processor_seconds() > sum(family[0].cpu_times()[:2]) > 1, what="both to train")

    for process in family:
        process.suspend()
    wait_for(lambda: {process.status() for process in family} == {psutil.STATUS_STOPPED}, what="both to stand still")
    before = child.processor_seconds()
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 1, what="a second")
    after = child.processor_seconds()
    child.kill()
    child.end()

    assert before == after > 1
    assert child.processor_seconds() == 0
