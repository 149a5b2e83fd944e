"""The private records, and who must not have read them.

"Private" is judged by the data: a model that the run begins with is refused when the text that it learned from, or that its own teachers or
its start learned from, has a stretch of the private records which the task's public text has not. A documentation repeats itself, so some
stretches stand in both parts; what is public anyway is no secret.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor

from engine.errors import EngineError, SpecError
from engine.lineage import Source
from engine.spec import catalog
from engine.tasks.language import LanguageTask

PRIVATE, PUBLIC = "private", "train"
STRETCH, STRIDE = 64, 16
"""Characters that have to agree for a text to have been read, and between the places that are tried: two texts that share 79 are caught."""


def split_of(task: LanguageTask) -> str:
    """Where the private text is: the split `private`, or where a task has none its training text."""
    return PRIVATE if PRIVATE in task.tokens else PUBLIC


def private_records(task: LanguageTask, *, width: int, count: int) -> Tensor:
    """The first `count` consecutive pieces of the private text, (count, width) int64. Raises SpecError where there are fewer."""
    records = records_of(task, width)[:count]
    if len(records) < count:
        message = f"must be at most {len(records)}, as many as the private text of {task.card.id} has; got {count}."
        raise SpecError.at("settings.records", message)
    return records


def records_of(task: LanguageTask, width: int) -> Tensor:
    """The private text cut into consecutive pieces, (records, width) int64; what is left over at its end is in none."""
    tokens = task.tokens[split_of(task)]
    return tokens[: len(tokens) // width * width].view(-1, width)


def refuse_readers(task: LanguageTask, records: Tensor, lineage: Mapping[str, tuple[Source, ...]]) -> list[str]:
    """Raises SpecError, naming the field, for a model that has read the records (n, width) or of which older exports can't say so. Returns the
    fields of the models that nothing is recorded of because they were trained elsewhere, with their names."""
    private, elsewhere = _PrivateText(task, records), []
    for field, sources in lineage.items():
        for source in sources:
            if source.nobody_knows.startswith("hf:"):
                elsewhere.append(f"{field} ({source.nobody_knows})")
            elif reason := private.read_by(source):
                raise SpecError.at(field, f"must have learned from public text alone; got a model that {reason}.")
    return elsewhere


class _PrivateText:
    """What is secret in the records of a task: their stretches that its public text has not."""

    def __init__(self, task: LanguageTask, records: Tensor) -> None:
        self.task = task
        self.text = task.vocabulary.decode(records.flatten().tolist())
        self.length = min(STRETCH, len(self.text))

    def read_by(self, source: Source) -> str:
        """What a model did that is refused because it learned from this text; empty where it has read nothing of the records."""
        if source.nobody_knows:
            return f"goes back to {source.nobody_knows}, of which it is not recorded what it read"
        if self._is_public(source):
            return ""
        where, text = f"read the split {source.split} of {source.task}", _text_of(source)
        if text is None:
            return f"{where}, which is not on this machine as it was then"
        return f"{where}, which holds private records" if not self.secrets.isdisjoint(self._stretches(text, 1)) else ""

    def _is_public(self, source: Source) -> bool:
        """Whether it is the very text that the secrets are what is left without: then nothing need be compared."""
        return split_of(self.task) == PRIVATE and source.split == PUBLIC and source.sha256 == self.task.text_digest(PUBLIC)

    @cached_property
    def secrets(self) -> frozenset[str]:
        found = frozenset(self._stretches(self.text, STRIDE))
        if split_of(self.task) == PUBLIC:
            return found
        vocabulary = self.task.vocabulary
        public = vocabulary.decode(vocabulary.encode(self.task.texts()[PUBLIC]).tolist())  # all of it, whatever this run trains on
        return found.difference(self._stretches(public, 1))

    def _stretches(self, text: str, stride: int) -> Iterator[str]:
        return (text[at : at + self.length] for at in range(0, len(text) - self.length + 1, stride))


def _text_of(source: Source) -> str | None:
    """The text of a source, read again; None where it is not the text that was read, or not here."""
    if source.task not in catalog.tasks():
        return None
    options = catalog.tasks()[source.task].options
    try:
        task = catalog.load_task(source.task)(options.model_validate(dict(source.options)), torch.device("cpu"))
    except (EngineError, ValueError):
        return None
    if not isinstance(task, LanguageTask) or source.split not in task.tokens:
        return None
    if source.sha256 is not None and source.sha256 != task.text_digest(source.split):
        return None
    return task.vocabulary.decode(task.tokens[source.split].tolist())
