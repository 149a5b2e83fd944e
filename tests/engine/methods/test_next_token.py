"""The methods for classifiers, on language models: each token is a row."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.losses.labels import label_cross_entropy
from engine.method import Batch, Length, Method, MicroBatch, Position, RunContext
from engine.models.language import CausalLM
from engine.run.state import seal
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.stdlib_text.card import card
from engine.tasks.stdlib_text.task import StdlibText
from tests.engine.methods.language import network

TEACHER = "run:00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module")
def task() -> StdlibText:
    return StdlibText(card.options(evaluation_prompts=2), torch.device("cpu"))


def new(method_id: str, task: StdlibText, settings: Mapping[str, Any], teachers: tuple[CausalLM, ...] = ()) -> Method:
    method_class = catalog.load_method(method_id)
    method = method_class(
        RunContext(
            task=task,
            settings=method_class.card.settings.model_validate({"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", **settings}),
            student=network(1),
            teachers=teachers,
            budget=Length(4, 2),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(0),
            position=Position(),
            micro=MicroBatch(),
            log=lambda text: None,
            save_table=lambda name, content: None,
            save_tensors=lambda name, tensors, meta: None,
        )
    )
    method.build()
    seal(method)
    return method


def rows(task: StdlibText) -> Batch:
    return task.splits["train"].take(torch.tensor([0, 500, 9000]))


def slow_cross_entropy(log_probs: Tensor, targets: Tensor) -> float:
    losses = [-row[target].item() for row, target in zip(log_probs.flatten(0, 1), targets.flatten().tolist(), strict=True)]
    return sum(losses) / len(losses)


def test_cross_entropy_of_tokens_is_the_mean_over_all_positions_that_have_a_label():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([[1, 4, -100], [0, -100, 2]])

    loss = label_cross_entropy(logits, labels)

    log_probs = logits.log_softmax(dim=-1)
    assert loss.item() == pytest.approx(-(log_probs[0, 0, 1] + log_probs[0, 1, 4] + log_probs[1, 0, 0] + log_probs[1, 2, 2]).item() / 4)


def test_cross_entropy_of_rows_is_bit_for_bit_what_pytorch_computes():
    logits, labels = torch.randn(33, 10, generator=torch.Generator().manual_seed(0)), torch.arange(33) % 10

    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none").sum() / 33

    assert torch.equal(label_cross_entropy(logits, labels), expected)


def test_supervised_training_goes_down_the_gradient_of_the_next_tokens_cross_entropy(task):
    method, batch, reference = new("supervised", task, {"learning_rate": 0.5}), rows(task), network(1)
    expected = slow_cross_entropy(reference(batch.inputs).log_softmax(dim=-1), batch.targets)
    torch.nn.functional.cross_entropy(reference(batch.inputs).flatten(0, 1), batch.targets.flatten()).backward()

    loss = next(iter(method.phases())).step(batch)["loss"]

    assert loss.item() == pytest.approx(expected, rel=1e-10)
    for ours, theirs in zip(method.student.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(ours, theirs - 0.5 * theirs.grad, atol=1e-12)


def test_distillation_of_tokens_is_the_mean_of_their_divergences(task):
    teacher = network(2).eval().requires_grad_(False)
    method, batch = new("vanilla-kd", task, {"temperature": 2.0, "ce_weight": 0.25, "kd_weight": 0.5}, (teacher,)), rows(task)
    p, q = ((model(batch.inputs) / 2).log_softmax(dim=-1).detach() for model in (teacher, network(1)))
    ce = slow_cross_entropy(network(1)(batch.inputs).log_softmax(dim=-1), batch.targets)

    terms = next(iter(method.phases())).step(batch)

    kd = 4 * (p.exp() * (p - q)).sum(dim=-1).mean().item()
    assert terms["loss/teacher"].item() == pytest.approx(kd, rel=1e-10)
    assert terms["loss"].item() == pytest.approx(0.25 * ce + 0.5 * kd, rel=1e-10)


def test_the_average_of_several_language_models_is_no_reference_since_it_writes_no_text(task):
    teachers = tuple(network(seed).eval().requires_grad_(False) for seed in (2, 3))

    one, two = new("vanilla-kd", task, {}, teachers[:1]), new("vanilla-kd", task, {}, teachers)

    assert one.reference() is teachers[0]
    assert two.reference() is None
    with torch.no_grad():
        assert two.diagnostics().metrics["teacher_logit_std"] > 0


def test_logits_of_every_token_of_a_text_are_not_kept():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "vanilla-kd", "task": "stdlib-text", "teachers": [TEACHER], "settings": {"cache_targets": True}})

    assert str(refused.value) == (
        "settings.cache_targets: must be off for a language model: a row of logits for each token of the text would be kept."
    )
