"""A crafting world whose knowledge has to be found out by playing."""

from pydantic import Field

from engine.spec.cards import Architecture, TaskCard, TaskOptions


class Options(TaskOptions):
    actions: int = Field(120, ge=1, le=10_000, description="Actions of an episode, while learning and while being judged.")
    episodes: int = Field(
        50, ge=5, le=10_000, description="Episodes of an evaluation, the five goals in turn; numbers are comparable only when it is equal."
    )


card = TaskCard(
    id="crafting-world",
    version=1,
    title="Crafting world",
    summary="Fourteen actions with hidden requirements, from wood to a diamond: an agent is judged by how often it reaches a goal in 120 actions.",
    kind="knowledge",
    options=Options,
    input_shape=(),
    classes=None,
    train_rows=0,
    architectures={
        "knowledge": Architecture(
            "knowledge_base",
            {"patience": 2, "follow": 0.85, "temporary_rules": False},
            "Skills and guardrails, empty at first, read by a planner that knows which action makes an item and nothing else.",
        )
    },
    student="knowledge",
    headline=("success", "actions_used", "failed_actions", "active_skills", "active_guardrails"),
)
