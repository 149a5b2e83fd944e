"""What an experiment found, as JSON, as a page of Markdown, and as lines for a terminal."""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from engine.evidence.experiment import AgainstValue, Arm, Evidence, Identity, JudgedClaim, JudgedTest, Paired, Results, Test, Within
from engine.metrics.cards import METRICS
from engine.spec import catalog
from engine.spec.cards import MethodCard
from engine.statistics import TIE, Verdict

PACKAGES = ("torch", "numpy", "scikit-learn", "scipy")

VERDICTS: tuple[Verdict, ...] = ("shown", "leaning", "not shown", "contradicted", "identity")

HOW_CLAIMS_ARE_TESTED = """
**How claims are tested.** A claim is about the difference of two arms (or of an arm and a constant) that have the same seed. Differences are counted in
the claim's direction: positive speaks for it. *Shown*: the 95 % interval of the mean difference (Student's t, from three seeds on) excludes the claim's
margin, or all of at least five seeds agree. *Leaning*: the mean agrees, the interval does not decide. *Not shown*: the mean does not agree.
*Contradicted*: the interval, or all of at least five seeds, lies on the other side. *Identity*: true by construction, and checked in every seed. Of
several tests the weakest counts. Where there is no difference, a five-seed test comes out as shown in 3.6 % of cases if its noise is normal.
""".strip()


@dataclass(frozen=True)
class Report:
    """Results with their claims judged. `command` is what a reader types to repeat them."""

    evidence: Evidence
    results: Results
    command: str

    @property
    def claims(self) -> list[JudgedClaim]:
        return [claim.judged(self.results) for claim in self.evidence.claims]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        results = self.results
        arms = [
            {
                "id": arm.id,
                "title": arm.title,
                "baseline": arm.id == self.evidence.baseline,
                "teachers": list(arm.teachers),
                "best_of": list(arm.best_of),
                "spec": arm.spec(results.seeds[0]) if arm.spec else None,
                "metrics": {
                    name: {
                        "mean": results.mean(arm.id, name),
                        "std": results.std(arm.id, name),
                        "values": list(results.values[arm.id][name]),
                    }
                    for name in self.evidence.metrics
                },
            }
            for arm in self.evidence.arms
        ]
        return {
            "method": self.evidence.method,
            "version": catalog.methods()[self.evidence.method].version,
            "command": self.command,
            "machine": machine(),
            "versions": versions(),
            "seeds": list(results.seeds),
            "baseline": self.evidence.baseline,
            "arms": arms,
            "claims": [
                {"text": claim.text, "verdict": claim.verdict, "tests": [test_to_dict(test) for test in claim.tests]}
                for claim in self.claims
            ],
        }

    def to_markdown(self) -> str:
        """The page under docs/evidence/."""
        card = catalog.methods()[self.evidence.method]
        seeds = self.results.seeds
        parts = [
            title_of(card),
            f"Written by the command below, whatever came out. Method `{card.id}`, version {card.version}.",
            f"```\n{self.command}\n```",
            "Versions: " + ", ".join(f"{name} {found}" for name, found in versions().items()) + f". Machine: {machine()}.",
            "## Protocol",
            self.evidence.protocol.strip(),
            f"Seeds: {', '.join(map(str, seeds))}.",
            "## Results",
            f"On the test split, mean ± standard deviation over {len(seeds)} seeds (divisor n − 1). The baseline is marked; ↑ and ↓ say which way is better.",
            self.table(),
            "## Claims",
            HOW_CLAIMS_ARE_TESTED,
            markdown_table(CLAIMS_HEAD, [row for claim in self.claims for row in self._claim_rows(claim)]),
            *(["## How to read it", self.evidence.notes.strip()] if self.evidence.notes else []),
            "## What the paper reports",
            self.evidence.published.strip(),
            f"## Specs of seed {seeds[0]}",
            "Settings that are not named have the method's defaults.",
            markdown_table(["arm", "taught by", "spec"], [self._spec_row(arm) for arm in self.evidence.arms if arm.spec]),
        ]
        return "\n\n".join(parts) + "\n"

    def table(self) -> str:
        """Arms by metrics, in Markdown that also reads well in a terminal."""
        rows = [
            [
                arm.title + (" (baseline)" if arm.id == self.evidence.baseline else ""),
                *(self._cell(arm.id, name) for name in self.evidence.metrics),
            ]
            for arm in self.evidence.arms
        ]
        return markdown_table(["arm", *(_heading(name) for name in self.evidence.metrics)], rows)

    def to_text(self) -> str:
        """Table and claims."""
        lines = [line for claim in self.claims for line in self._claim_lines(claim)]
        return f"{self.table()}\n\n" + "\n".join(lines)

    def _claim_rows(self, claim: JudgedClaim) -> list[list[str]]:
        """One row, or one for the claim and one for each of its tests. Only a claim's own verdict is bold."""
        tests = [[self._how(test.test), test.verdict, *numbers_of(test)] for test in claim.tests]
        if len(tests) == 1:
            [[how, verdict, *numbers]] = tests
            return [[claim.text, how, f"**{verdict}**", *numbers]]
        return [[claim.text, f"all of these {len(tests)}:", f"**{claim.verdict}**", "", "", ""], *(["", *row] for row in tests)]

    def _claim_lines(self, claim: JudgedClaim) -> list[str]:
        lines = [f"- {claim.verdict}: {claim.text}"]
        for test in claim.tests:
            numbers = "; ".join(number for number in numbers_of(test) if number)
            lines.append(f"  {test.verdict}: {self._how(test.test)}; {numbers} in favor")
        return lines

    def _how(self, test: Test) -> str:
        return described(test, {arm.id: arm.title for arm in self.evidence.arms})

    def _cell(self, arm: str, metric: str) -> str:
        mean, std = self.results.mean(arm, metric), self.results.std(arm, metric)
        defined, total = len(self.results.of(arm, metric)), len(self.results.seeds)
        if mean is None:
            return "–"
        text = f"{mean:.3f}" if std is None else f"{mean:.3f} ± {std:.3f}"
        return text if defined == total else f"{text} ({defined} of {total} seeds)"

    def _spec_row(self, arm: Arm) -> list[str]:
        assert arm.spec is not None
        changed = {model.id: model.title for model in self.evidence.changed}
        return [
            arm.title,
            ", ".join(changed.get(name, name) for name in arm.teachers) or "–",
            f"`{json.dumps(arm.spec(self.results.seeds[0]))}`",
        ]


def title_of(card: MethodCard) -> str:
    """The first line of a method's page."""
    return f"# Evidence: {card.title}"


CLAIMS_HEAD = ["claim", "tested how", "verdict", "difference with 95 % interval", "each seed's difference", "seeds in favor"]


def verdicts_on(page: str) -> dict[Verdict, int] | None:
    """How often each verdict stands in the table of claims of a method's page; None for a page without such a table, and
    for one whose table does not say how its claims were tested."""
    claims = page.partition("\n## Claims\n")[2].partition("\n## ")[0]
    if not re.search(rf"^\| {CLAIMS_HEAD[0]} +\| {CLAIMS_HEAD[1]} +\|", claims, re.MULTILINE):
        return None
    return {verdict: len(re.findall(rf"^\|.*\| \*\*{verdict}\*\* +\|", claims, re.MULTILINE)) for verdict in VERDICTS}


def described(test: Test, titles: Mapping[str, str]) -> str:
    """How a claim is tested, in words. `titles` are the arms', by id."""
    match test:
        case Paired():
            return f"paired over seeds: `{test.metric}` of “{titles[test.arm]}” {_comparison(test, titles)}"
        case AgainstValue():
            return (
                f"over seeds: `{test.metric}` of “{titles[test.arm]}” {'above' if test.direction == 'higher' else 'below'} {test.value:g}"
            )
        case Within():
            return f"paired over seeds: `{test.metric}` of “{titles[test.arm]}” within {test.by:g} of that of “{titles[test.other]}”"
        case Identity():
            return f"in every seed: {test.asserted}"


def _comparison(test: Paired, titles: Mapping[str, str]) -> str:
    number = "that" if test.other_metric == test.metric else f"`{test.other_metric}`"
    number = number if test.times == 1 else f"{test.times:g} times {number}"
    whose = number if test.other == test.arm else f"{number} of “{titles[test.other]}”"
    if test.margin < 0:
        return f"less than {-test.margin:g} {'below' if test.direction == 'higher' else 'above'} {whose}"
    return f"{test.direction} than {whose}" + (f" by more than {test.margin:g}" if test.margin else "")


def numbers_of(test: JudgedTest) -> list[str]:
    """The cells of a test: the mean difference with its interval, each seed's, and how many speak for the claim."""
    in_favor = f"{test.in_favor} of {test.seeds}"
    if isinstance(test.test, Identity):
        return ["", "", in_favor]
    if test.mean is None:
        return ["–", ", ".join("–" * test.seeds), f"{in_favor} (no pairs)"]
    interval = "no interval" if test.low is None or test.high is None else f"{_signed(test.low)} … {_signed(test.high)}"
    missing = "" if test.pairs == test.seeds else f" ({test.pairs} pair{'s' * (test.pairs != 1)})"
    each = ", ".join("–" if value is None else _signed(value) for value in test.differences)
    return [f"{_signed(test.mean)} ({interval})", each, in_favor + missing]


def test_to_dict(test: JudgedTest) -> dict[str, Any]:
    """JSON-safe. Differences are in the claim's direction; what a kind of test has not is null."""
    return {
        **_claimed(test.test),
        "verdict": test.verdict,
        "differences": list(test.differences),
        "mean": test.mean,
        "low": test.low,
        "high": test.high,
        "in_favor": test.in_favor,
        "n": test.seeds,
        "pairs": test.pairs,
    }


def _claimed(test: Test) -> dict[str, Any]:
    match test:
        case Paired():
            compared = {"other_metric": test.other_metric, "times": test.times}
            return _fields([test.arm, test.other], test.metric, test.direction, test.margin) | compared
        case AgainstValue():
            return _fields([test.arm], test.metric, test.direction, 0.0) | {"value": test.value}
        case Within():
            return _fields([test.arm, test.other], test.metric, "within", test.by)
        case Identity():
            return _fields([], None, "identity", None) | {"asserted": test.asserted}


def _fields(arms: list[str], metric: str | None, direction: str | None, margin: float | None) -> dict[str, Any]:
    return {"arms": arms, "metric": metric, "direction": direction, "margin": margin}


def _signed(value: float) -> str:
    """With four decimals, or two digits where that would be nothing."""
    if abs(value) <= TIE:
        return "0"
    return f"{value:+.4f}" if abs(value) >= 1e-3 else f"{value:+.1e}"


def machine() -> str:
    """The processor and the system, in words."""
    import torch

    from engine.metrics.cost import device_name

    return f"{device_name(torch.device('cpu')).rpartition(',')[0]}, one thread a run, {platform.system()} {platform.machine()}"


def versions() -> dict[str, str]:
    """Of Python and what the numbers depend on."""
    return {"Python": platform.python_version(), **{name: found for name in PACKAGES if (found := _version(name)) is not None}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _heading(metric: str) -> str:
    card = METRICS.get(metric)
    if card is None:
        return metric
    return card.title + {"higher": " ↑", "lower": " ↓", None: ""}[card.better]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown whose columns also stand below each other in a terminal."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
