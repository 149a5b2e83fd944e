"""The key-value cache by formula and as it is: the worked numbers of the specification, byte for byte."""

import json
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from engine.errors import ModelError
from engine.metrics.cards import METRICS
from engine.metrics.kv_cache import (
    LayerCache,
    attention,
    bytes_per_token,
    crossover,
    fixed_bytes,
    kv_report,
    latent,
    latent_expanded,
    layers_of,
    linear_attention,
    mamba2,
    measured_layers,
    total_bytes,
)
from engine.models.build import build
from engine.models.language import CausalLM
from engine.models.latent_attention import LatentAttention, latent_layers

GIB = 2**30
LLAMA_1B = attention(heads=32, kv_heads=8, key=64)
QWEN = attention(heads=16, kv_heads=8, key=128)
TINY: dict[str, Any] = {"vocabulary": 11, "width": 32, "layers": 2, "heads": 4, "positions": 64}
LATENT = {"q_rank": 32, "kv_rank": 8, "nope": 4, "rope": 4, "value": 8}


def language_model(builder: str, **changes: Any) -> CausalLM:
    built = build(builder, {**TINY, **({} if builder == "gpt2" else {"mlp_width": 40}), **changes})
    assert isinstance(built, CausalLM)
    return built


@pytest.mark.parametrize(
    ("layer", "layers", "elements", "token", "gib"),
    [
        (LLAMA_1B, 16, 1024, 32_768, 4.0),
        (attention(heads=32, kv_heads=32, key=64), 16, 4096, 131_072, 16.0),
        (attention(heads=32, kv_heads=1, key=64), 16, 128, 4096, 0.5),
        (latent(rank=512, rope=32), 16, 544, 17_408, 2.125),
        (latent(rank=128, rope=32), 16, 160, 5120, 0.625),
        (latent(rank=64, rope=32), 16, 96, 3072, 0.375),
        (latent(rank=48, rope=32), 16, 80, 2560, 0.3125),
        (QWEN, 28, 2048, 114_688, 14.0),
        (attention(heads=16, kv_heads=16, key=128), 28, 4096, 229_376, 28.0),
        (attention(heads=16, kv_heads=1, key=128), 28, 256, 14_336, 1.75),
        (latent(rank=256, rope=64), 28, 320, 17_920, 2.1875),
    ],
    ids=lambda value: value.mechanism if isinstance(value, LayerCache) else str(value),
)
def test_the_worked_sizes_in_bfloat16_at_128k_tokens(layer, layers, elements, token, gib):
    stack = [layer] * layers

    assert layer.elements == elements
    assert bytes_per_token(stack, 2) == token
    assert total_bytes(stack, 131_072, 2) / GIB == gib


@pytest.mark.parametrize(
    ("source", "converted", "share"),
    [
        (LLAMA_1B, latent(rank=512, rope=32), 0.53125),
        (LLAMA_1B, latent(rank=128, rope=32), 0.15625),
        (LLAMA_1B, latent(rank=64, rope=32), 0.09375),
        (LLAMA_1B, latent(rank=48, rope=32), 0.078125),
        (attention(heads=24, kv_heads=8, key=128), latent(rank=816, rope=64), 880 / 2048),
        (attention(heads=32, kv_heads=32, key=64), latent(rank=480, rope=32), 0.125),
        (QWEN, latent(rank=256, rope=64), 0.15625),
    ],
)
def test_the_worked_shares_of_the_original(source, converted, share):
    assert converted.bytes_per_token(2) / source.bytes_per_token(2) == share


def test_a_hybrid_stack_has_a_fixed_part_and_pays_off_from_a_length_on():
    kda = linear_attention(heads=16, key=128, value=128, channels=4096, kernel=4)
    hybrid, whole = [QWEN] * 7 + [kda] * 21, [QWEN] * 28

    assert bytes_per_token(hybrid, 2) == 28_672
    assert fixed_bytes(hybrid, 2) == 22_708_224
    assert round(total_bytes(hybrid, 131_072, 2) / GIB, 3) == 3.521
    assert round(total_bytes(hybrid, 131_072, 2) / total_bytes(whole, 131_072, 2), 4) == 0.2515
    length = crossover(hybrid, whole, 2)
    assert length == 22_708_224 / (114_688 - 28_672)
    assert total_bytes(hybrid, int(length), 2) >= total_bytes(whole, int(length), 2)
    assert total_bytes(hybrid, int(length) + 1, 2) < total_bytes(whole, int(length) + 1, 2)
    assert crossover(whole, hybrid, 2) is None


def test_a_window_bounds_the_tokens_that_are_kept():
    windowed = attention(heads=8, kv_heads=2, key=16, window=100)

    assert windowed.total(60, 2) == 60 * 2 * 2 * 16 * 2
    assert windowed.total(100, 2) == windowed.total(5000, 2) == 100 * 128


def test_the_other_formulas():
    assert latent_expanded(heads=32, nope=32, rope=32, value=64).elements == 32 * 128
    assert attention(heads=4, kv_heads=2, key=16, value=8).elements == 2 * 24
    # A state in float32 whatever the cache's format, a convolution in the cache's.
    assert mamba2(heads=8, width=64, state=128, channels=768, kernel=4).fixed_bytes(2) == 8 * 64 * 128 * 4 + 768 * 4 * 2
    assert linear_attention(heads=2, key=4, value=8, channels=6, kernel=3).total(10**6, 4) == 2 * 4 * 8 * 4 + 6 * 3 * 4


def test_batches_multiply_everything():
    stack = [latent(rank=8, rope=4), mamba2(heads=2, width=4, state=8, channels=16, kernel=4)]

    assert total_bytes(stack, 1000, 4, batch=3) == 3 * total_bytes(stack, 1000, 4)


@pytest.mark.parametrize(
    ("builder", "changes", "elements"),
    [
        ("gpt2", {}, [64, 64]),
        ("llama", {}, [64, 64]),
        ("llama", {"kv_heads": 2}, [32, 32]),
        ("llama", {"kv_heads": 1, "head_width": 6}, [12, 12]),
        ("latent_llama", {"latent": [LATENT, LATENT]}, [12, 12]),
        ("latent_llama", {"latent": [{**LATENT, "kv_rank": 24}, None], "kv_heads": 2}, [28, 32]),
    ],
)
def test_what_decoding_really_keeps_is_what_the_formula_says(builder, changes, elements):
    model = language_model(builder, **changes)

    assert [layer.elements for layer in layers_of(model)] == elements
    assert [(layer.elements, layer.conv) for layer in measured_layers(model)] == [(each, 0) for each in elements]


def test_a_report_tells_bytes_compression_and_totals():
    teacher = language_model("llama", kv_heads=2)
    student = language_model("latent_llama", latent=[LATENT, LATENT])

    metrics, tables = kv_report(student, teacher=teacher)

    assert metrics == {
        "kv_bytes_per_token": 2 * 12 * 2,
        "kv_bytes_per_token_measured": 2 * 12 * 2,
        "kv_fixed_bytes": 0,
        "kv_total_32k": 48 * 32768 / 2**20,
        "kv_compression": 32 / 12,
    }
    assert set(metrics) <= set(METRICS)
    assert set(tables) == {"kv_cache", "kv_layers", "kv_context"}
    assert len(json.dumps(tables, allow_nan=False)) < 10_000
    float32 = next(row for row in tables["kv_cache"]["cells"] if row[:2] == ["student", "float32"])
    assert float32[2:] == [96, 0, 0.09375, 0.75, 3.0, 12.0, 12 / 32, 32 / 12, 0.0]
    assert tables["kv_layers"]["series"]["teacher"] == [64, 64]
    assert tables["kv_layers"]["note"] == ""


def test_without_a_teacher_there_is_no_compression():
    metrics, tables = kv_report(language_model("gpt2"))

    assert metrics["kv_compression"] is None
    assert set(tables["kv_context"]["series"]) == {"student"}


class Expanding(LatentAttention):
    """Keeps keys and values of every head, as the published training code does."""

    def forward(self, hidden_states, position_embeddings=None, attention_mask=None, cache=None, *, position_ids, **rest):
        rows, new, _ = hidden_states.shape
        if cache is not None:
            shape = rows, self.heads, new, self.sizes.nope + self.sizes.rope
            cache.update(torch.zeros(shape), torch.zeros(*shape[:3], self.sizes.value), self.layer)
        return super().forward(hidden_states, position_ids=position_ids)


def test_a_cache_that_keeps_more_than_the_architecture_needs_is_warned_of():
    model = language_model("latent_llama", latent=[LATENT, LATENT])
    latent_layers(model)[1].__class__ = Expanding

    metrics, tables = kv_report(model)

    kept = latent_expanded(heads=4, nope=4, rope=4, value=8).elements
    assert metrics["kv_bytes_per_token"] == 48
    assert metrics["kv_bytes_per_token_measured"] == (12 + kept) * 2
    assert tables["kv_cache"]["note"] == (
        f"Warning: decoding keeps {12 + kept} numbers of a token, the architecture needs 24; they differ first in layer 1."
    )


def test_a_report_changes_nothing():
    model = language_model("latent_llama", latent=[LATENT, None]).train()
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()

    kv_report(model, teacher=model)

    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_window_and_the_head_width_of_a_librarys_model_are_its_configurations():
    config = Qwen3Config(
        vocab_size=11,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=16,
        use_sliding_window=True,
        sliding_window=7,
        layer_types=["full_attention", "sliding_attention"],
    )
    model = CausalLM(Qwen3ForCausalLM(config))

    assert layers_of(model) == [LayerCache("GQA", 64), LayerCache("GQA, window 7", 64, window=7)]


def test_layers_without_a_formula_are_reported_as_measured():
    model = language_model("llama", kv_heads=2)
    model.body.config.layer_types = ["full_attention", "chunked_attention"]
    model.body.config.attention_chunk_size = 16

    metrics, tables = kv_report(model)

    with pytest.raises(ModelError) as refused:
        layers_of(model)
    assert str(refused.value) == "There is no formula for the cache of layer 1, which is a chunked_attention."
    assert metrics["kv_bytes_per_token"] == metrics["kv_bytes_per_token_measured"] == 128
    assert tables["kv_cache"]["note"] == f"{refused.value} All numbers of the student are measured."
