"""Generalized knowledge distillation: where its sequences come from, what its loss is, and what padding and pieces change (nothing)."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.method import Batch, Length, MicroBatch, Position, RunContext
from engine.methods.gkd import method as gkd
from engine.methods.gkd.method import DIVISOR, Gkd
from engine.models.language import CausalLM
from engine.rollout.record import SOURCES, RolloutBatch
from engine.run.state import seal
from engine.spec import catalog
from engine.spec.cards import TaskCard
from engine.spec.run_spec import RunSpec
from engine.tasks.stdlib_text.task import StdlibText
from tests.engine.methods.language import network

CARD: TaskCard = catalog.tasks()["stdlib-text"]
SMALL = {"batch_size": 6, "prompt_tokens": 5, "max_new_tokens": 4, "optimizer": "sgd", "momentum": 0.0, "gradient_clip": None}


@pytest.fixture(scope="module")
def task() -> StdlibText:
    return StdlibText(CARD.options(evaluation_prompts=4), torch.device("cpu"))


class Ending:
    """The task's characters, one of which ends a text."""

    def __init__(self, vocabulary: Any, eos_id: int) -> None:
        self.size, self.eos_id = vocabulary.size, eos_id


def new(task: StdlibText, settings: Mapping[str, Any] | None = None, *, student: CausalLM | None = None, steps: int = 3) -> Gkd:
    """Built and sealed as the runner does it."""
    method = Gkd(
        RunContext(
            task=task,
            settings=gkd.Settings.model_validate({**SMALL, **(settings or {})}),
            student=student or network(1),
            teachers=(network(2).eval().requires_grad_(False),),
            budget=Length(steps, 100),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(0),
            position=Position(),
            micro=MicroBatch(),
            log=(said := []).append,
            save_table=lambda name, content: None,
            save_tensors=lambda name, tensors, meta: None,
        )
    )
    method.build()
    seal(method)
    method.position.step = 0
    assert said == []
    return method


def rollouts(method: Gkd, *, seed: int = 3) -> tuple[Batch, RolloutBatch]:
    batch = method.rollouts(0, torch.Generator().manual_seed(seed))
    return batch, RolloutBatch.from_tensors({name: tensor for name, tensor in batch.inputs.items() if name != DIVISOR})


def sources(rollout: RolloutBatch) -> list[str]:
    return [SOURCES[place] for place in rollout.source.tolist()]


def gradient(method: Gkd, batch: Batch) -> tuple[float, Tensor]:
    """The loss and −(change of the weights) / rate of one step."""
    before = weights(method.student)
    loss = method.step(batch)["loss"].item()
    return loss, (before - weights(method.student)) / method.settings.learning_rate


def weights(module: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in module.parameters()])


def without(task: StdlibText, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """From here on asking for `what` is an error."""

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError(f"{what} was asked for")

    monkeypatch.setattr(gkd, what, refuse)


# Where sequences come from


def test_without_own_samples_nothing_is_generated_and_the_text_goes_on_as_it_stands(task, monkeypatch):
    without(task, monkeypatch, "generate")

    batch, rollout = rollouts(new(task, {"on_policy_share": 0.0}))

    assert sources(rollout) == ["data"] * 6
    stream = task.tokens["train"]
    assert all(any(torch.equal(stream[at : at + 9], row) for at in range(len(stream) - 9) if stream[at] == row[0]) for row in rollout.ids)
    assert len(batch) == 6


def test_with_only_own_samples_the_text_after_the_prompt_is_never_read(task, monkeypatch):
    without(task, monkeypatch, "completion_mask_of")
    method = new(task, {"on_policy_share": 1.0})
    found = task.continuations(6, prompt_tokens=5, completion_tokens=4)(0, torch.Generator().manual_seed(3))

    _, rollout = rollouts(method)

    assert sources(rollout) == ["student"] * 6
    assert torch.equal(rollout.prompt_ids, found.inputs)
    assert not torch.equal(rollout.completion_ids, found.targets)


@pytest.mark.parametrize("coin", ["batch", "example"])
def test_the_coin_falls_once_a_batch_or_for_each_prompt_with_the_chance_that_was_asked_for(task, coin):
    method = new(task, {"on_policy_share": 0.4, "coin": coin, "max_new_tokens": 1})

    shares = [sum(source == "student" for source in sources(rollouts(method, seed=seed)[1])) / 6 for seed in range(60)]

    mixed = [share for share in shares if 0 < share < 1]
    assert mixed if coin == "example" else not mixed
    # Four standard deviations: of 60 coins, or of 360.
    assert abs(sum(shares) / 60 - 0.4) < 4 * math.sqrt(0.24 / (60 if coin == "batch" else 360))


def test_what_the_student_does_not_write_the_teacher_writes_if_asked(task):
    method = new(task, {"on_policy_share": 0.5, "coin": "example", "seq_kd": True})

    _, rollout = rollouts(method)

    assert set(sources(rollout)) == {"student", "teacher"}


def test_the_teachers_samples_are_the_teachers(task):
    """With temperature near 0 a sample is the most probable token of whoever wrote it."""
    method = new(task, {"on_policy_share": 0.0, "seq_kd": True, "sampling_temperature": 1e-4})

    _, rollout = rollouts(method)

    logits = method.teacher(rollout.ids)[:, 4:-1]
    assert torch.equal(rollout.completion_ids, logits.argmax(dim=-1))


def test_several_completions_stand_beside_each_prompt(task):
    batch, rollout = rollouts(new(task, {"num_generations": 3}))

    assert len(batch) == 18
    assert torch.equal(rollout.prompt_ids[0], rollout.prompt_ids[2])
    assert len({tuple(row) for row in rollout.completion_ids[:3].tolist()}) > 1


@pytest.mark.parametrize("coin", ["batch", "example"])
def test_the_coins_are_read_the_same_with_several_completions_a_prompt(task, coin):
    """A prompt has as many rows whoever writes them, so the share of own rows is that of the coins."""
    once, thrice = (new(task, {"on_policy_share": 0.4, "coin": coin, "num_generations": count, "max_new_tokens": 1}) for count in (1, 3))

    for seed in range(8):
        own = [[source == "student" for source in sources(rollouts(method, seed=seed)[1])] for method in (once, thrice)]
        assert len(own[1]) == 18
        assert sum(own[1]) == 3 * sum(own[0])


def test_the_text_stands_beside_its_prompt_as_often_as_a_sample_would(task):
    _, rollout = rollouts(new(task, {"on_policy_share": 0.0, "num_generations": 3}))
    _, once = rollouts(new(task, {"on_policy_share": 0.0}))

    assert torch.equal(rollout.ids, once.ids.repeat_interleave(3, dim=0))


def test_prompts_do_not_depend_on_who_writes(task):
    settings = [{"on_policy_share": 1.0}, {"on_policy_share": 0.0}, {"on_policy_share": 0.0, "seq_kd": True}]

    prompts = [rollouts(new(task, each))[1].prompt_ids for each in settings]

    assert torch.equal(prompts[0], prompts[1]) and torch.equal(prompts[0], prompts[2])


# The loss


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("reduction", ["batchmean", "sum", "mean"])
def test_the_loss_is_the_slow_version(task, beta, reduction):
    method = new(task, {"beta": beta, "reduction": reduction, "temperature": 2.0, "scale_by_temperature": True})
    batch, rollout = rollouts(method)
    p, q = ((model(rollout.ids)[:, 4:-1] / 2).softmax(dim=-1).detach() for model in (method.teacher, method.student))

    loss = method.step(batch)["loss"].item()

    total = 0.0
    for row in range(6):
        for at in range(4):
            for a, b in zip(p[row, at].tolist(), q[row, at].tolist(), strict=True):
                m = beta * a + (1 - beta) * b
                if beta == 0:
                    total += a * math.log(a / b)
                elif beta == 1:
                    total += b * math.log(b / a)
                else:
                    total += beta * a * math.log(a / m) + (1 - beta) * b * math.log(b / m)
    divisor = {"batchmean": 24, "sum": 1, "mean": 24 * CARD.classes}[reduction]
    assert loss == pytest.approx(4 * total / divisor, rel=1e-8)  # times the temperature's square


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(task):
    for beta in (0.0, 0.5, 1.0):
        method = new(task, {"beta": beta}, student=network(2))

        loss, change = gradient(method, rollouts(method)[0])

        assert abs(loss) < 1e-12
        assert change.abs().max() < 1e-8


def test_the_gradient_reaches_the_student_and_not_the_teacher_and_not_the_samples(task):
    method = new(task)
    batch, rollout = rollouts(method)
    teacher = weights(method.teacher)
    expected = network(1)
    logs = [(model(rollout.ids)[:, 4:-1]).log_softmax(dim=-1) for model in (method.teacher, expected)]
    middle = torch.logsumexp(torch.stack(logs) + math.log(0.5), dim=0)
    (sum((log.exp() * (log - middle)).sum() for log in logs) / 2 / 24).backward()

    _, change = gradient(method, batch)

    grads = torch.cat([parameter.grad.flatten() for parameter in expected.parameters()])
    assert torch.allclose(change, grads, atol=1e-10)
    assert torch.equal(weights(method.teacher), teacher)


def test_what_is_after_the_end_of_text_changes_neither_loss_nor_gradient(task, monkeypatch):
    monkeypatch.setattr(task, "vocabulary", Ending(task.vocabulary, eos_id=0))
    results = []
    for filler in (0, 17):
        method = new(task, {"max_new_tokens": 12})
        batch, rollout = rollouts(method)
        assert 0 < rollout.tokens < 6 * 12
        after = rollout.completion_mask == 0
        batch.inputs["completion_ids"] = rollout.completion_ids.masked_fill(after, filler)
        results.append(gradient(method, batch))

    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-12)


def test_the_end_of_text_itself_is_learned(task, monkeypatch):
    monkeypatch.setattr(task, "vocabulary", Ending(task.vocabulary, eos_id=0))
    method = new(task, {"max_new_tokens": 12})

    _, rollout = rollouts(method)

    ended = (rollout.completion_ids == 0) & (rollout.completion_mask == 1)
    assert ended.any()
    lengths = rollout.completion_mask.sum(dim=1)
    assert all(rollout.completion_ids[row, lengths[row] - 1] == 0 for row in range(6) if ended[row].any())


def test_more_padding_on_the_left_changes_neither_loss_nor_gradient(task):
    results = []
    for extra in (0, 3):
        method = new(task)
        batch, rollout = rollouts(method)
        filler = torch.zeros(6, extra, dtype=torch.int64)
        batch.inputs["prompt_ids"] = torch.cat([filler, rollout.prompt_ids], dim=1)
        batch.inputs["prompt_mask"] = torch.cat([filler, rollout.prompt_mask], dim=1)
        results.append(gradient(method, batch))

    assert results[0][0] == pytest.approx(results[1][0], rel=1e-10)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-10)


def test_a_batch_of_sequences_that_have_no_real_token_changes_nothing(task):
    method = new(task)
    batch, rollout = rollouts(method)
    batch.inputs["completion_mask"] = torch.zeros_like(rollout.completion_mask)

    loss, change = gradient(method, batch)

    assert loss == 0
    assert change.abs().max() == 0


@pytest.mark.parametrize("reduction", ["batchmean", "sum", "mean"])
def test_pieces_of_a_batch_with_different_lengths_add_up_to_its_gradient(task, monkeypatch, reduction):
    monkeypatch.setattr(task, "vocabulary", Ending(task.vocabulary, eos_id=0))
    settings = {"max_new_tokens": 12, "reduction": reduction, "learning_rate": 1e-3}
    whole, pieces = new(task, settings), new(task, settings)
    batch, rollout = rollouts(whole)
    assert len(set(rollout.completion_mask.sum(dim=1).tolist())) > 1
    loss, change = gradient(whole, batch)

    before, total = weights(pieces.student), 0.0
    for start, stop in ((0, 4), (4, 6)):
        pieces._context.micro.weight, pieces._context.micro.last = (stop - start) / 6, stop == 6
        total += pieces.step(batch.rows(start, stop))["loss"].item() * (stop - start) / 6

    assert total == pytest.approx(loss, rel=1e-6)  # a row's share of the divisor is in single precision
    assert torch.allclose((before - weights(pieces.student)) / 1e-3, change, rtol=1e-5, atol=1e-6)


def test_dropout_is_off_while_it_samples_and_while_it_learns_unless_asked(task):
    def loss_of(**settings: Any) -> list[float]:
        losses = []
        for _ in range(2):
            student = network(1)
            student.body.transformer.drop.p = 0.5
            method = new(task, settings, student=student.train())
            batch, _ = rollouts(method)
            losses.append(method.step(batch)["loss"].item())
            assert student.body.transformer.drop.training
        return losses

    off, on = loss_of(), loss_of(disable_dropout=False)

    assert off[0] == off[1] != on[0]
    assert on[0] != on[1]


# What is reported


def test_what_it_reports_of_a_step_is_that_of_the_batch(task):
    method = new(task, {"on_policy_share": 0.5, "coin": "example"})
    batch, rollout = rollouts(method)
    logs = method.student(rollout.ids)[:, 4:-1].log_softmax(dim=-1).detach()

    terms = method.step(batch)

    assert terms["entropy"].item() == pytest.approx(-(logs.exp() * logs).sum(dim=-1).mean().item(), rel=1e-10)
    assert terms["completion_length"] == 4
    assert terms["on_policy"].item() == pytest.approx(sources(rollout).count("student") / 6)
    assert method.diagnostics().metrics["on_policy_share"] == pytest.approx(sources(rollout).count("student") / 6)


def test_a_collapse_of_the_entropy_is_reported_at_the_end(task):
    said: list[str] = []
    steady, fallen = (new(task, steps=20) for _ in range(2))
    for method, course in ((steady, torch.ones(20)), (fallen, torch.linspace(3, 0.1, 20))):
        object.__setattr__(method._context, "log", said.append)
        method.entropies.copy_(course)
        method.report_at_end()

    warned = [line for line in said if "collapsed" in line]
    assert len(said) == 3
    assert warned == ["The student's entropy fell from 2.924 to 0.176 nats; if the NLL rose, it has collapsed to a few phrases."]


def test_completions_that_do_not_fit_the_context_are_refused(task):
    with pytest.raises(SpecError) as when_built:
        new(task, {"prompt_tokens": 40, "max_new_tokens": 25})
    with pytest.raises(SpecError) as in_the_form:
        RunSpec.parse(
            {
                "method": "gkd",
                "task": "stdlib-text",
                "teachers": ["run:00000000-0000-0000-0000-000000000001"],
                "settings": {"max_new_tokens": 49},
            }
        )

    assert str(when_built.value) == (
        "settings.max_new_tokens: must fit the student's context of 64 tokens together with a prompt of 40; got 25."
    )
    assert str(in_the_form.value) == (
        "settings.max_new_tokens: must be at most 48, what a prompt of 16 leaves of the student's 64 positions; got 49."
    )
