"""Counting how often a teacher is asked: forward passes and steps of decoding, whoever makes them, by what they are for."""

import pytest
import torch
from torch import Tensor

from engine.method import Batch, Phase
from engine.rollout.generate import Sampling, generate
from engine.rollout.teacher_calls import TeacherCalls
from tests.engine.methods.language import gpt2, table

IDS = torch.tensor([[0, 1, 2], [2, 1, 0]])


def test_a_forward_pass_and_each_step_of_decoding_is_a_call_for_what_is_under_way():
    model, calls = gpt2(1), TeacherCalls("prepare", "distill")
    calls.watch(model)

    with calls.during("prepare"):
        model(IDS)
    with calls.during("distill"):
        generate(model, IDS, torch.ones_like(IDS), Sampling(4), torch.Generator().manual_seed(0))
    model(IDS, keep=1)

    # Decoding reads the prompts of three tokens at once, then each of the first three new tokens.
    assert calls.calls == {"prepare": 1, "distill": 4, "evaluation": 1}
    assert calls.tokens == {"prepare": 6, "distill": 2 * (3 + 3), "evaluation": 6}


def test_a_model_without_a_fast_way_to_decode_is_counted_once_a_step():
    model, calls = table(1), TeacherCalls()
    calls.watch(model)

    generate(model, IDS, torch.ones_like(IDS), Sampling(4), torch.Generator().manual_seed(0))

    assert calls.calls == {"evaluation": 4}


def test_counting_changes_nothing_of_what_is_written():
    plain, counted, calls = gpt2(1), gpt2(1), TeacherCalls()
    calls.watch(counted)

    texts = [
        generate(model, IDS, torch.ones_like(IDS), Sampling(6), torch.Generator().manual_seed(0)).completion_ids
        for model in (plain, counted)
    ]

    assert torch.equal(*texts)
    assert torch.equal(plain(IDS), counted(IDS))


def test_the_innermost_purpose_counts_also_after_an_error():
    model, calls = gpt2(1), TeacherCalls("outer", "inner")
    calls.watch(model)

    with calls.during("outer"):
        with pytest.raises(TypeError), calls.during("inner"):
            model(IDS, unknown=1)
        model(IDS)
    model(IDS)

    assert calls.calls == {"outer": 1, "inner": 1, "evaluation": 1}


def test_every_part_of_a_phase_counts_for_it():
    model, calls = gpt2(1), TeacherCalls("train", "other")
    calls.watch(model)

    def ask() -> None:
        model(IDS)

    def draw(step: int, generator: torch.Generator) -> Batch:
        ask()
        return Batch(IDS, None, torch.arange(2))

    def step(batch: Batch) -> dict[str, Tensor]:
        ask()
        return {"loss": torch.zeros(())}

    phase = calls.counted(Phase("train", step, 1, data=draw, begin=ask, end=ask))
    by_name = calls.counted(Phase("other", step, 1, data="train"))
    assert phase.begin is not None and phase.end is not None and callable(phase.data)

    phase.begin()
    phase.step(phase.data(0, torch.Generator()))
    phase.end()

    assert calls.calls == {"train": 4, "other": 0, "evaluation": 0}
    assert (by_name.data, by_name.begin, by_name.end) == ("train", None, None)


def test_counts_come_back_from_their_state():
    model, calls, restored = gpt2(1), TeacherCalls("prepare"), TeacherCalls("prepare")
    calls.watch(model)
    with calls.during("prepare"):
        model(IDS)

    restored.load_state_dict(calls.state_dict())

    assert (restored.calls, restored.tokens) == (calls.calls, calls.tokens)
    assert restored.calls["prepare"] == 1
