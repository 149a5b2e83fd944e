"""What a model has learned from: its own training text, and the text of the models that it began with or was taught by.

An exported language model's model.json says it under `learned_from`, so that a later run can judge by the data, and not by a name, what a
model may know. Of models of other kinds nothing is recorded.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from engine.method import Method

FIELD = "learned_from"


@dataclass(frozen=True)
class Source:
    """One text: a split of a task under its options, and the SHA-256 of it as it was read, None where an older export has none.

    Where nobody can say what was read, `nobody_knows` names the model that it was read by, and the rest is empty.
    """

    task: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    split: str = ""
    sha256: str | None = None
    nobody_knows: str = ""

    @classmethod
    def unknown(cls, model: str) -> Self:
        """What a model has read of which nothing is recorded."""
        return cls(nobody_knows=model)


def facts(method: "Method") -> dict[str, Any]:
    """What the export of a method's student says of its lineage; nothing where its task has no running text."""
    task = method.task
    digests = {split: task.text_digest(split) for split in method.reads()}
    options = task.options.model_dump(mode="json") if any(digests.values()) else {}
    own = [Source(task.card.id, options, split, digest) for split, digest in digests.items() if digest is not None]
    if not own:
        return {}
    found = own + [source for sources in method.lineage.values() for source in sources]
    return {FIELD: [asdict(source) for at, source in enumerate(found) if source not in found[:at]]}


def sources_of(meta: Mapping[str, Any]) -> tuple[Source, ...]:
    """What the model of a model.json has read. Older exports say it by their spec: the training rows of its task, and, where it went on from
    other models, that nobody knows what those had read."""
    if FIELD in meta:
        return tuple(Source(**source) for source in meta[FIELD])
    spec = meta.get("spec")
    if not isinstance(spec, Mapping) or "task" not in spec:
        return (Source.unknown(f"a model without a spec, of the task {meta['task']}"),)
    # Before it was recorded, one method alone learned from other rows than the training ones.
    own = Source(spec["task"], spec.get("task_options", {}), "private" if spec.get("method") == "dp-opd" else "train")
    refs = [ref for ref in (spec.get("student"), *spec.get("teachers", [])) if ref is not None and ref["source"] != "builtin"]
    return (own, *(Source.unknown(f"{ref['source']}:{ref['name']}") for ref in refs))
