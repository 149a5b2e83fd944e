"""Which waiting run a machine takes next."""

import heapq
import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.runs.doorbell import DeviceKind
from webapp.runs.lifecycle.placement import Held, Machine, Waiting, choose

GPU: tuple[DeviceKind, ...] = ("cuda",)
EITHER: tuple[DeviceKind, ...] = ("cuda", "cpu")


def gpus(name: str, free: int, *held: tuple[int, float]) -> Machine:
    """A machine with so many GPUs free, and (count, seconds until they are back) in use."""
    return Machine(name, {"cuda": free}, [Held("cuda", count, seconds) for count, seconds in held])


def wants(run: str, count: int, seconds: float = math.inf, kinds: tuple[DeviceKind, ...] = GPU) -> Waiting[str]:
    return Waiting(run, kinds, count, seconds)


def chosen(asking: str, machines: list[Machine], *queue: Waiting[str]) -> str | None:
    answer = choose(asking, machines, queue)
    return answer[0] if answer else None


def test_the_first_run_that_fits_is_taken() -> None:
    machines = [gpus("a", 2)]

    answer = choose("a", machines, [wants("first", 2), wants("second", 1)])

    assert answer == ("first", "cuda")


def test_a_run_that_takes_either_kind_gets_a_gpu_while_there_is_one() -> None:
    with_gpu, without = Machine("a", {"cpu": 1, "cuda": 1}), Machine("a", {"cpu": 1, "cuda": 0})
    run = wants("either", 1, kinds=EITHER)

    answers = [choose("a", [machine], [run]) for machine in (with_gpu, without)]

    assert answers == [("either", "cuda"), ("either", "cpu")]


def test_nothing_small_is_started_where_a_large_run_waits_for_devices() -> None:
    machines = [gpus("a", 3, (5, math.inf))]

    answer = chosen("a", machines, wants("large", 8), wants("small", 1))

    assert answer is None


def test_what_ends_before_the_reserved_devices_are_free_goes_ahead() -> None:
    machines = [gpus("a", 3, (5, 600.0))]

    short = chosen("a", machines, wants("large", 8), wants("small", 1, 600.0))
    long = chosen("a", machines, wants("large", 8), wants("small", 1, 601.0))

    assert (short, long) == ("small", None)


def test_a_run_that_says_its_length_waits_too_where_nobody_knows_when_the_devices_are_free() -> None:
    """One short run after the other would otherwise pass the large one for ever."""
    machines = [gpus("a", 3, (5, math.inf))]

    answer = chosen("a", machines, wants("large", 8), wants("small", 1, 10.0))

    assert answer is None


def test_the_devices_beyond_a_reservation_are_given_out_once() -> None:
    """What was started on them is younger than what is waited for, so it is not taken for coming back."""
    before, after = gpus("a", 6, (2, math.inf)), gpus("a", 5, (2, math.inf), (1, math.inf))

    answers = [chosen("a", [machine], wants("large", 7), wants("small", 1)) for machine in (before, after)]

    assert answers == ["small", None]


def test_devices_beyond_the_reservation_are_for_everybody() -> None:
    machines = [gpus("a", 3, (5, math.inf))]

    fits_beside = chosen("a", machines, wants("large", 6), wants("small", 2))
    too_much = chosen("a", machines, wants("large", 6), wants("small", 3))

    assert (fits_beside, too_much) == ("small", None)


def test_a_reservation_is_on_the_machine_that_can_have_the_run_soonest_and_the_others_go_on() -> None:
    machines = [gpus("late", 4, (4, 900.0)), gpus("soon", 4, (4, 300.0))]

    answers = [chosen(name, machines, wants("large", 8), wants("small", 1)) for name in ("late", "soon")]

    assert answers == ["small", None]


def test_where_no_end_is_known_the_reservation_is_where_the_fewest_devices_are_missing() -> None:
    machines = [gpus("full", 1, (7, math.inf)), gpus("half", 5, (3, math.inf))]

    answers = [chosen(name, machines, wants("large", 8), wants("small", 1)) for name in ("full", "half")]

    assert answers == ["small", None]


def test_a_run_that_another_machine_can_start_is_left_to_it() -> None:
    machines = [gpus("a", 1), gpus("b", 8)]

    answer = chosen("a", machines, wants("large", 8), wants("small", 1))

    assert answer == "small"


def test_what_another_machine_will_start_is_not_counted_on_twice() -> None:
    """The second large run finds the other machine taken by the first, so it waits for the asking one."""
    machines = [gpus("a", 4, (4, math.inf)), gpus("b", 8)]

    answer = chosen("a", machines, wants("large 1", 8), wants("large 2", 8), wants("small", 1))

    assert answer is None


def test_each_large_run_gets_a_machine_of_its_own_to_wait_for() -> None:
    machines = [gpus("a", 4, (4, math.inf)), gpus("b", 3, (5, math.inf)), gpus("c", 1, (7, math.inf))]
    queue = [wants("large 1", 8), wants("large 2", 8), wants("small", 1)]

    answers = [chosen(name, machines, *queue) for name in "abc"]

    assert answers == [None, None, "small"]


def test_a_run_that_no_machine_can_ever_hold_keeps_nobody_waiting() -> None:
    machines = [gpus("a", 2, (6, math.inf))]

    answer = chosen("a", machines, wants("too large", 9), wants("small", 1))

    assert answer == "small"


def test_a_run_waits_for_its_own_kind_of_device_only() -> None:
    machines = [Machine("a", {"cpu": 1, "cuda": 0}, [Held("cuda", 8)])]

    answer = chosen("a", machines, wants("large", 8), wants("on the CPU", 1, kinds=("cpu",)))

    assert answer == "on the CPU"


def test_the_queue_is_read_only_as_far_as_needed() -> None:
    def queue() -> Iterator[Waiting[str]]:
        yield wants("first", 1)
        raise AssertionError("nobody needed the second")

    answer = choose("a", [gpus("a", 1)], queue())

    assert answer == ("first", "cuda")


def test_a_machine_without_a_free_device_takes_nothing() -> None:
    answer = chosen("a", [gpus("a", 0, (1, 5.0)), gpus("b", 1)], wants("first", 1))

    assert answer is None


def test_each_machine_sees_the_same_plan_in_whatever_order_it_lists_them() -> None:
    machines = [gpus("a", 4, (4, math.inf)), gpus("b", 4, (4, math.inf))]
    queue = [wants("large", 8), wants("small", 1)]

    forwards = [chosen(name, machines, *queue) for name in "ab"]
    backwards = [chosen(name, machines[::-1], *queue) for name in "ab"]

    assert forwards == backwards == [None, "small"]


LENGTHS = st.integers(1, 50)
RUNNING = st.lists(st.tuples(LENGTHS, st.integers(1, 3)), min_size=1, max_size=6).filter(lambda runs: sum(count for _, count in runs) <= 8)
STREAM = st.lists(st.tuples(LENGTHS, st.integers(1, 2)), min_size=15, max_size=25)


@given(running=RUNNING, stream=STREAM, size=st.integers(2, 8))
def test_a_large_run_starts_once_those_that_ran_when_it_came_have_ended(
    running: list[tuple[int, int]], stream: list[tuple[int, int]], size: int
) -> None:
    """However many small ones come after it. Nobody says how long anything lasts."""
    held = {f"before {index}": (float(end), count, math.inf) for index, (end, count) in enumerate(running)}
    queue = [wants("large", size), *(wants(f"after {index}", count) for index, (_, count) in enumerate(stream))]
    lasts = {f"after {index}": float(length) for index, (length, _) in enumerate(stream)} | {"large": 1.0}

    started = starts_of(held, queue, lasts, gpus_of_machine=8)

    assert started["large"] <= max(end for end, _ in running)


@given(running=RUNNING, stream=STREAM, size=st.integers(2, 8))
def test_short_runs_that_say_their_length_delay_a_large_one_by_one_of_them_at_most(
    running: list[tuple[int, int]], stream: list[tuple[int, int]], size: int
) -> None:
    held = {f"before {index}": (float(end), count, math.inf) for index, (end, count) in enumerate(running)}
    queue = [wants("large", size), *(wants(f"after {index}", count, float(length)) for index, (length, count) in enumerate(stream))]
    lasts = {f"after {index}": float(length) for index, (length, _) in enumerate(stream)} | {"large": 1.0}

    started = starts_of(held, queue, lasts, gpus_of_machine=8)

    assert started["large"] <= max(end for end, _ in running) + max(lasts.values())


@given(running=RUNNING, stream=STREAM, size=st.integers(2, 8))
def test_where_all_ends_are_known_a_large_run_starts_as_if_nothing_had_come_after_it(
    running: list[tuple[int, int]], stream: list[tuple[int, int]], size: int
) -> None:
    held = {f"before {index}": (float(end), count, float(end)) for index, (end, count) in enumerate(running)}
    small = [wants(f"after {index}", count, float(length) if index % 2 else math.inf) for index, (length, count) in enumerate(stream)]
    lasts = {f"after {index}": float(length) for index, (length, _) in enumerate(stream)} | {"large": 1.0}

    alone = starts_of(held, [wants("large", size)], lasts, gpus_of_machine=8)
    followed = starts_of(held, [wants("large", size), *small], lasts, gpus_of_machine=8)

    assert followed["large"] == alone["large"]


def starts_of(
    held: dict[str, tuple[float, int, float]], queue: list[Waiting[str]], lasts: dict[str, float], *, gpus_of_machine: int
) -> dict[str, float]:
    """When each run starts on one machine. `held`: run → (its end, its GPUs, its end as far as anybody knows)."""
    now, started = 0.0, {}
    while queue:
        while True:
            free = gpus_of_machine - sum(count for _, count, _ in held.values())
            machine = Machine("a", {"cuda": free}, [Held("cuda", count, known - now) for _, count, known in held.values()])
            answer = choose("a", [machine], queue)
            if answer is None:
                break
            run = next(each for each in queue if each.run == answer[0])
            queue = [each for each in queue if each is not run]
            started[run.run] = now
            held = held | {run.run: (now + lasts[run.run], run.count, now + run.seconds)}
        if not held:
            break
        now = min(end for end, _, _ in held.values())
        held = {name: each for name, each in held.items() if each[0] > now}
    return started


@pytest.mark.parametrize("seed", range(3))
def test_in_a_full_house_every_size_starts_and_none_is_passed_for_long(seed: int) -> None:
    """Four machines, 200 runs that all wait from the beginning, a large one in ten: nobody starts more than one round of ends after its turn."""
    generator = random.Random(seed)
    sizes = [generator.choice([1, 1, 1, 1, 1, 2, 2, 4, 4, 8]) for _ in range(200)]
    order = starts_in_order(sizes, machines=4, lasting=lambda: generator.uniform(50, 100))

    passed_by = [sum(1 for later in order[: order.index(run)] if later > run) for run in range(200)]

    assert sorted(order) == list(range(200))
    assert max(passed_by) <= 4 * 8 * 3


def starts_in_order(sizes: list[int], *, machines: int, lasting: Callable[[], float]) -> list[int]:
    """The numbers of the runs in the order of their starts, on machines with eight GPUs each; nobody says how long anything lasts."""
    free = {f"machine {index}": 8 for index in range(machines)}
    running: list[tuple[float, int, str]] = []
    waiting = dict(enumerate(sizes))
    order: list[int] = []
    now = 0.0
    while waiting:
        for name in free:
            while True:
                hosts = [gpus(each, free[each], *((sizes[run], math.inf) for _, run, on in running if on == each)) for each in free]
                answer = choose(name, hosts, [Waiting(run, GPU, size) for run, size in waiting.items()])
                if answer is None:
                    break
                run = answer[0]
                order.append(run)
                free[name] -= waiting.pop(run)
                heapq.heappush(running, (now + lasting(), run, name))
        if running:
            now, run, name = heapq.heappop(running)
            free[name] += sizes[run]
    return order
