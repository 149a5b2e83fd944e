"""What a person chooses when an agent distills its own attempts into knowledge."""

from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import MethodCard, MethodSettings, Needs, Preset

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(MethodSettings):
    distill_skills: bool = Field(True, description="Distill successes into skills with preconditions; off, the planner never has one.")
    distill_guardrails: bool = Field(True, description="Distill failures into guardrails that forbid an action where it only ever failed.")
    n_min: int = Field(2, ge=1, le=10_000, description="Successes of an action that make a skill.")
    m_min: int = Field(2, ge=1, le=10_000, description="Failures of an action by one cause that make a guardrail.")
    patience: int = Field(2, ge=1, le=10_000, description="Failures of an action in a row after which the planner does something else.")
    follow: float = Field(
        0.85, ge=0, le=1, description="Chance of the scripted planner to do what it wants; otherwise it tries any allowed action."
    )
    temporary_rules: bool = Field(
        False, description="After too many failures in a row, also forbid the action in this very state until the episode ends."
    )
    window: int = Field(6, ge=2, le=1000, description="States that stagnation and loops are looked for in.")
    repeats: int = Field(3, ge=2, le=1000, description="How often a state must occur in the window to be called a loop.")
    recall: int = Field(5, ge=1, le=100, description="Experiences that are recalled for one attempt.")
    signature_weight: float = Field(1.0, ge=0, le=100, description="Weight of an equal condition signature in recall.")
    tag_weight: float = Field(0.6, ge=0, le=100, description="Weight of common tags in recall.")
    place_weight: float = Field(0.4, ge=0, le=100, description="Weight of nearness in recall.")
    recency_weight: float = Field(0.3, ge=0, le=100, description="Weight of recency in recall.")
    cell_size: float = Field(16.0, gt=0, le=10_000, description="Edge of a spatial cell of the index, in blocks.")
    recall_length: float = Field(2.0, gt=0, le=10_000, description="Distance in cells over which nearness falls to 1/e.")
    half_life: float = Field(50.0, gt=0, le=1e9, description="Steps after which recency has halved.")
    planner: Literal["scripted", "endpoint"] = Field(
        "scripted", description="Who plans: a script that chains backward, or a language model that may overrule it within what is allowed."
    )
    writer: Literal["scripted", "endpoint"] = Field(
        "scripted",
        description="Who words the rules: a script, or a language model that may leave out conditions of a new rule and write its remedy.",
    )
    endpoint_url: str | None = Field(
        None,
        max_length=500,
        title="Endpoint URL",
        description="Base URL of an OpenAI-compatible service, where planner or writer is endpoint; its origin must be in the worker's "
        "STILLHOUSE_PLANNER_HOSTS.",
    )
    endpoint_model: str | None = Field(
        None, max_length=200, description="Name of the service's model, where planner or writer is endpoint."
    )
    endpoint_timeout: float = Field(30.0, gt=0, le=600, description="Seconds to wait for an answer before the script's result is taken.")


def check(spec: "RunSpec") -> list[Problem]:
    """An endpoint needs an address and a model's name; a loop can't need more states than the window has."""
    settings, problems = spec.settings, []
    if settings["repeats"] > settings["window"]:
        problems.append(
            Problem("settings.repeats", f"must be at most the window's {settings['window']} states; got {settings['repeats']}.")
        )
    if "endpoint" in (settings["planner"], settings["writer"]):
        for name in ("endpoint_url", "endpoint_model"):
            if not settings[name]:
                problems.append(Problem(f"settings.{name}", "is required where planner or writer is endpoint."))
        url = settings["endpoint_url"]
        if url and not _is_address(url):
            problems.append(
                Problem(
                    "settings.endpoint_url", f"must be an address such as https://host/v1, without user, query or fragment; got {url!r}."
                )
            )
    return problems


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and not (parts.query or parts.fragment)
        )
    except ValueError:
        return False


card = MethodCard(
    id="steve-evolving",
    version=1,
    family="agents",
    title="Steve-Evolving",
    summary="An agent plays, diagnoses each attempt, and distills successes into skills and failures into guardrails that its planner reads; no "
    "network is trained. A step is an episode.",
    paper="arXiv:2603.13131",
    settings=Settings,
    student=Needs("knowledge", trained_weights=False),
    baseline=None,
    task="crafting-world",
    steps=60,
    check=check,
    environment={
        "STILLHOUSE_PLANNER_HOSTS": "Hosts, with port where there is one, whose language models runs may ask over https, separated by commas; with "
        "`http://` before it over http, without the key. Unset: none.",
        "STILLHOUSE_PLANNER_KEY": "The key that workers send to such a host: over https, or to their own machine.",
    },
    presets={
        "small": Preset("60 episodes with the scripted planner: the specification's toy."),
        "paper": Preset(
            "The published thresholds are unknown; as small, over 300 episodes, with temporary rules as the paper has them.",
            settings={"temporary_rules": True},
            budget={"steps": 300},
        ),
        "tiny": Preset("A dozen episodes.", budget={"steps": 12}),
    },
)
