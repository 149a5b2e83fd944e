"""What is recalled for an attempt, and how long that takes."""

import time
from collections.abc import Callable, Sequence

from engine.methods.steve_evolving.experience import Document


def recalled_for(documents: Sequence[Document], recall: Callable[[Document], Sequence[Document]]) -> tuple[dict[int, list[int]], float]:
    """The ids of the experiences that were recalled for each of `documents`, by its id, and the mean duration of a recall in milliseconds."""
    started = time.perf_counter()
    recalled = {document["id"]: [found["id"] for found in recall(document)] for document in documents}
    return recalled, 1000 * (time.perf_counter() - started) / len(recalled)
