"""What an agent has learned and a person can read."""

from engine.spec.cards import KindCard, MetricCard

CARDS: tuple[MetricCard, ...] = (
    MetricCard(
        "success",
        "Success rate",
        "higher",
        "Share of episodes that reach their goal in time with this knowledge, learning nothing; the draws are the same for every run.",
    ),
    MetricCard("actions_used", "Actions an episode", "lower", "Mean number of actions until the goal or the end.", format=".1f"),
    MetricCard("failed_actions", "Failed actions", "lower", "Share of actions that failed in these episodes."),
    MetricCard("active_skills", "Skills", None, "Actions that the knowledge base has a skill for.", format=".0f"),
    MetricCard("active_guardrails", "Active guardrails", None, "Guardrails that are not retired.", format=".0f"),
    MetricCard("success_first_half", "Success, first half", "higher", "Share of the first half of the training episodes that succeeded."),
    MetricCard("success_last_half", "Success, last half", "higher", "Share of the last half of the training episodes that succeeded."),
    MetricCard(
        "repeated_failures",
        "Repeated failures",
        "lower",
        "Share of the actions of the last half of the training episodes that repeat an earlier failure: same action, cause and condition signature.",
    ),
    MetricCard(
        "guardrail_precision",
        "Precision of guardrails",
        "higher",
        "Share of the blocked actions that would have failed, by asking the simulator; undefined if none was blocked.",
    ),
    MetricCard("fallback_share", "Fallbacks", "lower", "Share of the actions at which guardrails forbade everything."),
    MetricCard("retired_guardrails", "Retired guardrails", None, "Guardrails that a later success has disproved.", format=".0f"),
    MetricCard("recall_ms", "Time of a recall", "lower", "Mean time to recall experiences for one attempt.", unit="ms", format=".3f"),
)

card = KindCard(
    id="knowledge",
    order=6,
    title="knowledge",
    summary="What an agent has learned from its experiences: skills and guardrails that a person can read.",
    judge="engine.tasks.crafting_world.task:CraftingWorld.judge_knowledge",
    metrics=CARDS,
    headline=("success", "success_last_half", "success_first_half", "repeated_failures", "active_skills", "active_guardrails"),
    charts=("success_by_goal", "skills", "guardrails"),
)
