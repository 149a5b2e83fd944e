"""From experiences to rules, on two tracks: successes of an action become its skill, failures of an action by one cause become a guardrail.

All is kept in running counts, intersections and unions, so that a rule costs the same whatever the length of the log, and so that the order
of the experiences does not matter.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from engine.methods.steve_evolving.experience import Document, cause_of
from engine.models.knowledge import Guardrail, Skill
from engine.worlds.crafting import HELD

Facts = frozenset[str]
EVIDENCE: Final = 20
"""A rule names at most so many of its documents, the earliest; the summaries name all."""
Z: Final = 1.96

REMEDIES: Final = {
    "missing_material": "Get {item} first.",
    "tool_insufficient": "Make a better tool first.",
    "precondition_unmet": "Bring about what the action asks for first.",
    "target_not_found": "Search elsewhere.",
    "unreachable": "Find another way there.",
    "blocked_path": "Clear the path, or go around it.",
    "inventory_full": "Put something away first.",
    "hazard_damage": "Move away from the danger first.",
    "death": "Do not do this here.",
    "timeout": "Take a shorter plan, or more time.",
    "stagnation": "Do something else first.",
}


def wilson_lower_bound(successes: int, n: int, z: float = Z) -> float:
    """The lower end of Wilson's interval of a share: in [0, successes/n], 0 for n = 0, rising with the successes.

    (p + z²/2n − z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n) with p = successes/n.
    """
    assert 0 <= successes <= n, f"successes must be between 0 and {n}; got {successes}"
    if successes == 0:  # exactly 0, which the formula only comes near
        return 0.0
    p, z2 = successes / n, z * z
    bound = (p + z2 / (2 * n) - z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, bound)


@dataclass
class Successes:
    """The running sets of one action's successes. `seen` counts [attempts, successes] by Φ of the state before."""

    n: int = 0
    always: Facts = frozenset()
    ever: Facts = frozenset()
    appeared: Facts = frozenset()
    gains: frozenset[tuple[str, int]] = frozenset()
    shortest: tuple[int, int, tuple[str, ...]] | None = None
    evidence: list[int] = field(default_factory=list)
    seen: dict[Facts, list[int]] = field(default_factory=dict)


@dataclass
class Failures:
    """The running sets of one action's failures by one cause, over all tasks and by task."""

    n: int = 0
    always: Facts = frozenset()
    by_task: dict[str, tuple[int, Facts]] = field(default_factory=dict)
    evidence: list[int] = field(default_factory=list)


@dataclass
class Tracks:
    """The two tracks' running sets, by action and by (action, cause)."""

    successes: dict[str, Successes] = field(default_factory=dict)
    failures: dict[tuple[str, str], Failures] = field(default_factory=dict)

    def take(self, document: Document, *, before: Facts, after: Facts) -> None:
        """One experience, with Φ of the states before and after it. Only the state before can become a condition."""
        action, diagnosis, number = document["subgoal"], document["diagnosis"], document["id"]
        won = diagnosis["outcome"] == "success"
        track = self.successes.setdefault(action, Successes())
        counts = track.seen.setdefault(before, [0, 0])
        counts[0] += 1
        counts[1] += won
        if not won:
            self._take_failure(document, before)
            return
        first = track.n == 0
        track.n += 1
        changes = diagnosis["changes"]
        gains = frozenset((key.removeprefix(HELD), changes[key]) for key in changes if key.startswith(HELD) and changes[key] > 0)
        track.always = before if first else track.always & before
        track.ever |= before
        track.appeared = after - before if first else track.appeared & (after - before)
        track.gains = gains if first else track.gains & gains
        sequence = (len(document["actions"]), number, tuple(document["actions"]))  # ties go to the earliest id
        track.shortest = sequence if track.shortest is None else min(track.shortest, sequence)
        _keep_earliest(track.evidence, number)

    def _take_failure(self, document: Document, before: Facts) -> None:
        key = (document["subgoal"], cause_of(document["diagnosis"]))
        track = self.failures.setdefault(key, Failures())
        track.always = before if track.n == 0 else track.always & before
        track.n += 1
        n, always = track.by_task.get(document["task"], (0, before))
        track.by_task[document["task"]] = (n + 1, always & before)
        _keep_earliest(track.evidence, document["id"])

    def skills(self, *, n_min: int, episode: int, known: dict[str, Skill]) -> list[Skill]:
        """The positive track: a skill for each action with at least n_min successes. `known` ones keep the episode of their birth."""
        found = []
        for action, track in sorted(self.successes.items()):
            if track.n < n_min or track.shortest is None:
                continue
            fitting = [counts for facts, counts in track.seen.items() if track.always <= facts]
            attempts, won = sum(counts[0] for counts in fitting), sum(counts[1] for counts in fitting)
            found.append(
                Skill(
                    action=action,
                    preconditions=sorted(track.always),
                    steps=list(track.shortest[2]),
                    verification=sorted(track.appeared),
                    gains=dict(sorted(track.gains)),
                    confidence=wilson_lower_bound(won, attempts),
                    successes=track.n,
                    evidence=list(track.evidence),
                    born=known[action].born if action in known else episode,
                )
            )
        return found

    def trigger(self, action: str, always: Facts) -> Facts:
        """τ: what held at all failures and at no success of the action."""
        return always - self.successes[action].ever if action in self.successes else always

    def guardrails(self, *, m_min: int, episode: int, known: dict[tuple[str, str], Guardrail]) -> list[Guardrail]:
        """The negative track: a rule for each action and cause with at least m_min failures and a trigger.

        A rule whose trigger became empty is retired and stays as a record; one that never had a trigger is none.
        """
        found = []
        for key, track in sorted(self.failures.items()):
            old, (action, cause) = known.get(key), key
            trigger = self.trigger(action, track.always) if track.n >= m_min else frozenset()
            if not trigger and old is None:
                continue
            name, _, item = cause.partition(":")
            alike = sum(n >= m_min and self.trigger(action, always) == trigger for n, always in track.by_task.values())
            retired = None if trigger else episode
            found.append(
                Guardrail(
                    action=action,
                    cause=cause,
                    trigger=sorted(trigger),
                    remedy=REMEDIES[name].format(item=item),
                    granularity="task" if alike >= 2 else "subgoal",
                    failures=track.n,
                    evidence=list(track.evidence),
                    born=old.born if old is not None else episode,
                    retired=old.retired if old is not None and old.retired is not None else retired,
                )
            )
        return found


def _keep_earliest(ids: list[int], number: int) -> None:
    """Adds an id to a sorted list of the EVIDENCE smallest."""
    if len(ids) < EVIDENCE or number < ids[-1]:
        ids.append(number)
        ids.sort()
        del ids[EVIDENCE:]
