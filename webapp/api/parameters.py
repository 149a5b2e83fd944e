"""Parameters of a query that have few right values. Any other is refused: a typing error must not look like an answer."""

from collections.abc import Mapping, Sequence

from engine.errors import SpecError

FLAGS = {"true": True, "1": True, "false": False, "0": False}


def flag_of(text: str) -> bool:
    """`true`, `1`, `false` or `0`, in any case of letters. Raises ValueError with a sentence that lacks its subject."""
    if (value := FLAGS.get(text.strip().lower())) is None:
        raise ValueError(f"must be true or false; got {text!r:.80}.")
    return value


def flag(query: Mapping[str, str], name: str, default: bool = False) -> bool:
    """Yes or no; `default` when the query leaves it out or empty. Raises SpecError."""
    text = query.get(name, "")
    try:
        return flag_of(text) if text.strip() else default
    except ValueError as error:
        raise SpecError.at(name, str(error)) from None


def choice(query: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    """One of the choices; empty when the query leaves it out or empty. Raises SpecError."""
    text = query.get(name, "").strip()
    if text and text not in choices:
        raise SpecError.at(name, f"must be one of {', '.join(choices)}; got {text!r:.80}.")
    return text
