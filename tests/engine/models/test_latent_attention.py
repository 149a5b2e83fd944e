"""Latent attention: its two forms, what it keeps while decoding, and how it is built."""

import pytest
import torch
from torch import Tensor

from engine.errors import ModelError
from engine.models.build import build
from engine.models.configs import LatentSizes
from engine.models.language import CausalLM
from engine.models.latent_attention import LatentAttention, latent_layers, rotated

SIZES = [
    LatentSizes(q_rank=12, kv_rank=10, nope=4, rope=4, value=8),
    LatentSizes(q_rank=5, kv_rank=3, nope=6, rope=2, value=3),
    LatentSizes(q_rank=7, kv_rank=16, nope=8, rope=0, value=8),
]
CONFIG = {
    "vocabulary": 11,
    "width": 16,
    "layers": 3,
    "heads": 4,
    "kv_heads": 2,
    "positions": 32,
    "mlp_width": 24,
    "latent": [SIZES[0].model_dump(), None, SIZES[1].model_dump()],
}


def layer(sizes: LatentSizes, *, norm_eps: float | None = None, seed: int = 0) -> LatentAttention:
    torch.manual_seed(seed)
    return LatentAttention(width=16, heads=4, sizes=sizes, layer=0, rope_theta=100.0, norm_eps=norm_eps).double()


def model(**changes: object) -> CausalLM:
    """With weights large enough that attention is far from uniform."""
    torch.manual_seed(0)
    built = build("latent_llama", {**CONFIG, **changes}).double()
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.dim() == 2:
                parameter.mul_(20)
    assert isinstance(built, CausalLM)
    return built


def slow(attention: LatentAttention, x: Tensor, positions: Tensor) -> Tensor:
    """One query, head and key at a time, with the published layout of RoPE: pairs regrouped to [evens, odds], then rotate_half."""
    sizes, heads = attention.sizes, attention.heads
    down, up = attention.kv_down.weight, attention.kv_up.weight

    def turn(vector: Tensor, position: int) -> Tensor:
        half = sizes.rope // 2
        grouped = torch.cat([vector[0::2], vector[1::2]])
        angles = torch.tensor([position * 100.0 ** (-2 * i / sizes.rope) for i in range(half)] * 2, dtype=torch.float64)
        return grouped * angles.cos() + torch.cat([-grouped[half:], grouped[:half]]) * angles.sin()

    rows = []
    for t, token in enumerate(x):
        q = attention.q_up.weight @ (attention.q_down.weight @ token)
        outputs = []
        for head in range(heads):
            q_head = q[head * (sizes.nope + sizes.rope) : (head + 1) * (sizes.nope + sizes.rope)]
            q_full = torch.cat([q_head[: sizes.nope], turn(q_head[sizes.nope :], int(positions[t]))])
            scores, values = [], []
            for s in range(t + 1):
                c, k_rope = (down @ x[s])[: sizes.kv_rank], (down @ x[s])[sizes.kv_rank :]
                kv = up[head * (sizes.nope + sizes.value) : (head + 1) * (sizes.nope + sizes.value)] @ c
                key = torch.cat([kv[: sizes.nope], turn(k_rope, int(positions[s]))])
                scores.append(q_full @ key / (sizes.nope + sizes.rope) ** 0.5)
                values.append(kv[sizes.nope :])
            outputs.append(torch.stack(scores).softmax(0) @ torch.stack(values))
        rows.append(attention.o_proj.weight @ torch.cat(outputs))
    return torch.stack(rows)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_it_computes_what_the_equations_say(sizes):
    attention, x, positions = layer(sizes), torch.randn(6, 16, dtype=torch.float64), torch.arange(3, 9)

    out, _ = attention(x[None], position_ids=positions[None])

    assert torch.allclose(out[0], slow(attention, x, positions), atol=1e-12, rtol=0)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_absorbed_and_the_expanded_form_give_the_same_heads(sizes):
    attention, x, positions = layer(sizes), torch.randn(2, 7, 16, dtype=torch.float64), torch.arange(7)[None]
    parts = (*attention.queries(x, positions), *attention.latents(x, positions))
    some = torch.ones(2, 1, 7, 7, dtype=torch.bool).tril()
    some[1, :, 3:, 1] = False

    for mask in (None, some):
        absorbed, expanded = attention.absorbed(*parts, mask), attention.expanded(*parts, mask)
        assert absorbed.shape == (2, 4, 7, sizes.value)
        assert torch.allclose(absorbed, expanded, atol=1e-12, rtol=0)


def test_decoding_from_the_cache_equals_the_whole_pass():
    net, ids = model(), torch.randint(11, (3, 12))
    mask, cache = torch.ones_like(ids), net.new_cache()
    whole = net(ids)

    for start, stop in ((0, 5), (5, 8), *((place, place + 1) for place in range(8, 12))):
        logits = net.decode(ids[:, start:stop], mask[:, :stop], cache)
        assert torch.allclose(logits, whole[:, stop - 1], atol=1e-11, rtol=0)


def test_padding_on_the_left_changes_nothing():
    net, ids = model(), torch.randint(11, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    alone, cache = net(ids[1:, 4:]), net.new_cache()

    padded = net(ids, mask)
    net.decode(ids[:, :6], mask[:, :6], cache)
    for place in range(6, 9):
        decoded = net.decode(ids[:, place : place + 1], mask[:, : place + 1], cache)

    assert torch.allclose(padded[1:, 4:], alone, atol=1e-12, rtol=0)
    assert torch.allclose(decoded[1], alone[0, -1], atol=1e-12, rtol=0)


def test_the_cache_holds_the_latent_and_the_rotated_key_and_nothing_else():
    net, ids = model(), torch.randint(11, (2, 5))
    cache, seen = net.new_cache(), {}
    first = latent_layers(net)[0]
    first.register_forward_pre_hook(lambda module, args, kwargs: seen.update(x=kwargs["hidden_states"]), with_kwargs=True)
    net.decode(ids, torch.ones_like(ids), cache)

    with torch.no_grad():  # decoding runs in inference mode
        c, k_rope = first.latents(seen["x"], torch.arange(5)[None])

    assert torch.equal(cache.layers[0].keys, c)
    assert torch.equal(cache.layers[0].values, k_rope)
    # Layer 1 has plain attention: two heads of four numbers, keys and values.
    assert [layer.keys.shape[1:] + layer.values.shape[1:] for layer in cache.layers] == [
        (1, 5, 10, 1, 5, 4),
        (2, 5, 4, 2, 5, 4),
        (1, 5, 3, 1, 5, 2),
    ]


def test_positions_far_away_are_turned_by_exact_angles_in_low_precision_too():
    x, positions = torch.randn(1, 1, 3, 8), torch.tensor([[1000, 4001, 30011]])

    low = rotated(x.bfloat16(), positions, 10000.0)

    assert low.dtype is torch.bfloat16
    assert torch.allclose(low.double(), rotated(x.bfloat16().double(), positions, 10000.0), atol=0.03)


def test_turning_keeps_lengths_and_inner_products_depend_on_the_distance_only():
    q, k = torch.randn(2, 1, 1, 1, 6, dtype=torch.float64)

    def product(at: int, other: int) -> Tensor:
        return (rotated(q, torch.tensor([[at]]), 50.0) * rotated(k, torch.tensor([[other]]), 50.0)).sum()

    assert torch.allclose(rotated(q, torch.tensor([[9]]), 50.0).norm(), q.norm())
    assert torch.allclose(product(3, 1), product(13, 11))
    assert not torch.allclose(product(3, 1), product(4, 1))


def test_with_norms_the_cached_latent_has_a_mean_square_of_one():
    attention = layer(SIZES[0], norm_eps=1e-9)

    c, _ = attention.latents(torch.randn(1, 4, 16, dtype=torch.float64), torch.arange(4)[None])

    assert torch.allclose(c.square().mean(dim=-1), torch.ones(1, 1, 4, dtype=torch.float64), atol=1e-5)


def test_every_projection_learns():
    net = model()

    net(torch.randint(11, (2, 6))).square().mean().backward()

    for attention in latent_layers(net).values():
        assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in attention.parameters())


def test_only_the_layers_that_are_named_have_latent_attention():
    assert list(latent_layers(model())) == [0, 2]
    assert latent_layers(model(latent=[None] * 3)) == {}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"latent": [None]},
            "The configuration of latent_llama does not fit at '': Value error, latent must have an entry for each of the 3 layers; got 1;",
        ),
        (
            {"latent": [{**SIZES[0].model_dump(), "rope": 3}, None, None]},
            "The configuration of latent_llama does not fit at 'latent.0.rope': Input should be a multiple of 2; got 3.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, sentence):
    with pytest.raises(ModelError) as refused:
        build("latent_llama", {**CONFIG, **changes})

    assert str(refused.value).startswith(sentence)


def test_the_epsilon_of_the_norms_is_that_of_the_configuration():
    net = model(norm_eps=0.25)

    assert {float(part.variance_epsilon) for part in net.modules() if hasattr(part, "variance_epsilon")} == {0.25}
