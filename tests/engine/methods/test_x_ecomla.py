"""X-EcoMLA: the conversion against slow linear algebra, its losses by hand, and runs on a text of two sentences."""

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention, repeat_kv

from engine.errors import SpecError
from engine.events import Artifact, Evaluation, Log
from engine.method import Batch, Length, MicroBatch, Position, RunContext
from engine.methods.x_ecomla.conversion import (
    Plan,
    Ranks,
    SourceLayer,
    convert,
    convertible,
    energy,
    rank_for_energy,
    sources_of,
    svd_weights,
)
from engine.methods.x_ecomla.method import XEcoMLA, distillation_kl, preference_loss, sequence_log_prob
from engine.models.build import build
from engine.models.configs import LatentSizes
from engine.models.language import CausalLM
from engine.models.latent_attention import LatentAttention, latent_layers
from engine.run.export import load_model
from engine.run.runner import execute
from engine.run.state import seal
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.language import LanguageTask
from engine.tasks.vocabulary import Characters, Vocabulary
from tests.engine.tiny import Watcher

WIDTH, HEADS, KV_HEADS, HEAD = 16, 4, 2, 6
TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. " * 4
SYMBOLS, WINDOW = 31, 8
SOURCE: dict[str, Any] = {
    "vocabulary": SYMBOLS,
    "width": WIDTH,
    "layers": 2,
    "heads": HEADS,
    "kv_heads": KV_HEADS,
    "head_width": HEAD,
    "mlp_width": 20,
    "positions": 64,
}
REF = f"run:{uuid.UUID(int=1)}"


def source(seed: int = 0, **changes: Any) -> CausalLM:
    """A Llama in float64 whose attention is far from uniform."""
    torch.manual_seed(seed)
    model = build("llama", {**SOURCE, **changes}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(15)
    assert isinstance(model, CausalLM)
    return model


def attention_of(model: CausalLM, layer: int = 0) -> LlamaAttention:
    found = model.body.model.layers[layer].self_attn
    assert isinstance(found, LlamaAttention)
    return found


def decomposed(model: CausalLM) -> SourceLayer:
    return SourceLayer.of(attention_of(model), HEADS, KV_HEADS)


def rows_of(weight: Tensor, rope: int) -> Tensor:
    """The rows that a head keeps: its first HEAD − rope and its last rope, one head after the other."""
    kept = []
    for head in range(HEADS):
        rows = weight[head * HEAD : (head + 1) * HEAD]
        kept += [rows[i] for i in range(HEAD - rope)] + [rows[i] for i in range(HEAD - rope, HEAD)]
    return torch.stack(kept)


def truncated(weight: Tensor, rank: int) -> Tensor:
    """The nearest matrix of this rank, one singular triple after the other."""
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    return sum((s[i] * torch.outer(u[:, i], vt[i]) for i in range(rank)), torch.zeros_like(weight))


# The conversion


@pytest.mark.parametrize("rank", [3, 9, 16])
def test_the_queries_are_the_selected_rows_of_the_truncated_projection(rank):
    model = source()
    weights = svd_weights(decomposed(model), LatentSizes(q_rank=rank, kv_rank=4, nope=4, rope=2, value=HEAD), HEADS)

    product = weights["q_up"] @ weights["q_down"]

    w_q = attention_of(model).q_proj.weight.detach()
    assert torch.allclose(product, rows_of(truncated(w_q, rank), rope=2), atol=1e-12, rtol=0)
    if rank == 16:  # the rank of W_Q: nothing is lost
        assert torch.allclose(product, rows_of(w_q, rope=2), atol=1e-12, rtol=0)


@pytest.mark.parametrize("rank", [5, 16])
def test_keys_and_values_come_from_one_truncation_of_both(rank):
    model, rope = source(), 2
    old = attention_of(model)
    weights = svd_weights(decomposed(model), LatentSizes(q_rank=4, kv_rank=rank, nope=4, rope=rope, value=HEAD), HEADS)
    repeated = [
        torch.cat([weight[g * HEAD : (g + 1) * HEAD] for g in range(KV_HEADS) for _ in range(HEADS // KV_HEADS)])
        for weight in (old.k_proj.weight.detach(), old.v_proj.weight.detach())
    ]
    joint = truncated(torch.cat(repeated), rank)
    keys, values = joint[: HEADS * HEAD], joint[HEADS * HEAD :]

    product = weights["kv_up"] @ weights["kv_down"][:rank]

    wanted = []
    for head in range(HEADS):
        wanted += [keys[head * HEAD : head * HEAD + 4], values[head * HEAD : (head + 1) * HEAD]]
    assert torch.allclose(product, torch.cat(wanted), atol=1e-12, rtol=0)


def test_the_shared_key_has_the_last_rows_of_the_mean_over_the_original_key_heads():
    model = source()
    w_k = attention_of(model).k_proj.weight.detach()

    weights = svd_weights(decomposed(model), LatentSizes(q_rank=4, kv_rank=5, nope=4, rope=2, value=HEAD), HEADS)

    assert torch.allclose(weights["kv_down"][5:], (w_k[HEAD - 2 : HEAD] + w_k[2 * HEAD - 2 :]) / 2, atol=1e-15, rtol=0)


def test_without_positions_a_layer_of_full_rank_is_the_old_one():
    model = source()
    old, sizes = attention_of(model), LatentSizes(q_rank=16, kv_rank=16, nope=HEAD, rope=0, value=HEAD)
    new = LatentAttention(width=WIDTH, heads=HEADS, sizes=sizes, layer=0, rope_theta=10000.0).double()
    with torch.no_grad():
        for name, weight in svd_weights(decomposed(model), sizes, HEADS).items():
            assert getattr(new, name).weight.shape == weight.shape
            getattr(new, name).weight.copy_(weight)
        new.o_proj.weight.copy_(old.o_proj.weight)
    x = torch.randn(2, 7, WIDTH, dtype=torch.float64)
    q, k, v = (each(x).unflatten(-1, (-1, HEAD)).transpose(1, 2) for each in (old.q_proj, old.k_proj, old.v_proj))

    out, _ = new(x, position_ids=torch.zeros(1, 7, dtype=torch.int64))

    scores = q @ repeat_kv(k, 2).transpose(2, 3) / HEAD**0.5
    scores = scores.masked_fill(torch.ones(7, 7, dtype=torch.bool).triu(1), -math.inf)
    heads = scores.softmax(dim=-1) @ repeat_kv(v, 2)
    assert torch.allclose(out, old.o_proj(heads.transpose(1, 2).flatten(2)), atol=1e-10, rtol=0)


def converted(model: CausalLM, ranks: Ranks, **plan: Any) -> tuple[CausalLM, dict[str, Any]]:
    body = convertible(model, plan.get("layers", ()))
    return convert(body, sources_of(body, plan.get("layers", ())), Plan(ranks=ranks, **plan))


@pytest.mark.parametrize("tied", [False, True])
def test_everything_but_the_converted_attention_is_copied_and_nothing_is_shared(tied):
    model = source(tied=tied)
    new, config = converted(model, Ranks(q=16, kv=8), layers=(1,))
    old, made = model.state_dict(), new.state_dict()

    kept = [name for name in made if "layers.1.self_attn" not in name] + ["body.model.layers.1.self_attn.o_proj.weight"]
    assert all(torch.equal(made[name], old[name]) for name in kept)
    assert not {tensor.data_ptr() for tensor in made.values()} & {tensor.data_ptr() for tensor in old.values()}
    assert config["latent"] == [None, {"q_rank": 16, "kv_rank": 8, "nope": 4, "rope": 2, "value": 6}]
    assert config["tied"] is tied
    again = build("latent_llama", json.loads(json.dumps(config))).double()
    again.load_state_dict(made)
    ids = torch.randint(SYMBOLS, (2, 9))
    assert torch.equal(again(ids), new(ids))


def test_random_weights_have_the_same_shapes_and_the_old_output_projection():
    model = source()
    svd, _ = converted(model, Ranks(q=16, kv=8))
    random, _ = converted(model, Ranks(q=16, kv=8), how="random")

    layer = latent_layers(random)[0]
    assert {name: tensor.shape for name, tensor in random.state_dict().items()} == {n: t.shape for n, t in svd.state_dict().items()}
    assert torch.equal(layer.o_proj.weight, attention_of(model).o_proj.weight)
    # nn.Linear's default is uniform in ±1/√inputs.
    for projection in (layer.q_down, layer.q_up, layer.kv_down, layer.kv_up):
        bound = projection.in_features**-0.5
        assert 0.8 * bound < float(projection.weight.detach().abs().max()) <= bound


def test_a_qwens_head_norms_go_into_the_rows():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=SYMBOLS,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD,
        intermediate_size=20,
        max_position_embeddings=64,
    )
    model = CausalLM(Qwen3ForCausalLM(config)).double()
    old = model.body.model.layers[0].self_attn
    with torch.no_grad():
        old.q_norm.weight.copy_(torch.rand(HEAD) + 1)
        old.k_norm.weight.copy_(torch.rand(HEAD) + 1)

    new, _ = converted(model, Ranks(q=16, kv=16))

    layer = latent_layers(new)[0]
    scaled = (old.q_proj.weight.unflatten(0, (HEADS, HEAD)) * old.q_norm.weight[:, None]).flatten(0, 1)
    assert torch.allclose(layer.q_up.weight @ layer.q_down.weight, rows_of(scaled, rope=2), atol=1e-12, rtol=0)
    mean = (old.k_proj.weight.unflatten(0, (KV_HEADS, HEAD)) * old.k_norm.weight[:, None]).mean(dim=0)
    assert torch.allclose(layer.kv_down.weight[16:], mean[4:], atol=1e-15, rtol=0)
    with pytest.raises(SpecError) as refused:
        convertible(model, (0,))
    assert str(refused.value) == "settings.mla_layers: must be empty for a Qwen3, all of whose layers are converted; got [0]."


# Ranks


def test_the_rank_for_an_energy_by_hand():
    singular_values = torch.tensor([3.0, 2.0, 1.0, 1.0])  # squares 9, 4, 1, 1 of 15

    assert energy(singular_values).tolist() == pytest.approx([9 / 15, 13 / 15, 14 / 15, 1.0])
    assert rank_for_energy(singular_values, 0.5, 1) == 1  # none is within the half, but one rank is the least
    assert rank_for_energy(singular_values, 0.9, 1) == 2
    assert rank_for_energy(singular_values, 0.95, 1) == 3  # one fewer than the smallest rank that reaches the share
    assert rank_for_energy(singular_values, 1.0, 1) == 4
    assert rank_for_energy(singular_values, 0.9, 8) == 8


def test_all_of_twenty_values_are_twenty_four_by_the_rule_and_twenty_in_the_factors():
    wide = source(width=20, heads=2, kv_heads=2, head_width=16)  # W_Q has 32 rows of 20

    layer = SourceLayer.of(attention_of(wide), 2, 2)

    assert rank_for_energy(layer.queries.s, 1.0, 8) == 24
    assert Ranks(q=8, kv=8, energies=(1.0, 1.0)).of(layer, end=False) == (20, 20)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30), st.floats(0.01, 1), st.floats(0.01, 1), st.sampled_from([1, 4, 8]))
def test_a_larger_share_never_has_a_smaller_rank(values, one, other, divisor):
    singular_values = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    low, high = (rank_for_energy(singular_values, share, divisor) for share in sorted((one, other)))

    assert (energy(singular_values).diff() >= 0).all()
    assert low <= high
    assert low % divisor == high % divisor == 0
    assert rank_for_energy(singular_values, 1.0, divisor) == -(-len(values) // divisor) * divisor


def test_each_layer_has_its_own_rank_by_energy_and_the_ends_may_keep_the_fixed_one():
    model = source(layers=3)
    with torch.no_grad():  # the middle layer's keys and values have rank one
        for projection in (attention_of(model, 1).k_proj, attention_of(model, 1).v_proj):
            projection.weight.copy_(torch.outer(torch.ones(len(projection.weight)), torch.arange(1.0, WIDTH + 1)))

    free, _ = converted(model, Ranks(q=4, kv=4, energies=(1.0, 0.9), divisor=4))
    ends, _ = converted(model, Ranks(q=4, kv=4, energies=(1.0, 0.9), divisor=4, fixed_ends=True))

    assert [layer.sizes.kv_rank for layer in latent_layers(free).values()][1] == 4
    assert all(layer.sizes.kv_rank > 4 for number, layer in latent_layers(free).items() if number != 1)
    assert [(layer.sizes.q_rank, layer.sizes.kv_rank) for layer in latent_layers(ends).values()] == [(4, 4), (16, 4), (4, 4)]


# What is refused


def llama_with(**changes: Any) -> CausalLM:
    sizes = {"vocab_size": 7, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return CausalLM(LlamaForCausalLM(LlamaConfig(**{**sizes, **changes})))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            lambda: build("gpt2", {"vocabulary": 7, "width": 8, "layers": 1, "heads": 2, "positions": 8}),
            "student: must be a Llama or a Qwen3, whose attention x-ecomla converts; got a GPT2LMHeadModel.",
        ),
        (
            lambda: converted(source(), Ranks(q=16, kv=8), layers=(1,))[0],
            "student: has latent attention already, first in layer 1; choose the model that it was made from.",
        ),
        (
            lambda: llama_with(attention_bias=True),
            "student: has biases in its projections, which latent attention can not hold; choose a model without.",
        ),
        (
            lambda: llama_with(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}),
            "student: has rotary positions of the kind 'linear'; x-ecomla converts those of the kind 'default'.",
        ),
    ],
)
def test_a_source_that_the_layer_can_not_represent_is_refused(model, sentence):
    with pytest.raises(SpecError) as refused:
        convertible(model())

    assert str(refused.value) == sentence


def test_a_layer_that_is_not_there_and_a_key_as_wide_as_a_head_are_refused():
    with pytest.raises(SpecError) as absent:
        convertible(source(), (0, 2))
    with pytest.raises(SpecError) as wide:
        converted(source(), Ranks(q=16, kv=8), rope=6)

    assert str(absent.value) == "settings.mla_layers: must name layers from 0 to 1; got 2."
    assert str(wide.value) == "settings.rope_width: must be less than the 6 numbers of a head; got 6."


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


# A run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A source and a larger teacher, trained for a few steps, by reference."""
    folder, found = tmp_path_factory.mktemp("source"), {}
    for place, student in enumerate(("llama-2x64", "llama-3x96"), start=1):
        settings = {"learning_rate": 3e-3, "batch_size": 8}
        outcome = execute(spec("supervised", settings, student=student, budget={"steps": 12}), Watcher(), folder / student)
        assert outcome.status == "succeeded", outcome.reason
        found[f"run:{uuid.UUID(int=place)}"] = folder / student / "student"
    return found


def spec(method: str, settings: Mapping[str, Any], **fields: Any) -> RunSpec:
    options = {"evaluation_prompts": 4, "completion_tokens": 4}
    base = {"method": method, "task": "stdlib-source", "task_options": options, "settings": dict(settings), "threads": 1}
    return RunSpec.parse({**base, "cadence": {"evaluate": 1000}, **fields})


def test_a_run_ends_with_a_latent_model_whose_cache_is_smaller_than_its_teachers(models, tmp_path):
    watcher, (student, teacher) = Watcher(), models
    settings = {"rank_choice": "energy", "kv_energy": 0.9, "q_energy": 0.95, "batch_size": 4, "compared_ranks": [8]}

    outcome = execute(
        spec("x-ecomla", settings, student=student, teachers=[teacher], budget={"steps": 4}), watcher, tmp_path, models=models
    )

    assert outcome.status == "succeeded", outcome.reason
    model, meta = load_model(tmp_path / "student")
    latent, cached = latent_layers(model), sum(sizes["kv_rank"] + sizes["rope"] for sizes in meta["config"]["latent"])
    assert (meta["builder"], sorted(latent)) == ("latent_llama", [0, 1])
    assert all(layer.sizes.kv_rank % 8 == 0 for layer in latent.values())
    [last] = [event for event in watcher.of(Evaluation) if (event.subject, event.split) == ("student", "test")]
    assert last.metrics["kv_bytes_per_token"] == last.metrics["kv_bytes_per_token_measured"] == 2 * cached
    # The teacher has three layers with three pairs of keys and values of sixteen numbers.
    assert last.metrics["kv_compression"] == pytest.approx(3 * 3 * 32 / cached)
    [validation] = [event for event in watcher.of(Evaluation) if (event.subject, event.split) == ("student", "validation")]
    assert validation.metrics["source_compression"] == pytest.approx(2 * 64 / cached)
    assert {event.name for event in watcher.of(Artifact)} >= {"conversion", "compression_quality", "spectrum_kv", "student"}
    assert next(event.text for event in watcher.of(Log)).startswith("Converted 2 layers: ")


def test_a_student_that_is_already_converted_ends_the_run_with_a_sentence(models, tmp_path):
    student, _ = models
    fields = {"teachers": [student], "budget": {"steps": 1}}
    settings = {"compared_ranks": [], "batch_size": 4}
    execute(spec("x-ecomla", settings, student=student, **fields), Watcher(), tmp_path / "first", models=models)
    again = f"run:{uuid.UUID(int=9)}"

    outcome = execute(
        spec("x-ecomla", settings, student=again, **fields),
        Watcher(),
        tmp_path / "second",
        models={**models, again: tmp_path / "first" / "student"},
    )

    assert (outcome.status, outcome.error) == ("failed", "student")
    assert outcome.reason == "student: has latent attention already, first in layer 0; choose the model that it was made from."
