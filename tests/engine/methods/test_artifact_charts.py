"""The charts that methods write beside their tensors say what the numbers hold."""

import pytest
import torch

from engine.events import Artifact
from engine.run.artifacts import ArtifactWriter, facts_of
from tests.engine.distilled_sets.matcher import new_matcher, walk
from tests.engine.methods.language import new_language_method, play
from tests.engine.tiny import Watcher


def test_a_buffer_of_experts_shows_their_course_from_the_first_weights_to_the_last():
    method = new_matcher()
    for _ in walk(method, until="initialize"):
        pass

    tensors, facts = method.left["experts"]

    moved, right = facts["views"]["distance"]["series"], facts["views"]["accuracy"]["series"]
    assert list(moved) == list(right) == ["expert 0", "expert 1"]
    assert moved["expert 1"]["x"] == right["expert 1"]["x"] == [0, 1, 2, 3]
    trajectory = tensors["trajectories"][1]
    assert moved["expert 1"]["y"] == pytest.approx([float((each - trajectory[0]).norm()) for each in trajectory])
    assert right["expert 1"]["y"][-1] == pytest.approx(float(method.expert_accuracy[1]))


def test_rollouts_are_shown_as_text_shaded_by_what_the_teacher_finds_improbable():
    short = {"sft_steps": 0, "cache_rows": 14, "rollout_batch_size": 5, "batch_size": 4, "prompt_tokens": 3, "max_new_tokens": 5}
    method, reported = new_language_method("lightning-opd", short)
    play(method)

    (tensors, facts) = next(each[1:] for each in reported if each[0] == "rollouts")

    drawn, vocabulary = facts["views"]["rollouts"], method.language.vocabulary
    assert len(drawn["items"]) == 12
    for row, item in enumerate(drawn["items"]):
        assert item["prompt"] == vocabulary.decode(tensors["prompt_ids"][row].tolist())
        assert item["text"] == "".join(item["pieces"]) == vocabulary.decode(tensors["completion_ids"][row].tolist())
        assert item["weights"] == pytest.approx((1 - tensors["teacher_log_probs"][row].exp()).tolist(), abs=1e-6)


def test_charts_stand_in_the_file_beside_the_facts(tmp_path):
    method, watcher = new_matcher(), Watcher()
    object.__setattr__(method._context, "save_tensors", ArtifactWriter(tmp_path, watcher).save_tensors)
    drawn = {"view": "rows", "columns": ["a"], "cells": [[1]]}

    method.save_tensors("both", {"w": torch.ones(2)}, {"n": 3}, charts={"rows": drawn})
    method.save_tensors("none", {"w": torch.ones(2)})

    both, none = watcher.of(Artifact)
    assert both.meta == {"shapes": {"w": [2]}, "n": 3}
    assert none.meta == facts_of(tmp_path / none.path) == {"shapes": {"w": [2]}}
    assert facts_of(tmp_path / both.path) == {"shapes": {"w": [2]}, "n": 3, "views": {"rows": drawn}}
