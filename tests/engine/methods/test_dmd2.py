"""Distribution matching distillation: who is trained by what, and in which order."""

import pytest
import torch

from engine.diffusion.matching import drawn_indices
from engine.errors import SpecError
from engine.models.build import build
from engine.spec.run_spec import RunSpec
from tests.engine.methods.generator_bench import apart, bench, network, new, step, weights

TEACHER = "run:00000000-0000-0000-0000-000000000001"


def test_generator_and_fake_begin_as_the_teacher_and_the_first_loss_is_exactly_zero():
    method = new("dmd2")
    same = torch.equal(weights(method.student), weights(method.real)), torch.equal(weights(method.fake), weights(method.real))
    before = weights(method.student)

    terms = method.generator_turn()

    assert same == (True, True)
    assert terms["loss"].item() == terms["direction"].item() == 0.0
    assert torch.equal(weights(method.student), before)


def test_a_generator_may_go_on_from_its_own_weights():
    student = network(5)
    own = weights(student)

    method = new("dmd2", {"start": "student"}, student=student)

    assert torch.equal(weights(method.student), own)


def test_the_generators_turn_trains_the_generator_alone_and_the_fakes_turn_the_fake_alone():
    method = new("dmd2", {"start": "student", "gan_weight": 0.1})
    everything = {"G": method.student, "fake": method.fake, "head": method.head, "real": method.real}

    before = {name: weights(module) for name, module in everything.items()}
    method.generator_turn()
    between = {name: weights(module) for name, module in everything.items()}
    method.fake_turn()
    after = {name: weights(module) for name, module in everything.items()}

    assert [name for name in everything if not torch.equal(before[name], between[name])] == ["G"]
    assert [name for name in everything if not torch.equal(between[name], after[name])] == ["fake", "head"]


@pytest.mark.parametrize("updates", [1, 3])
def test_one_step_is_one_turn_of_the_generator_and_so_many_of_the_fake(updates):
    method = new("dmd2", {"fake_updates": updates})

    step(method, times=2)

    assert method.optimizer.param_groups[0]["updates"] == 2
    assert method.fake_optimizer.param_groups[0]["updates"] == 2 * updates


def test_the_fake_learns_on_samples_of_the_generator_as_it_is_after_its_turn():
    seen = []
    method = apart(new("dmd2", {"fake_updates": 1, "learning_rate": 0.1}))
    original = method.samples
    object.__setattr__(method, "samples", lambda: seen.append(weights(method.student)) or original())

    step(method)

    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], weights(method.student))


def test_the_direction_is_that_of_the_slow_version_with_guidance_on_the_teacher_only():
    method = apart(new("dmd2", {"guidance": 2.5}))
    x, sigma, y = torch.randn(8, 1, 8, 8), torch.linspace(0.5, 3, 8), torch.arange(8)
    with torch.no_grad():
        state = method.generator.get_state()
        found, replaced = method.direction(x, sigma, y)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0).set_state(state)).double()
        method.real.double()
        method.fake.double()
        x_t, s = x.double() + sigma.double()[:, None, None, None] * noise, sigma.double()
        without, given, fake = method.real(x_t, s), method.real(x_t, s, y), method.fake(x_t, s, y)

    real = without + 2.5 * (given - without)
    expected = (fake - real) / (x.double() - real).abs().mean(dim=(1, 2, 3), keepdim=True)
    assert torch.allclose(found.double(), expected, atol=1e-4)
    assert replaced == 0


def test_the_gradient_of_a_turn_is_that_of_the_direction_alone():
    method = apart(new("dmd2", {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "gradient_clip": None}))
    state, before = method.generator.get_state(), weights(method.student)
    places = method.places.get_state()

    method.generator_turn()
    moved = before - weights(method.student)

    torch.nn.utils.vector_to_parameters(before, method.student.parameters())
    method.generator.set_state(state)
    method.places.set_state(places)
    made = method.samples()
    indices = drawn_indices(8, 1000, low=0.02, high=0.98, generator=method.generator)
    g, _ = method.direction(made.x, method.table[indices], made.y)
    (made.x * g / g.numel()).sum().backward()
    expected = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in method.student.parameters()])
    assert moved.norm() > 0
    assert torch.allclose(moved, expected, atol=1e-6)


def test_only_the_trained_step_of_several_has_a_gradient_and_each_is_drawn():
    method = new("dmd2", {"levels": [20.0, 3.0, 1.0], "start": "student"})
    places = {method.samples().place for _ in range(40)}

    made = method.samples()

    assert places == {0, 1, 2}
    assert made.x.requires_grad
    assert method.blueprint()["architecture"] == "generator, 3 steps"


def test_without_an_adversarial_weight_no_real_row_is_read(monkeypatch):
    method = new("dmd2")
    kept = bench().splits
    monkeypatch.setattr(bench(), "splits", {})

    step(method)

    monkeypatch.setattr(bench(), "splits", kept)
    assert method.head is None


def test_the_adversarial_term_reaches_the_generator_through_the_fakes_features():
    settings = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "gradient_clip": None}
    plain, adversarial = new("dmd2", settings), new("dmd2", {**settings, "gan_weight": 1.0})

    plain.generator_turn()
    adversarial.generator_turn()

    # The fake is still the teacher, so the matching loss moves nothing.
    assert torch.equal(weights(plain.student), weights(plain.real))
    assert not torch.equal(weights(adversarial.student), weights(adversarial.real))


def test_the_product_is_built_again_with_its_levels():
    method = new("dmd2", {"levels": [20.0, 1.0]})
    step(method)
    blueprint = method.blueprint()

    again = build(blueprint["builder"], blueprint["config"])
    again.load_state_dict(method.product().state_dict())

    noise, labels = bench().noise_and_labels(10)
    made = [model.eval().sample(noise, labels, torch.Generator().manual_seed(1)) for model in (method.product(), again)]
    assert torch.equal(made[0], made[1])
    assert again.evaluations == 2


def test_diagnostics_show_the_direction_by_level_and_change_nothing():
    method = apart(new("dmd2"))
    step(method, times=2)
    before = method.generator.get_state(), weights(method.student)

    table = method.diagnostics().tables["direction_by_level"]

    shown = [value for value in table["series"]["mean |g|"] if value is not None]
    assert len(table["labels"]) == 10
    assert shown
    assert all(value > 0 for value in shown)
    assert torch.equal(method.generator.get_state(), before[0])
    assert torch.equal(weights(method.student), before[1])


def test_samples_that_leave_the_data_are_logged():
    lines: list[str] = []
    method = new("dmd2", {"start": "student"}, lines=lines)
    method.diagnostics()
    calm = list(lines)
    with torch.no_grad():
        method.student.leave.weight.mul_(100)

    method.diagnostics()

    assert calm == []
    [line] = lines
    assert line.startswith("The samples' variance is ")
    assert line.endswith(" times the data's: the generator leaves the data.")


def test_a_student_of_another_shape_can_not_begin_as_the_teacher():
    with pytest.raises(SpecError) as refused:
        new("dmd2", student=network(1, width=8))

    assert str(refused.value).startswith("student: must have the teacher's shape to begin with its weights (")
    assert str(refused.value).endswith("; or set start to student.")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"levels": []}, "settings.levels: must hold at least one noise level; got []."),
        ({"levels": [1.0, 20.0]}, "settings.levels: must be positive and descend; got [1.0, 20.0]."),
        ({"level_low": 0.5, "level_high": 0.5}, "settings.level_low: must be below level_high, which is 0.5; got 0.5."),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_path(settings, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "dmd2", "task": "digits-images", "teachers": [TEACHER], "settings": settings})

    assert str(refused.value) == sentence
