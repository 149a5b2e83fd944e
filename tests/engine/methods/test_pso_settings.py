"""Which settings of pairwise sample optimization are refused, and what a run logs when it goes wrong."""

import uuid

import pytest

from engine import rewards
from engine.errors import SpecError
from engine.methods.pso.signs import warnings_of
from engine.spec import catalog
from engine.spec.run_spec import RunSpec


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"reward": "ink"}, "settings.reward: must fit examples of shape [2], and ink is a reward for pictures; got 'ink'."),
        ({"levels": [1.0, 2.0]}, "settings.levels: must be positive and descend; got [1.0, 2.0]."),
        (
            {"mode": "offline", "negatives": 100},
            "settings.negatives: must be at least batch_size, 128, because a batch takes each once; got 100.",
        ),
        (
            {"reward": "beauty"},
            "settings.reward: must be near:<coordinates with commas>, ink or confidence, or several with + between them; got 'beauty'.",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_path(settings, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "pso", "task": "points-2d", "student": f"run:{uuid.UUID(int=1)}", "settings": settings})

    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("task", "reward"), [("points-2d", "near:-0.6,0.6"), ("digits-images", "confidence"), ("mnist-images", "confidence")]
)
def test_a_reward_that_is_left_empty_is_the_one_that_the_task_names(task, reward):
    fields = {"method": "pso", "task": task, "student": f"run:{uuid.UUID(int=1)}"}

    left, given = RunSpec.parse(fields), RunSpec.parse({**fields, "settings": {"reward": reward}})

    assert left.settings["reward"] == reward
    assert left == given and left.config_hash() == given.config_hash()


def test_every_task_of_generators_names_a_reward_that_scores_its_examples():
    for task in catalog.tasks().values():
        if task.kind_of(catalog.methods()["pso"]) is not None:
            assert task.reward is not None, f"{task.id} names no reward"
            assert rewards.misfit(task.reward, input_shape=task.input_shape, classes=task.classes) is None


WELL = {
    "implicit_accuracy": 0.7,
    "clip_fraction": 0.2,
    "log_ratio_winner": 0.1,
    "log_ratio_loser": -0.1,
    "reward_tuned": -0.5,
    "reward_start": -1.0,
    "drift_share": 0.1,
}


def test_a_run_that_does_well_logs_no_warning():
    assert warnings_of(WELL, progress=0.2) == []


@pytest.mark.parametrize(
    ("changed", "progress", "begins"),
    [
        ({"implicit_accuracy": 0.51}, 0.2, "Implicit accuracy is 0.51 after 20% of the run"),
        ({"clip_fraction": 0.99}, 0.1, "99% of the likelihood ratios are clipped after 10% of the run"),
        ({"log_ratio_winner": -0.1, "log_ratio_loser": -0.3}, 0.5, "Preferred samples become less likely as well: mean log-ratio -0.100"),
        ({"drift_share": 0.7}, 0.5, "The reward rose from -1.000 to -0.500 while the samples left those of the starting model"),
    ],
)
def test_each_early_sign_of_trouble_has_a_sentence(changed, progress, begins):
    [sentence] = warnings_of({**WELL, **changed}, progress=progress)

    assert sentence.startswith(begins)


def test_half_of_the_ratios_clipped_late_is_harmless():
    assert warnings_of({**WELL, "clip_fraction": 0.99}, progress=0.9) == []
