"""What methods keep for each step has room for more of them when a run goes on with a larger budget."""

from pathlib import Path

import pytest
import torch

from engine.evidence.tiny_runs import TinyRuns, fewer
from engine.methods.mtt.course import OuterLoopHistory
from engine.methods.progressive_radiance.course import NOTED, ProgressCourse
from engine.run import checkpoint
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import Budget
from tests.engine.tiny import Watcher

CPU = torch.device("cpu")


def noted(steps: int, *, until: int) -> ProgressCourse:
    """A course of so many steps whose error after step n is n, up to a step."""
    course = ProgressCourse(steps, CPU)
    for done in range(until + 1):
        course.note(done, progress=torch.full((4, 1), 0.5), physical=torch.tensor(float(done)))
    return course


@pytest.mark.parametrize(("before", "now", "until"), [(20, 40, 20), (60, 100, 33), (5, 200, 5)])
def test_what_was_noted_of_a_shorter_stage_stands_at_the_distances_of_the_longer_one(before: int, now: int, until: int) -> None:
    course = ProgressCourse(now, CPU)
    course.load_state_dict(noted(before, until=until).state_dict())

    course.lengthen(before)
    for done in range(until + 1, now + 1):
        course.note(done, progress=torch.full((4, 1), 0.5), physical=torch.tensor(float(done)))

    errors, places = course.noted_errors, course.every * torch.arange(NOTED + 1)
    distance = -(-before // NOTED)
    assert len(errors) == now // course.every + 1
    assert ((errors - places[: len(errors)]).abs() <= distance / 2).all()


def test_a_course_of_more_iterations_begins_with_those_that_were() -> None:
    shorter, longer = OuterLoopHistory(2, CPU), OuterLoopHistory(5, CPU)
    shorter.losses.copy_(torch.tensor([3.0, 2.0]))
    shorter.image_gradient.fill_(7.0)
    shorter.iterations = 2

    longer.load_state_dict(shorter.state_dict())

    assert longer.losses.tolist() == [3.0, 2.0, 0.0, 0.0, 0.0]
    assert (float(longer.image_gradient), longer.iterations) == (7.0, 2)


def test_a_private_run_whose_noise_was_chosen_for_its_steps_gets_no_more_of_them(tmp_path: Path) -> None:
    card = catalog.methods()["dp-opd"]
    runs = TinyRuns(card, tmp_path / "models", options=fewer(catalog.tasks()[card.task]))
    spec = runs.spec(settings={"epsilon": 8.0, "noise_multiplier": None}, budget={"steps": 4}, cadence={"evaluate": 1000})
    watcher = Watcher()
    execute(spec, watcher, tmp_path / "before", models=runs.models, stop=watcher.stop_after(2))
    longer = spec.model_copy(update={"budget": Budget(steps=9)})

    outcome = execute(longer, Watcher(), tmp_path / "after", models=runs.models, resume=checkpoint.newest(tmp_path / "before"))

    assert (outcome.status, outcome.error) == ("failed", "budget.steps")
    assert outcome.reason == (
        "budget.steps: must stay 4: the noise of the steps so far was chosen for as many, and more would pass ε = 8; got 9. Start anew."
    )
