"""What a private run reports, what it warns of, and what it refuses."""

import pytest
import torch

from engine.errors import SpecError
from engine.methods.dp_opd.privacy import spent
from engine.spec.run_spec import RunSpec
from tests.engine.methods.dp_opd_bench import batch_of, new, new_and_reported
from tests.engine.methods.language import gpt2, play

# What is reported


def test_epsilon_is_that_of_the_steps_taken_and_ends_at_the_budget():
    method = new({"epsilon": 3.0, "noise_multiplier": None, "clip_norm": 0.5}, steps=7)

    terms = play(method)

    curve = [each["epsilon"] for each in terms]
    noise = method.noise_multiplier
    assert curve == sorted(curve) and 2.999 <= curve[-1] <= 3.0
    assert curve[2] == pytest.approx(spent([(noise, 0.2, 3)], delta=1 / 40).epsilon, rel=1e-6)


def test_diagnostics_and_the_artifact_hold_the_account_but_no_private_number():
    method, reported = new_and_reported({"noise_multiplier": 1.5, "clip_norm": 0.5}, steps=3)
    play(method)

    found = method.diagnostics()
    method.finish()

    account = dict(reported[-1][1]["cells"])
    assert reported[-1][0] == "privacy"
    assert account["steps taken"] == 3 and account["noise multiplier σ"] == 1.5 and account["sampling rate q"] == 0.2
    assert account["ε spent"] == pytest.approx(found.metrics["epsilon"], abs=1e-6)
    assert found.metrics["delta"] == 1 / 40
    assert found.tables["privacy"]["cells"] == reported[-1][1]["cells"]
    assert "outside the guarantee" in found.tables["norms"]["note"] and "outside the guarantee" in found.tables["batches"]["note"]
    assert found.tables["epsilon"]["series"]["spent"]["x"][-1] == 3


def test_norms_are_counted_with_the_clip_norm_as_an_edge():
    method = new({"clip_norm": 0.5, "noise_multiplier": 1.0}, steps=3)
    play(method)

    table = method.report.norm_table()

    assert sum(table["counts"]["records"]) == len(method.norms) == sum(method.batch_rows)
    above = sum(table["counts"]["records"][10:])
    assert table["edges"][10] == 0.5
    assert above == int((method.norms >= 0.5).sum())


def test_no_noise_is_warned_of_loudly_and_has_no_epsilon():
    method, reported = new_and_reported(steps=2)

    terms = play(method)

    assert any("NO privacy" in text for text in reported if isinstance(text, str))
    assert all("epsilon" not in each for each in terms)
    assert method.diagnostics().metrics["epsilon"] is None
    assert "There is no noise, hence no privacy." in method.warnings()


def test_a_clip_norm_that_clips_nothing_and_batches_of_the_wrong_size_are_warned_of():
    method = new({"noise_multiplier": 1.0, "clip_norm": 1000.0, "learning_rate": 1e-9})
    for _ in range(6):
        method.step(batch_of(method, *range(20)))

    warnings = " ".join(method.warnings())

    assert "No record is clipped" in warnings
    assert "Batches have 20.0 records on average, 4 are expected" in warnings
    assert "The signal is at most 0.0" in warnings


# What is refused

FIELDS = {"method": "dp-opd", "task": "stdlib-private", "teachers": [f"run:{0:032x}"], "student": f"run:{1:032x}"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"epsilon": 0.05},
            "settings.epsilon: must be greater than 0.0621, which no noise can go below at δ = 0.000125; got 0.05.",
        ),
        (
            {"noise_multiplier": 1.0},
            "settings.epsilon: must be given, or noise_multiplier in its place, with the other one empty; got both.",
        ),
        ({"epsilon": None}, "settings.epsilon: must be given, or noise_multiplier in its place, with the other one empty; got neither."),
        ({"delta": 0.001}, "settings.delta: must be less than 1 / records = 0.00025; got 0.001."),
        ({"expected_batch": 5000}, "settings.expected_batch: must be at most the 4000 records; got 5000."),
        (
            {"loss": "labels"},
            "settings.on_policy_share: must be 0 with loss labels, which has no target on the student's text; got 0.5.",
        ),
        ({"micro_batches": 2}, "settings.micro_batches: is not a known field; remove it or check its spelling."),
        ({"gradient_clip": 1.0}, "settings.gradient_clip: is not a known field; remove it or check its spelling."),
        ({"weight_decay": 0.1}, "settings.weight_decay: is not a known field; remove it or check its spelling."),
    ],
)
def test_what_the_account_could_not_answer_for_is_refused(settings, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({**FIELDS, "settings": settings})

    assert str(refused.value) == sentence


def test_a_student_without_public_training_is_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({**FIELDS, "student": "gpt2-1x32"})

    assert str(refused.value) == (
        "student: gpt2-1x32 is an architecture without trained weights; name a trained model as run:<id of a finished run>."
    )


def test_epochs_and_float16_are_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({**FIELDS, "budget": {"epochs": 2}, "precision": "float16"})

    assert str(refused.value).splitlines() == [
        "budget.epochs: must be empty: batches are drawn at random, not passed over; give steps.",
        "precision: must be float32 or bfloat16: gradients are clipped one by one, without a loss scale.",
    ]


def test_more_records_than_the_text_has_are_refused():
    with pytest.raises(SpecError) as refused:
        new({"records": 1000})

    assert str(refused.value) == "settings.records: must be at most 110, as many as the private text of stdlib-text has; got 1000."


def test_records_longer_than_the_context_are_refused():
    with pytest.raises(SpecError) as refused:
        new({"prompt_tokens": 8, "completion_tokens": 25, "records": 10})

    assert str(refused.value) == "settings.completion_tokens: must fit both models' context of 32 tokens with the prompt; got 25."


def test_a_student_that_mixes_records_is_refused():
    student = gpt2(1)
    student.extra = torch.nn.BatchNorm1d(2)

    with pytest.raises(SpecError) as refused:
        new(student=student)

    assert str(refused.value) == "student: must treat each record alone; its extra normalizes over the batch."
