"""A network that takes noise out of examples, and makes some by doing so in many steps."""

from engine.kinds.generator import CARDS, HEADLINE
from engine.spec.cards import KindCard

card = KindCard(
    id="denoiser",
    order=4,
    title="denoiser",
    summary="A network that removes noise from examples, and makes examples by integrating that over many steps.",
    judge="engine.tasks.generation:GenerationTask.judge_samples",
    metrics=CARDS,
    headline=HEADLINE,
    charts=("samples", "distances"),
)
