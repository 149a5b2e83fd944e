"""Points a second from a child's `emit` to committed rows, and what `emit` costs the training thread.

    python benchmarks/ingest.py [--steps 200000] [--series 10]

A child process says metrics through the pipe that a run's child uses, and this process writes them through the sink that a worker uses.
Other trackers, for orientation: Trackio writes 272,000 points a second to its local file in batches of 20, 48,000 one by one.
"""

import argparse
import multiprocessing
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection

import numpy as np
import place

ROWS_A_SECOND = 300_000.0
EMIT_MICROSECONDS = 20.0
STEP_SECONDS = 2e-4


def talk(pipe: Connection, steps: int, series: int, paced: bool) -> None:
    """The child. Emits `steps` times a dict of `series` numbers, at full speed or with work between; sends the cost of each `emit` last."""
    from engine.events import Log, Metrics
    from workers.child import EventSender

    voice = EventSender(pipe)
    names = [f"loss/term-{index}" for index in range(series)]
    costs = np.zeros(steps)
    voice.start()
    voice.emit(Log("info", f"{time.time()}"))
    for step in range(1, steps + 1):
        values = dict.fromkeys(names, 1.0 / step)
        before = time.perf_counter()
        voice.emit(Metrics(step, values))
        costs[step - 1] = time.perf_counter() - before
        if paced:
            while time.perf_counter() - before < STEP_SECONDS:
                pass
    voice.emit(Log("info", f"{costs.mean()} {np.quantile(costs, 0.99)}"))
    voice.close()


def carry(project: object, steps: int, series: int, *, paced: bool) -> tuple[float, float, float]:
    """Seconds from the first emit to the last commit, and the mean and the 99th percentile of `emit` in seconds."""
    from tests.runs import queued_run
    from webapp.runs import lifecycle
    from webapp.runs.models import LogLine, MetricSeries
    from workers import wire
    from workers.sink import Sink

    run = queued_run(project, name="ingest", priority=100)  # type: ignore[arg-type]
    claim = lifecycle.claim_next(worker="benchmark", kinds=("cpu",), free={"cpu": 1})
    assert claim is not None and claim.run_id == run.pk, "stop the workers of this database first: one took the run"
    lifecycle.started(claim.token, pid=1, device="CPU")
    ours, its = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=talk, args=(its, steps, series, paced))
    child.start()
    its.close()
    sink = Sink(claim)
    with suppress(EOFError):
        while True:
            if ours.poll(sink.seconds_until_due()):
                sink.add(wire.decode(ours.recv_bytes()))
            if sink.is_due():
                sink.flush()
    sink.flush(last=True)
    ended = time.time()
    child.join()
    rows = sum(MetricSeries.objects.filter(run=run).values_list("points", flat=True))
    assert rows == steps * series, f"{rows} rows of {steps * series} arrived"
    began, costs = LogLine.objects.filter(run=run).order_by("id").values_list("text", flat=True)
    mean, late = map(float, costs.split())
    return ended - float(began), mean, late


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--series", type=int, default=10)
    arguments = parser.parse_args()
    with place.project() as project:
        seconds, _, _ = carry(project, arguments.steps, arguments.series, paced=False)
        rate = arguments.steps * arguments.series / seconds
        _, mean, late = carry(project, 20_000, arguments.series, paced=True)
    fast = place.verdict("emit to committed rows", rate, "rows/s", ROWS_A_SECOND, at_least=True)
    print(f"  {arguments.steps * arguments.series:,} rows of {arguments.series} series in {seconds:.2f} s")
    cheap = place.verdict("cost of emit, mean", mean * 1e6, "µs", EMIT_MICROSECONDS, at_least=False)
    print(f"  99th percentile {late * 1e6:.1f} µs, at {1 / STEP_SECONDS:,.0f} steps/s of {arguments.series} series")
    return 0 if fast and cheap else 1


if __name__ == "__main__":
    sys.exit(main())
