"""The digits bench of generators, in one place so that the methods' numbers can be compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.evidence.experiment import Arm

if TYPE_CHECKING:
    from engine.events import Event

FID = "fid_digits_pca_20"
EVERY = 50

TEXT = """
scikit-learn's digits as pictures of 8×8 pixels in −1…1, 1,197 for training, 300 for validation, 300 for the test: one stratified cut for
all seeds. Curves and claims use validation; the test rows are read once, by the final evaluation. The network is a residual perceptron of
188,352 weights with EDM's preconditioning, σ_data = 0.752, levels from 0.02 to 20. All numbers are of 1,500 samples, 150 a class, from one fixed set of
noise. FID[digits-pca-20] is the Fréchet distance on 20 principal directions of the training rows; that of the training rows is 0.18
from validation and 0.28 from the test, which is the floor.
"""

TEACHER_TEXT = """
One teacher a seed: 2,500 steps of the EDM loss, Adam at 0.001, the last 30 % in a line to 0, batches of 128, ln σ ~ N(−0.6, 1.4²), labels
dropped with probability 0.1; the average of the weights, sampled by 18 steps of Heun's method (35 evaluations). Generator and fake begin as
copies of it. Adam at 0.0003 and 0.001, batches of 64, two fake steps for each of the generator, gradients clipped at 10, 400 generator
steps, no average of the weights.
"""


def run(method: str, seed: int, *, settings: Mapping[str, Any] | None = None, steps: int = 400, watched: bool = True) -> dict[str, Any]:
    """A spec on the bench, judged every 50 steps unless it isn't `watched`."""
    spec = {"method": method, "task": "digits-images", "settings": dict(settings or {}), "seed": seed, "budget": {"steps": steps}}
    return spec | ({"cadence": {"evaluate": EVERY, "checkpoint": 100_000_000}} if watched else {})


TEACHER = Arm(id="teacher", title="teacher, 35 evaluations", spec=lambda seed: run("denoising", seed, steps=2500, watched=False))


def in_one_step(seed: int, folders: Mapping[str, Path]) -> dict[str, float | None]:
    """The teacher's denoiser used once, at σ = 20: where every one-step generator begins."""
    import torch

    from engine.run.export import load_model
    from engine.spec import catalog

    task_class = catalog.load_task("digits-images")
    task = task_class(task_class.card.options(), torch.device("cpu"))
    model, _ = load_model(folders["teacher"])
    model.levels = (20.0,)  # type: ignore[assignment]
    with torch.no_grad():
        judged = {split: task.judge(model.eval(), split, teacher=None, final=False).metrics for split in ("validation", "test")}
    return {**judged["test"], **{f"validation/{name}": value for name, value in judged["validation"].items()}}


ONE_STEP_TEACHER = Arm(id="one-step-teacher", title="teacher in one step", measured=in_one_step)


def watched(events: "Sequence[Event]", metric: str) -> list[float]:
    """A metric of the student at each evaluation on validation rows, in order."""
    from engine.events import Evaluation

    found = [event for event in events if isinstance(event, Evaluation) and event.subject == "student" and event.split == "validation"]
    return [value for event in found if (value := event.metrics.get(metric)) is not None]


def mean_of_last_three(metric: str) -> "Any":
    """A reader: the metric's mean over the last three evaluations, because single ones are noisy; None where there are fewer."""

    def read(events: "Sequence[Event]") -> float | None:
        values = watched(events, metric)[-3:]
        return sum(values) / 3 if len(values) == 3 else None

    return read


def half_way(metric: str) -> "Any":
    """A reader: the metric at half of the steps; None where nothing was looked at between."""

    def read(events: "Sequence[Event]") -> float | None:
        values = watched(events, metric)
        return values[len(values) // 2 - 1] if len(values) > 1 else None

    return read
