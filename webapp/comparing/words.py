"""What a comparison comes to, in words: one sentence for each candidate, from the verdicts and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.spec.cards import MetricCard
from webapp.comparing.cells import Cell, MetricRow
from webapp.comparing.columns import SeedGroup, headlines_of
from webapp.comparing.verdicts import SEEDS_UNPAIRED, Interval, Verdict, Word
from webapp.runs.templatetags.shown import compact, signed

COSTS = ("parameters", "kv_total_32k", "image_bytes", "evaluations")
"""What a verdict tells of a candidate's cost, as a factor."""

SHOWN_APART = 0.005
"""Two exact numbers are said to differ when one is more than so much larger."""


@dataclass(frozen=True)
class VerdictLine:
    """`text` follows the candidate's label as a sentence."""

    label: str
    text: str


def verdict_lines(columns: Sequence[SeedGroup], rows: Sequence[MetricRow]) -> list[VerdictLine]:
    """For each column but the baseline's, about the headlines of the students' kinds and what the students cost; none where nothing is pinned."""
    if not any(column.is_baseline for column in columns):
        return []
    by_id = {row.card.id: row for row in rows}
    rows = [by_id[name] for name in dict.fromkeys([*headlines_of(columns), *COSTS]) if name in by_id]
    return [
        VerdictLine(column.label, _sentence([(row.card, row.cells[index]) for row in rows], _exact(rows, columns, index)))
        for index, column in enumerate(columns)
        if not column.is_baseline
    ]


def explained(cell: Cell, candidates: int) -> str:
    """How a cell's verdict came about, among so many candidates; why there is none where two columns can't be compared; empty where there is nothing to say."""
    if cell.verdict is None:
        return cell.note
    verdict, found = cell.verdict, cell.verdict.difference
    if verdict.word == "too few seeds":
        return f"too few seeds: {_counted(found.n, 'seed')} of each; {needed(verdict)}"
    basis = _counted(found.n, "pair of seeds", "pairs of seeds") if found.is_paired else f"{found.n} seeds or more of each, not paired"
    corrected = f" after correction for {candidates} candidates" if candidates > 1 else ""
    p = f", p = {verdict.p:.3g}{corrected}" if verdict.p is not None else ", which do not differ from each other"
    return f"{verdict.word}: {basis}{p}" + (f"; {needed(verdict)}" if needed(verdict) else "")


def needed(verdict: Verdict) -> str:
    """What would decide; empty where it is decided, or nothing near would."""
    if verdict.word == "too few seeds":
        return f"three shared seeds would do, or {_spelled(SEEDS_UNPAIRED)} of each"
    if verdict.word == "undecided" and verdict.more_seeds:
        return f"about {_counted(verdict.more_seeds, 'more seed')} would decide a difference of this size"
    return ""


def _sentence(cells: Sequence[tuple[MetricCard, Cell]], exact: Sequence[str]) -> str:
    judged = [(card, cell.verdict) for card, cell in cells if cell.verdict is not None]
    parts = [_of(word, [(card, verdict) for card, verdict in judged if verdict.word == word]) for word in ("better", "worse", "undecided")]
    few = [verdict for _, verdict in judged if verdict.word == "too few seeds"]
    reasons = dict.fromkeys(cell.note for _, cell in cells if cell.note and cell.mean is not None)
    said = [part for part in parts if part]
    if few:
        fewest = min(verdict.difference.n for verdict in few)
        rest = "" if len(few) == len(judged) else " in the other metrics"
        said.append(f"too few seeds to judge{rest}: {_counted(fewest, 'seed')} of each, and {needed(few[0])}")
    said += [f"not judged where it was {reason}" for reason in reasons]
    said += [f"{card.title} {cell.note}" for card, cell in cells if cell.note and cell.mean is None]
    said += exact
    return "; ".join(said) + "." if said else "nothing to compare."


def _of(word: Word, judged: Sequence[tuple[MetricCard, Verdict]]) -> str:
    if not judged:
        return ""
    if word == "undecided":
        return "undecided in " + _joined([card.title + _hint(verdict) for card, verdict in judged])
    return f"{word} in " + _joined([f"{card.title} ({_difference(card, verdict)})" for card, verdict in judged])


def _hint(verdict: Verdict) -> str:
    return f" ({_counted(verdict.more_seeds, 'more seed')} may decide)" if verdict.more_seeds else ""


def _difference(card: MetricCard, verdict: Verdict) -> str:
    found = verdict.difference
    return signed(found.mean, card.id) + (f", 95 % {between(found.interval, card)}" if found.interval else "")


def between(interval: Interval, card: MetricCard) -> str:
    """An interval of a difference: `+0.0031 to +0.0209`."""
    low, high = (signed(end, card.id) for end in interval)
    return f"{low} to {high}"


def _exact(rows: Sequence[MetricRow], columns: Sequence[SeedGroup], index: int) -> list[str]:
    """What follows from the architecture: `Parameters 8.52 × smaller`."""
    pinned = next(place for place, column in enumerate(columns) if column.is_baseline)
    found = []
    for row in rows:
        ours, theirs = row.cells[index].mean, row.cells[pinned].mean
        if not row.card.exact or row.card.better is None or not ours or not theirs or abs(ours / theirs - 1) <= SHOWN_APART:
            continue
        factor = max(ours / theirs, theirs / ours)
        found.append(f"{row.card.title} {compact_factor(factor)} {'larger' if ours > theirs else 'smaller'}")
    return found


def compact_factor(factor: float) -> str:
    """`1.20 ×`, `8.5 ×`, `1.2 k ×`."""
    return f"{compact(factor) if factor >= 1000 else format(factor, '.3g')} ×"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _counted(count: int | None, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _spelled(number: int) -> str:
    return {3: "three", 4: "four", 5: "five"}.get(number, str(number))
