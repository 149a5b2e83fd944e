"""The facts in Prometheus' words. Names and labels stand here alone; docker/grafana and docker/alerts.yaml use them."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from webapp.fleet import lag, tally
from webapp.fleet.models import Worker
from webapp.monitoring.facts import Facts

ENDS = ("succeeded", "failed", "stopped", "crashed", "lost", "returned")
"""How attempts end: each is told from the beginning, because a counter that appears with its first event hides that event."""

STANDINGS = ("ready", "set_aside", "store_problem", "silent")


class OfFacts(Collector):
    """What is the same whichever web process is asked."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def collect(self) -> Iterator[Metric]:
        yield from _of_runs(self.facts)
        yield from _of_work(self.facts)
        yield from _of_workers(self.facts)
        yield from _of_store(self.facts)


def _of_runs(facts: Facts) -> Iterator[Metric]:
    runs = GaugeMetricFamily("stillhouse_runs", "Runs by state, without those in the trash.", labels=["state"])
    for state, number in facts.runs.items():
        runs.add_metric([state], number)
    length = GaugeMetricFamily("stillhouse_queue_runs", "Runs that wait, by the kind of device that they ask for.", labels=["device_kind"])
    oldest = GaugeMetricFamily("stillhouse_queue_oldest_seconds", "How long the oldest of them has waited.", labels=["device_kind"])
    for kind, queue in facts.queues.items():
        length.add_metric([kind], queue.runs)
        oldest.add_metric([kind], queue.oldest_seconds)
    yield from (runs, length, oldest)
    yield GaugeMetricFamily("stillhouse_silent_attempts", "Held runs whose worker has not been heard of for a while.", facts.silent)
    yield GaugeMetricFamily("stillhouse_stalled_attempts", "Held runs that stand still.", facts.stalled)


def _of_work(facts: Facts) -> Iterator[Metric]:
    attempts = CounterMetricFamily("stillhouse_attempts", "Attempts by how they ended; a lost lease is `lost`.", labels=["end"])
    for end in ENDS:
        attempts.add_metric([end], facts.tally.get(tally.ATTEMPTS + end, 0))
    yield attempts
    looks = facts.tally.get(tally.LOOKS, 0)
    yield CounterMetricFamily("stillhouse_watchdog_looks", "Looks of the watchdog, which beat asks for and a worker does.", looks)
    bounds = [f"{bound:g}" for bound in (*lag.BOUNDS, float("inf"))]
    counts = accumulate(facts.tally.get(lag.BUCKET + bound, 0) for bound in bounds)
    buckets = [("+Inf" if bound == "inf" else bound, count) for bound, count in zip(bounds, counts, strict=True)]
    yield HistogramMetricFamily(
        "stillhouse_commit_lag_seconds",
        "From what a child says to its being committed: of each message the oldest event.",
        buckets=buckets,
        sum_value=facts.tally.get(lag.SECONDS, 0),
    )


def _of_workers(facts: Facts) -> Iterator[Metric]:
    standings = [standing_of(worker) for worker in facts.workers]
    workers = GaugeMetricFamily("stillhouse_workers", "Workers by whether they take runs; silent ones for an hour.", labels=["standing"])
    for standing in STANDINGS:
        workers.add_metric([standing], standings.count(standing))
    about = ["host", "device", "name"]
    size = GaugeMetricFamily("stillhouse_device_memory_bytes", "Memory of a host and of its workers' GPUs.", labels=about)
    free = GaugeMetricFamily("stillhouse_device_free_memory_bytes", "Of it, what is free.", labels=about)
    # Two workers of a host tell of the same memory.
    devices = {device: told for worker in facts.workers if not worker.is_silent for device, told in _memory_of(worker).items()}
    for device, (total, unused) in devices.items():
        size.add_metric(device, total)
        free.add_metric(device, unused)
    yield from (workers, size, free)


def standing_of(worker: Worker) -> str:
    """For a row of `lately`."""
    if worker.is_silent:
        return "silent"
    if worker.store_problem:
        return "store_problem"
    return "set_aside" if worker.is_set_aside else "ready"


def _memory_of(worker: Worker) -> dict[tuple[str, str, str], tuple[int, int]]:
    """(host, device, name) → (bytes, free bytes)."""
    gpus = {(worker.host, gpu["uuid"], gpu["name"]): (gpu["memory_bytes"], gpu["free_bytes"]) for gpu in worker.gpus}
    return {(worker.host, "memory", "Main memory"): (worker.memory_bytes, worker.free_memory_bytes), **gpus}


def _of_store(facts: Facts) -> Iterator[Metric]:
    yield GaugeMetricFamily("stillhouse_artifact_bytes", "What the runs' artifacts have in the store.", facts.artifact_bytes)
    seen = [worker for worker in facts.workers if not worker.is_silent and worker.store_bytes]
    if seen:  # who sees the least room fails first
        least = min(seen, key=lambda worker: worker.store_free_bytes)
        yield GaugeMetricFamily("stillhouse_store_size_bytes", "The store's file system, as workers see it.", least.store_bytes)
        yield GaugeMetricFamily("stillhouse_store_free_bytes", "Of it, what workers can still write.", least.store_free_bytes)
