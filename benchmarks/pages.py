"""Server time and bytes of the two heaviest pages: the table of 1,000 runs with 20 metrics each, and a comparison of 20 long runs.

    python benchmarks/pages.py [--runs 1000] [--points 100000]

Requests go through all of Django, without a network. The 20 runs of the comparison have 10 curves of `--points` points each.
"""

import argparse
import gzip
import statistics
import sys
import time
from typing import TYPE_CHECKING
from uuid import UUID

import place

if TYPE_CHECKING:
    from django.test import Client

    from webapp.accounts.models import Project

METRICS = 20
COMPARED = 20
CURVES = 10
TABLE_MS = 100.0
COMPARE_MS = 300.0
REPEATS = 9


def make_runs(project: "Project", count: int) -> list[UUID]:
    """Succeeded runs of four methods, each with METRICS headline values."""
    from django.utils import timezone

    from engine.metrics.cards import METRICS as CARDS
    from engine.spec.run_spec import RunSpec
    from webapp.runs.models import Evaluation, LatestMetric, Run, State

    runs = []
    for number in range(count):
        settings = {"learning_rate": 0.001 + 0.0001 * (number // 5)}
        spec = RunSpec.parse({"method": "supervised", "task": "digits", "seed": number % 5, "settings": settings})
        run = Run(
            project=project, number=number + 1, name=f"run {number}", method_id=spec.method, task_id=spec.task, spec=spec.model_dump(mode="json"),
            config_hash=spec.config_hash(), seed=spec.seed, state=State.SUCCEEDED, step=spec.total_steps, total_steps=spec.total_steps,
            tags=[f"tag {number % 7}"], attempt=1, finished_at=timezone.now(),
        )  # fmt: skip
        runs.append(run)
    Run.objects.bulk_create(runs)
    names = list(CARDS)[:METRICS]
    values = [{name: ((number * 7919 + position) % 1000) / 1000 for position, name in enumerate(names)} for number in range(count)]
    LatestMetric.objects.bulk_create(
        [
            LatestMetric(run=run, name=name, value=value, step=run.step, split="test")
            for run, each in zip(runs, values, strict=True)
            for name, value in each.items()
        ]
    )
    bins = [{"low": i / 15, "high": (i + 1) / 15, "count": 20, "conf": (i + 0.5) / 15, "acc": (i + 0.4) / 15} for i in range(15)]
    table = {"n": 300, "n_bins": 15, "split": "test", "temperature": 1.0, "bins": bins}
    Evaluation.objects.bulk_create(
        [
            Evaluation(
                run=run, attempt=1, step=run.step, subject="student", split="test", final=True, metrics=each, tables={"reliability": table}
            )
            for run, each in zip(runs[:COMPARED], values, strict=False)
        ]
    )
    return [run.pk for run in runs]


def make_curves(run_ids: list[UUID], points: int) -> list[str]:
    """CURVES series of each run, as the worker leaves them: raw points and the stored envelope."""
    import numpy as np
    from django.db import connection

    from webapp.runs.history.points import HEADER, ROW, TRAILER, rebuild_overview
    from webapp.runs.models import MetricSeries

    names = ["loss", "validation/accuracy", "validation/nll", "validation/ece", *(f"loss/term-{i}" for i in range(CURVES - 4))]
    random = np.random.default_rng(0)
    for run_id in run_ids:
        for name in names:
            series = MetricSeries.objects.create(run_id=run_id, name=name)
            rows = np.zeros(points, ROW)
            rows["fields"], rows["n1"], rows["n2"], rows["n3"] = 3, 8, 8, 8
            rows["series"], rows["step"] = series.pk, np.arange(1, points + 1)
            rows["value"] = 1 / np.sqrt(np.arange(1, points + 1)) + 0.05 * random.standard_normal(points)
            with (
                connection.cursor() as cursor,
                cursor.copy("COPY runs_metricpoint (series_id, step, value) FROM STDIN (FORMAT BINARY)") as copy,
            ):
                copy.write(HEADER + rows.tobytes() + TRAILER)
            rebuild_overview(series)
    return names


def measured(client: "Client", address: str) -> tuple[float, int, int]:
    """(median milliseconds, bytes, bytes as sent with gzip) of a page; the first answer is not counted."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        answer = client.get(address)
        times.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200, f"{address}: {answer.status_code}"
    return statistics.median(times[1:]), len(answer.content), len(gzip.compress(answer.content, 6))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--points", type=int, default=100_000)
    arguments = parser.parse_args()
    with place.project() as project:
        from django.conf import settings
        from django.test import Client
        from django.urls import reverse

        from webapp.accounts.models import Role, User

        settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "testserver"]
        user = User.objects.create(username=project.slug)
        project.memberships.create(user=user, role=Role.OPERATOR)
        client = Client()
        client.force_login(user)
        run_ids = make_runs(project, arguments.runs)
        names = make_curves(run_ids[:COMPARED], arguments.points)

        runs = ",".join(str(run_id) for run_id in run_ids[:COMPARED])
        series = "&".join(f"series={name}" for name in names)
        columns = "&".join(f"columns={name}" for name in ("method", "seed", "accuracy", "nll", "ece", "brier", "created"))
        pages = {
            "table": reverse("runs", args=[project.slug]) + f"?sort=-accuracy&{columns}",
            "comparison": reverse("compare", args=[project.slug]) + f"?runs={runs}&grouped=0",
            "curves": reverse("compare-curves", args=[project.slug]) + f"?runs={runs}&grouped=0&{series}",
        }
        found = {name: measured(client, address) for name, address in pages.items()}
    for name, (milliseconds, plain, sent) in found.items():
        print(f"{name}: {milliseconds:,.0f} ms, {plain / 1000:,.0f} kB, {sent / 1000:,.0f} kB with gzip")
    table = place.verdict(f"table of {arguments.runs:,} runs × {METRICS} metrics", found["table"][0], "ms", TABLE_MS, at_least=False)
    both = found["comparison"][0] + found["curves"][0]
    compare = place.verdict(
        f"comparison of {COMPARED} runs × {CURVES} curves × {arguments.points:,} points", both, "ms", COMPARE_MS, at_least=False
    )
    return 0 if table and compare else 1


if __name__ == "__main__":
    sys.exit(main())
