"""Pictures, curves and warnings of distilled sets, by hand and at the edges of what is shown."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.distilled_sets.buffers import ExpertBuffer
from engine.distilled_sets.matching import Matched
from engine.methods.ftd.charts import cosines
from engine.methods.mtt import charts
from engine.methods.mtt.course import OuterLoopHistory
from engine.methods.mtt.diagnostics import real_pixels
from engine.methods.mtt.selection import BestSet, share_right
from engine.models.synthetic_set import synthetic_set
from engine.pictures import png
from engine.tasks.task import Split
from tests.engine.distilled_sets.matcher import finished, new_matcher
from tests.engine.distilled_sets.small import CLASSES, INPUTS, network, numbers, weights

CPU = torch.device("cpu")


def found(loss: float, *, gradient: float = 1.0) -> Matched:
    return Matched(torch.tensor(loss), torch.full((2, 2), gradient), torch.tensor(0.0), torch.tensor(0.5))


# Pictures of the set


def test_the_grid_shows_at_most_ten_classes_with_three_pictures_each_named_by_their_class():
    images = torch.zeros(12 * 4, 1, 2, 2)

    grid = charts.image_grid({"initial": images, "now": images}, before="initial", after="now", per_class=4, center=0.0, spread=1.0)

    assert grid["columns"] == [str(label) for label in range(10) for _ in range(3)]
    assert all(len(row["images"]) == 30 for row in grid["rows"])


def test_black_and_white_are_two_and_a_half_deviations_from_the_mean_and_no_difference_is_gray():
    center, spread = 2.0, 0.4
    forms = {"initial": torch.full((3, 1, 2, 2), center), "now": torch.tensor([1.0, 3.0, 2.2])[:, None, None, None].expand(3, 1, 2, 2)}

    grid = charts.image_grid(forms, before="initial", after="now", per_class=1, center=center, spread=spread)

    rows = {row["name"]: row["images"] for row in grid["rows"]}
    black, gray, white, lighter = (png(torch.full((1, 2, 2), level)) for level in (0.0, 0.5, 1.0, 0.6))
    assert list(rows) == ["initial", "now", "difference"]
    assert (rows["initial"], rows["now"], rows["difference"]) == ([gray] * 3, *[[black, white, lighter]] * 2)


def test_pixels_beyond_five_deviations_are_counted_in_the_outer_bins():
    images = torch.tensor([-100.0, -4.9, 0.0, 0.0, 100.0])

    histogram = charts.pixel_histogram({"now": images}, center=0.0, spread=1.0)

    counts = histogram["counts"]["now"]
    assert (histogram["edges"][0], histogram["edges"][-1], len(counts)) == (-5.0, 5.0, 25)
    assert (counts[0], counts[12], counts[-1], sum(counts)) == (2, 2, 1, 5)


# The outer loop


def test_the_loss_of_each_start_is_a_mean_over_windows_and_empty_windows_have_no_point():
    losses, starts = torch.arange(50, dtype=torch.float32), torch.zeros(50, dtype=torch.int64)
    starts[1], starts[49] = 2, 2

    curves = charts.loss_by_start(losses, starts)

    assert list(curves["series"]) == ["from epoch 0", "from epoch 2"]
    assert curves["series"]["from epoch 2"] == {"x": [1, 49], "y": [1.0, 49.0]}
    assert curves["series"]["from epoch 0"]["x"] == list(range(1, 50, 2))
    assert curves["series"]["from epoch 0"]["y"][:2] == [0.0, 2.5]
    assert curves["note"].startswith("Means over windows of 2 iterations.")


def test_a_short_run_has_a_point_for_every_iteration():
    curves = charts.loss_by_start(torch.tensor([1.0, 3.0]), torch.tensor([1, 1]))

    assert curves["series"] == {"from epoch 1": {"x": [1, 2], "y": [1.0, 3.0]}}


def test_a_start_that_was_never_drawn_has_a_bar_of_zero():
    bars = charts.starts_drawn(torch.tensor([3, 0, 3]), max_start=5)

    assert (bars["labels"], bars["series"]["iterations"]) == (["0", "1", "2", "3", "4"], [1, 0, 0, 2, 0])


@pytest.mark.parametrize(("count", "points"), [(1, 1), (7, 7), (100, 100), (1001, 100)])
def test_a_curve_has_at_most_a_hundred_points_with_both_ends_among_them(count: int, points: int):
    curve = charts.over_iterations("Rate", torch.arange(count) * 2.0, y="rate")["series"]["rate"]

    assert (len(curve["x"]), curve["x"][0], curve["x"][-1]) == (points, 1, count)
    assert curve["y"] == [2.0 * (iteration - 1) for iteration in curve["x"]]
    assert len(set(curve["x"])) == points


def test_the_trajectory_error_stands_at_the_epochs_after_which_it_was_measured():
    assert charts.error_curve([0.5, 0.25], epochs=3)["series"] == {"trained on the set": {"x": [3, 6], "y": [0.5, 0.25]}}


def test_the_course_begins_with_its_first_ten_iterations_and_ends_with_its_last_twenty():
    course = OuterLoopHistory(40, CPU)
    for iteration in range(30):
        terms = course.note(found(float(iteration), gradient=float(iteration)), rate=torch.tensor(0.1 * iteration), start=iteration % 3)

    numbers_found = course.numbers()

    assert numbers_found["outer_loss_start"] == pytest.approx(sum(range(10)) / 10)
    assert numbers_found["outer_loss_end"] == pytest.approx(sum(range(10, 30)) / 20)
    assert numbers_found["image_gradient"] == pytest.approx(29 * 2.0)
    assert (float(terms["start_epoch"]), float(terms["learned_rate"]), float(terms["inner_loss"])) == (2.0, pytest.approx(2.9), 0.5)
    assert course.starts[:30].tolist() == [iteration % 3 for iteration in range(30)] and course.losses[30:].sum() == 0


def test_a_course_that_is_read_again_goes_on_in_the_tensors_that_are_there():
    one, other = OuterLoopHistory(4, CPU), OuterLoopHistory(4, CPU)
    one.note(found(0.5), rate=torch.tensor(0.1), start=1)
    losses = other.losses

    other.load_state_dict({name: value.clone() if isinstance(value, Tensor) else value for name, value in one.state_dict().items()})
    other.note(found(0.25), rate=torch.tensor(0.2), start=0)

    assert other.losses is losses
    assert (other.iterations, losses.tolist(), other.starts.tolist()) == (2, [0.5, 0.25, 0.0, 0.0], [1, 0, 0, 0])


# Experts


def shown(*, seeds: list[int], matched: int, reused: str = "") -> Any:
    """The table of experts with the accuracies 0, 0.1, 0.2, …, whose buffer took 120 steps and 10.06 seconds."""
    buffer = ExpertBuffer(len(seeds), 1, 1, recipe={}, device=CPU)
    buffer.reused, buffer.steps, buffer.seconds = reused, 120, 10.06
    return charts.experts_table(buffer, accuracies=torch.arange(len(seeds)) / 10, seeds=seeds, matched=matched)


def test_experts_of_an_earlier_run_save_their_share_of_its_steps_and_seconds():
    table = shown(reused="abc", seeds=[4, 5, 6, 90], matched=3)

    assert table["cells"] == [["matched", 3, "4 to 6", pytest.approx(0.1), 90, 7.5], ["held out", 1, "90", pytest.approx(0.3), 30, 2.5]]
    assert table["note"] == "Taken over from the buffer abc of an earlier run."


def test_experts_that_this_run_trained_save_nothing_and_one_is_named_by_its_seed():
    table = shown(seeds=[7], matched=1)

    assert table["cells"] == [["matched", 1, "7", 0.0, 0, 0.0]]
    assert table["note"] == "Trained by this run."


def test_sharpness_has_a_row_for_each_expert_and_epoch():
    measured = torch.arange(12, dtype=torch.float32).reshape(2, 2, 3)

    cells = charts.sharpness_table(measured, epochs=[1, 5], seeds=[30, 31])["cells"]

    assert cells == [[30, 1, 0, 1, 2], [30, 5, 3, 4, 5], [31, 1, 6, 7, 8], [31, 5, 9, 10, 11]]


def test_how_far_experts_moved_is_measured_from_their_own_first_weights():
    snapshots = torch.tensor([[[1.0, 1.0], [4.0, 5.0]], [[0.0, 0.0], [0.0, 2.0]]])

    course = charts.experts_course(torch.zeros(2, 2), snapshots, epochs=[0, 9], seeds=[3, 4])

    assert course["distance"]["series"] == {"expert 3": {"x": [0, 9], "y": [0.0, 5.0]}, "expert 4": {"x": [0, 9], "y": [0.0, 2.0]}}


def test_cosines_are_shown_of_the_first_eight_experts_by_epoch_from_one():
    series = cosines(torch.arange(20, dtype=torch.float32).reshape(10, 2), range(10, 20))["series"]

    assert list(series) == [f"seed {seed}" for seed in range(10, 18)]
    assert series["seed 11"] == {"x": [1, 2], "y": [2.0, 3.0]}


# The best set


def test_of_equally_good_sets_the_first_is_kept_with_all_that_belongs_to_it():
    method = new_matcher(settings={"keep": "best"})
    config = method.set_config()
    best, candidates = BestSet(config), [synthetic_set(**config) for _ in range(3)]
    for place, candidate in enumerate(candidates):
        candidate.images.data.fill_(float(place + 1))
        candidate.learning_rate.data.fill_(0.1 * (place + 1))

    kept = []
    for candidate, accuracy in zip(candidates, (0.5, 0.5, 0.25), strict=True):
        best.offer(candidate, torch.tensor(accuracy))
        kept.append((float(best.accuracy), best.set.images.mean().item(), best.set.learning_rate.item()))

    assert kept == [(0.5, 1.0, pytest.approx(0.1))] * 3


def test_a_networks_accuracy_is_the_share_of_rows_whose_largest_logit_is_the_labels():
    net, theta, inputs = network(), weights(0), numbers(9, INPUTS, seed=1)
    chosen = net.logits(theta, inputs).argmax(dim=1)
    labels = chosen.clone()
    labels[:3] = (labels[:3] + 1) % CLASSES

    assert float(share_right(net, theta, Split(inputs, labels))) == pytest.approx(6 / 9)


# Warnings


def test_pixels_far_from_the_real_ones_and_an_average_that_lags_behind_are_warned_of():
    method = finished(new_matcher(settings={"ema_decay": 0.9}))
    near = [text for text in method.warnings() if "pixels" in text or "averaged" in text]
    with torch.no_grad():
        method.set.images.fill_(real_pixels(method)[0])
        method.set.images[0] = 1000.0  # one picture of ten
        method.set.last.copy_(3 * method.set.images - 2 * method.initial)

    said = method.warnings()

    assert near == ["The averaged pictures have gone less than half of the way of those before averaging: ema_decay is too near 1."]
    assert [text for text in said if "pixels" in text or "averaged" in text] == [
        "10% of the set's pixels are farther than 2.5 standard deviations from the real pixels' mean.",
        near[0],
    ]


def test_an_average_that_went_half_of_the_way_is_not_warned_of():
    method = finished(new_matcher(settings={"ema_decay": 0.9}))
    with torch.no_grad():
        method.set.last.copy_(method.initial + 0.2)
        method.set.images.copy_(method.initial + 0.11)

    assert not any("averaged" in text for text in method.warnings())
