"""What is shown of the cache: its facts, its first rows as text, and its advantages at the start and now."""

from collections.abc import Mapping, Sequence

import torch

from engine import charts
from engine.method import Diagnostics
from engine.methods.lightning_opd.cache import Tensors
from engine.methods.lightning_opd.card import Settings
from engine.methods.lightning_opd.losses import drift
from engine.rollout.stopwatch import Stopwatch
from engine.rollout.teacher_calls import TeacherCalls
from engine.tasks.vocabulary import Vocabulary

HISTOGRAM_BINS = 40
SHOWN_TEXTS = 12

Facts = dict[str, int | float | str]


def cache_facts(cache: Tensors, settings: Settings, consistency: str) -> Facts:
    """How large the cache is, and how it was made."""
    return {
        "rows": settings.cache_rows,
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in cache.values()),
        "tokens": int(cache["completion_mask"].sum()) if cache else 0,
        "sampling temperature": settings.sampling_temperature,
        "teacher consistency": consistency,
    }


def cache_table(facts: Facts, *, fingerprints: Mapping[str, str], teacher_tokens: Mapping[str, int]) -> charts.ChartSpec:
    """What is stored, whose it is, and how many tokens the teacher read for what."""
    cells: list[list[str | int | float | None]] = [
        [f"fingerprint of {what.replace('_', ' ')}", digest[:16] or None] for what, digest in fingerprints.items()
    ]
    cells += [[name, value] for name, value in facts.items()]
    cells += [[f"teacher's tokens for {purpose}", count] for purpose, count in teacher_tokens.items()]
    return charts.rows("Cache and teacher", ("what", "value"), cells)


def cache_diagnostics(
    rows: Tensors | None, *, asked: TeacherCalls, clock: Stopwatch, table: charts.ChartSpec, warnings: Sequence[str] | None
) -> Diagnostics:
    """An evaluation's numbers and pictures. `rows` are stored ones with `now`, None where there are none; `warnings` is None before the last
    phase, when there is nothing to warn of yet."""
    metrics: dict[str, float | None] = {f"teacher_calls_{purpose}": float(count) for purpose, count in asked.calls.items()}
    metrics |= {f"{what}_seconds": seconds for what, seconds in clock.seconds.items()}
    tables = {"cache": table}
    if rows is not None:
        found = drift(log_probs=rows["now"], start_log_probs=rows["start_log_probs"], mask=rows["completion_mask"])
        metrics |= {f"drift_{name}": float(value) for name, value in found.items()}
        tables["advantages"] = advantage_table(rows)
    if warnings is not None:
        tables["warnings"] = charts.rows("Early warnings", ("warning",), [[each] for each in warnings] or [["none"]])
    return Diagnostics(metrics, tables)


def first_rollouts(cache: Tensors, vocabulary: Vocabulary) -> charts.ChartSpec:
    """The first rows of the cache as text; a token's shade is how improbable the teacher finds it."""
    items = []
    for row in range(min(SHOWN_TEXTS, len(cache["completion_mask"]))):
        mask = cache["completion_mask"][row].bool()
        prompt = cache["prompt_ids"][row][cache["prompt_mask"][row].bool()]
        scores = cache["teacher_log_probs"][row][mask]
        written = vocabulary.pieces(cache["completion_ids"][row][mask].tolist())
        items.append(
            {
                "label": f"row {row}: teacher's log-probability a token {float(scores.mean()):.3f}",
                "prompt": "".join(vocabulary.pieces(prompt.tolist())),
                "text": "".join(written),
                "pieces": written,
                "weights": (1 - scores.double().exp()).tolist(),
            }
        )
    return charts.texts("First rollouts of the student", items, scale="1 − the teacher's probability")


def advantage_table(rows: Tensors) -> charts.ChartSpec:
    """A of stored tokens at the start and now, before clipping. `rows` has the student's log-probabilities as they are under `now`."""
    real = rows["completion_mask"].bool()
    whose = {"at the start": "start_log_probs", "now": "now"}
    gaps = {name: (rows["teacher_log_probs"] - rows[key])[real].float().cpu() for name, key in whose.items()}
    largest = max(float(gap.abs().max()) for gap in gaps.values()) or 1.0
    edges = torch.linspace(-largest, largest, HISTOGRAM_BINS + 1)
    counts = {name: torch.histogram(gap, edges).hist.int().tolist() for name, gap in gaps.items()}
    return charts.histogram("Advantages of stored tokens", edges.tolist(), counts, x="log π_T − log π_θ in nats", y="tokens")
