"""What a run of episodes tells of itself: numbers, early warnings, and views."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from engine.charts import ChartSpec, lines, rows
from engine.methods.steve_evolving.experience import Document, cause_of
from engine.worlds.crafting import HELD

WINDOW: Final = 10
"""Episodes in a moving mean."""
RECALLED: Final = 10
"""Steps at the end of an episode for which the replay shows what is recalled."""
BEHIND: Final = 5
"""Documents that are shown behind each rule."""
ENOUGH: Final = 10
"""Episodes in each half before a warning compares the two."""
FALLBACKS: Final = 0.03
PRECISION: Final = 0.9

Episode = Mapping[str, Any]


def halves(episodes: Sequence[Episode]) -> tuple[Sequence[Episode], Sequence[Episode]]:
    """The first and the second half; of an odd number the second has one more."""
    middle = len(episodes) // 2
    return episodes[:middle], episodes[middle:]


def share(episodes: Sequence[Episode], part: str, whole: str | None = None) -> float | None:
    """The sum of `part` over that of `whole`, or over the number of episodes; None over nothing."""
    total = len(episodes) if whole is None else sum(episode[whole] for episode in episodes)
    return sum(episode[part] for episode in episodes) / total if total else None


def online_metrics(episodes: Sequence[Episode]) -> dict[str, float | None]:
    """What the agent reached while it learned."""
    first, last = halves(episodes)
    return {
        "success_first_half": share(first, "success"),
        "success_last_half": share(last, "success"),
        "repeated_failures": share(last, "repeated", "actions"),
        "guardrail_precision": share(episodes, "rightly", "blocked"),
        "fallback_share": share(episodes, "fallbacks", "actions"),
        "retired_guardrails": float(episodes[-1]["retired"]),
    }


def warnings(episodes: Sequence[Episode], *, total: int) -> list[str]:
    """What a person should look at, each in a sentence that stays the same once it holds."""
    found = []
    first, last = halves(episodes)
    if len(episodes) == total and len(first) >= ENOUGH:
        before, after = share(first, "success"), share(last, "success")
        if before is not None and after is not None and after < before:
            found.append(f"Success fell from {before:.2f} in the first half to {after:.2f} in the last half of the episodes.")
        before, after = share(first, "repeated", "actions"), share(last, "repeated", "actions")
        if before is not None and after is not None and after >= before > 0:
            found.append(
                f"Actions that repeat an earlier failure did not become fewer: {before:.3f} of all in the first half, then {after:.3f}."
            )
    precision = share(episodes, "rightly", "blocked")
    if len(episodes) >= ENOUGH and precision is not None and precision < PRECISION:
        found.append(f"More than {1 - PRECISION:.0%} of the actions that guardrails blocked would have succeeded; raise m_min.")
    fallbacks = share(episodes, "fallbacks", "actions")
    if len(episodes) >= ENOUGH and fallbacks is not None and fallbacks > FALLBACKS:
        found.append(f"Guardrails forbid every action in more than {FALLBACKS:.0%} of the steps; raise m_min.")
    return found


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
            _result(document),
            _held(document["after"]),
            document["after"]["lava"],
            " ".join(f"#{number}" for number in recalled.get(document["id"], ())),
        ]
        for at, document in enumerate(documents)
    ]
    title = f"Episode {documents[0]['episode'] + 1}: {documents[0]['task']}" if documents else "No episode yet"
    return rows(title, columns, cells, note=f"What is recalled is shown for the last {RECALLED} steps, by the experiences' numbers.")


def documents(found: Sequence[Document]) -> ChartSpec:
    """The experiences behind the rules."""
    columns = ("experience", "episode", "goal", "action", "held", "tier", "lava", "result", "signature")
    cells = [
        [
            f"#{document['id']}",
            document["episode"] + 1,
            document["task"],
            document["subgoal"],
            _held(document["before"]),
            document["before"]["tool_tier"],
            document["before"]["lava"],
            _result(document),
            document["signature"],
        ]
        for document in found
    ]
    return rows(
        "Experiences behind the rules", columns, cells, note=f"The first {BEHIND} of each rule; the artifact `experiences` has all."
    )


def one_line(document: Document) -> str:
    """An experience in a sentence's length."""
    return f"{document['subgoal']} holding {_held(document['before']) or 'nothing'}: {_result(document)}"


def _result(document: Document) -> str:
    diagnosis = document["diagnosis"]
    return diagnosis["outcome"] if diagnosis["cause"] is None else cause_of(diagnosis).replace(":", ": ")


def _held(seen: Mapping[str, Any]) -> str:
    return " ".join(f"{count} {key.removeprefix(HELD)}" for key, count in seen.items() if key.startswith(HELD))
