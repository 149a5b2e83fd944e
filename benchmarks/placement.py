"""The queue's order under load: 10,000 runs of one to eight GPUs on 64 machines, simulated by the function that the workers claim by.

    python benchmarks/placement.py [--runs 10000] [--load 0.95] [--seed 0]

Beside it the order without reservations, in which whatever fits goes first. Prints how much of the GPUs' time was used while runs waited,
and how long runs waited, by size. Its target: no size waits more than ten times as long, on average, as the others together, and
the GPUs are used as much as without reservations, less a tenth.
"""

import argparse
import heapq
import math
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import django
import place

SIZES = {1: 0.6, 2: 0.15, 4: 0.15, 8: 0.1}
MACHINES = [8] * 48 + [4] * 16
HOUR = 3600.0


@dataclass
class Job:
    number: int
    arrives: float
    gpus: int
    lasts: float
    says: float
    starts: float = math.inf

    @property
    def waited(self) -> float:
        return self.starts - self.arrives


@dataclass
class Host:
    name: str
    gpus: int
    running: dict[int, Job] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.gpus - sum(job.gpus for job in self.running.values())


Policy = Callable[[Host, Sequence[Host], Iterable[Job], float], Job | None]


def jobs(count: int, load: float, seed: int) -> list[Job]:
    """Arrivals at random whose work is `load` of what all GPUs can do. Half of the runs say how long they last at most, and last 40 to 100 % of it."""
    generator = random.Random(seed)
    rate = load * sum(MACHINES) / (HOUR * sum(size * share for size, share in SIZES.items()))
    made, now = [], 0.0
    for number in range(count):
        now += generator.expovariate(rate)
        lasts = HOUR * generator.lognormvariate(-0.5, 1.0)  # one hour on average
        says = lasts / generator.uniform(0.4, 1.0) if generator.random() < 0.5 else math.inf
        made.append(Job(number, now, generator.choices(list(SIZES), list(SIZES.values()))[0], lasts, says))
    return made


def whatever_fits(asking: Host, hosts: Sequence[Host], queue: Iterable[Job], now: float) -> Job | None:
    return next((job for job in queue if job.gpus <= asking.free), None)


def with_reservations(asking: Host, hosts: Sequence[Host], queue: Iterable[Job], now: float) -> Job | None:
    from webapp.runs.lifecycle.placement import Held, Machine, Waiting, choose

    machines = [
        Machine(host.name, {"cuda": host.free}, [Held("cuda", job.gpus, job.starts + job.says - now) for job in host.running.values()])
        for host in hosts
    ]
    chosen = choose(asking.name, machines, (Waiting(job, ("cuda",), job.gpus, job.says) for job in queue))
    return chosen[0] if chosen else None


def simulate(all_jobs: Sequence[Job], policy: Policy, gpus: Sequence[int] = MACHINES) -> tuple[float, int]:
    """Gives each job its start. Returns the GPU-seconds that stood idle while something waited, and how many claims were looked for."""
    hosts = [Host(f"machine-{index:02}", size) for index, size in enumerate(gpus)]
    waiting: dict[int, Job] = {}
    ends: list[tuple[float, int, Host]] = []
    arrivals = iter(all_jobs)
    upcoming = next(arrivals, None)
    now = idle = 0.0
    looks = 0
    while upcoming or ends:
        before, now = now, min(upcoming.arrives if upcoming else math.inf, ends[0][0] if ends else math.inf)
        idle += (now - before) * sum(host.free for host in hosts) if waiting else 0.0
        if upcoming and upcoming.arrives == now:
            waiting[upcoming.number] = upcoming
            upcoming = next(arrivals, None)
        else:
            _, number, host = heapq.heappop(ends)
            del host.running[number]
        for asking in hosts:  # whoever has room looks, until it finds nothing
            while asking.free and waiting:
                looks += 1
                job = policy(asking, hosts, waiting.values(), now)
                if job is None:
                    break
                job.starts = now
                asking.running[job.number] = waiting.pop(job.number)
                heapq.heappush(ends, (now + job.lasts, job.number, asking))
    return idle, looks


def report(name: str, done: Sequence[Job], idle: float, gpus: int) -> tuple[float, dict[int, float]]:
    """Prints one policy's lines, and returns the used share of the GPUs while runs waited, and the average wait by size in seconds."""
    span = max(job.starts for job in done) - done[0].arrives
    used = 1 - idle / (span * gpus)
    waits = defaultdict(list)
    for job in done:
        waits[job.gpus].append(job.waited)
    print(f"{name}: {used:.1%} of the GPUs' time used or not asked for, until the last start")
    for size, values in sorted(waits.items()):
        last = statistics.quantiles(values, n=100)[-1]
        print(
            f"  {size} GPU{'s' * (size > 1)}: {len(values):,} runs waited {statistics.fmean(values) / 60:.1f} min on average, "
            f"1 % more than {last / 60:.0f} min, at most {max(values) / 60:.0f} min"
        )
    return used, {size: statistics.fmean(values) for size, values in waits.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--load", type=float, default=0.95, help="work that arrives, as a share of what the GPUs can do")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    django.setup()
    used, waits = {}, {}
    for name, policy in {"whatever fits": whatever_fits, "with reservations": with_reservations}.items():
        done = jobs(asked.runs, asked.load, asked.seed)
        idle, looks = simulate(done, policy)
        used[name], waits[name] = report(f"{name} ({looks:,} looks)", done, idle, sum(MACHINES))
        assert all(math.isfinite(job.starts) for job in done), "a run never started"
    largest = waits["with reservations"].pop(8)
    met = [
        place.verdict(
            "wait of runs on 8 GPUs over the others'",
            largest / max(1.0, statistics.fmean(waits["with reservations"].values())),
            "times",
            10,
            at_least=False,
        ),
        place.verdict(
            "use of the GPUs, with over without reservations",
            used["with reservations"] / used["whatever fits"],
            "times",
            0.9,
            at_least=True,
        ),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
