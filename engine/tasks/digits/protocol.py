"""The small experiment that several methods are held to, in one place so that their numbers can be compared.

For seed s: the random split of seed s + 100; a teacher MLP 64-128-128-10 with seed s on all training rows; students with initial weights of
seed s + 50 and batch order of seed s.
"""

from typing import Any

TEXT = """
scikit-learn's digits: 1,797 pictures of 8×8 pixels. For seed s a generator with seed s + 100 draws one permutation: the first 1,200 rows
train, the next 297 validate, the last 300 test. Pixels are standardized with the training rows. The test rows are read once, by the final
evaluation (the agreement of arms without a teacher is computed from the same weights); the calibration temperature T\\* is fitted on the
validation rows. Networks are multilayer perceptrons with ReLU and PyTorch's
initialization, in float32, on one thread. Batches of 64, reshuffled in every epoch, the last partial one kept; no augmentation. All arms of
a seed share the split, the student's initial weights (seed s + 50) and the order of the batches (seed s).
"""

TEACHER_TEXT = """
The teacher is an MLP 64-128-128-10 trained with seed s: AdamW at 0.003, weight decay 0, cosine per epoch, 40 epochs of cross-entropy on all
1,200 training rows. Students are MLPs 64-16-10 trained with AdamW at 0.01, weight decay 0, cosine per epoch, 60 epochs on the first 150
training rows.
"""


def run(method: str, seed: int, *, settings: dict[str, Any], student: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """A student's spec on the protocol's split, without teachers."""
    return {
        "method": method,
        "settings": settings,
        "task": "digits",
        "task_options": {"split": "random", "split_seed": seed + 100, **(options or {})},
        "student": {"name": student, "init_seed": seed + 50},
        "seed": seed,
        "budget": {"epochs": 60},
    }


def teacher(seed: int) -> dict[str, Any]:
    """The protocol's teacher."""
    spec = run("supervised", seed, settings={"learning_rate": 3e-3}, student="mlp-128-128")
    return spec | {"student": {"name": "mlp-128-128", "init_seed": seed}, "budget": {"epochs": 40}}


def small_student(method: str, seed: int, **settings: Any) -> dict[str, Any]:
    """MLP 64-16-10 on the first 150 training rows."""
    return run(method, seed, settings=settings, student="mlp-16", options={"train_limit": 150})
