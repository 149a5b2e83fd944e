"""A knowledge base: a module without tensors that holds what an agent has learned, as JSON that a person can read.

Its records are the module's extra state, so that checkpoints and exported students hold them (`records.json`).
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError
from torch import nn

from engine.errors import ModelError
from engine.spec.cards import StrictModel


class Skill(StrictModel):
    """How an action succeeds: what held before every success, and what to look for after it.

    `steps` is the shortest sequence of actions that succeeded, `gains` what every success added to the inventory, `confidence` the lower
    Wilson bound of success where the preconditions held, `evidence` the ids of the first successes.
    """

    action: str
    preconditions: list[str]
    steps: list[str]
    verification: list[str]
    gains: dict[str, int]
    confidence: float = Field(ge=0, le=1)
    successes: int = Field(ge=1)
    evidence: list[int]
    born: int = Field(ge=0)


class Guardrail(StrictModel):
    """Where an action is forbidden: `trigger` held at every failure of one cause and at no success. Retired, it forbids nothing.

    `born` and `retired` count episodes. `granularity` is "task" when the same rule arose in two tasks by itself.
    """

    action: str
    cause: str
    trigger: list[str]
    remedy: str
    granularity: Literal["subgoal", "task"]
    failures: int = Field(ge=1)
    evidence: list[int]
    born: int = Field(ge=0)
    retired: int | None = None


class Summary(StrictModel):
    """All experiences of one condition signature in a row, with the ids of their documents."""

    signature: str
    condition: str
    attempts: int
    successes: int
    causes: dict[str, int]
    mean_steps: float
    last_time: int
    last_outcome: str
    line: str
    ids: list[int]


class KnowledgeRecords(StrictModel):
    """All that a knowledge base knows. `successes` counts those of each action: it decides how a trigger is matched."""

    skills: list[Skill] = []
    guardrails: list[Guardrail] = []
    summaries: list[Summary] = []
    successes: dict[str, int] = {}


class Habits(NamedTuple):
    """How the planner uses the knowledge: failures in a row after which it does something else, the chance to do what it wants, and
    whether what just failed too often is also forbidden in this very state until the episode ends."""

    patience: int = 2
    follow: float = 0.85
    temporary_rules: bool = False


class KnowledgeBase(nn.Module):
    """Skills, guardrails and summaries, ready to be asked. It has no weights: nothing here is trained by gradient."""

    def __init__(self, habits: Habits) -> None:
        super().__init__()
        self.habits = habits
        self.replace(KnowledgeRecords())

    def replace(self, records: KnowledgeRecords) -> None:
        """From here on it knows `records` and nothing else."""
        self.records = records
        self._preconditions = {skill.action: frozenset(skill.preconditions) for skill in records.skills}
        self._guardrails: dict[str, list[tuple[frozenset[str], Guardrail]]] = {}
        for rule in records.guardrails:
            if rule.retired is None:
                self._guardrails.setdefault(rule.action, []).append((frozenset(rule.trigger), rule))
        self._proven = {action for action, count in records.successes.items() if count}

    def preconditions(self, action: str) -> frozenset[str]:
        """What held before every success of the action; empty where no skill is known."""
        return self._preconditions.get(action, frozenset())

    def blocking(self, action: str, facts: frozenset[str]) -> Guardrail | None:
        """The first active guardrail that forbids the action where `facts` hold.

        Of an action that never succeeded all of a trigger must hold; afterwards any atom of it will do, since no success had one.
        """
        for trigger, rule in self._guardrails.get(action, ()):
            if not trigger.isdisjoint(facts) if action in self._proven else trigger <= facts:
                return rule
        return None

    def forbidden(self, facts: frozenset[str]) -> set[str]:
        """The actions that some guardrail forbids where `facts` hold."""
        return {action for action in self._guardrails if self.blocking(action, facts) is not None}

    @property
    def active(self) -> list[Guardrail]:
        """The guardrails that are not retired."""
        return [rule for rule in self.records.guardrails if rule.retired is None]

    def get_extra_state(self) -> dict[str, Any]:
        return self.records.model_dump(mode="json")

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Raises ModelError when `state` is not what `get_extra_state` gives."""
        try:
            self.replace(KnowledgeRecords.model_validate(state))
        except ValidationError as error:
            first = error.errors()[0]
            raise ModelError(f"These are no records of a knowledge base: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def knowledge_base(*, patience: int, follow: float, temporary_rules: bool) -> KnowledgeBase:
    """An empty knowledge base whose planner has these habits."""
    return KnowledgeBase(Habits(patience, follow, temporary_rules))
