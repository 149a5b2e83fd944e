"""A small Llama in float64 whose attention is converted."""

from typing import Any

import torch
from transformers.models.llama.modeling_llama import LlamaAttention

from engine.models.build import build
from engine.models.language import CausalLM

WIDTH, HEADS, KV_HEADS, HEAD = 16, 4, 2, 6
SYMBOLS = 31
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
