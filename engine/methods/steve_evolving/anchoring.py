"""Experience anchoring in the crafting world: an attempt becomes a document with its diagnosis, and a situation becomes a query for recall."""

from collections.abc import Sequence
from typing import Any

from engine.methods.steve_evolving.card import Settings
from engine.methods.steve_evolving.experience import (
    Diagnosis,
    Document,
    Query,
    Weights,
    cell_of,
    condition_of,
    difference,
    flags_of,
    signature_of,
)
from engine.worlds.crafting import RECIPES, WorldState, observe
from engine.worlds.planner import PlannedAction, SubgoalAttempt


def experience_of(
    attempt: SubgoalAttempt, *, number: int, episode: int, goal: str, budget: int, states: Sequence[WorldState], settings: Settings
) -> Document:
    """e = (id, time, task, subgoal, pre-state, actions, diagnosis, post-state), with the keys of the three indices, as plain JSON.

    `number` is the next id of the log, `budget` the actions of an episode, `states` those after each action of this episode so far.
    """
    condition = condition_at(attempt.before, attempt.choice.action)
    return {
        "id": number,
        "time": number,
        "episode": episode,
        "task": goal,
        "subgoal": attempt.choice.action,
        "before": observe(attempt.before),
        "actions": [attempt.choice.action],
        "diagnosis": diagnosed(attempt, goal=goal, budget=budget, states=states, settings=settings)._asdict(),
        "after": observe(attempt.after),
        "plan": plan_of(attempt.choice),
        "condition": condition,
        "signature": signature_of(condition),
        "cell": list(cell_of(attempt.before.position, settings.cell_size)),
        "tags": sorted({goal, attempt.choice.action, condition["target"]}),
    }


def diagnosed(attempt: SubgoalAttempt, *, goal: str, budget: int, states: Sequence[WorldState], settings: Settings) -> Diagnosis:
    """Outcome, difference of the states, cause, indicators and flags of one attempt. Nothing here has a place, so there is no distance."""
    event = attempt.event
    stagnation, loop = flags_of(states, window=settings.window, repeats=settings.repeats)
    return Diagnosis(
        outcome="success" if event.succeeded else "fail",
        cause=event.cause,
        item=event.item,
        changes=difference(observe(attempt.before), observe(attempt.after)),
        progress=min(1.0, float(attempt.after.count(goal))),
        damage=int(event.cause == "hazard_damage"),
        distance=None,
        steps=(attempt.number + 1) / budget,
        stagnation=stagnation,
        loop=loop,
    )


def plan_of(choice: PlannedAction) -> dict[str, Any]:
    """What the planner wanted and what kept it from that, for the replay."""
    return {
        "wanted": choice.wanted,
        "chain": list(choice.chain),
        "blocked": None if choice.blocked is None else choice.blocked.cause,
        "replanned": choice.replanned,
        "fallback": choice.fallback,
    }


def condition_at(state: WorldState, action: str) -> dict[str, Any]:
    """The condition under which an action is tried."""
    target = RECIPES[action].gives or "elsewhere"
    return condition_of(subgoal=action, target=target, tool_tier=state.tier, biome=state.biome, depth_band="surface")


def query_for(state: WorldState, action: str, *, goal: str, time: int, settings: Settings) -> Query:
    """What is asked of the memory before `action` is tried in `state` at `time`."""
    condition = condition_at(state, action)
    return Query(signature_of(condition), cell_of(state.position, settings.cell_size), frozenset({goal, action, condition["target"]}), time)


def weights_of(settings: Settings) -> Weights:
    """The weights of the recall's score, as the settings have them."""
    return Weights(
        signature=settings.signature_weight,
        tags=settings.tag_weight,
        place=settings.place_weight,
        recency=settings.recency_weight,
        length=settings.recall_length,
        half_life=settings.half_life,
    )
