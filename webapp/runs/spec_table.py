"""Specs as flat tables, to lay them beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.spec import catalog
from engine.spec.earlier_names import upgraded

UNCOMPARED = ("format", "cadence", "threads")
"""What no result depends on."""


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """A spec, or a part of it, as path → value: `settings.temperature` → 4.0. Models by reference are one value."""
    if isinstance(value, Mapping) and not {"source", "name"} <= value.keys():
        return {path: leaf for key, inner in value.items() for path, leaf in flat(inner, f"{at}.{key}" if at else str(key)).items()}
    if isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        return {path: leaf for index, inner in enumerate(value) for path, leaf in flat(inner, f"{at}.{index}").items()}
    return {at: model_text(value) if isinstance(value, Mapping) else value}


def model_text(model: Mapping[str, Any]) -> str:
    """A reference as a person writes it: `mlp-16`, `run:<id>`, with its configuration where it has one."""
    name = model["name"] if model["source"] == "builtin" else f"{model['source']}:{model['name']}"
    config = ", ".join(f"{key}={value}" for key, value in (model.get("config") or {}).items())
    seed = "" if model.get("init_seed") is None else f"init seed {model['init_seed']}"
    more = ", ".join(part for part in (config, seed) if part)
    return f"{name} ({more})" if more else str(name)


def changes_between(specs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The paths in which the specs differ, each with every spec's value; None where a spec has no such field."""
    tables = [flat({key: value for key, value in upgraded(spec).items() if key not in UNCOMPARED}) for spec in specs]
    paths = dict.fromkeys(path for table in tables for path in table)
    rows = {path: tuple(table.get(path) for table in tables) for path in paths}
    return {path: values for path, values in rows.items() if any(value != values[0] for value in values)}


def headline_of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics that the run's student is judged by first, after its kind."""
    return catalog.kind_of(spec).headline
