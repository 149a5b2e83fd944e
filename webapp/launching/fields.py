"""The launch form, made from the settings' schema: what fields there are, what was typed into them, and the request body they make.

Nothing is validated here. A form turns text into the JSON that the API takes; `launch` refuses it with paths and sentences, and
`show_problems` puts these beside the fields. So page and API can't differ. What does not parse as a number is passed on as it was
typed, and comes back in the sentence that refuses it.
"""

import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.errors import Problem
from engine.spec.cards import Preset
from engine.spec.setting_words import helpful_limits, label_of, schemas_of

Kind = Literal["number", "integer", "choice", "flag", "text", "list", "json"]

FOLDED = frozenset({"gradient_accumulation_steps", "momentum", "nesterov", "gradient_clip", "weight_decay"})
"""Settings that every method has and few people touch: under "Optimizer details"."""

BUDGET = ("steps", "epochs", "seconds")
CADENCE = ("evaluate", "checkpoint", "log")
PLACE = ("device", "devices", "precision", "threads")


@dataclass
class Field:
    """One input. `path` is its place in the request's body, and the name of the HTML control; `raw` is the text that it shows.
    `of_numbers`: what a list has as entries."""

    path: str
    label: str
    kind: Kind
    help: str = ""
    raw: str = ""
    default: str = ""
    placeholder: str = ""
    choices: list[str] = field(default_factory=list)
    optional: bool = False
    of_numbers: bool = False
    errors: list[str] = field(default_factory=list)

    @property
    def html_id(self) -> str:
        return "f-" + self.path.replace(".", "-")

    @property
    def checked(self) -> bool:
        return self.raw == "true"

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def folded(self) -> bool:
        return self.name in FOLDED

    def value(self) -> Any:
        """As JSON: a number where the text is one, None where an optional field is empty, else the text itself."""
        text = self.raw.strip()
        if self.kind == "flag":
            return text == "true"
        if not text:
            return None if self.optional else ([] if self.kind in {"list", "json"} else "")
        if self.kind == "list":
            return _list(text, self.of_numbers)
        if self.kind == "json":
            return _json(text)
        if self.kind in {"number", "integer"}:
            return _number(text)
        return text


def fields_of(
    model: type[BaseModel], *, at: str, typed: Mapping[str, str] | None, values: Mapping[str, Any], only: Iterable[str] | None = None
) -> list[Field]:
    """An input for each field of a pydantic model. `typed` is what a person has sent (None at the first look), else `values`, else the default."""
    names = list(only) if only is not None else list(model.model_fields)
    schemas = schemas_of(model)
    return [_field(f"{at}.{name}" if at else name, model.model_fields[name], schemas[name], typed, values.get(name, ...)) for name in names]


def text_of(value: Any) -> str:
    """A JSON value as a person would type it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, int | float) or _is_word(item) for item in value):
        return ", ".join(map(text_of, value))
    if isinstance(value, list | dict):
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def show_problems(fields: Iterable[Field], problems: Iterable[Problem]) -> list[Problem]:
    """Puts each problem beside its field and returns those that have none. `teachers.0` belongs to `teachers`; of a list's entries the first
    wrong one is shown."""
    by_path = {one.path: one for one in fields}
    left = []
    for problem in problems:
        path = problem.field
        while path and path not in by_path:
            path = path.rpartition(".")[0]
        if path and by_path[path].kind == "list" and path != problem.field:
            entry = problem.field.removeprefix(f"{path}.").partition(".")[0]
            by_path[path].errors = by_path[path].errors or [f"entry {int(entry) + 1} {problem.message}"]
        elif path:
            by_path[path].errors.append(problem.message)
        else:
            left.append(problem)
    return left


def preset_values(preset: Preset | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings, budget) of a preset; nothing for none."""
    return (dict(preset.settings), dict(preset.budget)) if preset else ({}, {})


def _field(path: str, info: FieldInfo, schema: Mapping[str, Any], typed: Mapping[str, str] | None, value: Any) -> Field:
    kind, choices, optional = _kind(info.annotation)
    default = text_of(info.get_default(call_default_factory=True)) if not info.is_required() else ""
    start = default if value is ... else text_of(value)
    raw = start if typed is None else typed.get(path, start)
    label = label_of(path.rpartition(".")[2], info)
    numbers = kind == "list" and _has_numbers(info.annotation)
    about = _help(info.description or "", schema)
    if kind == "list":
        about = f"{about} With commas between the entries."
    return Field(path, label, kind, help=about, raw=raw, default=default, choices=choices, optional=optional, of_numbers=numbers)


def _kind(annotation: Any) -> tuple[Kind, list[str], bool]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        rest = [one for one in get_args(annotation) if one is not type(None)]
        kind, choices, _ = _kind(rest[0]) if len(rest) == 1 else ("json", [], True)
        return kind, choices, True
    if origin is Literal:
        return "choice", [str(one) for one in get_args(annotation)], False
    if annotation is bool:
        return "flag", [], False
    if annotation is int:
        return "integer", [], False
    if annotation is float:
        return "number", [], False
    if origin is list and _kind(get_args(annotation)[0])[0] in {"number", "integer", "choice", "text"}:
        return "list", [], False
    return ("text" if annotation is str else "json"), [], False


def _has_numbers(annotation: Any) -> bool:
    """Whether a list's entries are numbers; else they are words."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    return _kind(get_args(annotation)[0])[0] in {"number", "integer"}


def _help(description: str, schema: Mapping[str, Any]) -> str:
    """The description, and the limits behind it: `Over 0, at most 100.`"""
    limits = ", ".join(limit.in_words for limit in helpful_limits(schema)).capitalize()
    return f"{description}{f' {limits}.' if limits else ''}".strip()


def _number(text: str) -> int | float | str:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _list(text: str, of_numbers: bool) -> Any:
    """`20` is [20] and `20, 2, 0.5` is [20, 2, 0.5]; so are they in brackets, as JSON writes them. A trailing comma is none."""
    if text.startswith("["):
        return _json(text)
    items = [item.strip() for item in text.removesuffix(",").split(",")]
    return [_number(item) for item in items] if of_numbers else items


def _json(text: str) -> Any:
    """What is no JSON stays text, and is refused with a sentence."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_word(item: Any) -> bool:
    """Whether a list's entry can be typed as it is, between commas."""
    return isinstance(item, str) and item == item.strip() and item != "" and "," not in item and not item.startswith("[")
