"""What goes wrong early in a run, as sentences: from numbers, without torch."""

from collections.abc import Mapping

EARLY, LATE = 0.25, 0.1
"""Shares of the budget: until EARLY all clipped means that nothing was learned, from LATE on a preference should be seen."""
FAR = 0.5
"""Drift, as a share of how far samples of the start are from each other, above which little of it is left."""


def warnings_of(found: Mapping[str, float], *, progress: float) -> list[str]:
    """Sentences for a run that is at `progress` (0…1) of its budget; none when all is well.

    `found` has implicit_accuracy, reward_tuned, reward_start and drift_share, and online clip_fraction, log_ratio_winner and log_ratio_loser.
    """
    said = []
    if progress >= LATE and abs(found["implicit_accuracy"] - 0.5) < 0.02:
        said.append(
            f"Implicit accuracy is {found['implicit_accuracy']:.2f} after {progress:.0%} of the run: pairs are not told apart. "
            "Try a higher learning rate, or a lower beta."
        )
    if "clip_fraction" in found and progress <= EARLY and found["clip_fraction"] > 0.95:
        said.append(
            f"{found['clip_fraction']:.0%} of the likelihood ratios are clipped after {progress:.0%} of the run, and these have no gradient: "
            "nothing is learned. Try a lower learning rate or a wider clip."
        )
    if "log_ratio_winner" in found and progress >= LATE and max(found["log_ratio_winner"], found["log_ratio_loser"]) < 0:
        said.append(
            f"Preferred samples become less likely as well: mean log-ratio {found['log_ratio_winner']:.3f} of winners, "
            f"{found['log_ratio_loser']:.3f} of losers."
        )
    if found["reward_tuned"] > found["reward_start"] and found["drift_share"] > FAR:
        said.append(
            f"The reward rose from {found['reward_start']:.3f} to {found['reward_tuned']:.3f} while the samples left those of the starting model: "
            f"their energy distance is {found['drift_share']:.2f} of the mean distance between two samples of the start. Try a higher beta or fewer steps."
        )
    return said
