"""Teacher consistency: whether the teacher that scores is the one whose text the student began with."""

from collections.abc import Mapping

from engine.errors import SpecError
from engine.models.language import CausalLM
from engine.rollout.fingerprint import weights_fingerprint

UNKNOWN = "unknown"
OTHER_WRITER = "WARNING: the text of the phase sft is by another teacher than the one that scores, as settings.allow_other_teacher allows."
UNKNOWN_WRITER = "WARNING: nobody knows whose text the student began with; it should be that of the teacher which scored."


def fingerprints_of(*, scorer: CausalLM, writer: CausalLM | None, tokenizer: str) -> dict[str, str]:
    """SHA-256 by what it is of. `writer` wrote the text that the student begins with, None where that was done before; `start` is filled in
    when the student has learned it."""
    return {
        "teacher": weights_fingerprint(scorer),
        "tokenizer": tokenizer,
        "start": "",
        "sft_teacher": UNKNOWN if writer is None else weights_fingerprint(writer),
    }


def consistency_of(fingerprints: Mapping[str, str]) -> str:
    """consistent, inconsistent or unknown."""
    if fingerprints["sft_teacher"] == UNKNOWN:
        return UNKNOWN
    return "consistent" if fingerprints["sft_teacher"] == fingerprints["teacher"] else "inconsistent"


def refuse_other_writer(fingerprints: Mapping[str, str], *, allowed: bool) -> None:
    """Raises SpecError where the first text is another teacher's, unless that is allowed."""
    if consistency_of(fingerprints) == "inconsistent" and not allowed:
        raise SpecError.at(
            "teachers.1",
            "must be the first teacher's equal, because the student has to learn from the one whose text it began with; set "
            "settings.allow_other_teacher to go on all the same.",
        )
