"""Settings that earlier versions stored under another name. Both names are read, from a person, a stored specification or a checkpoint; what
is completed has the name of today. No torch."""

from collections.abc import Mapping
from typing import Any, Final

EARLIER: Final[Mapping[str, str]] = {"gradient_accumulation_steps": "micro_batches"}
"""By the name of today."""
TODAY: Final[Mapping[str, str]] = {earlier: name for name, earlier in EARLIER.items()}


def upgraded(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A stored specification with its settings under the names of today, to be shown or compared beside a newer one."""
    settings = spec.get("settings")
    return {**spec, "settings": with_names_of_today(settings)} if isinstance(settings, Mapping) else dict(spec)


def with_names_of_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that have an earlier name get today's, unless that is given as well."""
    return {name if TODAY.get(name, name) in settings else TODAY.get(name, name): value for name, value in settings.items()}


def with_earlier_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a specification's hash is made of: a setting that was renamed must not part the runs of before from those of after."""
    return {EARLIER.get(name, name): value for name, value in settings.items()}
