"""What a worker offers."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.devices import Gpu, Pool, Share, list_gpus, parse_gpus

TABLE = "0, GPU-aaa, NVIDIA H100, 80000, 81559\n1, GPU-bbb, NVIDIA H100, 8155, 81550\n"


def test_a_slot_that_is_taken_is_not_free_until_it_is_given_back() -> None:
    pool = Pool(cpu_slots=2, gpus=(), cores=4)
    with pool.choosing() as before:
        share = pool.take("cpu", 1)

    with pool.choosing() as during:
        pass
    pool.give_back(share)

    with pool.choosing() as after:
        assert (before["cpu"], during["cpu"], after["cpu"]) == (2, 1, 2)


def test_the_cores_are_shared_out_among_the_slots() -> None:
    pool = Pool(cpu_slots=2, gpus=(), cores=8)

    with pool.choosing():
        share = pool.take("cpu", 1)

    assert (share.threads, share.name) == (4, "CPU, 4 threads")


def test_a_run_on_the_cpu_sees_no_gpu_and_a_run_on_gpus_only_its_own() -> None:
    on_cpu = Share("cpu", (), 1, 10**9)
    on_gpus = Share("cuda", (Gpu("GPU-aaa", "H100", 1.0), Gpu("GPU-ccc", "H100", 1.0)), 4, 10**9)

    assert on_cpu.environment == {"CUDA_VISIBLE_DEVICES": ""}
    assert on_gpus.environment == {"CUDA_VISIBLE_DEVICES": "GPU-aaa,GPU-ccc"}


def test_networks_lie_in_the_smallest_of_a_runs_gpus_or_in_main_memory() -> None:
    large, small = Gpu("GPU-aaa", "H100", 1.0, 80 * 10**9), Gpu("GPU-bbb", "A10", 1.0, 24 * 10**9)

    assert Share("cuda", (large, small), 4, 10**9).room == 24 * 10**9
    assert Share("cpu", (), 1, 10**9).room == 10**9


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [(None, ["GPU-aaa", "GPU-bbb"]), ("1", ["GPU-bbb"]), ("GPU-aaa", ["GPU-aaa"]), ("", [])],
    ids=["all", "by index", "by uuid", "none"],
)
def test_only_the_visible_gpus_are_offered(visible: str | None, uuids: list[str]) -> None:
    gpus = parse_gpus(TABLE, visible=visible)

    assert [gpu.uuid for gpu in gpus] == uuids


def test_the_free_share_of_a_gpus_memory_is_read() -> None:
    gpus = parse_gpus(TABLE, visible=None)

    assert [round(gpu.free_share, 2) for gpu in gpus] == [0.98, 0.1]


def test_a_worker_without_gpus_takes_no_work_for_gpus() -> None:
    assert Pool(cpu_slots=1, gpus=(), cores=1).kinds == ("cpu",)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a driver's program that answers so, the first one on the path."""

    def make(answer: str, code: int = 0) -> None:
        (tmp_path / "table").write_text(answer)
        program = tmp_path / "nvidia-smi"
        program.write_text(
            f'#!/bin/sh\n[ "$1" = --query-gpu=index,uuid,name,memory.free,memory.total ] && cat {tmp_path}/table\nexit {code}\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return make


def table(**free: int) -> str:
    """Lines of nvidia-smi: how much of a hundred MiB each GPU has free."""
    return "".join(f"{index}, GPU-{name}, H100, {share}, 100\n" for index, (name, share) in enumerate(free.items()))


def test_the_driver_is_asked_and_one_that_fails_has_no_gpus(nvidia_smi: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(table(a=100, b=50))
    both = list_gpus()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", " 1 ")
    second = list_gpus()
    nvidia_smi(table(a=100), code=9)

    assert both == (Gpu("GPU-a", "H100", 1.0, 100 * 2**20), Gpu("GPU-b", "H100", 0.5, 100 * 2**20))
    assert [gpu.free_bytes for gpu in both] == [100 * 2**20, 50 * 2**20]
    assert (second, list_gpus()) == (both[1:], ())


def test_only_gpus_that_nobody_else_uses_are_free_and_they_are_asked_each_time(nvidia_smi: Callable[..., None]) -> None:
    nvidia_smi(table(a=100, b=79, c=80))
    pool = Pool(cpu_slots=1, gpus=list_gpus(), cores=8)
    with pool.choosing() as free:
        before = dict(free)
    nvidia_smi(table(a=100, b=100))

    with pool.choosing() as free:
        after = dict(free)

    assert (before, after) == ({"cpu": 1, "cuda": 2}, {"cpu": 1, "cuda": 2})
    with pool.choosing():
        assert [gpu.uuid for gpu in pool.take("cuda", 2).gpus] == ["GPU-a", "GPU-b"]


def test_what_a_run_took_is_nobody_elses_until_it_is_given_back(nvidia_smi: Callable[..., None]) -> None:
    nvidia_smi(table(a=100, b=100, c=100))
    pool = Pool(cpu_slots=1, gpus=list_gpus(), cores=8)
    with pool.choosing():
        pair = pool.take("cuda", 2)
        slot = pool.take("cpu", 1)
    room = [pool.has_room()]
    with pool.choosing() as free:
        left = dict(free)
        last = pool.take("cuda", 1)
    room.append(pool.has_room())
    pool.give_back(pair)
    room.append(pool.has_room())
    with pool.choosing() as free:
        again = dict(free)

    assert (left, again, room) == ({"cpu": 0, "cuda": 1}, {"cpu": 0, "cuda": 2}, [True, False, True])
    assert (pair.name, pair.threads, slot.threads, last.environment) == ("H100, H100", 4, 2, {"CUDA_VISIBLE_DEVICES": "GPU-c"})
    assert (pool.size, pool.kinds) == (4, ("cpu", "cuda"))


@pytest.mark.parametrize(("slots", "cores", "threads"), [(4, 4, 1), (4, 3, 1), (3, 8, 2), (1, 1, 1)])
def test_every_run_has_a_thread_however_few_the_cores(slots: int, cores: int, threads: int) -> None:
    pool = Pool(cpu_slots=slots, gpus=(), cores=cores)

    with pool.choosing():
        share = pool.take("cpu", 1)

    assert (share.threads, share.name) == (threads, f"CPU, {threads} thread{'s' if threads > 1 else ''}")


def test_a_worker_without_slots_takes_no_work_for_the_cpu() -> None:
    pool = Pool(cpu_slots=0, gpus=(Gpu("GPU-a", "H100", 1.0),), cores=8)

    assert (pool.kinds, pool.size, pool.has_room()) == (("cuda",), 1, True)
