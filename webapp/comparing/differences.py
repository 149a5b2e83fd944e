"""In what specs differ: each as a flat table, laid beside the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.spec.earlier_names import upgraded
from engine.spec.reference import described_reference

UNCOMPARED = ("format", "cadence", "threads")
"""What no result depends on."""


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """A spec, or a part of it, as path → value: `settings.temperature` → 4.0. Models by reference are one value."""
    if isinstance(value, Mapping) and not {"source", "name"} <= value.keys():
        return {path: leaf for key, inner in value.items() for path, leaf in flat(inner, f"{at}.{key}" if at else str(key)).items()}
    if isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        return {path: leaf for index, inner in enumerate(value) for path, leaf in flat(inner, f"{at}.{index}").items()}
    return {at: described_reference(value) if isinstance(value, Mapping) else value}


def changes_between(specs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The paths in which the specs differ, each with every spec's value; None where a spec has no such field."""
    tables = [flat({key: value for key, value in upgraded(spec).items() if key not in UNCOMPARED}) for spec in specs]
    paths = dict.fromkeys(path for table in tables for path in table)
    rows = {path: tuple(table.get(path) for table in tables) for path in paths}
    return {path: values for path, values in rows.items() if any(value != values[0] for value in values)}
