"""What an agent has learned and a person can read."""

from engine.metrics import cards_agent
from engine.spec.cards import KindCard

card = KindCard(
    id="knowledge",
    order=6,
    title="knowledge",
    summary="What an agent has learned from its experiences: skills and guardrails that a person can read.",
    judge="engine.tasks.crafting_world.task:CraftingWorld.judge_knowledge",
    metrics=cards_agent.CARDS,
    headline=("success", "success_last_half", "success_first_half", "repeated_failures", "active_skills", "active_guardrails"),
    charts=("success_by_goal", "skills", "guardrails"),
)
