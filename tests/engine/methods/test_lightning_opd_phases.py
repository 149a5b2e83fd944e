"""Offline on-policy distillation as a run: its cache, a last phase that asks no teacher, and whose text it all began with."""

from typing import Any

import pytest
import torch

from engine.errors import SpecError
from engine.method import Batch, Logs
from engine.methods.lightning_opd.evidence import evidence
from engine.methods.lightning_opd.method import LightningOPD
from engine.rollout.fingerprint import weights_fingerprint
from engine.spec.run_spec import RunSpec
from tests.engine.methods.harness import weights
from tests.engine.methods.language import gpt2, new_language_method, play

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
    method, reported = new_language_method("lightning-opd", {**SHORT, **(settings or {})}, **more)
    assert isinstance(method, LightningOPD)
    return method, reported


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
    method, reported = new({"sampling_temperature": 0.5})
    play(method, until="prepare")
    name, tensors, facts = reported[-1]

    ids = torch.cat([tensors["prompt_ids"], tensors["completion_ids"]], dim=1)
    for whose, model in (("teacher", method.teacher), ("start", method.student)):
        log_probs = model(ids).log_softmax(dim=-1)[:, 2:-1].gather(-1, tensors["completion_ids"][..., None]).squeeze(-1)
        assert torch.allclose(tensors[f"{whose}_log_probs"].double(), log_probs.detach(), rtol=0, atol=1e-6)

    assert name == "rollouts" and facts["rows"] == 14 and tensors["teacher_log_probs"].dtype == torch.float32
    assert facts["bytes"] == sum(each.numel() * each.element_size() for each in tensors.values())
    assert facts["fingerprints"]["teacher"] == weights_fingerprint(method.teacher)
    assert facts["fingerprints"]["start"] == weights_fingerprint(method.student)
    assert facts["fingerprints"]["tokenizer"] == method.language.vocabulary.fingerprint()
    assert facts["teacher consistency"] == "consistent"


def test_preparing_again_with_the_same_seed_gives_the_same_bytes():
    caches = []
    for _ in range(2):
        method, reported = new()
        play(method, until="prepare")
        caches.append(reported[-1])

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
    assert method.asked.calls["distill"] == 0
    with pytest.raises(Raising):
        method.fresh_kl()


def test_calls_are_counted_by_what_they_are_for():
    offline, _ = new()
    online, _ = new({"mode": "online"})

    play(offline)
    play(online)

    # Ten texts in two pieces, each of which reads its three-token prompts at once and then four more tokens one by one.
    assert offline.asked.calls["sft"] == 2 * 5 and offline.asked.tokens["sft"] == 10 * (3 + 4)
    assert offline.asked.calls["prepare"] == 3 and offline.asked.tokens["prepare"] == 14 * 8
    assert offline.asked.calls["distill"] == 0 and offline.asked.calls["evaluation"] > 0
    assert online.asked.calls["prepare"] == 0 and online.asked.calls["distill"] == 6 and online.asked.tokens["distill"] == 6 * 4 * 8


def asks_by_a_forward_pass(method: LightningOPD, batch: Batch) -> None:
    method.teacher(batch.inputs["prompt_ids"])


def asks_by_writing(method: LightningOPD, batch: Batch) -> None:
    method.written(method.scorer, batch.inputs["prompt_ids"], torch.Generator().manual_seed(0))


def claim_of_no_call() -> Any:
    [claim] = [claim for claim in evidence.claims if "asks no teacher" in claim.text]
    return claim.tests[0].holds


@pytest.mark.parametrize(("ask", "calls"), [(asks_by_a_forward_pass, 6), (asks_by_writing, 6 * 5)])
@pytest.mark.parametrize("where", ["distill_step", "cached_batch"])
def test_a_teacher_that_is_asked_in_the_last_phase_all_the_same_is_counted_there(ask, calls, where):
    method, _ = new()
    original = getattr(method, where)

    def asking(*arguments: Any) -> Batch | Logs:
        found = original(*arguments)
        ask(method, arguments[0] if isinstance(arguments[0], Batch) else found)
        return found

    object.__setattr__(method, where, asking)
    play(method)

    with torch.no_grad():
        reported = method.diagnostics().metrics["teacher_calls_distill"]
    assert reported == calls
    others = {"online": 150.0, "online-other": 150.0, "offline-other": 0.0}
    seed = {name: {"validation/teacher_calls_distill": count} for name, count in {**others, "offline": reported}.items()}
    assert not claim_of_no_call()(seed)
    assert claim_of_no_call()({**seed, "offline": {"validation/teacher_calls_distill": 0.0}})


def test_what_compares_with_the_teacher_in_the_last_phase_counts_as_evaluation():
    method, _ = new()
    play(method, until="prepare")
    before = dict(method.asked.calls)

    list(method.phases())[-1].begin()

    assert method.asked.calls == {**before, "evaluation": before["evaluation"] + 1}


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

    allowed, reported = new({"allow_other_teacher": True}, teachers=(gpt2(2), gpt2(3)))
    play(allowed)
    assert str(refused.value) == (
        "teachers.1: must be the first teacher's equal, because the student has to learn from the one whose text it began with; set "
        "settings.allow_other_teacher to go on all the same."
    )
    assert reported[0].startswith("WARNING: the text of the phase sft is by another teacher")
    assert allowed.reference() is allowed.teachers[0]
    assert "Teacher consistency: inconsistent." in allowed.warnings(None)


def test_an_equal_second_teacher_is_the_same_teacher():
    method, _ = new(teachers=(gpt2(2), gpt2(2)))

    assert method.consistency == "consistent"


def test_a_start_of_unknown_text_is_told():
    method, reported = new({"sft_steps": 0})
    play(method)

    assert [phase.name for phase in method.phases()] == ["prepare", "distill"]
    assert any(text.startswith("WARNING: nobody knows whose text") for text in reported if isinstance(text, str))


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
