"""What each number of an evaluation means, without torch: pages, comparison and API take title, unit and direction of better from here.

Each kind of student declares the cards of what it is judged by (`engine.kinds`); here they are together.
"""

from collections.abc import Mapping

from engine.spec import catalog
from engine.spec.cards import Kind, MetricCard


def _by_id() -> dict[str, MetricCard]:
    found: dict[str, MetricCard] = {}
    for kind in catalog.kinds().values():
        for card in kind.metrics:
            assert found.setdefault(card.id, card) == card, f"two metrics are called {card.id!r}; one of them belongs to the kind {kind.id}"
    return found


METRICS: Mapping[str, MetricCard] = _by_id()
"""Every metric by id, in the order in which pages show them: kind by kind."""

HEADLINE: Mapping[Kind, tuple[str, ...]] = {kind.id: kind.headline for kind in catalog.kinds().values()}
"""The metrics by which a student of each kind is judged first: the tiles of its page, and the first rows of the comparison."""
