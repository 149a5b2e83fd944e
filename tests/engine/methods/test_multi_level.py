"""Multi-level distillation of standardized logits: its two views, its correlations, and how a step adds them up."""

import math

import pytest
import torch
from torch import Tensor, nn

from engine.methods.logit_standardization import losses
from engine.methods.logit_standardization.views import NOISE, strong_view
from engine.tasks.task import Split
from tests.engine.methods.harness import new_method, one_step


def z_kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    student_z, teacher_z = losses.standardized(student), losses.standardized(teacher)
    return losses.softened_kl(student_z=student_z, teacher_z=teacher_z, temperature=temperature).mean()


def test_correlations_of_classes_and_rows_have_the_values_worked_out_by_hand():
    # One row, teacher (3/4, 1/4) and student (1/2, 1/2). PᵀP: [[9, 3], [3, 1]]/16 and all 1/4, so the squares sum to (25 + 1 + 1 + 9)/256.
    teacher = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)

    classes = losses.class_correlation(student_logits=student, teacher_logits=teacher, temperature=1.0)
    rows = losses.batch_correlation(student_logits=student, teacher_logits=teacher, temperature=1.0)

    assert classes.item() == pytest.approx(36 / 256 / 2, abs=1e-15)
    # PPᵀ: 10/16 and 1/2.
    assert rows.item() == pytest.approx((1 / 8) ** 2, abs=1e-15)


def test_the_shares_count_rows_and_classes_that_are_at_most_at_the_median():
    teacher = torch.tensor([[4.0, 0.0, 0.0], [3.0, 0.0, 0.0], [2.0, 0.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)

    rows, classes = losses.shares_below_the_median(teacher)

    # Two of four rows are below the median between them; the two lesser classes tie at the median of three.
    assert rows.item() == 0.5
    assert classes.item() == pytest.approx(2 / 3)


def test_the_strong_view_shifts_each_picture_by_at_most_one_pixel():
    pictures = torch.zeros(200, 1, 5, 5, dtype=torch.float64)
    pictures[:, 0, 2, 2] = 100.0

    view = strong_view(pictures, torch.Generator().manual_seed(0))

    places = view.flatten(1).argmax(dim=1)
    found = {(int(place) // 5 - 2, int(place) % 5 - 2) for place in places}
    assert found == {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    noise = view - torch.where(view > 50, 100.0, 0.0)
    assert noise.std().item() == pytest.approx(NOISE, rel=0.05)


def test_the_views_are_drawn_from_the_generator_that_is_given():
    pictures = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(1))

    first, again = (strong_view(pictures, torch.Generator().manual_seed(3)) for _ in range(2))

    assert torch.equal(first, again)
    assert not torch.equal(first, strong_view(pictures, torch.Generator().manual_seed(4)))


def test_the_temperatures_of_the_levels_count_two_twice_when_the_base_is_two():
    assert list(losses.multi_level_temperatures(2.0)) == [2.0, 2.0, 3.0, 5.0, 6.0]


def test_a_multi_level_step_adds_its_parts_over_both_views_and_all_temperatures():
    pictures = torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    split = Split(pictures, torch.arange(8) % 3)

    def classifier(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).double()

    teacher, untouched = classifier(5), classifier(1)
    method = new_method("logit-standardization", {"base_method": "mlkd"}, student=classifier(1), teachers=(teacher,), split=split)
    strong = strong_view(pictures, torch.Generator().manual_seed(0))  # the harness gives the method a generator with this seed

    terms = one_step(method)

    levels = (2.0, 2.0, 3.0, 5.0, 6.0)
    weak_pair = {"student_logits": untouched(pictures), "teacher_logits": teacher(pictures)}
    expected = {
        "loss/weak": sum(z_kd(untouched(pictures), teacher(pictures), tau) for tau in levels),
        "loss/strong": sum(z_kd(untouched(strong), teacher(strong), tau) for tau in levels),
        "loss/classes": sum(losses.class_correlation(**weak_pair, temperature=tau) for tau in levels),
        "loss/batch": sum(losses.batch_correlation(**weak_pair, temperature=tau) for tau in levels),
        "loss/labels": sum(torch.nn.functional.cross_entropy(untouched(view), split.targets) for view in (pictures, strong)),
    }
    assert {name: terms[name] for name in expected} == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-12)
    rows, classes = (share.item() for share in losses.shares_below_the_median(teacher(pictures)))
    teacher_loss = rows * terms["loss/weak"] + terms["loss/strong"] + classes * terms["loss/classes"] + rows * terms["loss/batch"]
    assert terms["loss/teacher"] == pytest.approx(teacher_loss, rel=1e-12)
    assert terms["loss"] == pytest.approx(0.1 * terms["loss/labels"] + 9 * teacher_loss, rel=1e-12)
