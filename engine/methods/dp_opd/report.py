"""What is shown of a run under differential privacy: its account, which everyone may see, and what only the data's owner may."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import charts
from engine.method import Diagnostics
from engine.methods.dp_opd.card import Settings
from engine.methods.dp_opd.mechanism import Gradients, clipped_share, signal_to_noise
from engine.methods.dp_opd.privacy import ORDERS_IN_WORDS, Account, Spent, spent
from engine.metrics.language import held_out_report
from engine.models.language import CausalLM
from engine.tasks.language import LanguageTask

CURVE_POINTS = 50
WATCHED_WINDOWS = 64  # of the validation text, for the warning that training made the start worse
WEAK_SIGNAL = 0.05
OWNER = "For the data owner: computed from private records, outside the guarantee."


@dataclass(frozen=True, kw_only=True)
class PrivacyReport:
    """A run as it stands. `norms` (records,) are those of the newest records' gradients before clipping, `batch_rows` the sizes of the newest
    batches, oldest first; `numbers` counts the student's trained weights."""

    settings: Settings
    noise_multiplier: float
    account: Account
    planned_steps: int
    norms: Tensor
    batch_rows: Sequence[int]
    numbers: int

    def spent(self) -> Spent:
        """ε of the steps really taken."""
        return self.account.spent(self.settings.delta_or_default)

    def planned(self, steps: int | None = None) -> Spent:
        """What will be spent after so many steps, or at the planned end."""
        stretch = (self.noise_multiplier, self.settings.sampling_rate, steps or self.planned_steps)
        return spent([stretch], delta=self.settings.delta_or_default)

    def opening(self) -> str:
        """The line at the start of a run: what it will spend."""
        if self.noise_multiplier == 0:
            return "WARNING: the noise is 0, so this run gives NO privacy; ε is infinite."
        found = self.planned()
        return (
            f"σ = {self.noise_multiplier:.4f}, q = {self.settings.sampling_rate:g}, {self.planned_steps} steps: "
            f"ε = {found.epsilon:.4f} at δ = {found.delta:g}."
        )

    # A step's terms

    def terms(self, sums: Gradients, norms: Tensor, losses: Tensor, coins: Tensor) -> dict[str, Tensor]:
        """ε so far, which everyone may see, and what only the data's owner may. An empty batch has no means."""
        found, device = self.spent().epsilon, norms.device
        terms = {} if math.isinf(found) else {"epsilon": torch.full((), found, device=device)}
        terms["private/batch_rows"] = torch.full((), float(len(norms)), device=device)
        if self.noise_multiplier > 0:
            terms["private/signal_to_noise"] = signal_to_noise(sums, self.noise_multiplier, self.settings.clip_norm)
        if len(norms):
            terms |= {
                "loss": losses.mean(),
                "private/norm_mean": norms.mean(),
                "private/norm_median": norms.median(),
                "private/clipped_share": clipped_share(norms, self.settings.clip_norm),
                "private/on_policy_share": coins.float().mean(),
            }
        return terms

    # At an evaluation

    def diagnostics(self, warnings: Sequence[str]) -> Diagnostics:
        """Numbers and pictures, with the warnings of `early_warnings` as a table."""
        found = self.spent().epsilon
        metrics: dict[str, float | None] = {
            "epsilon": None if math.isinf(found) else found,
            "delta": self.settings.delta_or_default,
            "noise_multiplier": self.noise_multiplier,
            "sampling_rate": self.settings.sampling_rate,
            "clipped_share": float(clipped_share(self.norms, self.settings.clip_norm)) if len(self.norms) else None,
            "batch_rows_mean": sum(self.batch_rows) / len(self.batch_rows) if self.batch_rows else None,
        }
        tables = {
            "privacy": self.account_table(),
            "norms": self.norm_table(),
            "batches": self.batch_table(),
            "warnings": charts.rows("Early warnings", ("warning",), [[each] for each in warnings] or [["none"]], note=OWNER),
        }
        if self.noise_multiplier > 0:
            tables["epsilon"] = self.epsilon_curve()
        return Diagnostics(metrics, tables)

    def account_table(self) -> charts.ChartSpec:
        """What the guarantee says and what went into it. Nothing here depends on the records."""
        chosen, found = self.settings, self.spent()
        cells: list[list[str | float | int | bool | None]] = [
            ["ε spent", "infinite" if math.isinf(found.epsilon) else round(found.epsilon, 6)],
            ["δ", found.delta],
            ["ε planned", chosen.epsilon],
            ["noise multiplier σ", self.noise_multiplier],
            ["clip norm C", chosen.clip_norm],
            ["sampling rate q", chosen.sampling_rate],
            ["records n", chosen.records],
            ["steps taken", self.account.steps],
            ["order that ε is at", None if math.isnan(found.order) else found.order],
            ["orders tried", ORDERS_IN_WORDS],
            ["accountant", "Rényi, subsampled Gaussian, records added or removed"],
        ]
        note = "Holds for the student's weights, if checkpoints, teacher's outputs, norms and losses stay with the data's owner."
        return charts.rows("Privacy account", ("what", "value"), cells, note=note)

    def epsilon_curve(self) -> charts.ChartSpec:
        """ε against steps, taken and to come, with the budget as a line."""
        taken, planned = self.account.steps, max(self.planned_steps, self.account.steps)
        steps = sorted({max(1, round(planned * part / CURVE_POINTS)) for part in range(1, CURVE_POINTS + 1)} | ({taken} - {0}))
        values = {step: self.planned(step).epsilon for step in steps}
        before, after = [step for step in steps if step <= taken], [step for step in steps if step >= taken]
        series = {"spent": (before, [values[step] for step in before]), "planned": (after, [values[step] for step in after])}
        levels = {} if self.settings.epsilon is None else {"budget": self.settings.epsilon}
        return charts.lines("Privacy spent", series, x="step", y=f"ε at δ = {self.settings.delta_or_default:g}", levels=levels)

    def norm_table(self) -> charts.ChartSpec:
        """Norms of the newest records' gradients, with the clip norm among the edges."""
        clip = self.settings.clip_norm
        top = max(float(self.norms.max()) if len(self.norms) else 0.0, clip)
        below, above = torch.linspace(0, clip, 11), torch.linspace(clip, max(top, 1.001 * clip), 11)[1:]
        edges = torch.cat([below, above])
        counts = torch.histogram(self.norms.float().cpu(), edges).hist.int().tolist() if len(self.norms) else [0] * 20
        return charts.histogram(
            f"Norms of single records' gradients; clipped above {clip:g}",
            edges.tolist(),
            {"records": counts},
            x="norm before clipping",
            note=OWNER,
        )

    def batch_table(self) -> charts.ChartSpec:
        """Realized batch sizes against the expected one."""
        last = self.account.steps
        steps = list(range(last - len(self.batch_rows) + 1, last + 1))
        return charts.lines(
            "Records in a batch",
            {"drawn": (steps, list(self.batch_rows))},
            x="step",
            y="records",
            levels={"expected": float(self.settings.expected_batch)},
            note=OWNER,
        )


def early_warnings(report: PrivacyReport, *, start_nll: float, nll: float) -> list[str]:
    """What is likely to be wrong with a run, in sentences. `start_nll` and `nll` are those of `watched_nll` before training and now."""
    if not report.batch_rows:
        return []
    chosen, norms, found = report.settings, report.norms, []
    if report.noise_multiplier == 0:
        found.append("There is no noise, hence no privacy.")
    if len(norms) and float(norms.max()) <= chosen.clip_norm:
        found.append(f"No record is clipped: a clip norm below {chosen.clip_norm:g} would need less noise.")
    expected, count = chosen.expected_batch, len(report.batch_rows)
    mean = sum(report.batch_rows) / count
    if abs(mean - expected) > 4 * math.sqrt(expected * (1 - chosen.sampling_rate) / count) + 1e-9:
        found.append(f"Batches have {mean:.1f} records on average, {expected} are expected: the sampler may not be Poisson's.")
    if len(norms) and report.noise_multiplier > 0:
        # Bounded from above: the sum of a batch is no longer than its records' clipped gradients end to end.
        clipped = norms.clamp(max=chosen.clip_norm).mean().item() * mean
        best = clipped / (report.noise_multiplier * chosen.clip_norm * math.sqrt(report.numbers))
        if best < WEAK_SIGNAL:
            found.append(f"The signal is at most {best:.3f} of the noise: larger batches, fewer steps or a smaller student would help.")
    steps, epsilon = report.account.steps, report.spent().epsilon
    over = steps >= report.planned_steps
    if over and chosen.epsilon is not None and not chosen.epsilon - 0.011 <= epsilon <= chosen.epsilon + 1e-9:
        found.append(f"ε at the planned end is {epsilon:.4f}, the budget is {chosen.epsilon:g}.")
    if 4 * steps >= report.planned_steps and (worse := nll - start_nll) > 0:
        found.append(f"The validation text is {worse:.3f} nats a token less likely than at the start.")
    return found


def watched_nll(model: CausalLM, task: LanguageTask) -> float:
    """NLL in nats a token on a few windows of the validation text, which is not private."""
    split = task.splits["validation"]
    rows = torch.linspace(0, len(split) - 1, WATCHED_WINDOWS, device=task.device).long()
    windows = split.take(rows)
    nll = held_out_report(model, windows.inputs, windows.targets)["nll"]
    assert nll is not None
    return nll
