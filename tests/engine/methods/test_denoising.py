"""The teacher of generators: what it draws, what it learns, and what it makes."""

import pytest
import torch

from engine.diffusion.parameterization import edm_loss
from engine.errors import SpecError
from engine.methods.denoising.method import move_average
from engine.models.build import build
from engine.spec.run_spec import RunSpec
from tests.engine.methods.generator_bench import network, new, step, weights


def drawn(method, seed: int = 0):
    return method.draw(0, torch.Generator().manual_seed(seed))


def test_a_batch_holds_all_that_is_random_in_it():
    method = new("denoising", {"batch_size": 2000})
    rows = method.task.splits["train"]

    batch = drawn(method)

    kept = batch.targets != 10
    assert torch.equal(batch.inputs["clean"], rows.inputs[batch.index])
    assert torch.equal(batch.targets[kept], rows.targets[batch.index][kept])
    assert 1 - float(kept.double().mean()) == pytest.approx(0.1, abs=0.02)
    assert float(batch.inputs["noise"].std()) == pytest.approx(1, abs=0.01)
    assert float(batch.inputs["sigma"].log().mean()) == pytest.approx(-0.6, abs=0.1)


def test_the_step_is_the_weighted_error_of_the_slow_version():
    method = new("denoising")
    batch = drawn(method)
    with torch.no_grad():
        x = batch.inputs["clean"] + batch.inputs["sigma"][:, None, None, None] * batch.inputs["noise"]
        found = method.student(x, batch.inputs["sigma"], batch.targets).double()
    errors = ((found - batch.inputs["clean"].double()) ** 2).flatten(1).mean(dim=1)
    expected = float((errors * (batch.inputs["sigma"].double() ** -2 + 0.752**-2)).mean())

    loss = method.step(batch)["loss"]

    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_it_learns_to_denoise():
    method = new("denoising", {"learning_rate": 3e-3, "schedule": "constant", "batch_size": 64}, steps=80)
    held = drawn(method, 77)

    def loss() -> float:
        with torch.no_grad():
            x = held.inputs["clean"] + held.inputs["sigma"][:, None, None, None] * held.inputs["noise"]
            return float(
                edm_loss(method.student(x, held.inputs["sigma"], held.targets), held.inputs["clean"], held.inputs["sigma"], 0.752).mean()
            )

    before = loss()
    step(method, times=80)

    assert loss() < 0.8 * before


def test_what_it_makes_is_the_average_of_its_weights():
    method = new("denoising", {"average_decay": 0.9, "average_warmup": 0})
    expected = weights(method.student)

    for _ in range(3):
        step(method)
        expected = 0.9 * expected + 0.1 * weights(method.student)

    assert torch.allclose(weights(method.product()), expected, atol=1e-6)
    assert not method.product().training


def test_the_average_forgets_faster_in_the_first_steps_and_never_slower_than_asked():
    late, early = new("denoising", {"average_warmup": 500}), new("denoising", {"average_decay": 0.5, "average_warmup": 500})

    assert [late.decay(at) for at in (0, 499, 500)] == [0.99, 0.99, 0.998]
    assert early.decay(0) == 0.5


def test_an_average_that_decays_at_once_is_the_network():
    average, student = network(0), network(1)

    move_average(average, student, 0.0)

    assert torch.allclose(weights(average), weights(student), atol=1e-7)


def test_a_named_generator_is_trained_as_a_denoiser():
    method = new("denoising", student=network(1, levels=[20.0]))

    blueprint = method.blueprint()

    assert method.product().evaluations == 3
    assert build(blueprint["builder"], blueprint["config"]).levels == ()


def test_diagnostics_report_the_loss_by_level_and_change_nothing():
    method, before = new("denoising"), None
    before = weights(method.student)

    found = method.diagnostics()

    series = found.tables["loss_by_level"]["series"]
    assert set(series) == {"null condition", "class given"}
    assert series["class given"]["x"] == pytest.approx([0.005 * (40 / 0.005) ** (i / 11) for i in range(12)], rel=1e-4)
    assert found.metrics["validation_loss"] == pytest.approx(sum(series["class given"]["y"]) / 12, rel=1e-5)
    assert torch.equal(weights(method.student), before)


def test_levels_that_leave_nothing_between_are_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "denoising", "task": "digits-images", "settings": {"level_low": 2.0, "level_high": 1.0}})

    assert str(refused.value) == "settings.level_low: must be below level_high, which is 1; got 2."


def test_the_schedule_holds_its_rate_and_ends_in_a_line_to_zero():
    method = new("denoising", {"learning_rate": 1.0, "optimizer": "sgd", "gradient_clip": 1e-9}, steps=10)
    rates = []

    for _ in range(10):
        step(method)
        rates.append(method.learning_rates["optimizer"])

    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3])
