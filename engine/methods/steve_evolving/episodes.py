"""What is counted while episodes are played, and the numbers that come of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.methods.steve_evolving.experience import Document
from engine.models.knowledge import KnowledgeBase
from engine.worlds.crafting import outcome_of
from engine.worlds.planner import SubgoalAttempt

Episode = Mapping[str, Any]


@dataclass
class EpisodeTally:
    """The counts of one episode. `rightly`: blocked actions that would have failed, by asking the simulator. `answers`: whether each answer
    of a language model could be used."""

    goal: str
    success: int = 0
    actions: int = 0
    failures: int = 0
    repeated: int = 0
    blocked: int = 0
    rightly: int = 0
    fallbacks: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    answers: list[bool] = field(default_factory=list)

    def count(self, attempt: SubgoalAttempt, document: Document, *, repeats: bool) -> None:
        """One attempt and its experience. `repeats`: whether an attempt under this signature had failed of this cause before."""
        cause, choice = document["diagnosis"]["cause"], attempt.choice
        if cause is not None:
            self.failures += 1
            self.repeated += repeats
            self.causes[cause] = self.causes.get(cause, 0) + 1
        if choice.blocked is not None:
            self.blocked += 1
            self.rightly += not outcome_of(attempt.before, choice.wanted).succeeded
        self.actions += 1
        self.fallbacks += choice.fallback
        self.success = int(attempt.after.count(self.goal) > 0)

    def counts(self) -> dict[str, int]:
        names = ("success", "actions", "failures", "repeated", "blocked", "rightly", "fallbacks")
        return {name: getattr(self, name) for name in names}

    def row(self, knowledge: KnowledgeBase) -> dict[str, Any]:
        """The episode as it is kept, with the number of rules that are known after it."""
        return {"goal": self.goal, **self.counts(), **rules_of(knowledge), "causes": self.causes}


def rules_of(knowledge: KnowledgeBase) -> dict[str, int]:
    """How many skills, active guardrails and retired guardrails are known."""
    active = len(knowledge.active)
    return {"skills": len(knowledge.records.skills), "guardrails": active, "retired": len(knowledge.records.guardrails) - active}


def halves(episodes: Sequence[Episode]) -> tuple[Sequence[Episode], Sequence[Episode]]:
    """The first and the second half; of an odd number the second has one more."""
    middle = len(episodes) // 2
    return episodes[:middle], episodes[middle:]


def share(episodes: Sequence[Episode], part: str, whole: str | None = None) -> float | None:
    """The sum of `part` over that of `whole`, or over the number of episodes; None over nothing."""
    total = len(episodes) if whole is None else sum(episode[whole] for episode in episodes)
    return sum(episode[part] for episode in episodes) / total if total else None


def online_metrics(episodes: Sequence[Episode]) -> dict[str, float | None]:
    """What the agent reached while it learned."""
    first, last = halves(episodes)
    return {
        "success_first_half": share(first, "success"),
        "success_last_half": share(last, "success"),
        "repeated_failures": share(last, "repeated", "actions"),
        "guardrail_precision": share(episodes, "rightly", "blocked"),
        "fallback_share": share(episodes, "fallbacks", "actions"),
        "retired_guardrails": float(episodes[-1]["retired"]),
    }
