"""The record between the parts of the on-policy loop."""

from dataclasses import replace

import torch
from torch import Tensor

from engine.rollout.record import SOURCES, RolloutBatch, completion_mask_of, new_batch


def record(prompt: list[list[int]], completion: list[list[int]], mask: list[list[int]] | None = None, **more) -> RolloutBatch:
    ids, written = torch.tensor(prompt), torch.tensor(completion)
    return new_batch(
        prompt_ids=ids,
        prompt_mask=(ids > 0).long(),
        completion_ids=written,
        completion_mask=torch.ones_like(written) if mask is None else torch.tensor(mask),
        **{"source": "data", **more},
    )


def test_ids_mask_and_labels_are_of_prompt_and_completion_together():
    batch = record([[0, 3], [4, 5]], [[6, 7, 0], [8, 9, 1]], [[1, 1, 0], [1, 1, 1]])

    assert batch.ids.tolist() == [[0, 3, 6, 7, 0], [4, 5, 8, 9, 1]]
    assert batch.mask.tolist() == [[0, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert batch.labels.tolist() == [[-100, -100, 6, 7, -100], [-100, -100, 8, 9, 1]]
    assert (len(batch), batch.completion_width, batch.tokens.item()) == (2, 3, 5)


def test_what_is_there_becomes_tensors_and_comes_back():
    batch = replace(record([[3]], [[4, 5]], source="student", policy_version=7), reward=torch.tensor([0.5]))

    tensors = batch.to_tensors()
    back = RolloutBatch.from_tensors(tensors)

    assert set(tensors) == {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "source", "policy_version", "reward"}
    assert all(torch.equal(getattr(back, name), tensor) for name, tensor in tensors.items())
    assert back.teacher_logits is None
    assert (SOURCES[back.source.item()], back.policy_version.item()) == ("student", 7)


def test_rows_are_taken_by_number_flag_and_slice():
    batch = record([[3], [4], [5]], [[6], [7], [8]])

    def completions(rows: Tensor | slice) -> list[list[int]]:
        return batch.take(rows).completion_ids.tolist()

    assert completions(torch.tensor([2, 0])) == [[8], [6]]
    assert completions(torch.tensor([True, False, True])) == [[6], [8]]
    assert completions(slice(1, 3)) == [[7], [8]]


def test_joining_pads_prompts_on_the_left_and_completions_on_the_right():
    narrow = replace(record([[3]], [[4, 5]], source="student"), teacher_log_probs=torch.tensor([[-1.0, -2.0]]))
    wide = replace(record([[6, 7]], [[8]], source="teacher"), teacher_log_probs=torch.tensor([[-3.0]]))

    joined = RolloutBatch.joined([narrow, wide])

    assert joined.prompt_ids.tolist() == [[0, 3], [6, 7]]
    assert joined.prompt_mask.tolist() == [[0, 1], [1, 1]]
    assert joined.completion_ids.tolist() == [[4, 5], [8, 0]]
    assert joined.completion_mask.tolist() == [[1, 1], [1, 0]]
    assert joined.teacher_log_probs.tolist() == [[-1, -2], [-3, 0]]
    assert [SOURCES[place] for place in joined.source.tolist()] == ["student", "teacher"]


def test_a_text_that_was_read_ends_with_its_first_end_of_text():
    ids = torch.tensor([[5, 2, 6, 2], [2, 2, 2, 2], [5, 6, 7, 8]])

    assert completion_mask_of(ids, 2).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert completion_mask_of(ids, None).tolist() == [[1] * 4] * 3
