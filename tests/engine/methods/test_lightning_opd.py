"""Offline on-policy distillation: its theory by enumeration of all short texts, its cache, and a last phase that asks no teacher."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.methods.lightning_opd.losses import advantages, clipped, drift, mean_of_rows, mean_of_tokens, surrogate
from engine.methods.lightning_opd.method import LightningOPD, fingerprint
from engine.models.language import CausalLM
from engine.spec.run_spec import RunSpec
from tests.engine.methods.harness import weights
from tests.engine.methods.language import gpt2, new_language_method, play, table

SHORT = {
    "sft_steps": 3,
    "sft_rows": 10,
    "sft_batch_size": 4,
    "cache_rows": 14,
    "rollout_batch_size": 5,
    "batch_size": 4,
    "prompt_tokens": 3,
    "max_new_tokens": 5,
    "optimizer": "sgd",
    "momentum": 0.0,
    "learning_rate": 0.1,
    "sft_learning_rate": 0.1,
}


def new(settings: dict | None = None, **more) -> tuple[LightningOPD, list]:
    method, told = new_language_method("lightning-opd", {**SHORT, **(settings or {})}, **more)
    assert isinstance(method, LightningOPD)
    return method, told


# Theory, on all texts of three of three words after a given first one


WORDS, LENGTH = 3, 3
ALL_TEXTS = torch.tensor(list(itertools.product(range(WORDS), repeat=LENGTH)))
PROMPTS = torch.zeros(len(ALL_TEXTS), 1, dtype=torch.int64)
ONES = torch.ones_like(ALL_TEXTS)


def every_text(model: CausalLM) -> Tensor:
    """log π of each token of each text, (texts, LENGTH), with gradient."""
    logits = model(torch.cat([PROMPTS, ALL_TEXTS], dim=1))[:, :-1]
    return logits.log_softmax(dim=-1).gather(-1, ALL_TEXTS[..., None]).squeeze(-1)


def chances(model: CausalLM) -> Tensor:
    """π(text), (texts,), which sum to 1."""
    return every_text(model).sum(dim=1).exp()


def gradient(value: Tensor, model: CausalLM) -> Tensor:
    return torch.autograd.grad(value, model.body.table, retain_graph=True)[0]


def method_gradient(writer: CausalLM, student: CausalLM, teacher: CausalLM) -> Tensor:
    """The expected gradient of the method's sequence sums −Σ_t A_t log π_θ over texts of `writer`."""
    now = every_text(student)
    advantage = advantages(teacher_log_probs=every_text(teacher), student_log_probs=now, clip=None)
    return gradient((chances(writer).detach() * (-advantage * now).sum(dim=1)).sum(), student)


def test_the_objective_on_own_text_is_minus_the_divergence_of_the_sequences():
    student, teacher = table(1, WORDS), table(2, WORDS)
    p, q = chances(student), chances(teacher)

    gap = (p * (every_text(teacher) - every_text(student)).sum(dim=1)).sum()

    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert gap.item() == pytest.approx(-(p * (p / q).log()).sum().item(), rel=1e-12)


def test_at_the_start_the_expected_gradient_on_the_cache_is_the_online_one():
    student, teacher = table(1, WORDS), table(2, WORDS)

    offline, online = method_gradient(table(1, WORDS), student, teacher), method_gradient(student, student, teacher)

    assert float(online.norm()) > 0.1
    assert torch.allclose(offline, online, rtol=0, atol=1e-14)


def test_later_they_differ_by_the_covariance_of_weight_and_gradient():
    start, student, teacher = table(1, WORDS), table(5, WORDS), table(2, WORDS)
    p_start = chances(start).detach()
    w = chances(student).detach() / p_start
    now = every_text(student)
    advantage = advantages(teacher_log_probs=every_text(teacher), student_log_probs=now, clip=None)
    f = torch.stack([gradient((advantage[row] * now[row]).sum(), student) for row in range(len(ALL_TEXTS))])

    mean_f = (p_start[:, None, None] * f).sum(dim=0)
    covariance = (p_start[:, None, None] * (w[:, None, None] - 1) * (f - mean_f)).sum(dim=0)

    assert float((p_start * w).sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(covariance.norm()) > 0.01
    # method_gradient is that of the loss, so the signs are turned
    assert torch.allclose(
        -method_gradient(start, student, teacher), -method_gradient(student, student, teacher) - covariance, rtol=0, atol=1e-13
    )


def test_a_student_that_equals_its_teacher_has_no_advantage_and_no_gradient_on_any_text():
    student, now = table(2, WORDS), None
    now = every_text(student)
    advantage = advantages(teacher_log_probs=every_text(table(2, WORDS)), student_log_probs=now, clip=10.0)

    loss = mean_of_rows(surrogate(now, before=now, advantage=advantage, clip_low=0.2, clip_high=0.2), ONES)

    assert advantage.abs().max() == 0
    assert gradient(loss, student).abs().max() == 0


def test_without_clipping_the_gradient_is_that_of_half_the_mean_squared_gap():
    student, teacher = table(1, WORDS), table(2, WORDS)
    now, theirs = every_text(student), every_text(teacher).detach()
    advantage = advantages(teacher_log_probs=theirs, student_log_probs=now, clip=None)

    policy = gradient(mean_of_rows(surrogate(now, before=now, advantage=advantage, clip_low=0.2, clip_high=0.2), ONES), student)

    regression = gradient(mean_of_rows((theirs - now).square() / 2, ONES), student)
    assert torch.allclose(policy, regression, rtol=0, atol=1e-15)


# Losses by hand


def test_advantages_are_clipped_on_both_sides_and_carry_no_gradient():
    student = torch.tensor([[-1.0, -30.0, -2.0]], requires_grad=True)

    found = advantages(teacher_log_probs=torch.tensor([[-1.5, -1.0, -40.0]]), student_log_probs=student, clip=10.0)

    assert found.tolist() == [[-0.5, 10.0, -10.0]]
    assert not found.requires_grad


def test_the_surrogate_is_the_published_maximum():
    before = torch.zeros(6, dtype=torch.float64)
    ratio = torch.tensor([1.0, 1.5, 0.5, 1.5, 0.5, 1.1], dtype=torch.float64)
    advantage = torch.tensor([2.0, 2.0, 2.0, -2.0, -2.0, -2.0], dtype=torch.float64)

    found = surrogate(ratio.log(), before=before, advantage=advantage, clip_low=0.2, clip_high=0.3)

    # −ρA against −clip(ρ, 0.8, 1.3)·A: the larger one
    assert found.tolist() == pytest.approx([-2.0, -2.6, -1.0, 3.0, 1.6, 2.2])
    stopped = clipped(ratio.log(), before=before, advantage=advantage, clip_low=0.2, clip_high=0.3)
    assert stopped.tolist() == [False, True, False, False, True, False]


def test_a_clipped_token_has_no_gradient_and_the_others_have_that_of_the_ratio():
    log_probs = torch.tensor([math.log(1.5), math.log(0.9)], dtype=torch.float64, requires_grad=True)
    settings = {"before": torch.zeros(2, dtype=torch.float64), "advantage": torch.full((2,), 2.0, dtype=torch.float64)}

    surrogate(log_probs, **settings, clip_low=0.2, clip_high=0.2).sum().backward()

    assert log_probs.grad.tolist() == pytest.approx([0.0, -1.8])


def test_the_surrogate_s_gradient_is_that_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    log_probs, before, advantage = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(3))

    def loss(x: Tensor) -> Tensor:
        return mean_of_rows(surrogate(x, before=before, advantage=advantage, clip_low=0.2, clip_high=0.2), torch.ones(3, 4))

    assert torch.autograd.gradcheck(loss, log_probs.requires_grad_())


def test_rows_count_alike_whatever_their_length_and_tokens_after_the_end_not_at_all():
    per_token = torch.tensor([[1.0, 3.0, float("inf")], [5.0, float("nan"), 7.0], [9.0, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])

    assert mean_of_rows(per_token, mask).item() == pytest.approx((2.0 + 5.0 + 0.0) / 3)
    assert mean_of_tokens(per_token, mask).item() == pytest.approx(9.0 / 3)


def test_drift_by_hand():
    d = torch.tensor([[math.log(2.0), 0.0, 123.0]], dtype=torch.float64)

    found = drift(log_probs=d, start_log_probs=torch.zeros_like(d), mask=torch.tensor([[1, 1, 0]]))

    expected = {
        "k1": math.log(2) / 2,
        "k2": math.log(2) ** 2 / 4,
        "k3": (0.5 - 1 + math.log(2)) / 2,
        "weight_mean": 1.5,
        "weight_std": 0.5,
    }
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected)


# The phases


def test_the_phases_train_store_and_train_with_an_optimizer_of_their_own_each():
    method, _ = new()

    phases = list(method.phases())

    assert [(phase.name, phase.steps) for phase in phases] == [("sft", 3), ("prepare", 3), ("distill", 6)]
    assert method.sft_optimizer is not method.optimizer
    play(method, until="prepare")
    assert not method.optimizer.state or all("step" not in each for each in method.optimizer.state.values())


def test_the_first_phase_is_cross_entropy_on_what_the_teacher_wrote():
    method, _ = new()
    phase = next(method.phases())
    phase.begin()
    batch = phase.data(0, torch.Generator())
    ids = torch.cat([batch.inputs["prompt_ids"], batch.inputs["completion_ids"]], dim=1)
    log_probs = method.student(ids).log_softmax(dim=-1)
    by_hand = -sum(log_probs[row, place - 1, ids[row, place]].item() for row in range(4) for place in range(3, 8)) / 20

    terms = phase.step(batch)

    assert terms["loss/sft"].item() == pytest.approx(by_hand, rel=1e-12)
    assert method.texts["completion_ids"].shape == (10, 5)


def test_the_stored_numbers_are_those_of_a_fresh_forward_pass_at_temperature_one():
    method, told = new({"sampling_temperature": 0.5})
    play(method, until="prepare")
    name, tensors, facts = told[-1]

    ids = torch.cat([tensors["prompt_ids"], tensors["completion_ids"]], dim=1)
    for whose, model in (("teacher", method.teacher), ("start", method.student)):
        log_probs = model(ids).log_softmax(dim=-1)[:, 2:-1].gather(-1, tensors["completion_ids"][..., None]).squeeze(-1)
        assert torch.allclose(tensors[f"{whose}_log_probs"].double(), log_probs.detach(), rtol=0, atol=1e-6)

    assert name == "rollouts" and facts["rows"] == 14 and tensors["teacher_log_probs"].dtype == torch.float32
    assert facts["bytes"] == sum(each.numel() * each.element_size() for each in tensors.values())
    assert facts["fingerprints"]["teacher"] == fingerprint(method.teacher)
    assert facts["fingerprints"]["start"] == fingerprint(method.student)
    assert facts["fingerprints"]["tokenizer"] == method.language.vocabulary.fingerprint()
    assert facts["teacher consistency"] == "consistent"


def test_preparing_again_with_the_same_seed_gives_the_same_bytes():
    caches = []
    for _ in range(2):
        method, told = new()
        play(method, until="prepare")
        caches.append(told[-1])

    assert all(torch.equal(caches[0][1][name], caches[1][1][name]) for name in caches[0][1])
    assert caches[0][2] == caches[1][2]


def test_training_on_the_cache_asks_no_teacher():
    class Raising(RuntimeError):
        pass

    def refuse(*arguments, **more):
        raise Raising

    method, _ = new()
    distill = list(method.phases())[-1]
    play(method, until="prepare")
    distill.begin()
    for part in method.teacher.modules():
        part.forward = refuse
    before = weights(method.student)

    for step in range(6):
        distill.step(distill.data(step, torch.Generator().manual_seed(step)))

    assert (weights(method.student) - before).norm() > 1e-6
    assert method.calls["distill"] == 0
    with pytest.raises(Raising):
        method.fresh_kl()


def test_calls_are_counted_by_what_they_are_for():
    offline, _ = new()
    online, _ = new({"mode": "online"})

    play(offline)
    play(online)

    assert offline.calls["sft"] == 10 and offline.tokens["sft"] == 50  # five tokens in each of two pieces
    assert offline.calls["prepare"] == 3 and offline.tokens["prepare"] == 14 * 8
    assert offline.calls["distill"] == 0 and offline.calls["evaluation"] > 0
    assert online.calls["prepare"] == 0 and online.calls["distill"] == 6 and online.tokens["distill"] == 6 * 4 * 8


def test_the_cache_is_passed_over_without_repetition_in_another_order_each_time():
    method, _ = new()

    steps = [method.shuffled(step, 14, 4, "cache").tolist() for step in range(8)]

    assert [len(rows) for rows in steps] == [4, 4, 4, 2] * 2
    first, second = ([row for rows in half for row in rows] for half in (steps[:4], steps[4:]))
    assert sorted(first) == sorted(second) == list(range(14))
    assert first != second


def test_a_step_on_the_cache_is_gradient_descent_on_half_the_mean_squared_gap():
    method, _ = new({"advantage_clip": None})
    play(method, until="prepare")
    batch = method.cached_batch(0, torch.Generator())
    ids = torch.cat([batch.inputs["prompt_ids"], batch.inputs["completion_ids"]], dim=1)
    now = method.student(ids).log_softmax(dim=-1)[:, 2:-1].gather(-1, batch.inputs["completion_ids"][..., None]).squeeze(-1)
    gradients = torch.autograd.grad(((batch.inputs["teacher_log_probs"] - now).square() / 2).mean(), list(method.student.parameters()))
    before = weights(method.student)

    method.distill_step(batch)

    expected = before - 0.1 * torch.cat([each.flatten() for each in gradients])
    assert torch.allclose(weights(method.student), expected, rtol=0, atol=1e-12)


def test_the_advantage_is_made_anew_with_the_weights_of_now():
    method, _ = new({"learning_rate": 1.0})
    play(method, until="prepare")
    batch = method.cached_batch(0, torch.Generator())

    terms = [method.distill_step(batch) for _ in range(20)]

    squared = [each["advantage_squared"].item() for each in terms]
    assert squared[-1] < 0.9 * squared[0]


def test_several_updates_use_the_advantages_of_the_batch_s_start_and_clip_the_ratio():
    once, thrice = (new({"updates_per_batch": updates, "learning_rate": 2.0})[0] for updates in (1, 3))
    for method in (once, thrice):
        play(method, until="prepare")

    ours, theirs = (method.distill_step(method.cached_batch(0, torch.Generator())) for method in (thrice, once))

    assert ours["advantage"].item() == pytest.approx(theirs["advantage"].item(), rel=1e-12)
    assert 0 < ours["ratio_clipped"].item() < 1
    assert (weights(thrice.student) - weights(once.student)).norm() > 1e-6


def test_importance_weights_change_nothing_at_the_start_and_something_later():
    plain, weighted = (new({"importance_weights": value, "learning_rate": 0.5})[0] for value in (False, True))
    for method in (plain, weighted):
        play(method, until="prepare")

    distances = []
    for step in range(2):
        for method in (plain, weighted):
            method.distill_step(method.cached_batch(step, torch.Generator()))
        distances.append(float((weights(plain.student) - weights(weighted.student)).norm()))

    assert distances[0] < 1e-5  # the stored numbers are float32
    assert distances[1] > 10 * distances[0]


def test_two_completions_of_a_prompt_share_it():
    method, _ = new({"num_generations": 2})

    prompts = method.prompts(5, torch.Generator().manual_seed(0))

    assert prompts.shape == (5, 3)
    assert torch.equal(prompts[0], prompts[1]) and torch.equal(prompts[2], prompts[3])
    assert len(torch.unique(prompts, dim=0)) > 1


# Consistency


def test_another_writer_of_the_first_text_is_refused_unless_it_is_allowed_and_then_told():
    with pytest.raises(SpecError) as refused:
        new(teachers=(gpt2(2), gpt2(3)))

    allowed, told = new({"allow_other_teacher": True}, teachers=(gpt2(2), gpt2(3)))
    play(allowed)
    assert str(refused.value) == (
        "teachers.1: must be the first teacher's equal, because the student has to learn from the one whose text it began with; set "
        "settings.allow_other_teacher to go on all the same."
    )
    assert told[0].startswith("WARNING: the text of the phase sft is by another teacher")
    assert allowed.reference() is allowed.teachers[0]
    assert "Teacher consistency: inconsistent." in allowed.warnings(None)


def test_an_equal_second_teacher_is_the_same_teacher():
    method, _ = new(teachers=(gpt2(2), gpt2(2)))

    assert method.consistency == "consistent"


def test_a_start_of_unknown_text_is_told():
    method, told = new({"sft_steps": 0})
    play(method)

    assert [phase.name for phase in method.phases()] == ["prepare", "distill"]
    assert any(text.startswith("WARNING: nobody knows whose text") for text in told if isinstance(text, str))


def test_a_fingerprint_changes_with_any_weight_and_with_nothing_else():
    model, same, other = gpt2(1), gpt2(1), gpt2(1)
    with torch.no_grad():
        other.body.lm_head.weight[0, 0] += 1e-9

    assert fingerprint(model) == fingerprint(same.eval())
    assert fingerprint(model) != fingerprint(other)


# What is shown


def test_diagnostics_show_the_cache_its_advantages_and_the_drift():
    method, _ = new({"learning_rate": 1.0})
    play(method)

    with torch.no_grad():
        found = method.diagnostics()

    cells = dict(found.tables["cache"]["cells"])
    assert cells["rows"] == 14 and cells["tokens"] == 70 and cells["teacher's tokens for distill"] == 0
    assert found.metrics["teacher_calls_distill"] == 0
    assert found.metrics["drift_weight_std"] > 0
    assert {name: sum(counts) for name, counts in found.tables["advantages"]["counts"].items()} == {"at the start": 70, "now": 70}


def test_a_cache_that_has_grown_old_is_warned_of():
    method, _ = new()
    play(method, until="prepare")
    list(method.phases())[-1].begin()
    with torch.no_grad():
        method.student.body.lm_head.weight.mul_(-1.0)

    warnings = method.warnings(method.scored_rows())

    assert any("above 0.3: the cache has grown old." in warning for warning in warnings)


# What is refused

FIELDS = {"method": "lightning-opd", "task": "stdlib-text", "teachers": [f"run:{0:032x}"]}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"updates_per_batch": 2, "gradient_accumulation_steps": 2},
            "settings.gradient_accumulation_steps: must be 1 with several updates a batch, each of which needs all of it; got 2.",
        ),
        (
            {"sft_steps": 0},
            "settings.sft_steps: must be at least 1 for a student without trained weights, whose text nothing is to be learned from; got 0.",
        ),
        (
            {"importance_weights": True, "mode": "online"},
            "settings.importance_weights: must be false online, where text is always the student's own; got true.",
        ),
        ({"advantage_clip": 0.0}, "settings.advantage_clip: must be greater than 0; got 0.0."),
        ({"clip_low": 1.0}, "settings.clip_low: must be less than 1; got 1.0."),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_path(settings, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({**FIELDS, "settings": settings})

    assert str(refused.value) == sentence


def test_a_second_teacher_with_nothing_to_write_is_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({**FIELDS, "teachers": [f"run:{0:032x}", f"run:{1:032x}"], "student": f"run:{2:032x}", "settings": {"sft_steps": 0}})

    assert str(refused.value) == "teachers: must be one without the phase sft, which the second one writes the text of; got 2."


def test_completions_that_do_not_fit_the_context_are_refused():
    with pytest.raises(SpecError) as refused:
        new({"max_new_tokens": 40})

    assert str(refused.value) == "settings.max_new_tokens: must fit all models' context of 32 tokens with the prompt; got 40."
