"""Self-evolution by diagnosis and dual-track knowledge distillation: Steve-Evolving (2026), arXiv:2603.13131. The formulas are the
specification's, as the paper gives none.

The teacher is the agent's own log of attempts, the student the knowledge base that its planner reads. One step is one episode: play it,
write an experience for each attempt, and distill. No gradient and no network; the random numbers of an episode depend on the run's seed and
the episode's number alone.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import httpx
import torch

from engine.errors import SpecError
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.steve_evolving import pictures
from engine.methods.steve_evolving.card import Settings, card
from engine.methods.steve_evolving.distillation import Tracks
from engine.methods.steve_evolving.endpoint import Endpoint, Rule, adviser, still, worded
from engine.methods.steve_evolving.experience import (
    Diagnosis,
    Document,
    Memory,
    Query,
    Weights,
    cause_of,
    cell_of,
    condition_of,
    difference,
    flags_of,
    signature_of,
)
from engine.models.knowledge import Habits, KnowledgeBase, Records
from engine.seeds import derived_seed
from engine.tasks.crafting_world.card import Options
from engine.worlds.crafting import GOALS, RECIPES, State, observe, outcome_of, predicates, recognize
from engine.worlds.planner import Adviser, Attempt, Planner, Situation, play

Episode = dict[str, Any]


class Mind:
    """The log and the running sets that are made of it. Its state is the log: all else is made again."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.tracks = Tracks()

    def add(self, document: Document) -> None:
        """Anchors one experience: into the log, the index, the summaries and both tracks."""
        self.memory.add(document)
        self._learn(document)

    def _learn(self, document: Document) -> None:
        before, after = predicates(recognize(document["before"])), predicates(recognize(document["after"]))
        self.tracks.take(document, before=before, after=after)

    def state_dict(self) -> dict[str, Any]:
        return self.memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.memory.load_state_dict(state)
        self.tracks = Tracks()
        for document in self.memory.documents:
            self._learn(document)


class SteveEvolving(Method):
    card = card
    settings: Settings
    student: KnowledgeBase

    def build(self) -> None:
        settings, options = self.settings, self.task.options
        assert isinstance(options, Options), f"{card.id} plays the world of {card.task}; got {type(options).__name__}"
        if self.student.records != Records():
            raise SpecError.at("student", "steve-evolving begins with an empty knowledge base; choose the architecture knowledge.")
        self.student.habits = Habits(settings.patience, settings.follow, settings.temporary_rules)
        self.actions = options.actions
        self.seed = self.generator.initial_seed()
        self.mind = Mind()
        self.episodes: list[Episode] = []
        self.warned: list[str] = []
        self.drafts: dict[str, dict[str, Any]] = {}  # a language model's wording of rules, by kind, action and cause
        self.endpoint: Endpoint | None = None
        if "endpoint" in (settings.planner, settings.writer):
            assert settings.endpoint_url is not None and settings.endpoint_model is not None, "the card's check asks for both"
            self.endpoint = Endpoint(settings.endpoint_url, settings.endpoint_model, settings.endpoint_timeout)
            self.endpoint.check_host()

    def phases(self) -> Iterator[Phase]:
        yield Phase("play", self.play, self.budget.steps, data=None, begin=self._warn_of_thresholds)

    def _warn_of_thresholds(self) -> None:
        if min(self.settings.n_min, self.settings.m_min) == 1:
            self.log("Rules will be born from one observation: n_min or m_min is 1.")

    def blueprint(self) -> Mapping[str, Any]:
        """The habits are settings of the run, whatever the architecture began with."""
        return {"builder": "knowledge_base", "config": self.student.habits._asdict(), "architecture": "knowledge"}

    # One episode

    def play(self, batch: Batch) -> Logs:
        """Algorithm, 1 to 3: an episode with the knowledge of before, its experiences anchored, and both tracks distilled."""
        number = self.position.step
        goal = GOALS[number % len(GOALS)]
        answers: list[bool] = []
        draw = Random(derived_seed(self.seed, "episode", number))
        told: Episode = {"goal": goal, "success": 0, "actions": 0, "failures": 0, "repeated": 0, "blocked": 0, "rightly": 0, "fallbacks": 0}
        causes: dict[str, int] = {}
        states: list[State] = []
        with self._adviser(answers) as advice:
            planner = Planner(self.student, goal, advice)
            for attempt in play(planner, actions=self.actions, draw=draw):
                states.append(attempt.after)
                document = self._document(attempt, goal=goal, episode=number, states=states)
                diagnosis = document["diagnosis"]
                if diagnosis["cause"] is not None:
                    told["failures"] += 1
                    told["repeated"] += self.mind.memory.failed_before(document["signature"], cause_of(diagnosis))
                    causes[diagnosis["cause"]] = causes.get(diagnosis["cause"], 0) + 1
                if attempt.choice.blocked is not None:
                    told["blocked"] += 1
                    told["rightly"] += not outcome_of(attempt.before, attempt.choice.wanted).succeeded
                told["actions"] += 1
                told["fallbacks"] += attempt.choice.fallback
                told["success"] = int(attempt.after.count(goal) > 0)
                self.mind.add(document)
        self.mind.memory.close_block()
        self._distill(number + 1)
        active = self.student.active
        rules = {"skills": len(self.student.records.skills), "guardrails": len(active), "retired": len(self.student.records.guardrails)}
        rules["retired"] -= rules["guardrails"]
        self.episodes.append({**told, **rules, "causes": causes})
        for warning in pictures.warnings(self.episodes, total=self.budget.steps):
            if warning not in self.warned:
                self.warned.append(warning)
                self.log(warning)
        terms = {
            **told,
            **rules,
            **({"answers": len(answers), "answers_used": sum(answers)} if self.settings.planner == "endpoint" else {}),
        }
        return {name: torch.tensor(float(value)) for name, value in terms.items() if name not in ("goal", "rightly")}

    def _document(self, attempt: Attempt, *, goal: str, episode: int, states: list[State]) -> Document:
        """The experience of one attempt, with its diagnosis, as JSON."""
        choice, event, settings = attempt.choice, attempt.event, self.settings
        before, after = observe(attempt.before), observe(attempt.after)
        stagnation, loop = flags_of(states, window=settings.window, repeats=settings.repeats)
        diagnosis = Diagnosis(
            outcome="success" if event.succeeded else "fail",
            cause=event.cause,
            item=event.item,
            changes=difference(before, after),
            progress=min(1.0, float(attempt.after.count(goal))),
            damage=int(event.cause == "hazard_damage"),
            distance=None,
            steps=(attempt.number + 1) / self.actions,
            stagnation=stagnation,
            loop=loop,
        )
        condition = self._condition(attempt.before, choice.action)
        return {
            "id": len(self.mind.memory),
            "time": len(self.mind.memory),
            "episode": episode,
            "task": goal,
            "subgoal": choice.action,
            "before": before,
            "actions": [choice.action],
            "diagnosis": diagnosis._asdict(),
            "after": after,
            "plan": {
                "wanted": choice.wanted,
                "chain": list(choice.chain),
                "blocked": None if choice.blocked is None else choice.blocked.cause,
                "replanned": choice.replanned,
                "fallback": choice.fallback,
            },
            "condition": condition,
            "signature": signature_of(condition),
            "cell": list(cell_of(attempt.before.position, settings.cell_size)),
            "tags": sorted({goal, choice.action, condition["target"]}),
        }

    @staticmethod
    def _condition(state: State, action: str) -> dict[str, Any]:
        target = RECIPES[action].gives or "elsewhere"
        return condition_of(subgoal=action, target=target, tool_tier=state.tier, biome=state.biome, depth_band="surface")

    def _distill(self, episode: int) -> None:
        """Algorithm, 2: both tracks into the knowledge base, `episode` being the number of episodes so far."""
        settings, records, tracks = self.settings, self.student.records, self.mind.tracks
        skills = {skill.action: skill for skill in records.skills}
        rules = {(rule.action, rule.cause): rule for rule in records.guardrails}
        found = tracks.skills(n_min=settings.n_min, episode=episode, known=skills) if settings.distill_skills else []
        forbidding = tracks.guardrails(m_min=settings.m_min, episode=episode, known=rules) if settings.distill_guardrails else []
        if self.endpoint is not None and settings.writer == "endpoint":
            with self.endpoint.connect() as client:
                found = [self._worded(self.endpoint, client, skill, f"skill {skill.action}") for skill in found]
                forbidding = [self._worded(self.endpoint, client, rule, f"guardrail {rule.action} {rule.cause}") for rule in forbidding]
        self.student.replace(
            Records(
                skills=found,
                guardrails=forbidding,
                summaries=self.mind.memory.summaries(),
                successes={action: track.n for action, track in sorted(tracks.successes.items()) if track.n},
            )
        )

    def _worded(self, endpoint: Endpoint, client: httpx.Client, rule: Rule, name: str) -> Rule:
        """A language model is asked once about each rule; later its conditions are those of its wording that distillation still has."""
        if name not in self.drafts:
            documents = [self.mind.memory.documents[number] for number in rule.evidence[: pictures.BEHIND]]
            attempts = [pictures.one_line(document) for document in documents]
            self.drafts[name] = endpoint.rewrite(client, rule, attempts).model_dump(mode="json")
        draft = type(rule).model_validate(self.drafts[name])
        return worded(rule, still(rule, draft))

    # Recall

    def _query(self, state: State, action: str, goal: str, now: int) -> Query:
        condition = self._condition(state, action)
        cell = cell_of(state.position, self.settings.cell_size)
        return Query(signature_of(condition), cell, frozenset({goal, action, condition["target"]}), now)

    def _recall(self, query: Query) -> list[Document]:
        """The experiences before the query's time that have most to say on it."""
        s = self.settings
        weights = Weights(s.signature_weight, s.tag_weight, s.place_weight, s.recency_weight, s.recall_length, s.half_life)
        return self.mind.memory.recall(query, k=s.recall, weights=weights)

    @contextmanager
    def _adviser(self, answers: list[bool]) -> Iterator[Adviser | None]:
        """Who is asked before each action of an episode: a language model, or nobody."""
        if self.endpoint is None or self.settings.planner != "endpoint":
            yield None
            return

        def recalled(situation: Situation) -> list[str]:
            query = self._query(situation.state, situation.proposal, situation.goal, len(self.mind.memory))
            return [pictures.one_line(document) for document in self._recall(query)]

        with self.endpoint.connect() as client:
            yield adviser(self.endpoint, client, self.student, recalled, answers.append)

    # What is told

    def diagnostics(self) -> Diagnostics:
        """Online success by halves of the episodes so far, repeated failures, precision of the guardrails, and the views of the page."""
        if not self.episodes:
            return Diagnostics()
        documents, last = self.mind.memory.documents, len(self.episodes) - 1
        replay = [document for document in documents[-self.actions :] if document["episode"] == last]
        recalled: dict[int, list[int]] = {}
        started = time.perf_counter()
        for document in replay[-pictures.RECALLED :]:
            query = self._query(recognize(document["before"]), document["plan"]["wanted"], document["task"], document["id"])
            recalled[document["id"]] = [found["id"] for found in self._recall(query)]
        metrics = {**pictures.online_metrics(self.episodes), "recall_ms": 1000 * (time.perf_counter() - started) / len(recalled)}
        evidence = {number for rule in self.student.records.guardrails for number in rule.evidence[: pictures.BEHIND]}
        evidence |= {number for skill in self.student.records.skills for number in skill.evidence[: pictures.BEHIND]}
        tables = {
            **pictures.course(self.episodes),
            "replay": pictures.replay(replay, recalled),
            "evidence": pictures.documents([documents[number] for number in sorted(evidence)]),
        }
        return Diagnostics(metrics, tables)

    def finish(self) -> None:
        """Leaves the whole log: what the teacher was."""
        self.save_table("experiences", self.mind.memory.documents)
