"""A network that gives each example one label."""

from engine.metrics import cards_classification, cards_cost
from engine.spec.cards import KindCard

card = KindCard(
    id="classifier",
    order=1,
    title="classifier",
    summary="A network that gives each example one of several labels.",
    judge="engine.tasks.classification:LabeledTask.judge_classifier",
    metrics=(*cards_classification.CARDS, *cards_cost.CARDS),
    headline=("accuracy", "nll", "ece", "brier", "agreement", "gap_closed"),
)
