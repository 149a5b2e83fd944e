"""How often is too often, and how much is remembered of who asked."""

import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from webapp.gate.rates import Buckets, Rate


class Clock:
    """Time that passes when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_is_let_through_and_then_what_the_rate_gives(clock: Clock) -> None:
    buckets, rate = Buckets(clock=clock), Rate(3, 60)

    burst = [buckets.take("a", rate) for _ in range(4)]
    clock.now = 20.0  # one of three a minute
    after = [buckets.take("a", rate) for _ in range(2)]

    assert burst == [0, 0, 0, 20]
    assert after == [0, 20]


def test_who_is_turned_away_waits_no_longer_for_having_asked(clock: Clock) -> None:
    buckets, rate = Buckets(clock=clock), Rate(1, 10)
    buckets.take("a", rate)

    clock.now = 4.0
    waits = [buckets.take("a", rate) for _ in range(5)]

    assert waits == [6] * 5


def test_one_caller_does_not_use_up_anothers(clock: Clock) -> None:
    buckets, rate = Buckets(clock=clock), Rate(1, 60)

    assert [buckets.take(key, rate) for key in ("a", "b", "a")] == [0, 0, 60]


def test_what_costs_more_takes_more_and_never_more_than_a_full_bucket(clock: Clock) -> None:
    buckets, rate = Buckets(clock=clock), Rate(10, 10)

    assert [buckets.take("a", rate, 4) for _ in range(3)] == [0, 0, 2]
    assert buckets.take("b", rate, 50) == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), max_size=60))
def test_never_more_than_the_burst_and_the_rate_together(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    buckets, rate, taken = Buckets(clock=clock), Rate(5, 10), 0

    for pause, cost in steps:
        clock.now += pause
        taken += cost if buckets.take("a", rate, cost) == 0 else 0

    assert taken <= 5 + clock.now * 5 / 10 + 1e-6


def test_a_million_addresses_do_not_grow_it_and_the_quietest_is_forgotten_first(clock: Clock) -> None:
    buckets, rate = Buckets(most_kept=100, clock=clock), Rate(1, 3600)

    for number in range(10_000):
        buckets.take(f"{number}", rate)
        buckets.take("steady", rate)

    assert len(buckets) == 100
    assert buckets.take("steady", rate) > 0 and buckets.take("9999", rate) > 0
    assert buckets.take("0", rate) == 0


def test_threads_together_get_no_more_than_one_would(clock: Clock) -> None:
    buckets, rate, got = Buckets(clock=clock), Rate(100, 3600), []

    threads = [threading.Thread(target=lambda: got.extend(buckets.take("a", rate) == 0 for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(got), sum(got)) == (400, 100)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600/minute", Rate(600, 60)),
        ("1/s", Rate(1, 1)),
        ("100/10s", Rate(100, 10)),
        ("5/2 hours", Rate(5, 7200)),
        (" 30 / hour ", Rate(30, 3600)),
        ("5/Day", Rate(5, 86400)),
        ("120/min", Rate(120, 60)),
    ],
)
def test_a_rate_is_a_number_and_a_period(text: str, rate: Rate) -> None:
    assert Rate.parse("RATE", text) == rate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "600",
        "/minute",
        "0/minute",
        "-1/minute",
        "many/minute",
        "1.5/minute",
        "٣/minute",
        "600/year",
        "600/0s",
        "1/s/m",
        "9" * 50 + "/s",
    ],
)
def test_what_is_no_rate_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        Rate.parse("RATE", text)

    assert str(refused.value) == f"RATE must be a number above 0 and a time, such as 600/minute, 100/10s or 30/hour; got {text!r}."
