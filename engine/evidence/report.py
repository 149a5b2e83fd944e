"""What an experiment found, as JSON, as a page of Markdown, and as lines for a terminal."""

import json
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args

from engine.evidence.experiment import Arm, Evidence, JudgedClaim, Results, Verdict
from engine.metrics.cards import METRICS
from engine.spec import catalog
from engine.spec.cards import MethodCard

PACKAGES = ("torch", "numpy", "scikit-learn", "scipy")


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
            "claims": [{"text": claim.text, "verdict": claim.verdict, "numbers": claim.numbers} for claim in self.claims],
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
            markdown_table(["claim", "verdict", "numbers"], [[claim.text, f"**{claim.verdict}**", claim.numbers] for claim in self.claims]),
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
        lines = [f"- {claim.verdict}: {claim.text} ({claim.numbers})" for claim in self.claims]
        return f"{self.table()}\n\n" + "\n".join(lines)

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


def verdicts_on(page: str) -> dict[Verdict, int]:
    """How often each verdict stands in the table of claims of a method's page."""
    claims = page.partition("\n## Claims\n")[2].partition("\n## ")[0]
    return {verdict: len(re.findall(rf"^\|.*\| \*\*{verdict}\*\* +\|", claims, re.MULTILINE)) for verdict in get_args(Verdict)}


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
