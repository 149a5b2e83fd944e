"""Self-evolution by diagnosis and dual-track knowledge distillation: Steve-Evolving (2026), arXiv:2603.13131. The formulas are the
specification's, as the paper gives none.

The teacher is the agent's own log of attempts, the student the knowledge base that its planner reads. One step is one episode: it is played
in the closed loop with the knowledge of before, each attempt is anchored as an experience, and at the end both tracks are distilled. No
gradient and no network; the random numbers of an episode depend on the run's seed and the episode's number alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import torch

from engine.errors import SpecError
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.steve_evolving import pictures
from engine.methods.steve_evolving.anchoring import experience_of, query_for, weights_of
from engine.methods.steve_evolving.card import Settings, card
from engine.methods.steve_evolving.early_warnings import early_warnings
from engine.methods.steve_evolving.endpoint import Endpoint, RuleWriter, adviser
from engine.methods.steve_evolving.episodes import EpisodeTally, online_metrics, rules_of
from engine.methods.steve_evolving.experience import Document, cause_of
from engine.methods.steve_evolving.mind import Mind
from engine.methods.steve_evolving.recall import recalled_for
from engine.methods.steve_evolving.wording import one_line
from engine.models.knowledge import Guardrail, Habits, KnowledgeBase, KnowledgeRecords, Skill
from engine.seeds import derived_seed
from engine.tasks.crafting_world.card import Options
from engine.worlds.crafting import GOALS, WorldState, recognize
from engine.worlds.planner import Adviser, Planner, Situation, SubgoalAttempt, play


class SteveEvolving(Method):
    card = card
    settings: Settings
    student: KnowledgeBase

    def build(self) -> None:
        settings, options = self.settings, self.task.options
        assert isinstance(options, Options), f"{card.id} plays the world of {card.task}; got {type(options).__name__}"
        if self.student.records != KnowledgeRecords():
            raise SpecError.at("student", "steve-evolving begins with an empty knowledge base; choose the architecture knowledge.")
        self.student.habits = Habits(settings.patience, settings.follow, settings.temporary_rules)
        self.actions = options.actions
        self.seed = self.generator.initial_seed()
        self.mind = Mind()
        self.episodes: list[dict[str, Any]] = []
        self.warned: list[str] = []
        self.drafts: dict[str, dict[str, Any]] = {}  # a language model's wording of rules, by kind, action and cause
        self.endpoint = Endpoint.of(settings)

    def phases(self) -> Iterator[Phase]:
        yield Phase("play", self.play, self.budget.steps, data=None, begin=self.warn_of_thresholds)

    def play(self, batch: Batch) -> Logs:
        """One episode: closed loop (3), anchoring (1), distillation (2)."""
        number = self.position.step
        tally = EpisodeTally(goal=GOALS[number % len(GOALS)])
        states: list[WorldState] = []
        for attempt in self.closed_loop(tally, Random(derived_seed(self.seed, "episode", number))):
            states.append(attempt.after)
            self.anchor(attempt, tally, states, episode=number)
        self.mind.memory.close_block()
        self.distill(number + 1)
        return self.concluded(tally)

    # 1. Experience anchoring

    def anchor(self, attempt: SubgoalAttempt, tally: EpisodeTally, states: list[WorldState], *, episode: int) -> None:
        """The attempt with its diagnosis goes into the log, its indices and summaries, and the running sets of both tracks."""
        number = len(self.mind.memory)
        document = experience_of(
            attempt, number=number, episode=episode, goal=tally.goal, budget=self.actions, states=states, settings=self.settings
        )
        repeats = self.mind.memory.failed_before(document["signature"], cause_of(document["diagnosis"]))
        tally.count(attempt, document, repeats=repeats)
        self.mind.add(document)

    def recall(self, state: WorldState, action: str, *, goal: str, time: int) -> list[Document]:
        """The top-k experiences before `time` by the score of section 1."""
        query = query_for(state, action, goal=goal, time=time, settings=self.settings)
        return self.mind.memory.recall(query, k=self.settings.recall, weights=weights_of(self.settings))

    # 2. Experience distillation

    def distill(self, episodes: int) -> None:
        """Both tracks into the knowledge base, after so many episodes."""
        skills, guardrails = self.positive_track(episodes), self.negative_track(episodes)
        if self.endpoint is not None and self.settings.writer == "endpoint":
            with self.endpoint.connect() as client:
                writer = RuleWriter(self.endpoint, client, self.drafts, self.attempts_behind)
                skills = [writer.word(skill, f"skill {skill.action}") for skill in skills]
                guardrails = [writer.word(rule, f"guardrail {rule.action} {rule.cause}") for rule in guardrails]
        successes = {action: track.n for action, track in sorted(self.mind.tracks.successes.items()) if track.n}
        self.student.replace(
            KnowledgeRecords(skills=skills, guardrails=guardrails, summaries=self.mind.memory.summaries(), successes=successes)
        )

    def positive_track(self, episodes: int) -> list[Skill]:
        """Skills from successes, n_min of an action at least."""
        if not self.settings.distill_skills:
            return []
        known = {skill.action: skill for skill in self.student.records.skills}
        return self.mind.tracks.skills(n_min=self.settings.n_min, episode=episodes, known=known)

    def negative_track(self, episodes: int) -> list[Guardrail]:
        """Guardrails from failures, m_min of an action by one cause at least; those without a trigger left are retired."""
        if not self.settings.distill_guardrails:
            return []
        known = {(rule.action, rule.cause): rule for rule in self.student.records.guardrails}
        return self.mind.tracks.guardrails(m_min=self.settings.m_min, episode=episodes, known=known)

    def attempts_behind(self, evidence: list[int]) -> list[str]:
        """The first documents behind a rule, for the language model that words it."""
        return [one_line(self.mind.memory.documents[number]) for number in evidence[: pictures.BEHIND]]

    # 3. Knowledge-driven closed loop

    def closed_loop(self, tally: EpisodeTally, draw: Random) -> Iterator[SubgoalAttempt]:
        """Plans with the knowledge of before, acts, and replans locally after failures in a row, until the goal is held or the budget is spent."""
        with self.adviser(tally) as advice:
            yield from play(Planner(self.student, tally.goal, advice), actions=self.actions, draw=draw)

    @contextmanager
    def adviser(self, tally: EpisodeTally) -> Iterator[Adviser | None]:
        """Who is asked before each action of an episode: a language model, or nobody."""
        if self.endpoint is None or self.settings.planner != "endpoint":
            yield None
            return

        def recalled(situation: Situation) -> list[str]:
            found = self.recall(situation.state, situation.proposal, goal=situation.goal, time=len(self.mind.memory))
            return [one_line(document) for document in found]

        with self.endpoint.connect() as client:
            yield adviser(self.endpoint, client, self.student, recalled, tally.answers.append)

    # What a run says of itself

    def warn_of_thresholds(self) -> None:
        if min(self.settings.n_min, self.settings.m_min) == 1:
            self.log("Rules will be born from one observation: n_min or m_min is 1.")

    def concluded(self, tally: EpisodeTally) -> Logs:
        """Keeps the episode's counts, logs each warning once, and returns the terms of the step."""
        self.episodes.append(tally.row(self.student))
        for warning in early_warnings(self.episodes, total=self.budget.steps):
            if warning not in self.warned:
                self.warned.append(warning)
                self.log(warning)
        terms = {**tally.counts(), **rules_of(self.student)}
        del terms["rightly"]
        if self.settings.planner == "endpoint":
            terms |= {"answers": len(tally.answers), "answers_used": sum(tally.answers)}
        return {name: torch.tensor(float(value)) for name, value in terms.items()}

    def blueprint(self) -> Mapping[str, Any]:
        """The habits are settings of the run, whatever the architecture began with."""
        return {"builder": "knowledge_base", "config": self.student.habits._asdict(), "architecture": "knowledge"}

    def diagnostics(self) -> Diagnostics:
        """Online success by halves of the episodes so far, repeated failures, precision of the guardrails, and the charts of the page."""
        if not self.episodes:
            return Diagnostics()
        documents, last = self.mind.memory.documents, len(self.episodes) - 1
        replay = [document for document in documents[-self.actions :] if document["episode"] == last]
        recalled, milliseconds = recalled_for(replay[-pictures.RECALLED :], self.recall_again)
        return Diagnostics(
            {**online_metrics(self.episodes), "recall_ms": milliseconds},
            {
                **pictures.course(self.episodes),
                "replay": pictures.replay(replay, recalled),
                "evidence": pictures.behind_the_rules(self.student.records, documents),
            },
        )

    def recall_again(self, document: Document) -> list[Document]:
        """What is recalled for the action that was wanted when the experience was made."""
        return self.recall(recognize(document["before"]), document["plan"]["wanted"], goal=document["task"], time=document["id"])

    def finish(self) -> None:
        """Leaves the whole log: what the teacher was."""
        self.save_table("experiences", self.mind.memory.documents)
