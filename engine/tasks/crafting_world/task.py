"""Judges what an agent knows: episodes with fixed draws, in which nothing is learned."""

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

from torch import nn

from engine.charts import ChartSpec, bars, rows
from engine.models.build import build
from engine.models.knowledge import KnowledgeBase
from engine.seeds import derived_seed
from engine.tasks.crafting_world.card import Options, card
from engine.tasks.task import Judgement, Split, Task
from engine.worlds.crafting import GOALS
from engine.worlds.planner import Planner, play

Cell = str | float | int | None
SHOWN = 12
"""Documents that a rule's row names."""


class CraftingWorld(Task):
    """Success rate over `options.episodes` episodes of a split; each split has its own draws, the same for every run."""

    card = card
    options: Options

    def load(self) -> dict[str, Split]:
        return {}

    def new_model(self, architecture: str, config: Mapping[str, Any]) -> nn.Module:
        return build(card.architectures[architecture].builder, config)

    def judge_knowledge(self, model: nn.Module, split: str, *, teacher: nn.Module | None, final: bool) -> Judgement:
        """success: share of episodes whose goal was held in time. The knowledge stays as it is."""
        assert isinstance(model, KnowledgeBase), f"this task judges a KnowledgeBase; got a {type(model).__name__}"
        won, tried = Counter[str](), Counter[str]()
        used = failed = 0
        for episode in range(self.options.episodes):
            goal = GOALS[episode % len(GOALS)]
            draw = Random(derived_seed(card.id, split, episode))
            attempts = list(play(Planner(model, goal), actions=self.options.actions, draw=draw))
            won[goal] += bool(attempts[-1].after.count(goal))
            tried[goal] += 1
            used += len(attempts)
            failed += sum(not attempt.event.succeeded for attempt in attempts)
        metrics: dict[str, float | None] = {
            "success": won.total() / tried.total(),
            "actions_used": used / tried.total(),
            "failed_actions": failed / used,
            "active_skills": float(len(model.records.skills)),
            "active_guardrails": float(len(model.active)),
        }
        by_goal = bars(
            "Success by goal", GOALS, {"success": [won[goal] / tried[goal] for goal in GOALS]}, x="goal", y="share of episodes", note=split
        )
        return Judgement(metrics, {"success_by_goal": by_goal, "skills": _skills(model), "guardrails": _guardrails(model)})


def _skills(model: KnowledgeBase) -> ChartSpec:
    """What was distilled from successes."""
    columns = ("action", "preconditions", "gives", "afterwards", "confidence", "successes", "since episode", "evidence")
    cells: list[list[Cell]] = [
        [
            skill.action,
            _atoms(skill.preconditions),
            ", ".join(f"{count} {item}" for item, count in skill.gains.items()),
            _atoms(skill.verification),
            round(skill.confidence, 4),
            skill.successes,
            skill.born,
            _ids(skill.evidence),
        ]
        for skill in model.records.skills
    ]
    return rows("Skills", columns, cells, note="Conditions that say how much there is; those that say how little are left out here.")


def _guardrails(model: KnowledgeBase) -> ChartSpec:
    """What was distilled from failures, retired rules included."""
    columns = ("forbidden action", "cause", "where", "remedy", "level", "failures", "since episode", "retired", "evidence")
    ordered = sorted(model.records.guardrails, key=lambda rule: (rule.retired is not None, rule.action, rule.cause))
    cells: list[list[Cell]] = [
        [
            rule.action,
            rule.cause.replace(":", ": "),
            _where(rule.trigger, proven=model.records.successes.get(rule.action, 0) > 0),
            rule.remedy,
            rule.granularity,
            rule.failures,
            rule.born,
            rule.retired,
            _ids(rule.evidence),
        ]
        for rule in ordered
    ]
    return rows("Guardrails", columns, cells, note="A retired rule forbids nothing: the action succeeded under each of its conditions.")


def _atoms(atoms: list[str]) -> str:
    return ", ".join(_bounds([atom for atom in atoms if "<" not in atom], tightest=True))


def _where(trigger: list[str], *, proven: bool) -> str:
    """A trigger as it is matched: any atom of it once the action has succeeded, all of them before."""
    return ("any of " if proven else "all of ") * (len(trigger) > 1) + ", ".join(_bounds(trigger, tightest=not proven))


def _bounds(atoms: list[str], *, tightest: bool) -> list[str]:
    """The atoms for people, with one bound for each item and side: of bounds that must all hold the tightest says everything, of those of
    which one is enough the loosest."""
    bounds: dict[tuple[str, str], int] = {}
    words = []
    for atom in atoms:
        sign = next((sign for sign in (">=", "<") if sign in atom), "")
        if not sign:
            words.append(atom)
            continue
        item, _, number = atom.partition(sign)
        choose = max if (sign == ">=") == tightest else min
        bounds[item, sign] = choose(bounds.get((item, sign), int(number)), int(number))
    return [f"{item} {'≥' if sign == '>=' else sign} {number}" for (item, sign), number in bounds.items()] + words


def _ids(evidence: list[int]) -> str:
    return " ".join(f"#{number}" for number in evidence[:SHOWN]) + (" …" if len(evidence) > SHOWN else "")
