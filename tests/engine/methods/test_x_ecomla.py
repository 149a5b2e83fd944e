"""X-EcoMLA's losses by hand, its steps and pages on a text of two sentences, and the settings that do not fit together."""

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.errors import SpecError
from engine.method import Batch, Length, MicroBatch, Position, RunContext
from engine.methods.x_ecomla.method import XEcoMLA, distillation_kl, preference_loss, sequence_log_prob
from engine.models.language import CausalLM
from engine.run.state import seal
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.language import LanguageTask
from engine.tasks.vocabulary import Characters, Vocabulary
from tests.engine.methods.ecomla_bench import SYMBOLS, source

TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. " * 4
WINDOW = 8
REF = f"run:{uuid.UUID(int=1)}"


# Losses


def test_the_kl_is_that_of_every_position_and_both_reductions_differ_by_the_length():
    student, teacher = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    total = 0.0
    for row in range(3):
        for place in range(5):
            p, q = teacher[row, place].exp(), student[row, place].exp()
            p, q = p / p.sum(), q / q.sum()
            total += sum(float(p[v]) * math.log(float(p[v] / q[v])) for v in range(7))

    mean = distillation_kl(student_logits=student, teacher_logits=teacher)
    per_row = distillation_kl(student_logits=student, teacher_logits=teacher, reduction="batch_mean")

    assert float(mean) == pytest.approx(total / 15, abs=1e-12)
    assert float(per_row) == pytest.approx(total / 3, abs=1e-12)


def test_the_gradients_of_both_losses_are_right():
    student, teacher = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    margin, reference = torch.randn(2, 5, dtype=torch.float64)

    assert torch.autograd.gradcheck(lambda logits: distillation_kl(student_logits=logits, teacher_logits=teacher), student.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda value: preference_loss(margin=value, reference_margin=reference, beta=0.3), margin.requires_grad_()
    )


def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient():
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)

    loss = distillation_kl(student_logits=logits, teacher_logits=logits.detach())
    loss.backward()

    assert float(loss.detach()) == pytest.approx(0, abs=1e-15)
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-16


def test_the_preference_loss_by_hand():
    loss = preference_loss(margin=torch.tensor([1.0, 3.0]), reference_margin=torch.tensor([1.0, 1.0]), beta=0.5)

    assert loss.tolist() == pytest.approx([math.log(2), math.log(1 + math.exp(-1))])


def test_a_sequences_log_probability_is_the_sum_over_its_real_completion_tokens():
    model = source()
    ids = torch.randint(SYMBOLS, (2, 7))
    mask, completion_mask = torch.ones_like(ids), torch.ones(2, 3, dtype=torch.int64)
    mask[0, :2] = 0  # the first prompt has two tokens only
    mask[1, 6] = completion_mask[1, 2] = 0  # the second completion ends early

    found = sequence_log_prob(model, ids, mask, completion_mask).detach()

    first = model(ids[:1, 2:]).detach().log_softmax(-1)[0]
    second = model(ids[1:, :6]).detach().log_softmax(-1)[0]
    assert float(found[0]) == pytest.approx(sum(float(first[i - 3, ids[0, i]]) for i in (4, 5, 6)), abs=1e-10)
    assert float(found[1]) == pytest.approx(sum(float(second[i - 1, ids[1, i]]) for i in (4, 5)), abs=1e-10)


# The method


class Sentences(LanguageTask):
    """Two sentences, again and again."""

    card = replace(catalog.tasks()["stdlib-source"], classes=SYMBOLS, input_shape=(WINDOW,))
    window = WINDOW

    def texts(self) -> dict[str, str]:
        return {"train": TEXT, "validation": TEXT, "test": TEXT}

    def vocabulary_of(self, texts: Mapping[str, str]) -> Vocabulary:
        return Characters("".join(sorted(set(TEXT)))[: SYMBOLS - 1].ljust(SYMBOLS - 1, "~"))


@dataclass
class Bench:
    """A method built and sealed as the runner does it, with six steps, and what it tells."""

    method: XEcoMLA
    tables: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None = None, *, teacher: CausalLM | None = None) -> "Bench":
        options = {"kv_rank": 8, "batch_size": 4, "compared_ranks": [], "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.0}
        options |= {"dpo_prompt_tokens": 3, "dpo_completion_tokens": 4, "dpo_pairs": 6, "schedule": "constant"}
        tables: dict[str, Any] = {}
        lines: list[str] = []
        method = XEcoMLA(
            RunContext(
                task=Sentences(Sentences.card.options(evaluation_prompts=8, prompt_tokens=3, completion_tokens=4), torch.device("cpu")),
                settings=XEcoMLA.card.settings.model_validate({**options, **(settings or {})}),
                student=source(1).float().train(),
                teachers=((teacher or source(1)).float().eval().requires_grad_(False),),
                budget=Length(6, 10),
                device=torch.device("cpu"),
                generator=torch.Generator().manual_seed(0),
                position=Position(),
                micro=MicroBatch(),
                log=lines.append,
                save_table=tables.__setitem__,
                save_tensors=lambda name, tensors, meta: None,
            )
        )
        method.build()
        seal(method)
        return cls(method, tables, lines)

    def batch(self, rows: int = 4) -> Batch:
        return self.method.task.splits["train"].take(torch.arange(rows))


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module: nn.Module, before: Mapping[str, Tensor]) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def test_the_loss_is_the_weighted_sum_of_the_kl_and_the_next_tokens_cross_entropy():
    method = Bench.of({"kl_weight": 0.5, "ce_weight": 2.0}).method
    batch = Bench.of().batch()
    student, teacher = (net(batch.inputs).detach().double() for net in (method.student, method.teacher))
    kl = (teacher.softmax(-1) * (teacher.log_softmax(-1) - student.log_softmax(-1))).sum(-1).mean()
    ce = -student.log_softmax(-1).gather(-1, batch.targets[..., None]).mean()

    terms = {name: term.detach() for name, term in method.step(batch).items()}

    assert float(terms["loss/teacher"]) == pytest.approx(float(kl), abs=1e-6)
    assert float(terms["loss/labels"]) == pytest.approx(float(ce), abs=1e-6)
    assert float(terms["loss"]) == pytest.approx(0.5 * float(kl) + 2 * float(ce), abs=1e-5)


def test_the_published_reduction_is_larger_by_the_tokens_of_a_row():
    one, other = Bench.of().method, Bench.of({"reduction": "batch_mean"}).method
    batch = Bench.of().batch()

    assert float(other.step(batch)["loss"].detach()) == pytest.approx(WINDOW * float(one.step(batch)["loss"].detach()), rel=1e-5)


def test_a_step_moves_every_weight_of_the_student_and_none_of_the_teacher():
    method = Bench.of().method
    student, teacher = weights(method.student), weights(method.teacher)

    method.step(Bench.of().batch())

    assert changed(method.student, student) == set(student)
    assert changed(method.teacher, teacher) == set()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


def test_with_the_rest_frozen_only_the_converted_layers_attention_is_trained():
    method = Bench.of({"freeze_non_mla": True, "mla_layers": [1]}).method
    before = weights(method.student)

    method.step(Bench.of().batch())

    names = ("q_down", "q_up", "kv_down", "kv_up", "o_proj")
    assert changed(method.student, before) == {f"body.model.layers.1.self_attn.{name}.weight" for name in names}


def test_training_brings_the_student_to_its_teacher():
    bench = Bench.of({"optimizer": "adamw", "learning_rate": 0.01})
    for _ in range(30):
        bench.method.step(bench.batch(rows=90))  # the text repeats itself after 86 characters

    assert bench.method.cost_and_kl(bench.method.student)["kl"] < 0.6 * bench.method.after["kl"]


def test_pairs_are_samples_of_the_student_ranked_by_the_teacher():
    bench = Bench.of({"dpo_steps": 3}, teacher=source(2))
    method = bench.method
    method.make_pairs()
    pairs = method.pairs

    said = sequence_log_prob(method.teacher, *(pairs[name].flatten(0, 1) for name in ("ids", "mask", "completion_mask"))).view(6, 2)

    assert pairs["ids"].shape == (6, 2, 7)
    assert torch.equal(pairs["ids"][:, 0, :3], pairs["ids"][:, 1, :3])
    assert torch.allclose(pairs["teacher"], said, atol=1e-4)
    assert (pairs["teacher"][:, 0] >= pairs["teacher"][:, 1]).all()
    assert (pairs["teacher"][:, 0] > pairs["teacher"][:, 1]).any()
    assert [item["label"].split(",")[0] for item in bench.tables["preference_pairs"]["items"][:2]] == ["preferred", "other"]
    assert len(bench.tables["preference_pairs"]["items"][0]["prompt"]) == 3


def test_preferences_begin_at_the_reference_and_move_towards_what_the_teacher_prefers():
    method = Bench.of({"dpo_steps": 20, "dpo_beta": 0.5, "dpo_learning_rate": 0.05}, teacher=source(2)).method
    method.make_pairs()
    batch = Batch(dict(method.pairs), None, torch.arange(6))

    terms = [{name: term.detach() for name, term in method.dpo_step(batch).items()} for _ in range(20)]

    assert float(terms[0]["loss"]) == pytest.approx(math.log(2), abs=1e-5)
    assert float(terms[0]["margin"]) == pytest.approx(0, abs=1e-4)
    assert float(terms[-1]["loss"]) < 0.9 * math.log(2)
    assert float(terms[-1]["margin"]) > 0


def test_drawn_pairs_depend_on_the_generator_alone():
    method = Bench.of({"dpo_steps": 3}).method
    method.make_pairs()

    one, same, other = (method.draw_pairs(0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert torch.equal(one.index, same.index)
    assert not torch.equal(one.index, other.index)
    assert torch.equal(one.inputs["ids"], method.pairs["ids"][one.index])


def test_the_conversion_is_told_in_a_line_and_in_pictures():
    bench = Bench.of({"compared_ranks": [4, 16]})
    bench.method.tell_conversion()

    # Two layers of 2·2·6 numbers, then of 8 + 2.
    kl = bench.method.after["kl"]
    assert bench.lines == [
        (
            "Converted 2 layers: 20 numbers of a token are cached in place of 48, 2.40 times less. "
            f"KL(teacher ‖ student) before training: {kl:.4f} nats a token."
        )
    ]
    assert set(bench.tables) == {"conversion", "ranks", "retained_energy", "spectrum_q", "spectrum_kv", "compression_quality"}
    assert bench.tables["ranks"]["series"] == {"queries": [16, 16], "keys and values": [8, 8]}
    kept, dropped = (bench.tables["spectrum_kv"]["series"][f"layer 0, {part}"] for part in ("kept", "dropped"))
    assert (kept["x"][0], kept["x"][-1], dropped["x"][0], dropped["x"][-1]) == (1, 8, 9, 16)
    assert kept["y"] + dropped["y"] == sorted(kept["y"] + dropped["y"], reverse=True)
    share = sum(value**2 for value in kept["y"]) / sum(value**2 for value in kept["y"] + dropped["y"])
    assert bench.tables["retained_energy"]["series"]["keys and values"][0] == pytest.approx(share, rel=1e-5)
    groups = bench.tables["compression_quality"]["groups"]
    assert groups["source"] == {"x": [48.0], "y": [pytest.approx(0, abs=1e-6)]}  # it is its own teacher
    assert groups["other ranks, before training"]["x"] == [2 * (4 + 2), 2 * (16 + 2)]
    assert groups["other ranks, before training"]["y"][0] > kl > groups["other ranks, before training"]["y"][1]


def test_ranks_that_are_only_compared_do_not_change_the_run():
    one, other = Bench.of({"initialization": "random"}), Bench.of({"initialization": "random", "compared_ranks": [4, 8]})

    assert set(one.method.student.state_dict()) == set(other.method.student.state_dict())
    assert changed(one.method.student, weights(other.method.student)) == set()


def test_what_looks_wrong_is_said():
    method = Bench.of().method
    start = method.after["kl"]

    assert method.warnings(start) == []
    method.position.step = 1  # of six: past the first tenth
    assert method.warnings(0.9 * start) == []
    assert method.warnings(start) == [
        (
            f"The KL has not fallen after a tenth of the steps: {start:.3f} now, {start:.3f} before training. "
            "Was the learning rate carried over from the other reduction?"
        )
    ]
    method.after["kl"] = 3.2
    sentence = "The KL before training, 3.200, is near that of a uniform guess, 3.434: the conversion kept little of the source."
    assert method.warnings(1.0) == [sentence]
    assert method.diagnostics().tables["warnings"]["items"] == [{"text": sentence}]


def test_a_rank_that_changes_nothing_is_said():
    method = Bench.of({"compared_ranks": [4, 8]}).method

    assert method.warnings(0.0) == []
    method.compared = {rank: {"elements": each["elements"], "kl": 0.5} for rank, each in method.compared.items()}
    assert method.warnings(0.0) == ["The KL before training is 0.500 at every rank that was compared: the rank changes nothing."]


# What is refused


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rope_width": 7}, "settings.rope_width: must be even, because positions turn pairs of numbers; got 7."),
        (
            {"kl_weight": 0.0},
            "settings.kl_weight: must be greater than 0 where ce_weight is 0, or there is nothing to train on; got 0.",
        ),
        (
            {"fixed_rank_ends": True},
            "settings.fixed_rank_ends: has no meaning with rank_choice fixed, which fixes all layers; choose energy.",
        ),
        (
            {"dpo_steps": 1, "dpo_prompt_tokens": 40, "dpo_completion_tokens": 30},
            "settings.dpo_completion_tokens: must leave prompt and completion within a row's 64 tokens; got 40 + 30.",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "x-ecomla", "task": "stdlib-source", "student": REF, "teachers": [REF], "settings": settings})

    assert str(refused.value) == sentence
