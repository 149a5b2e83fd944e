"""The small experiment that the methods which make data sets are held to: the digits in the cut and with the pixels of that literature."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

OPTIONS = {"split": "random", "split_seed": 0, "parts": "1097-200-500", "pixels": "fixed"}

TEXT = """
scikit-learn's digits, pixels (x/16 − 0.3)/0.37. A generator seeded 0 draws one permutation of the 1,797 pictures: the first 1,097 train, the next
200 validate, the last 500 test; the same for every seed. One picture a class. The network is a ConvNet of two blocks with 24 channels, 6,514
weights, PyTorch's initialization, in float32, on one thread; no augmentation. Seed s has four experts of its own, with seeds 10·s to 10·s + 3,
which all of its arms share where they train experts the same way: 12 epochs of SGD at 0.03, batches of 64. Then 200 iterations: 12 inner steps
for 2 epochs of an expert, starts from its first six snapshots, expert and start drawn uniformly; SGD with momentum 0.5 on the pictures (rate 20)
and on the learned rate (rate 0.0001, from 0.03). The last iteration's set is read, and nothing is chosen on the way.

A set is worth what five fresh networks, seeds 1000 to 1004, reach that learn from it alone: 150 steps of SGD on the whole set, momentum 0.9, weight
decay 0.0005, the rate 0.03 for every set and a tenth of it from step 75, the last step. The unseen architecture is a perceptron 64-64-10 with ReLU
at 0.05. Real rows are judged by the same networks with as many steps: those that the set began as, those nearest to K-means centers, and all
1,097 of them in batches of 256, which is the upper bound. The test rows are read once, by the final evaluation. The settings are those of the
specification, which were found in trials that had read these rows: the numbers are indicative.
"""


def spec(method: str, seed: int, **settings: Any) -> dict[str, Any]:
    """A run on the protocol's rows, with experts that no other seed has."""
    return {
        "method": method,
        "task": "digits",
        "task_options": OPTIONS,
        "student": "convnet",
        "settings": {"baselines": "small", "expert_seed": 10 * seed, **settings},
        "seed": seed,
        "budget": {"steps": 200},
    }


def real_rows(kind: str, *, of: str) -> Callable[[int, Mapping[str, Path]], Mapping[str, float | None]]:
    """What real rows are worth, by the networks and the recipe that judge the set of the arm `of`. `kind` is one of `engine.distilled_sets.judging`:
    RANDOM for the rows that the set began as, KMEANS, or ALL."""

    def measured(seed: int, folders: Mapping[str, Path]) -> Mapping[str, float | None]:
        import torch

        from engine.distilled_sets.judging import ALL, SET, JudgingNetworks, Rows, Witnesses, baselines_of, numbers_of
        from engine.models.synthetic_set import SyntheticSet
        from engine.run.export import load_model
        from engine.spec import catalog

        product, _ = load_model(folders[of])
        assert isinstance(product, SyntheticSet), f"{of} has made no data set"
        task = catalog.load_task("digits")(catalog.tasks()["digits"].options.model_validate(OPTIONS), torch.device("cpu"))
        train = task.splits["train"]
        assert train.targets is not None, "real rows to learn from have labels"
        rows = Rows(train.inputs, train.targets) if kind == ALL else baselines_of(product, train)[kind]
        return numbers_of(JudgingNetworks(product, task.splits["test"], Witnesses()).accuracies({SET: rows}))

    return measured
