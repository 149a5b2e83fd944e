"""What a run remembers: the log of experiences, and the running sets that distillation makes of it."""

from collections.abc import Mapping
from typing import Any

from engine.methods.steve_evolving.distillation import Tracks
from engine.methods.steve_evolving.experience import Document, ExperienceMemory
from engine.worlds.crafting import predicates, recognize


class Mind:
    """The log and the running sets that are made of it. Its state is the log: all else is made again."""

    def __init__(self) -> None:
        self.memory = ExperienceMemory()
        self.tracks = Tracks()

    def add(self, document: Document) -> None:
        """Anchors one experience: into the log, the index, the summaries and both tracks."""
        self.memory.add(document)
        self._learn(document)

    def _learn(self, document: Document) -> None:
        before, after = predicates(recognize(document["before"])), predicates(recognize(document["after"]))
        self.tracks.take(document, before=before, after=after)

    def state_dict(self) -> dict[str, Any]:
        return self.memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.memory.load_state_dict(state)
        self.tracks = Tracks()
        for document in self.memory.documents:
            self._learn(document)
