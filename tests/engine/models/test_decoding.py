"""Decoding in the short way: its logits are those of the model's own forward pass, and what it keeps is what transformers would keep.

All in float64, so that nothing but a mistake makes a difference.
"""

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from engine.metrics.kv_cache import kv_report
from engine.models.decoding import SPARE, Decoding
from engine.models.language import CausalLM
from engine.rollout.generate import Sampling, generate, left_padded

VOCABULARY = 13
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 40, "max_position_embeddings": 128}
ROPE = {"rope_type": "default", "rope_theta": 100.0}
SCALED = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 2.0}
SCALED["original_max_position_embeddings"] = 16
LLAMAS = {
    "every head its own keys": {"num_attention_heads": 4},
    "two heads a key": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "one key, tied": {"num_attention_heads": 4, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "biases and wider heads": {"num_attention_heads": 3, "head_dim": 10, "attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"},
    "angles scaled as in Llama 3": {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_parameters": SCALED},
}
TEXT = torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(1))
PADDED = torch.tensor([[1] * 12, [0] * 4 + [1] * 8, [0] + [1] * 11])
PIECES = ((0, 5), (5, 8), *((place, place + 1) for place in range(8, 12)))


def llama(**options) -> CausalLM:
    return wild(LlamaForCausalLM(LlamaConfig(**{**SIZES, "rope_parameters": ROPE, **options})))


def gpt2(**options) -> CausalLM:
    sizes = {"vocab_size": VOCABULARY, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 128}
    return wild(GPT2LMHeadModel(GPT2Config(**sizes, **options)))


def wild(body: nn.Module) -> CausalLM:
    """In float64, with all weights drawn, those of norms and biases too."""
    generator = torch.Generator().manual_seed(0)
    body = body.double().eval()
    with torch.no_grad():
        for name, parameter in body.named_parameters():
            scale_of_norm = parameter.ndim == 1 and not name.endswith("bias")
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4 + scale_of_norm)
    return CausalLM(body)


@pytest.fixture(params=[*LLAMAS, "gpt2", "gpt2, tied", "gpt2, scaled by layer"])
def model(request: pytest.FixtureRequest) -> CausalLM:
    options = {"gpt2": {"tie_word_embeddings": False}, "gpt2, tied": {}, "gpt2, scaled by layer": {"scale_attn_by_inverse_layer_idx": True}}
    return llama(**LLAMAS[request.param]) if request.param in LLAMAS else gpt2(**options[request.param])


class Slow:
    """The same model, decoded by transformers."""

    def __init__(self, model: CausalLM) -> None:
        self.model = model

    def decode(self, ids: Tensor, mask: Tensor | None, cache: DynamicCache) -> Tensor:
        return self.model.decode(ids, mask, cache)

    def new_cache(self) -> DynamicCache:
        return DynamicCache(config=self.model.body.config)

    def modules(self):
        return self.model.modules()


def same(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("mask", [None, PADDED], ids=["no padding", "left padding"])
def test_every_step_has_the_logits_of_the_whole_forward_pass(model, mask):
    cache, whole = model.new_cache(), model(TEXT, mask)
    assert isinstance(cache, Decoding)

    for start, stop in PIECES:
        logits = model.decode(TEXT[:, start:stop], None if mask is None else mask[:, :stop], cache)
        assert same(logits, whole[:, stop - 1])
    assert whole.std() > 0.3


@pytest.mark.parametrize("mask", [None, PADDED], ids=["no padding", "left padding"])
def test_it_keeps_what_transformers_keeps(model, mask):
    cache, theirs = model.new_cache(), Slow(model).new_cache()

    for start, stop in PIECES:
        for each in (cache, theirs):
            with torch.no_grad():
                model.decode(TEXT[:, start:stop], None if mask is None else mask[:, :stop], each)

    real = PADDED.bool() if mask is not None else torch.ones_like(PADDED).bool()
    for ours, other in zip(cache.layers, theirs.layers, strict=True):
        assert ours.keys.shape == other.keys.shape and ours.values.shape == other.values.shape
        for found, expected in ((ours.keys, other.keys), (ours.values, other.values)):
            assert same(found.transpose(1, 2)[real], expected.transpose(1, 2)[real])


def test_a_text_longer_than_the_room_that_is_kept_ready_is_decoded_all_the_same(model):
    ids = torch.randint(VOCABULARY, (2, SPARE + 8), generator=torch.Generator().manual_seed(2))
    cache, whole = model.new_cache(), model(ids)

    model.decode(ids[:, :3], None, cache)
    for place in range(3, ids.shape[1]):
        logits = model.decode(ids[:, place : place + 1], None, cache)
        assert same(logits, whole[:, place])


@pytest.mark.parametrize("sampling", [Sampling(20), Sampling(20, temperature=0.7, eos_id=3, pad_id=3), Sampling(20, greedy=True)])
def test_what_is_drawn_from_a_seed_is_what_the_slow_way_draws(model, sampling):
    prompts = left_padded([TEXT[0, :7], TEXT[1, :2], TEXT[2, :4]])

    fast, slow = (generate(each, *prompts, sampling, torch.Generator().manual_seed(5), log_probs=True) for each in (model, Slow(model)))

    assert torch.equal(fast.completion_ids, slow.completion_ids)
    assert torch.equal(fast.completion_mask, slow.completion_mask)
    assert same(fast.behavior_log_probs, slow.behavior_log_probs)
    assert len(set(map(tuple, fast.completion_ids.tolist()))) > 1


def test_weights_that_change_are_seen_by_a_cache_that_was_made_before(model):
    cache = model.new_cache()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)

    assert same(model.decode(TEXT, None, cache), model(TEXT)[:, -1])


class Doubled(nn.Linear):
    """A linear layer of another class: its output is not x Wᵀ."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_part_of_another_class_is_called_as_it_is():
    model, plain = llama(num_attention_heads=4), llama(num_attention_heads=4)
    for layer in model.body.model.layers:
        layer.self_attn.v_proj.__class__ = Doubled
        layer.mlp.up_proj.__class__ = Doubled

    logits = model.decode(TEXT, None, model.new_cache())

    assert same(logits, model(TEXT)[:, -1])
    assert not same(logits, plain(TEXT)[:, -1])


@pytest.mark.parametrize("rope", [{"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "default"}], ids=["dynamic", "default"])
def test_angles_that_change_with_the_length_are_left_to_transformers(rope):
    model = llama(num_attention_heads=4, max_position_embeddings=8, rope_parameters={"rope_theta": 100.0, **rope})

    cache = model.new_cache()

    assert isinstance(cache, Decoding) == (rope["rope_type"] == "default")
    assert same(model.decode(TEXT, None, cache), model(TEXT)[:, -1])


def test_a_layer_of_another_class_is_left_to_transformers():
    model = llama(num_attention_heads=4)
    layer = model.body.model.layers[1]
    layer.__class__ = type("Skipped", (type(layer),), {"forward": lambda self, hidden_states, **rest: hidden_states})

    cache = model.new_cache()

    assert isinstance(cache, DynamicCache)
    assert same(model.decode(TEXT, None, cache), model(TEXT)[:, -1])


def test_there_is_no_gradient_and_no_dropout_even_in_training():
    model = gpt2(resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    expected = model(TEXT)[:, -1]

    logits = model.train().decode(TEXT, None, model.new_cache())

    assert same(logits, expected)
    assert not logits.requires_grad


@pytest.mark.parametrize("reduced", [False, True], ids=["full precision", "mixed precision"])
def test_what_was_sampled_can_be_trained_on_at_once(model, reduced):
    student = CausalLM(model.body.float())
    with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        batch = generate(student, TEXT, torch.ones_like(TEXT), Sampling(4), torch.Generator().manual_seed(0), log_probs=True)
        chances = student(batch.ids, batch.mask, keep=5)[:, :-1].log_softmax(dim=-1).gather(2, batch.completion_ids[..., None])

    (chances.squeeze(2) * batch.behavior_log_probs).sum().backward()

    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in student.parameters())


def test_the_bytes_that_are_measured_are_those_of_the_formula_and_not_of_the_spare_room():
    model = llama(num_attention_heads=4, num_key_value_heads=2)

    metrics, tables = kv_report(model)

    # two layers, keys and values, two heads of six numbers, two bytes each
    assert metrics["kv_bytes_per_token_measured"] == metrics["kv_bytes_per_token"] == 2 * 2 * 2 * 6 * 2
    assert tables["kv_cache"]["note"] == ""


def test_in_lower_precision_it_is_as_far_from_the_truth_as_the_forward_pass(model):
    truth = model(TEXT)[:, -1]
    low = CausalLM(model.body.to(torch.bfloat16))

    error = (low.decode(TEXT[:, -1:], None, filled(low)) - truth).abs().mean()

    assert error < 2 * (low(TEXT)[:, -1] - truth).abs().mean()


def filled(model: CausalLM) -> Decoding:
    cache = model.new_cache()
    model.decode(TEXT[:, :-1], None, cache)
    return cache
