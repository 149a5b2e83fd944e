"""The chain in kernel ridge regression: each fit is solved exactly, and so is the best share of the ground truth. All in float64."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.teacher_guidance import chain, charts
from engine.methods.teacher_guidance.card import Settings, card
from engine.methods.teacher_guidance.rows import labeled_rows
from engine.models.kernel import KernelRidge, rbf, squared_distances


class KernelChain(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        inputs, labels = labeled_rows(self.task, "train")
        held_out, truth = labeled_rows(self.task, "validation")
        gamma, fits = self.settings.gamma or median_gamma(inputs), self.settings.fits
        self.kernel = KernelRidge(rows=len(inputs), inputs=inputs.shape[1], classes=labels.shape[1], gamma=gamma).to(self.device)
        self.kernel.support.copy_(inputs)
        self.ridge = chain.Ridge.of(rbf(inputs, inputs, gamma), self.settings.ridge)
        self.labels, self.truth, self.cross = labels, truth, rbf(held_out, inputs, gamma)
        self.values = labels.clone()  # Y^{τ−1}, which is Y before the first fit
        self.coefficients = torch.zeros(fits, *labels.shape, dtype=torch.float64, device=self.device)
        self.diagonals = torch.ones(fits, len(inputs), dtype=torch.float64, device=self.device)
        self.grids = torch.zeros(fits, len(chain.GRID), dtype=torch.float64, device=self.device)
        self.facts = torch.zeros(fits, len(charts.FACTS), dtype=torch.float64, device=self.device)
        self.done = 0

    def phases(self) -> Iterator[Phase]:
        yield Phase("fit", self.fit, self.settings.fits, data=None)

    @torch.no_grad()
    def fit(self, batch: Batch) -> Logs:
        """One fit of the chain, solved exactly; nothing is updated by a gradient."""
        number = self.position.phase_step
        predict = self.ridge.coefficients
        u, v = self.cross @ predict(self.labels), self.cross @ predict(self.values)  # of the ground truth, and of the fit before alone
        self.grids[number] = chain.grid_errors(first=u, pure=v, truth=self.truth)
        unclipped = chain.best_alpha(first=u, pure=v, truth=self.truth)
        alpha = self.chosen_alpha(number, unclipped)

        targets = chain.mixed(self.labels, self.values, alpha)  # T^τ
        self.coefficients[number] = predict(targets)
        self.kernel.coefficients.copy_(self.coefficients[number])
        self.values = self.ridge.smoothed(targets)  # Y^τ = S T^τ
        before = self.diagonals[number - 1] if number else torch.ones_like(self.diagonals[0])
        self.diagonals[number] = chain.next_diagonal(self.ridge.shrinkage, before, alpha)  # B^τ

        error = chain.squared_error(self.cross @ self.coefficients[number], self.truth)
        train_error = chain.squared_error(self.values, self.labels)
        self.facts[number] = torch.stack([alpha, unclipped, error, train_error, self.diagonals[number].sum()])
        self.done = number + 1
        return {"alpha": alpha, "alpha_unclipped": unclipped, "validation_mse": error, "train_mse": train_error}

    def chosen_alpha(self, number: int, unclipped: Tensor) -> Tensor:
        """α as it is used: in the first fit 1, which changes nothing there."""
        if number == 0:
            return torch.ones_like(unclipped)
        match self.settings.estimator:
            case "closed_form":
                return unclipped.clamp(0, 1)
            case "grid":
                return torch.tensor(chain.GRID, dtype=torch.float64, device=self.device)[self.grids[number].argmin()]
            case "fixed":
                return torch.full_like(unclipped, self.settings.share(number))

    def product(self) -> nn.Module:
        """The last fit."""
        return self.kernel

    def blueprint(self) -> Mapping[str, Any] | None:
        rows, inputs = self.kernel.support.shape
        config = {"rows": rows, "inputs": inputs, "classes": self.kernel.coefficients.shape[1], "gamma": self.kernel.gamma}
        return {"builder": "kernel_ridge", "config": config, "architecture": "kernel ridge"}

    def diagnostics(self) -> Diagnostics:
        """The course over the fits so far."""
        if not self.done:
            return Diagnostics()
        facts = {name: self.facts[: self.done, column].tolist() for column, name in enumerate(charts.FACTS)}
        metrics: dict[str, float | None] = {name: values[-1] for name, values in facts.items()}
        metrics["limit_mse"] = self.limit_error(facts["alpha"][-1])
        if self.done > 1:
            # What the formula's α leaves above the best of the grid, at most over all fits: never above 0 but for rounding.
            best = self.grids[1 : self.done].min(dim=1).values
            metrics["above_grid"] = float((self.facts[1 : self.done, charts.FACTS.index("validation_mse")] - best).max())
        return Diagnostics(metrics, charts.fits(facts, self.diagonals[: self.done], self.grids[: self.done], limit=metrics["limit_mse"]))

    def limit_error(self, alpha: float) -> float:
        """Validation MSE that the chain tends to if it goes on with this α."""
        return float(chain.squared_error(self.cross @ self.ridge.limit_coefficients(self.labels, alpha), self.truth))

    def finish(self) -> None:
        kept = {"coefficients": self.coefficients, "support": self.kernel.support, "diagonals": self.diagonals, "facts": self.facts}
        self.save_tensors("fits", kept, {"gamma": self.kernel.gamma, "ridge": self.settings.ridge, "facts": list(charts.FACTS)})
        unclipped = self.facts[1 : self.done, charts.FACTS.index("alpha_unclipped")]
        if len(unclipped) and bool(((unclipped < 0) | (unclipped > 1)).all()):
            self.log(
                "The formula's share of the ground truth is outside 0 to 1 at every fit: with this λ there is nothing to gain from it."
            )


def median_gamma(inputs: Tensor) -> float:
    """One over the median squared distance of two different rows; inputs (rows, inputs). 1 where all rows are equal."""
    above = torch.triu_indices(len(inputs), len(inputs), offset=1)
    median = float(squared_distances(inputs, inputs)[above[0], above[1]].median())
    return 1 / median if median > 0 else 1.0
