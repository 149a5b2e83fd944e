"""Options that the tasks with text share: how much of it is used, and how a language model is judged. No torch."""

from pydantic import Field

from engine.spec.cards import TaskOptions


class LanguageOptions(TaskOptions):
    """How much text is trained on, and the fixed prompts that a model continues at each evaluation."""

    train_limit: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Train on only the first so many windows of the training text; empty for all."
    )
    evaluation_prompts: int = Field(
        256, ge=1, le=4096, description="Equally spaced places of a split at which a model is judged: one window and one completion each."
    )
    prompt_tokens: int = Field(16, ge=1, le=100_000, description="Tokens of text before each completion.")
    completion_tokens: int = Field(32, ge=1, le=100_000, description="Longest completion of an evaluation, in tokens.")
