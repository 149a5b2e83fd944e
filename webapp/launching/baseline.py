"""What a run has to beat: the baseline that its method's card names, run beside it under the same conditions."""

from typing import Any

from engine.errors import Problem, SpecError
from engine.spec import catalog
from engine.spec.cards import MethodCard, TrainingSettings
from engine.spec.run_spec import RunSpec

FIELD = "with_baseline"


def baseline_of(spec: RunSpec) -> RunSpec:
    """The spec of the run's baseline: same task, student, seed, budget and device, the same teachers where it takes any, and the same values of
    the settings that mean the same in both.

    Raises SpecError where the method has no baseline, and where its baseline can't be run like this.
    """
    if spec.card.baseline is None:
        has_none = "is itself a baseline" if spec.card.family == "baseline" else "has no baseline"
        raise SpecError.at(FIELD, f"{spec.method} {has_none}; leave {FIELD} out.")
    card = catalog.methods()[spec.card.baseline]
    body = spec.model_dump(mode="json") | {
        "method": card.id,
        "method_version": 0,
        "settings": {name: spec.settings[name] for name in _shared(spec.card, card)},
        "teachers": spec.model_dump(mode="json")["teachers"] if card.teachers is not None else [],
    }
    try:
        return RunSpec.parse(body)
    except SpecError as error:
        raise SpecError(refused(card.id, error.problems)) from None


def refused(baseline: str, problems: list[Problem]) -> list[Problem]:
    """Why the baseline can't be run, as problems of the field that asked for it."""
    return [Problem(FIELD, f"the baseline {baseline} can't be run with these choices: {problem}") for problem in problems]


def _shared(method: MethodCard, baseline: MethodCard) -> list[str]:
    """The settings that every training has, and those that both methods declare in the same words: one name may mean two things."""
    theirs = baseline.settings.model_fields
    return [
        name
        for name, info in method.settings.model_fields.items()
        if name in theirs and (name in TrainingSettings.model_fields or _declared(info) == _declared(theirs[name]))
    ]


def _declared(info: Any) -> tuple[Any, ...]:
    return info.annotation, info.metadata, info.description
