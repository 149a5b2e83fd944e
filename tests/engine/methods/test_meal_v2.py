"""MEAL V2: each loss by hand, what flows where in each mode, and what a run does with its teachers."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.events import Evaluation, Log
from engine.methods.meal_v2.card import card
from engine.methods.meal_v2.charts import disputed, warnings
from engine.methods.meal_v2.discriminator import discriminator, discriminator_accuracy, discriminator_loss, is_dead, judged
from engine.methods.meal_v2.method import mean_logits
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.cards import TrainingSettings
from engine.spec.run_spec import RunSpec
from tests.engine.methods.harness import CLASSES, data, network, new_method, one_step, train, weights
from tests.engine.tiny import Watcher, student_bytes

TEACHER = "run:00000000-0000-4000-8000-000000000001"
ONE_STEP = {"warm_up_epochs": 0, "learning_rate": 0.1}
# Three classes leave nothing to divide twice by two, so the tests of the discriminator have ten.
TEN = {"classes": 10}


def revived(method):
    """After what happens before the first step: a discriminator that can tell rows apart."""
    inputs = method.task.splits["train"].inputs
    method.revive(method.student(inputs).detach(), mean_logits([teacher(inputs) for teacher in method.teachers]))
    return method


def new(settings: dict | None = None, *, teachers: int = 2, classes: int = CLASSES, seed: int = 20, **more):
    taught = tuple(network(seed + index, classes=classes) for index in range(teachers))
    given = {"teachers": taught, "split": data(classes=classes), "classes": classes}
    return new_method("meal-v2", {**ONE_STEP, **(settings or {})}, **{**given, **more})


def logits(seed: int, *, rows: int = 5, classes: int = 4) -> Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(method) -> Tensor:
    """What one step of plain gradient descent took from the student's weights, divided by the step size."""
    before = weights(method.student)
    one_step(method)
    return (before - weights(method.student)) / method.settings.learning_rate


# The teachers' average


def test_the_loss_is_the_cross_entropy_with_the_mean_of_the_teachers_probabilities():
    method = new()
    inputs = method.task.splits["train"].inputs
    p = (method.teachers[0](inputs).softmax(dim=1) + method.teachers[1](inputs).softmax(dim=1)) / 2
    log_q = method.student(inputs).log_softmax(dim=1)

    terms = one_step(method)

    expected = -sum((p[i, c] * log_q[i, c]).item() for i in range(12) for c in range(3)) / 12
    uncertainty = -float((p * p.log()).sum(dim=1).mean())
    assert terms["loss"] == pytest.approx(expected, rel=1e-12)
    assert terms["target_entropy"] == pytest.approx(uncertainty, rel=1e-12)
    assert terms["loss/gap"] == pytest.approx(expected - uncertainty, rel=1e-9)


def test_the_mean_of_probabilities_is_not_that_of_logits():
    method = new()
    inputs = method.task.splits["train"].inputs
    of_logits = mean_logits([teacher(inputs) for teacher in method.teachers]).softmax(dim=1)
    log_q = method.student(inputs).log_softmax(dim=1).detach()

    terms = one_step(method)

    assert abs(terms["loss"] + (of_logits * log_q).sum(dim=1).mean().item()) > 1e-3


def test_the_gradient_on_the_students_logits_is_its_probabilities_minus_the_average_over_the_rows():
    method = new()
    inputs = method.task.splits["train"].inputs
    p = torch.stack([teacher(inputs).softmax(dim=1) for teacher in method.teachers]).mean(dim=0)
    on_logits = (method.student(inputs).softmax(dim=1) - p).detach() / 12

    found = gradient(method)

    expected = torch.cat([(on_logits.T @ inputs).flatten(), on_logits.sum(dim=0)])
    assert torch.allclose(found, expected, atol=1e-12)


def test_equal_teachers_teach_as_one_and_their_order_means_nothing():
    one, other = network(20), network(21)
    steps = {
        name: gradient(new_method("meal-v2", ONE_STEP, teachers=given))
        for name, given in {"one": (one,), "thrice": (one, one, one), "both": (one, other), "turned": (other, one)}.items()
    }

    assert torch.allclose(steps["one"], steps["thrice"], atol=1e-14)
    assert torch.allclose(steps["both"], steps["turned"], atol=1e-14)
    assert not torch.allclose(steps["one"], steps["both"], atol=1e-3)


def test_labels_have_no_say_unless_they_have_a_weight():
    split = data()
    turned = type(split)(split.inputs, (split.targets + 1) % 3)

    without = [gradient(new(split=each)) for each in (split, turned)]
    with_weight = [gradient(new({"hard_label_weight": 0.5}, split=each)) for each in (split, turned)]

    assert torch.equal(*without)
    assert not torch.allclose(*with_weight, atol=1e-3)


def test_labels_add_their_cross_entropy_times_their_weight():
    method = new({"hard_label_weight": 0.5})
    split = method.task.splits["train"]
    ce = torch.nn.functional.cross_entropy(method.student(split.inputs), split.targets).item()

    terms = one_step(method)

    assert terms["loss"] == pytest.approx(terms["loss/teachers"] + 0.5 * ce, rel=1e-12)


def test_a_drawn_teacher_is_one_of_them_and_the_same_for_all_pieces_of_a_batch():
    method = new({"combine": "random_teacher"}, teachers=3)

    drawn = []
    for step in range(40):
        method.position.step = step
        [first], [again] = method.heard(), method.heard()
        assert first is again
        drawn.append(method.teachers.index(first))

    assert set(drawn) == {0, 1, 2}


# The discriminator


def test_its_layers_shrink_by_the_reduction_and_end_in_two():
    large = [layer for layer in discriminator(1000, reduction=8, final_relu=True) if isinstance(layer, torch.nn.Linear)]
    small = discriminator(10, reduction=2, final_relu=False)

    assert [(layer.in_features, layer.out_features) for layer in large] == [(1000, 125), (125, 15), (15, 2)]
    assert [layer.out_features for layer in small if isinstance(layer, torch.nn.Linear)] == [5, 2, 2]
    assert isinstance(small[-1], torch.nn.Linear)


def test_its_loss_is_the_mean_binary_cross_entropy_of_both_outputs():
    verdicts = torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=torch.float64)  # one row of the student, one of the teachers

    loss = discriminator_loss(verdicts)

    def bce(z: float, target: float) -> float:
        p = 1 / (1 + math.exp(-z))
        return -target * math.log(p) - (1 - target) * math.log(1 - p)

    assert loss.item() == pytest.approx((bce(2, 1) + bce(-1, 0) + bce(0.5, 0) + bce(3, 1)) / 4, rel=1e-12)


def test_with_a_final_relu_its_loss_stays_above_half_of_log_two():
    sure = torch.tensor([[500.0, 0.0], [0.0, 500.0]], dtype=torch.float64)  # the best that outputs of at least 0 can say

    assert discriminator_loss(sure).item() == pytest.approx(math.log(2) / 2, abs=1e-12)


def test_a_tie_of_its_outputs_counts_as_wrong():
    verdicts = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])  # two rows each

    assert discriminator_accuracy(verdicts).item() == 0.5


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_a_discriminator_with_a_dead_layer_is_drawn_again_before_the_first_step(layer: int):
    lines: list[str] = []
    method = new({"adversarial": "gan"}, **TEN)
    object.__setattr__(method._context, "log", lines.append)
    with torch.no_grad():
        for parameter in method.discriminator[layer].parameters():
            parameter.zero_()
    inputs = method.task.splits["train"].inputs
    student, teachers = method.student(inputs).detach(), mean_logits([teacher(inputs) for teacher in method.teachers])
    assert is_dead(method.discriminator, student, teachers)

    method.revive(student, teachers)

    assert not is_dead(method.discriminator, student, teachers)
    assert any("drawn again" in line for line in lines)


def test_a_living_discriminator_is_left_as_it_is():
    method = revived(new({"adversarial": "gan"}, **TEN))
    before = weights(method.discriminator)

    assert torch.equal(weights(revived(method).discriminator), before)


def slow_gradients(method) -> tuple[Tensor, Tensor, Tensor]:
    """g_sim and g_D on the student's weights, and D's own gradient, each by a backward of its own."""
    inputs = method.task.splits["train"].inputs
    taught = [teacher(inputs).detach() for teacher in method.teachers]
    p = torch.stack([each.softmax(dim=1) for each in taught]).mean(dim=0)
    z = method.student(inputs)
    similarity = -(p * z.log_softmax(dim=1)).sum(dim=1).mean()
    verdicts = method.discriminator(torch.cat([z, torch.stack(taught).mean(dim=0)]))
    targets = torch.tensor([[1.0, 0.0]] * len(z) + [[0.0, 1.0]] * len(z), dtype=torch.float64)
    distinction = torch.nn.functional.binary_cross_entropy_with_logits(verdicts, targets)

    def flat(loss: Tensor, module: torch.nn.Module) -> Tensor:
        return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(module.parameters()), retain_graph=True)])

    return flat(similarity, method.student), flat(distinction, method.student), flat(distinction, method.discriminator)


@pytest.mark.parametrize(("mode", "strength"), [("joint", 1.0), ("gan", -0.3)])
def test_the_student_feels_the_discriminator_forwards_or_backwards_and_the_discriminator_feels_itself(mode: str, strength: float):
    method = revived(new({"adversarial": mode, "lambda_d": 0.3, "final_relu": False}, **TEN))
    similarity, distinction, own = slow_gradients(method)
    before = weights(method.discriminator)

    found = gradient(method)

    assert distinction.abs().max() > 1e-4
    assert torch.allclose(found, similarity + strength * distinction, atol=1e-12)
    assert torch.allclose((before - weights(method.discriminator)) / 0.1, own, atol=1e-12)


def test_a_reversal_of_weight_zero_trains_the_student_that_no_discriminator_trains():
    trained = {mode: new({"adversarial": mode, "lambda_d": 0.0}, **TEN) for mode in ("none", "gan")}

    for method in trained.values():
        train(method)

    assert torch.equal(weights(trained["none"].student), weights(trained["gan"].student))


def test_the_discriminators_step_size_follows_the_main_one_or_is_its_own():
    following = new({"adversarial": "gan"}, **TEN)
    own = new({"adversarial": "gan", "lr_d_follows_main": False, "lr_d": 0.02}, **TEN)
    before = weights(own.discriminator)
    _, _, direction = slow_gradients(own)

    one_step(following)
    one_step(own)

    assert following.discriminator_optimizer.param_groups[0]["lr"] == 0.1
    assert torch.allclose(before - weights(own.discriminator), 0.02 * direction, atol=1e-12)


def test_nothing_flows_into_the_teachers_logits():
    telling = torch.nn.Linear(4, 2).double()
    student, teachers = logits(0).requires_grad_(), logits(1).requires_grad_()

    judged(telling, student, teachers).sum().backward()

    assert teachers.grad is None and student.grad is not None


# The run


def test_the_warm_up_is_supervised_training_and_comes_before_the_teachers():
    warm = new({"warm_up_epochs": 2, "warm_up_learning_rate": 0.3}, student=network(1), steps=3)
    phases = list(warm.phases())
    plain = new_method("supervised", {"weight_decay": 0.0, "learning_rate": 0.3}, student=network(1), steps=6)
    plain_terms = train(plain)

    terms = train(warm)

    assert [phase.name for phase in phases] == ["warm up", "distill"]
    assert [phase.steps for phase in phases] == [6, 3]
    assert [each["loss"] for each in terms[:6]] == [each["loss"] for each in plain_terms]
    assert "loss/teachers" in terms[6]


def test_the_budget_is_that_of_the_distillation_and_no_warm_up_is_no_phase():
    assert [(phase.name, phase.steps) for phase in new(steps=6).phases()] == [("distill", 6)]


def test_the_students_fidelity_is_to_the_average_of_probabilities():
    method = new()
    inputs = method.task.splits["train"].inputs

    said = method.reference()(inputs).exp()

    assert torch.allclose(said, torch.stack([each(inputs).softmax(dim=1) for each in method.teachers]).mean(dim=0), atol=1e-12)
    only = new(teachers=1)
    assert only.reference() is only.teachers[0]


def test_diagnostics_compare_with_the_start_and_the_best_teacher():
    method = new()
    split = method.task.splits["validation"]
    right = [float((each(split.inputs).argmax(dim=1) == split.targets).double().mean()) for each in (*method.teachers, method.student)]
    method.start = {"accuracy": 0.25, "nll": 1.5}

    with torch.no_grad():
        found = method.diagnostics()

    assert found.metrics["best_teacher_accuracy"] == max(right[:2])
    assert found.metrics["accuracy_since_start"] == pytest.approx(right[2] - 0.25)
    shown = found.tables["agreement"]
    assert shown["rows"] == ["teacher 1", "teacher 2", "their average", "student"]
    assert [shown["values"][i][i] for i in range(4)] == [1.0] * 4
    assert shown["values"][0][1] == shown["values"][1][0]


def test_rows_are_shown_on_which_the_teachers_differ_most():
    method = new()
    sure = torch.full((12, 3), -10.0, dtype=torch.float64)
    one, other = sure.clone(), sure.clone()
    one[:, 0] = other[:, 0] = 10.0
    other[7] = torch.tensor([-10.0, 10.0, -10.0])  # in row 7 alone they differ

    object.__setattr__(method.task, "picture", lambda split, row: None)
    shown = disputed(method.task, "validation", student_logits=one, teacher_logits=[one, other])

    assert shown["disputed"]["rows"][0].startswith("row 7, label")
    assert shown["disputed"]["values"][1] == [0.0, 1.0, 0.0]


def test_early_warnings_say_what_is_wrong_and_what_to_do():
    metrics = {"accuracy_since_start": -0.1, "target_entropy": 0.001, "discriminator_alive": 0.5, "discriminator_accuracy": 1.0}

    cells = warnings(metrics, largest_entropy=math.log(10), adversarial="gan")["cells"]
    unworried = warnings(metrics, largest_entropy=math.log(10), adversarial="joint")["cells"]

    assert [verdict.startswith("look") for _, _, verdict in cells] == [True, True, False, True]
    assert unworried[3][2] == "as it should be"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """A short supervised run, as teacher and as start."""
    folder = tmp_path_factory.mktemp("supervised")
    spec = {"method": "supervised", "task": "digits", "task_options": {"train_limit": 150}, "budget": {"epochs": 3}, "threads": 1}
    watcher = Watcher()
    assert execute(RunSpec.parse(spec), watcher, folder).status == "succeeded"
    return {TEACHER: folder / "student"}


def spec_of(**fields: object) -> RunSpec:
    return RunSpec.parse(
        {
            "method": "meal-v2",
            "task": "digits",
            "task_options": {"train_limit": 150, "augment_shift": 1, "augment_noise": 0.5},
            "teachers": [TEACHER],
            "budget": {"epochs": 2},
            "cadence": {"evaluate": 1000, "checkpoint": 1},
            "threads": 1,
            **fields,
        }
    )


def test_a_trained_student_is_where_the_run_starts(models, tmp_path):
    watcher = Watcher()
    spec = spec_of(student=TEACHER, settings={"warm_up_epochs": 0})

    outcome = execute(spec, watcher, tmp_path, models=models)

    assert outcome.status == "succeeded", outcome.reason
    found = next(event for event in watcher.of(Evaluation) if event.final and event.subject == "student" and event.split == "validation")
    assert found.metrics["start_accuracy"] == found.metrics["best_teacher_accuracy"]  # it is its own teacher
    assert found.metrics["accuracy_since_start"] == pytest.approx(found.metrics["accuracy"] - found.metrics["start_accuracy"])
    assert any("starts with accuracy" in line.text for line in watcher.of(Log))


def test_its_baseline_starts_from_the_same_checkpoint_and_makes_as_many_steps_on_the_same_views(models, tmp_path):
    spec = spec_of(student=TEACHER, settings={"warm_up_epochs": 0, "learning_rate": 2e-3})
    shared = {name: value for name, value in spec.settings.items() if name in TrainingSettings.model_fields}
    baseline = RunSpec.parse(
        spec.model_dump(mode="json") | {"method": card.baseline, "method_version": 0, "settings": shared, "teachers": []}
    )

    seen = {each.method: first_views_of(each, tmp_path / each.method, models) for each in (spec, baseline)}

    checkpoint = weights(load_model(models[TEACHER])[0])
    for start, views, steps in seen.values():
        assert torch.equal(start, checkpoint)
        assert steps == 2 * spec.steps_per_epoch
        assert torch.equal(views, seen["meal-v2"][1])


def first_views_of(spec: RunSpec, folder: Path, models: dict[str, Path]) -> tuple[Tensor, Tensor, int]:
    """The student's weights before the first step, the first batch as the student sees it, and how many steps the run makes."""
    start, views, watcher = [], [], Watcher()

    class Watched(catalog.load_method(spec.method)):
        def step(self, batch):
            if not views:
                start.append(weights(self.student))
                views.append(batch.inputs.clone())
            return super().step(batch)

    assert execute(spec, watcher, folder, models=models, method_class=Watched).status == "succeeded"
    return start[0], views[0], len(watcher.terms())


def test_augmented_views_are_the_same_after_a_resume(models, tmp_path):
    whole, stopped, resumed = Watcher(), Watcher(), Watcher()
    spec = spec_of(settings={"warm_up_epochs": 1, "adversarial": "gan"})

    execute(spec, whole, tmp_path / "whole", models=models)
    execute(spec, stopped, tmp_path / "stopped", models=models, stop=stopped.stop_after(5))
    execute(spec, resumed, tmp_path / "resumed", models=models, resume=tmp_path / "stopped/checkpoints/step-000000005")

    assert stopped.terms() + resumed.terms() == whole.terms()
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")


# What is refused


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"settings": {"adversarial": "gan", "reduction": 3}},
            "settings.reduction: must leave the discriminator's second layer at least 2 units, 10 classes divided by it twice; got 3.",
        ),
        ({"student": TEACHER}, f"settings.warm_up_epochs: must be 0, because {TEACHER} is trained already; got 30."),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "meal-v2", "task": "digits", "teachers": [TEACHER], **fields})

    assert str(refused.value) == sentence


def test_it_takes_up_to_sixteen_teachers():
    assert (card.teachers.at_least, card.teachers.at_most) == (1, 16)
