"""A network that makes examples in a few steps."""

from engine.metrics import cards_generation
from engine.spec.cards import KindCard

card = KindCard(
    id="generator",
    order=3,
    title="generator",
    summary="A network that makes examples from noise in one step or a few.",
    judge="engine.tasks.generation:GenerationTask.judge_samples",
    metrics=cards_generation.CARDS,
    headline=cards_generation.HEADLINE,
    charts=("samples", "distances"),
)
