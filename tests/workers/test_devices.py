"""What a worker offers."""

import pytest

from workers.devices import Gpu, Pool, Share, parse_gpus

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
    on_cpu = Share("cpu", (), 1)
    on_gpus = Share("cuda", (Gpu("GPU-aaa", "H100", 1.0), Gpu("GPU-ccc", "H100", 1.0)), 4)

    assert on_cpu.environment == {"CUDA_VISIBLE_DEVICES": ""}
    assert on_gpus.environment == {"CUDA_VISIBLE_DEVICES": "GPU-aaa,GPU-ccc"}


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
