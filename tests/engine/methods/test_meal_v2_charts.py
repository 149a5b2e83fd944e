"""What a run of several teachers shows of itself: its tables by hand, what is left out of them, and what it says before the first step."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.methods.meal_v2.charts import agreement, discriminator_course, disputed, warnings
from engine.methods.meal_v2.discriminator import discriminator_accuracy, is_dead, judged
from engine.methods.meal_v2.method import MODES, mean_logits
from engine.tasks.classification import LabeledTask
from engine.tasks.task import Split
from tests.engine.methods.harness import CLASSES, RowsTask, data, network, new_method, one_step, weights

AS_IT_SHOULD_BE = "as it should be"


class Pictured(RowsTask):
    """Rows with a gray picture each, but for those named."""

    def __init__(self, split: Split, *, without: tuple[int, ...] = ()) -> None:
        super().__init__(split)
        self.without = without

    def picture(self, split: str, index: int) -> list[list[int]] | None:
        return None if index in self.without else [[0, 255], [index, 128]]


class Judged(RowsTask, LabeledTask):
    """Rows by whose labels a classifier is judged."""


def certain(*classes: int, height: float = 10.0) -> Tensor:
    """Logits (rows, CLASSES) of `height` for a class and its negative for the others."""
    return torch.full((len(classes), CLASSES), -height, dtype=torch.float64).scatter(1, torch.tensor(classes)[:, None], height)


def new(settings: dict[str, Any] | None = None, *, teachers: int = 2, classes: int = 10, scale: float = 1.0, **more: Any) -> Any:
    taught = tuple(network(20 + index, classes=classes) for index in range(teachers))
    for teacher in taught:
        for parameter in teacher.parameters():
            parameter.data *= scale
    given = {"teachers": taught, "split": data(classes=classes), "classes": classes, "student": network(1, classes=classes)}
    return new_method("meal-v2", {"warm_up_epochs": 0, **(settings or {})}, **{**given, **more})


def told(method: Any) -> list[str]:
    """The lines that the method logs from now on, with a task that judges classifiers."""
    lines: list[str] = []
    object.__setattr__(method._context, "log", lines.append)
    object.__setattr__(method._context, "task", Judged(method.task.splits["train"], 10))
    return lines


# Tables


def test_agreement_is_the_share_of_rows_on_which_each_two_choose_the_same_class():
    teachers = [certain(0, 1, 2, 0), certain(0, 1, 1, 1)]

    found = agreement(certain(0, 0, 0, 0), teachers, certain(0, 1, 2, 1))

    assert found["rows"] == found["columns"] == ["teacher 1", "teacher 2", "their average", "student"]
    assert found["values"] == [[1.0, 0.5, 0.75, 0.5], [0.5, 1.0, 0.75, 0.25], [0.75, 0.75, 1.0, 0.25], [0.5, 0.25, 0.25, 1.0]]


def test_the_six_rows_that_teachers_differ_most_on_are_shown_largest_first_and_of_equal_ones_the_earlier():
    one = certain(*[0] * 9)
    other = one.clone()
    other[8] = certain(1)[0]
    other[3] = certain(1, height=0.5)[0]
    other[[0, 2, 4, 5, 6]] = certain(1, height=0.25)[0]

    found = disputed(RowsTask(data(rows=9)), "validation", student_logits=one, teacher_logits=[one, other])["disputed"]

    shown = [name.split(",")[0] for name in found["rows"][::3]]
    assert shown == ["row 8", "row 3", "row 0", "row 2", "row 4", "row 5"]


def test_each_disputed_row_has_what_every_teacher_and_the_student_say_of_it_in_four_digits():
    logits = torch.tensor([[math.log(6), math.log(3), 0.0]], dtype=torch.float64)
    split = Split(torch.zeros(1, 4, dtype=torch.float64), torch.tensor([2]))

    found = disputed(RowsTask(split), "validation", student_logits=logits.flip(1), teacher_logits=[logits, certain(2)])["disputed"]

    assert found["rows"] == ["row 0, label 2: teacher 1", "row 0, label 2: teacher 2", "row 0, label 2: student"]
    assert found["columns"] == ["0", "1", "2"]
    assert found["values"] == [[0.6, 0.3, 0.1], [0.0, 0.0, 1.0], [0.1, 0.3, 0.6]]


def test_rows_without_labels_are_named_by_their_number_alone():
    task = RowsTask(Split(torch.zeros(2, 4, dtype=torch.float64), None))

    found = disputed(task, "validation", student_logits=certain(0, 0), teacher_logits=[certain(0, 0), certain(1, 0)])

    assert found["disputed"]["rows"][0] == "row 0: teacher 1"


def test_pictures_of_disputed_rows_are_shown_in_their_order_and_only_where_every_one_has_one():
    teachers = [certain(0, 0, 0), torch.cat([certain(0), certain(1, height=0.5), certain(1)])]
    given = {"student_logits": certain(0, 0, 0), "teacher_logits": teachers}

    whole = disputed(Pictured(data(rows=3)), "validation", **given)
    lacking = disputed(Pictured(data(rows=3), without=(1,)), "validation", **given)

    assert [name.split(",")[0] for name in whole["disputed_pictures"]["columns"]] == ["row 2", "row 1", "row 0"]
    (pictures,) = whole["disputed_pictures"]["rows"]
    assert len(set(pictures["images"])) == 3 and all(each.startswith("data:image/png;base64,") for each in pictures["images"])
    assert "disputed_pictures" not in lacking and "disputed" in lacking


def test_one_teacher_disputes_nothing_with_itself():
    one, two = new(teachers=1), new(teachers=2)

    with torch.no_grad():
        tables = [set(method.diagnostics().tables) for method in (one, two)]

    assert tables == [{"agreement", "warnings"}, {"agreement", "warnings", "disputed"}]


def test_the_discriminators_course_is_the_mean_of_each_epoch_that_had_steps():
    history = torch.tensor([[1.5, 0.0, 0.6], [1.0, 0.0, 1.5], [2.0, 0.0, 3.0]])

    found = discriminator_course(history)

    assert {name: series["x"] for name, series in found["series"].items()} == {"L_D": [1, 3], "accuracy": [1, 3]}
    assert found["series"]["L_D"]["y"] == pytest.approx([0.75, 0.2])
    assert found["series"]["accuracy"]["y"] == pytest.approx([0.5, 0.5])
    assert sorted(found["levels"].values()) == pytest.approx([math.log(2) / 2, 0.5, math.log(2)])


def test_steps_are_noted_under_their_epoch_and_later_ones_under_the_last():
    method = new({"adversarial": "joint", "final_relu": False}, steps=6, steps_per_epoch=3)
    terms = []

    for epoch in (0, 0, 1, 7):
        method.position.epoch = epoch
        terms.append(one_step(method))

    losses, accuracies = ([each[name] for each in terms] for name in ("loss/discriminator", "discriminator_accuracy"))
    assert method.history[2].tolist() == [2.0, 2.0]
    assert method.history[0].tolist() == pytest.approx([sum(losses[:2]), sum(losses[2:])], rel=1e-6)
    assert method.history[1].tolist() == pytest.approx([sum(accuracies[:2]), sum(accuracies[2:])], rel=1e-6)


def test_a_budget_that_ends_inside_an_epoch_has_that_epoch_too():
    assert new({"adversarial": "joint"}, steps=7, steps_per_epoch=3).history.shape == (3, 3)


def test_what_was_not_measured_is_not_warned_of():
    found = warnings({"target_entropy": 1.0, "discriminator_alive": None}, largest_entropy=math.log(10), adversarial="none")

    assert found["cells"] == [["mean entropy of the teachers' average", 1.0, AS_IT_SHOULD_BE]]


@pytest.mark.parametrize(
    ("name", "fine", "wrong", "verdict"),
    [
        ("accuracy_since_start", 0.0, -1e-6, "look: the rate is too high, or the teachers see other inputs"),
        ("target_entropy", 0.02 * math.log(10), 0.019 * math.log(10), "look: too sure; add augmentation"),
        ("discriminator_alive", 1e-6, 0.0, "look: it is dead and gives no gradient"),
        ("discriminator_accuracy", 0.999, 1.0, "look: the student no longer hears it; raise lambda_d"),
    ],
)
def test_each_warning_begins_where_it_says_and_names_a_remedy(name: str, fine: float, wrong: float, verdict: str):
    verdicts = [warnings({name: value}, largest_entropy=math.log(10), adversarial="gan")["cells"][0][1:] for value in (fine, wrong)]

    assert verdicts == [[fine, AS_IT_SHOULD_BE], [wrong, verdict]]


# Numbers of an evaluation


def test_numbers_of_the_discriminator_are_those_of_its_verdicts_on_the_validation_rows():
    method = new({"adversarial": "gan"})
    inputs = method.task.splits["validation"].inputs
    with torch.no_grad():
        verdicts = judged(method.discriminator, method.student(inputs), mean_logits([teacher(inputs) for teacher in method.teachers]))

        found = method.diagnostics()

    assert found.metrics["discriminator_accuracy"] == pytest.approx(float(discriminator_accuracy(verdicts)))
    assert found.metrics["discriminator_alive"] == pytest.approx(
        sum(value != 0 for value in verdicts.flatten().tolist()) / verdicts.numel()
    )
    assert "discriminator" in found.tables


def test_numbers_of_the_teachers_are_of_their_average_and_before_the_first_step_nothing_is_compared_with_the_start():
    method = new()
    split = method.task.splits["validation"]
    with torch.no_grad():
        p = torch.stack([teacher(split.inputs).softmax(dim=1) for teacher in method.teachers]).mean(dim=0)
        q = method.student(split.inputs).softmax(dim=1)

        found = method.diagnostics()

    assert found.metrics["target_entropy"] == pytest.approx(-float((p * p.log()).sum(dim=1).mean()), rel=1e-12)
    assert found.metrics["gap_to_teachers"] == pytest.approx(float((p * (p / q).log()).sum(dim=1).mean()), rel=1e-9)
    assert found.metrics["ensemble_accuracy"] == pytest.approx(float((p.argmax(dim=1) == split.targets).double().mean()))
    assert not {"start_accuracy", "start_nll", "accuracy_since_start"} & set(found.metrics)


# Before the first step


def test_where_the_student_starts_and_how_the_discriminator_speaks_is_said_first():
    method = new({"adversarial": "joint"})
    split = method.task.splits["validation"]
    logits = method.student(split.inputs).detach()
    right = float((logits.argmax(dim=1) == split.targets).double().mean())
    nll = float(torch.nn.functional.cross_entropy(logits, split.targets))
    lines = told(method)

    method.begin()

    assert lines[:2] == [f"The student starts with accuracy {right:.4f} and NLL {nll:.4f} on validation.", MODES["joint"]]
    assert method.start == {"accuracy": pytest.approx(right), "nll": pytest.approx(nll)}


@pytest.mark.parametrize(("scale", "said"), [(1.0, False), (1000.0, True)])
def test_a_teacher_that_is_nearly_certain_is_said_to_be(scale: float, said: bool):
    method = new(scale=scale, teachers=1)
    lines = told(method)

    method.begin()

    warned = [line for line in lines if line.startswith("The teachers are nearly certain of the training rows: mean entropy 0.0")]
    assert bool(warned) is said
    assert all(line.endswith("nats. Augmentation would help.") for line in warned)


def test_a_discriminator_is_drawn_again_until_it_lives_and_the_times_are_counted():
    method = new({"adversarial": "gan"})
    inputs = method.task.splits["train"].inputs
    student, teachers = method.student(inputs).detach(), mean_logits([teacher(inputs) for teacher in method.teachers])
    for seed in range(1000):
        method.generator.manual_seed(seed)
        if is_dead(method.new_discriminator(1), student, teachers) and not is_dead(method.new_discriminator(2), student, teachers):
            break
    for parameter in method.discriminator.parameters():
        parameter.data.zero_()
    lines = told(method)

    method.revive(student, teachers)
    method.revive(student, teachers)

    assert lines == ["The discriminator said the same of all rows and was drawn again, 2 times."]
    assert torch.equal(weights(method.discriminator), weights(method.new_discriminator(2)))


def test_no_draw_of_the_run_depends_on_whether_there_is_a_discriminator():
    with_one, without = (new({"adversarial": mode}) for mode in ("joint", "none"))

    drawn = [torch.rand(3, generator=method.generator) for method in (with_one, without)]

    assert torch.equal(*drawn)
    assert with_one.new_discriminator(1).state_dict()["0.weight"].dtype == torch.float64
    assert not torch.equal(with_one.new_discriminator(1)[0].weight, with_one.new_discriminator(2)[0].weight)
