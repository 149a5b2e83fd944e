"""A network that writes text, one token after the other."""

from engine.metrics import cards_language
from engine.spec.cards import KindCard

card = KindCard(
    id="causal-lm",
    order=2,
    title="language model",
    summary="A network that writes text, one token after the other.",
    judge="engine.tasks.language:LanguageTask.judge_language_model",
    metrics=cards_language.CARDS,
    headline=("rollout_kl_student_teacher", "nll", "perplexity", "text_kl_teacher_student", "acceptance", "entropy"),
    charts=("completions",),
    from_hub=True,
)
