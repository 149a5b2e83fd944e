"""A run's configuration: its spec in words, and as text to copy."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from engine.spec import catalog
from engine.spec.earlier_names import upgraded
from engine.spec.reference import described_reference
from engine.spec.run_spec import Budget, Cadence, RunSpec
from engine.spec.setting_words import label_of


def declarations_of(spec: Mapping[str, Any]) -> dict[str, type[BaseModel] | None]:
    """The model of each part of a spec that has fields of its own; None where the method or the task is not in the catalog any more."""
    method, task = catalog.methods().get(spec.get("method", "")), catalog.tasks().get(spec.get("task", ""))
    return {
        "settings": method.settings if method else None,
        "task_options": task.options if task else None,
        "budget": Budget,
        "cadence": Cadence,
    }


def ordered(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec in the order in which it is declared; the database keeps none. What is not declared any more comes last."""
    declarations = declarations_of(spec)
    return {key: _in_order(value, declarations.get(key)) for key, value in _in_order(upgraded(spec), RunSpec).items()}


def config_of(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The spec as (name, value) in words, without what is empty."""
    lines: list[tuple[str, str]] = []
    declarations = declarations_of(spec)
    for key, value in ordered(spec).items():
        if key == "format":
            continue
        if key in declarations and isinstance(value, Mapping):
            model = declarations[key]
            fields = model.model_fields if model is not None else {}
            lines += [
                (label_of(name, fields.get(name)), _words(inner)) for name, inner in value.items() if inner is not None and inner != []
            ]
        elif value not in (None, [], {}):
            lines.append((label_of(key), _words(value)))
    return lines


def python_snippet(spec: Mapping[str, Any]) -> str:
    """Code that runs the spec on a machine with the engine, without a server."""
    text = _literal(ordered(spec))
    return f'from pathlib import Path\n\nfrom engine.run.runner import execute\nfrom engine.spec.run_spec import RunSpec\n\nspec = RunSpec.parse({text})\noutcome = execute(spec, print, Path("run"))\n'


def _literal(value: Any, indent: str = "") -> str:
    """JSON-like data as Python writes it, on as many lines as indented JSON."""
    deeper = f"{indent}    "
    if isinstance(value, Mapping) and value:
        return "{\n" + "".join(f"{deeper}{key!r}: {_literal(inner, deeper)},\n" for key, inner in value.items()) + f"{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + "".join(f"{deeper}{_literal(inner, deeper)},\n" for inner in value) + f"{indent}]"
    return repr(value)


def _in_order(value: Any, model: type[BaseModel] | None) -> Any:
    if model is None or not isinstance(value, Mapping):
        return value
    return {name: value[name] for name in [*model.model_fields, *sorted(value.keys() - model.model_fields.keys())] if name in value}


def _words(value: Any) -> str:
    """A field's value as a person would say it."""
    if isinstance(value, Mapping) and "name" in value:
        return described_reference(value)
    if isinstance(value, list):
        return ", ".join(_words(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
