"""A planner that knows which action makes an item but no recipe and no requirement: those it reads from a knowledge base.

It chains backward from the goal through the skills' preconditions, never takes an action that a guardrail forbids here, and does something
else when the same action has failed too often in the episode.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from engine.models.knowledge import Guardrail, KnowledgeBase
from engine.worlds import crafting
from engine.worlds.crafting import ACTIONS, MAKERS, PICKS, RELOCATE, RawEvent, WorldState, predicates


class PlannedAction(NamedTuple):
    """What the planner does now and why. `wanted` is what it would have done without rule, chance and failures; `blocked` the guardrail
    that forbade it, `chain` the items from the goal down to what is being made. `fallback`: every action was blocked."""

    action: str
    wanted: str
    chain: tuple[str, ...]
    blocked: Guardrail | None = None
    replanned: bool = False
    fallback: bool = False


class Situation(NamedTuple):
    """What an adviser is given."""

    goal: str
    state: WorldState
    proposal: str
    failures: int
    allowed: tuple[str, ...]


Adviser = Callable[[Situation], str | None]
"""Names one of the allowed actions, or None to take what the planner proposes."""


@dataclass
class Planner:
    """Plans one episode. `adviser` is asked before each action; what it says is taken if it is allowed."""

    knowledge: KnowledgeBase
    goal: str
    adviser: Adviser | None = None
    failures: dict[str, int] = field(default_factory=dict)
    temporary: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def choose(self, state: WorldState, draw: Random) -> PlannedAction:
        """The next action. Draws the same numbers in the same order whatever an empty knowledge base is called."""
        facts, habits = predicates(state), self.knowledge.habits
        wanted, chain = self.next_subgoal(facts)
        failures = self.failures.get(wanted, 0)
        blocked = self.knowledge.blocking(wanted, facts)
        replanned = failures >= habits.patience
        if replanned and habits.temporary_rules:
            self.temporary.append((wanted, facts))
        follows = wanted == RELOCATE or draw.random() < habits.follow
        forbidden = blocked is not None or (wanted, facts) in self.temporary
        action, fallback = wanted, False
        if replanned or forbidden or not follows:
            allowed = self.allowed(facts)
            fallback = not allowed
            action = draw.choice(allowed or self.least_forbidden(facts))
        if self.adviser is not None:
            allowed = self.allowed(facts) or self.least_forbidden(facts)
            advice = self.adviser(Situation(self.goal, state, action, failures, allowed))
            action = advice if advice in allowed else action
        return PlannedAction(action, wanted, chain, blocked, replanned, fallback)

    def next_subgoal(self, facts: frozenset[str]) -> tuple[str, tuple[str, ...]]:
        """Backward from the goal: the action to try, and the items on the way to it."""
        chain = [self.goal]
        while True:
            action = MAKERS[chain[-1]]
            unmet = sorted(self.knowledge.preconditions(action) - facts)
            if "no_lava" in unmet:
                return RELOCATE, tuple(chain)
            item = next((item for item in map(item_of, unmet) if item is not None and item not in chain), None)
            if item is None:
                return action, tuple(chain)
            chain.append(item)

    def allowed(self, facts: frozenset[str]) -> tuple[str, ...]:
        """The actions that nothing forbids here, in the world's order."""
        forbidden = self.knowledge.forbidden(facts) | {action for action, when in self.temporary if when == facts}
        return tuple(action for action in ACTIONS if action not in forbidden)

    def least_forbidden(self, facts: frozenset[str]) -> tuple[str, ...]:
        """Where all actions are blocked: those whose blocking rule has the least evidence, temporary rules having none."""
        rules = {action: self.knowledge.blocking(action, facts) for action in ACTIONS}
        evidence = {action: 0 if rule is None else rule.failures for action, rule in rules.items()}
        return tuple(action for action in ACTIONS if evidence[action] == min(evidence.values()))

    def note(self, action: str, event: RawEvent) -> None:
        """What came of an action: failures are counted until the action succeeds."""
        self.failures[action] = 0 if event.succeeded else self.failures.get(action, 0) + 1


class SubgoalAttempt(NamedTuple):
    """One action of an episode, with the state before and after it."""

    number: int
    before: WorldState
    choice: PlannedAction
    event: RawEvent
    after: WorldState


def play(planner: Planner, *, actions: int, draw: Random) -> Iterator[SubgoalAttempt]:
    """One episode, action by action, until the goal is held or `actions` are spent."""
    state = crafting.start(draw)
    for number in range(actions):
        choice = planner.choose(state, draw)
        after, event = crafting.step(state, choice.action, draw)
        planner.note(choice.action, event)
        yield SubgoalAttempt(number, state, choice, event, after)
        state = after
        if state.count(planner.goal):
            return


def item_of(atom: str) -> str | None:
    """The item that would make a precondition true: of `x>=k` x, of `tier>=k` the pick of tier k; None for other atoms."""
    name, found, number = atom.partition(">=")
    if not found:
        return None
    return PICKS[int(number)] if name == "tier" else name
