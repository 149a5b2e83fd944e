"""A language model behind an OpenAI-compatible service, as planner and as writer of rules. Whatever goes wrong, the script's result is taken.

The service's origin must be named in STILLHOUSE_PLANNER_HOSTS, and only such an origin is sent the key in STILLHOUSE_PLANNER_KEY, over https or to
this machine: the address is a person's setting, and the key is the operator's.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeVar

import httpx
from pydantic import Field, ValidationError

from engine.errors import SpecError
from engine.methods.steve_evolving.card import Settings
from engine.models.knowledge import Guardrail, KnowledgeBase, Skill
from engine.spec.cards import StrictModel
from engine.worlds.planner import Situation

PLAN = (
    "You play a crafting game. Choose the next action for the goal. Answer with one JSON object, "
    '{"action": "<one of the allowed actions>", "reason": "<one sentence>"}, and nothing else.'
)
WRITE = (
    "You distill rules from an agent's attempts. You are given a rule as a JSON object and attempts behind it. Answer with the same JSON object and "
    "nothing else; you may take away incidental entries of preconditions or trigger, add none, and write a better remedy."
)
LONGEST_REMEDY = 300


Rule = TypeVar("Rule", Skill, Guardrail)


class Reply(StrictModel):
    """What a planner's answer must be."""

    action: str = Field(max_length=100)
    reason: str = Field("", max_length=2000)


@dataclass(frozen=True)
class Endpoint:
    """One service and one of its models."""

    url: str
    model: str
    timeout: float

    @classmethod
    def of(cls, settings: Settings) -> "Endpoint | None":
        """The service that planner or writer ask, or None where both are scripts. Raises SpecError where the operator did not allow its origin."""
        if "endpoint" not in (settings.planner, settings.writer):
            return None
        assert settings.endpoint_url is not None and settings.endpoint_model is not None, "the card's check asks for both"
        endpoint = cls(settings.endpoint_url, settings.endpoint_model, settings.endpoint_timeout)
        endpoint.check_origin()
        return endpoint

    @property
    def address(self) -> httpx.URL:
        """Where questions go: the very object that is checked is asked, so that nobody else's reading of the text counts."""
        return httpx.URL(f"{self.url.rstrip('/')}/chat/completions")

    def check_origin(self) -> None:
        """Raises SpecError where the operator did not allow scheme, host and port, or where the key would travel in the clear."""
        entries = [entry.strip() for entry in os.environ.get("STILLHOUSE_PLANNER_HOSTS", "").split(",") if entry.strip()]
        try:
            allowed = [origin for entry in entries for origin in allowed_by(entry)]
            asked = "" if self.address.userinfo else origin_of(self.address)
        except httpx.InvalidURL:
            asked, allowed = "", []
        if asked not in allowed:
            may = ", ".join(entries) or "no host"
            raise SpecError.at("settings.endpoint_url", f"the worker may ask {may} (STILLHOUSE_PLANNER_HOSTS); got {self.url!r:.200}.")
        if os.environ.get("STILLHOUSE_PLANNER_KEY") and self.address.scheme != "https" and not is_here(self.address.host):
            raise SpecError.at(
                "settings.endpoint_url", f"the key in STILLHOUSE_PLANNER_KEY travels over https alone; got {self.url!r:.200}."
            )

    def connect(self) -> httpx.Client:
        """A client for some questions, to be closed. It follows no redirect; a proxy of the environment is asked where it can't read along."""
        key = os.environ.get("STILLHOUSE_PLANNER_KEY", "")
        return httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=self.timeout,
            follow_redirects=False,
            trust_env=self.address.scheme == "https",
        )

    def ask(self, client: httpx.Client, *, instructions: str, question: str) -> str | None:
        """The text of the model's answer, or None where none came in time."""
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": question}]
        body = {"model": self.model, "messages": messages, "temperature": 0}
        try:
            answer = client.post(self.address, json=body)
            answer.raise_for_status()
            return str(answer.json()["choices"][0]["message"]["content"])
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, IndexError, TypeError):
            return None

    def rewrite(self, client: httpx.Client, rule: Rule, attempts: list[str]) -> Rule:
        """The rule as the model words it, which is one of the same schema for the same action; else the rule as it is.

        Conditions may be taken away, never all and none added, so that what a distilled rule promises stays true.
        """
        question = "\n".join([rule.model_dump_json(), "Attempts:", *(f"- {line}" for line in attempts)])
        text = self.ask(client, instructions=WRITE, question=question)
        try:
            draft = type(rule).model_validate_json(text or "")
        except ValidationError:
            return rule
        return worded(rule, draft)


def allowed_by(entry: str) -> list[str]:
    """The origins that an entry of STILLHOUSE_PLANNER_HOSTS names: `host:8443` is https there, and on this machine http too; `http://host` is that.

    Raises httpx.InvalidURL.
    """
    if "://" in entry:
        return [origin_of(httpx.URL(entry))]
    secure, plain = httpx.URL(f"https://{entry}"), httpx.URL(f"http://{entry}")
    return [origin_of(secure), *([origin_of(plain)] if is_here(plain.host) else [])]


def origin_of(url: httpx.URL) -> str:
    """Scheme, host and port, the usual port too."""
    return f"{url.scheme}://{url.host}:{url.port or {'https': 443, 'http': 80}.get(url.scheme)}"


def is_here(host: str) -> bool:
    """Whether it is this machine, to which nothing travels."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class RuleWriter:
    """A language model that words rules. It is asked once about each; `drafts` keep its wordings by name, and `attempts_behind` gives the
    attempts behind a rule as lines."""

    endpoint: Endpoint
    client: httpx.Client
    drafts: dict[str, dict[str, Any]]
    attempts_behind: Callable[[list[int]], list[str]]

    def word(self, rule: Rule, name: str) -> Rule:
        """The rule in its wording; its conditions are those of the wording that distillation still has."""
        if name not in self.drafts:
            draft = self.endpoint.rewrite(self.client, rule, self.attempts_behind(rule.evidence))
            self.drafts[name] = draft.model_dump(mode="json")
        return worded(rule, still(rule, type(rule).model_validate(self.drafts[name])))


def worded(rule: Rule, draft: Rule) -> Rule:
    """`rule` with the conditions that `draft` keeps of it, and its remedy; `rule` itself where the draft is of something else."""
    if isinstance(rule, Skill):
        kept = [atom for atom in rule.preconditions if atom in draft.preconditions]
        usable = draft.action == rule.action and kept and set(draft.preconditions) <= set(rule.preconditions)
        return rule.model_copy(update={"preconditions": kept}) if usable else rule
    kept = [atom for atom in rule.trigger if atom in draft.trigger]
    same = (draft.action, draft.cause) == (rule.action, rule.cause) and set(draft.trigger) <= set(rule.trigger)
    usable = same and kept and len(draft.remedy) <= LONGEST_REMEDY
    return rule.model_copy(update={"trigger": kept, "remedy": draft.remedy}) if usable else rule


def still(rule: Rule, draft: Rule) -> Rule:
    """An earlier draft without the conditions that the rule has lost since."""
    if isinstance(rule, Skill):
        return draft.model_copy(update={"preconditions": [atom for atom in draft.preconditions if atom in rule.preconditions]})
    return draft.model_copy(update={"trigger": [atom for atom in draft.trigger if atom in rule.trigger]})


def question_of(situation: Situation, knowledge: KnowledgeBase, recalled: list[str]) -> str:
    """The situation with what is known that bears on it, as text."""
    held = ", ".join(f"{count} {item}" for item, count in situation.state.inventory.items()) or "nothing"
    skills = [f"- {skill.action} succeeds with {_needs(skill)}" for skill in knowledge.records.skills]
    rules = [f"- not {rule.action} where {' '.join(rule.trigger[:8])}: {rule.cause}. {rule.remedy}" for rule in knowledge.active]
    parts = [
        f"Goal: hold 1 {situation.goal}.",
        f"You hold {held}; lava is {'near' if situation.state.lava else 'not near'}.",
        f"Allowed actions: {', '.join(situation.allowed)}.",
        f"A simple planner proposes {situation.proposal}, which failed {situation.failures} times in a row.",
        *(["Skills:", *skills] if skills else []),
        *(["Guardrails:", *rules] if rules else []),
        *(["Earlier attempts:", *(f"- {line}" for line in recalled)] if recalled else []),
    ]
    return "\n".join(parts)


def _needs(skill: Skill) -> str:
    """The preconditions that say how much there must be, or where."""
    return " ".join(atom for atom in skill.preconditions if "<" not in atom) or "nothing"


def adviser(
    endpoint: Endpoint,
    client: httpx.Client,
    knowledge: KnowledgeBase,
    recall: Callable[[Situation], list[str]],
    heard: Callable[[bool], None],
) -> Callable[[Situation], str | None]:
    """What a planner asks before each action. `heard` gets whether an answer could be used."""

    def advise(situation: Situation) -> str | None:
        text = endpoint.ask(client, instructions=PLAN, question=question_of(situation, knowledge, recall(situation)))
        try:
            action = Reply.model_validate_json(text or "").action
        except ValidationError:
            action = ""
        heard(action in situation.allowed)
        return action

    return advise
