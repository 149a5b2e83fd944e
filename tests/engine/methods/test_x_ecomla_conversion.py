"""X-EcoMLA's conversion of a Llama against slow linear algebra, its ranks by hand, and what can not be converted."""

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.models.llama.modeling_llama import repeat_kv

from engine.errors import SpecError
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
from engine.models.build import build
from engine.models.configs import LatentSizes
from engine.models.language import CausalLM
from engine.models.latent_attention import LatentAttention, latent_layers
from tests.engine.methods.ecomla_bench import HEAD, HEADS, KV_HEADS, SYMBOLS, WIDTH, attention_of, source


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
