"""A network that takes noise out of examples, and makes some by doing so in many steps."""

from engine.metrics import cards_generation
from engine.spec.cards import KindCard

card = KindCard(
    id="denoiser",
    order=4,
    title="denoiser",
    summary="A network that removes noise from examples, and makes examples by integrating that over many steps.",
    judge="engine.tasks.generation:GenerationTask.judge_samples",
    metrics=cards_generation.CARDS,
    headline=cards_generation.HEADLINE,
    charts=("samples", "distances"),
)
