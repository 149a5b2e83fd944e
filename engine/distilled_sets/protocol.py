"""The small experiment that the methods which make data sets are held to: the digits in the cut and with the pixels of that literature."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.evidence.experiment import Check, Finding, Results

OPTIONS = {"split": "random", "split_seed": 0, "parts": "1097-200-500", "pixels": "fixed"}

TEXT = """
scikit-learn's digits, pixels (x/16 − 0.3)/0.37. A generator seeded 0 draws one permutation of the 1,797 pictures: the first 1,097 train, the next
200 validate, the last 500 test; the same for every seed. One picture a class. The network is a ConvNet of two blocks with 24 channels, 6,514
weights, PyTorch's initialization, in float32, on one thread; no augmentation. Four experts, seeds 0 to 3 whatever the seed of the run: 12 epochs
of SGD at 0.03, batches of 64. Then 200 iterations: 12 inner steps for 2 epochs of an expert, starts from its first six snapshots, expert and start
drawn uniformly; SGD with momentum 0.5 on the pictures (rate 20) and on the learned rate (rate 0.0001, from 0.03). The last iteration's set is
read, and nothing is chosen on the way.

A set is worth what five fresh networks, seeds 1000 to 1004, reach that learn from it alone: 150 full-batch steps of SGD, momentum 0.9, weight decay
0.0005, the rate 0.03 for every set and a tenth of it from step 75, the last step. The unseen architecture is a perceptron 64-64-10 with ReLU at 0.05.
The test rows are read once, by the final evaluation. The settings are those of the specification, which were found in trials that had read these
rows: the numbers are indicative.
"""


def spec(method: str, seed: int, **settings: Any) -> dict[str, Any]:
    """A run on the protocol's rows."""
    return {
        "method": method,
        "task": "digits",
        "task_options": OPTIONS,
        "student": "convnet",
        "settings": {"baselines": "small", **settings},
        "seed": seed,
        "budget": {"steps": 200},
    }


def initial_pictures(arm: str) -> Callable[[int, Mapping[str, Path]], Mapping[str, float | None]]:
    """What the real rows are worth that the arm's set began as, by the same recipe."""

    def measured(seed: int, folders: Mapping[str, Path]) -> Mapping[str, float | None]:
        import torch

        from engine.distilled_sets.judging import SET, Panel, Rows, Witnesses, numbers_of
        from engine.models.synthetic_set import SyntheticSet
        from engine.run.export import load_model
        from engine.spec import catalog

        product, _ = load_model(folders[arm])
        assert isinstance(product, SyntheticSet)
        task = catalog.load_task("digits")(catalog.tasks()["digits"].options.model_validate(OPTIONS), torch.device("cpu"))
        train = task.splits["train"]
        assert train.targets is not None
        rows = Rows(train.inputs[product.source], train.targets[product.source])
        return numbers_of(Panel(product, task.splits["test"], Witnesses()).accuracies({SET: rows}))

    return measured


def ratio_below(metric: str, other: str, arm: str, limit: float) -> Check:
    """mean(metric) < limit · mean(other), of one arm."""

    def check(results: Results) -> Finding:
        ours, theirs = results.mean(arm, metric), results.mean(arm, other)
        assert ours is not None and theirs is not None, f"{metric} or {other} is undefined in {arm}"
        return Finding(ours < limit * theirs, f"{ours:.4f} against {theirs:.4f}, a ratio of {ours / theirs:.2f}")

    return check


def within(metric: str, arm: str, value: float, margin: float) -> Check:
    """|mean(metric) − value| ≤ margin."""

    def check(results: Results) -> Finding:
        ours = results.mean(arm, metric)
        assert ours is not None, f"{metric} is undefined in {arm}"
        return Finding(abs(ours - value) <= margin, f"{metric} {ours:.4f}")

    return check


def positive(metric: str, arm: str) -> Check:
    """Above 0 with every seed."""

    def check(results: Results) -> Finding:
        found = results.of(arm, metric)
        return Finding(bool(found) and min(found) > 0, f"{metric} from {min(found):.4f} to {max(found):.4f}")

    return check
