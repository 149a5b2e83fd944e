"""What a run of episodes shows of itself: charts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from engine.charts import ChartSpec, lines, rows
from engine.methods.steve_evolving.episodes import Episode, halves, share
from engine.methods.steve_evolving.experience import Document
from engine.methods.steve_evolving.wording import held_in, result_of
from engine.models.knowledge import Guardrail, KnowledgeRecords, Skill

WINDOW: Final = 10
"""Episodes in a moving mean."""
RECALLED: Final = 10
"""Steps at the end of an episode for which the replay shows what is recalled."""
BEHIND: Final = 5
"""Documents that are shown behind each rule."""


def moving_mean(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """At each place the mean of the last `window` values, of fewer at the start."""
    return [sum(values[max(0, at - window + 1) : at + 1]) / min(window, at + 1) for at in range(len(values))]


def course(episodes: Sequence[Episode]) -> dict[str, ChartSpec]:
    """Success, rules and causes of failure over the episodes."""
    xs = list(range(1, len(episodes) + 1))
    first, last = halves(episodes)
    levels = {
        name: value for name, value in (("first half", share(first, "success")), ("last half", share(last, "success"))) if value is not None
    }

    def curve(value: Callable[[Episode], float]) -> tuple[list[int], list[float]]:
        return xs, [round(mean, 4) for mean in moving_mean([value(episode) for episode in episodes])]

    def failures_of(cause: str) -> Callable[[Episode], float]:
        return lambda episode: episode["causes"].get(cause, 0)

    causes = sorted({cause for episode in episodes for cause in episode["causes"]})
    names = {"skills": "skills", "guardrails": "guardrails, active", "retired": "guardrails, retired"}
    return {
        "success": lines(
            "Success while learning",
            {f"mean of {WINDOW} episodes": curve(lambda episode: episode["success"])},
            x="episode",
            y="share of episodes",
            levels=levels,
        ),
        "rules": lines(
            "Rules", {title: (xs, [episode[name] for episode in episodes]) for name, title in names.items()}, x="episode", y="rules"
        ),
        "causes": lines(
            "Causes of failure",
            {cause: curve(failures_of(cause)) for cause in causes},
            x="episode",
            y="failures an episode",
            note=f"Mean of {WINDOW} episodes.",
        ),
        "repeats": lines(
            "Failures that repeat an earlier one",
            {
                "failures": curve(lambda episode: episode["failures"]),
                "repeated": curve(lambda episode: episode["repeated"]),
                "blocked by a guardrail": curve(lambda episode: episode["blocked"]),
            },
            x="episode",
            y="actions an episode",
            note=f"Mean of {WINDOW} episodes. Repeated: same action, same cause, same condition signature.",
        ),
    }


def replay(documents: Sequence[Document], recalled: Mapping[int, Sequence[int]]) -> ChartSpec:
    """The last episode, step by step."""
    columns = ("step", "wanted", "on the way to", "blocked", "done", "result", "holds afterwards", "lava", "recalled")
    cells = [
        [
            at + 1,
            document["plan"]["wanted"],
            " ← ".join(document["plan"]["chain"]),
            document["plan"]["blocked"],
            document["subgoal"],
            result_of(document),
            held_in(document["after"]),
            document["after"]["lava"],
            " ".join(f"#{number}" for number in recalled.get(document["id"], ())),
        ]
        for at, document in enumerate(documents)
    ]
    title = f"Episode {documents[0]['episode'] + 1}: {documents[0]['task']}" if documents else "No episode yet"
    return rows(title, columns, cells, note=f"What is recalled is shown for the last {RECALLED} steps, by the experiences' numbers.")


def behind_the_rules(records: KnowledgeRecords, documents: Sequence[Document]) -> ChartSpec:
    """The first experiences behind each rule, out of all `documents`."""
    rules: list[Skill | Guardrail] = [*records.skills, *records.guardrails]
    numbers = {number for rule in rules for number in rule.evidence[:BEHIND]}
    found = [documents[number] for number in sorted(numbers)]
    columns = ("experience", "episode", "goal", "action", "held", "tier", "lava", "result", "signature")
    cells = [
        [
            f"#{document['id']}",
            document["episode"] + 1,
            document["task"],
            document["subgoal"],
            held_in(document["before"]),
            document["before"]["tool_tier"],
            document["before"]["lava"],
            result_of(document),
            document["signature"],
        ]
        for document in found
    ]
    return rows(
        "Experiences behind the rules", columns, cells, note=f"The first {BEHIND} of each rule; the artifact `experiences` has all."
    )
