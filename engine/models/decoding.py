"""Decoding token by token without what transformers does around it: the same weights, called in a shorter way.

A step of decoding is short, and transformers makes masks, angles, configurations and output objects anew in each. Here a decoding is made once
for each sampling: it is the cache, and it holds the parts of the model that fill it as plain functions. All numbers are computed as transformers
does, up to the order of additions inside products of matrices and attention.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2LMHeadModel, LlamaForCausalLM, PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaDecoderLayer, LlamaMLP, LlamaRMSNorm
from transformers.pytorch_utils import Conv1D

Function = Callable[[Tensor], Tensor]

SPARE = 64  # tokens: a layer's room is made so much longer than it need be, and copied to a longer one when it is full
CHANGING_ANGLES = ("dynamic", "longrope")
"""Rotary embeddings whose angles depend on the length of the text so far: no table of them can be kept."""


class Kept:
    """What one layer keeps of the tokens so far: `keys` and `values` (batch, heads, tokens, size), the filled part of a room written in place."""

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        self.tokens = 0
        self._rooms: tuple[Tensor, ...] = ()

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Takes in new tokens, (batch, heads, new, size) each, where the two sizes may differ, and returns those of all tokens."""
        start, stop = self.tokens, self.tokens + keys.shape[2]
        if not self._rooms or stop > self._rooms[0].shape[2]:
            rooms = tuple(new.new_empty(*new.shape[:2], stop + SPARE, new.shape[3]) for new in (keys, values))
            for room, old in zip(rooms, self._rooms, strict=False):  # there are no old ones at first
                room[:, :, :start] = old[:, :, :start]
            self._rooms = rooms
        room_of_keys, room_of_values = self._rooms
        room_of_keys[:, :, start:stop] = keys
        room_of_values[:, :, start:stop] = values
        self.tokens, self.keys, self.values = stop, room_of_keys[:, :, :stop], room_of_values[:, :, :stop]
        return self.keys, self.values

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, scale: float) -> Tensor:
        """Takes in new tokens and lets them attend to all: (batch, heads, new, size) each → (batch, new, heads · size).

        Keys and values may have fewer heads than queries. `seen` is what `visible` returns.
        """
        batch, heads, new, size = queries.shape
        keys, values = self.append(keys, values)
        if new == 1:  # queries that share a key stand in line, as if they were further tokens
            queries = queries.reshape(batch, keys.shape[1], -1, size)
        causal = seen is None and new > 1
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, is_causal=causal, scale=scale, enable_gqa=new > 1)
        return found.reshape(batch, heads, new, size).transpose(1, 2).reshape(batch, new, heads * size)


class Decoding:
    """A cache and what fills it. It sees weights that change, but no parameter or module that takes another's place: make one a sampling.

    It runs in PyTorch's inference mode: no gradient can ever go through its logits. There is no dropout in any mode of the model, and hooks of
    the parts that are passed over do not run.
    """

    def __init__(self, body: Any, layers: int) -> None:
        self.output = function_of(body.lm_head)
        self.layers = [Kept() for _ in range(layers)]

    @torch.inference_mode()
    def decode(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """`engine.models.language.CausalLM.decode` with this cache."""
        new, past = ids.shape[1], self.layers[0].tokens
        positions = torch.arange(past, past + new, device=ids.device)[None] if mask is None else positions_of(mask)[:, past:]
        return self.output(self.hidden(ids, positions, visible(mask, new=new, past=past, device=ids.device))[:, -1])

    def hidden(self, ids: Tensor, positions: Tensor, seen: Tensor | None) -> Tensor:
        """What the output layer reads of the last token, (batch, 1, width). ids (batch, new), positions (1 or batch, new), seen from `visible`."""
        raise NotImplementedError

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """What an attention module asks of a cache."""
        return self.layers[layer].append(keys, values)


class LlamaDecoding(Decoding):
    """Touvron et al. (2023), arXiv:2302.13971. An attention module of another class than Llama's is called as transformers calls it."""

    @staticmethod
    def fits(body: PreTrainedModel) -> bool:
        """Whether the model is put together as here."""
        return (
            type(body) is LlamaForCausalLM
            and all(type(layer) is LlamaDecoderLayer for layer in body.model.layers)
            and body.model.rotary_emb.rope_type not in CHANGING_ANGLES
        )

    def __init__(self, body: Any) -> None:
        super().__init__(body, len(body.model.layers))
        self.embed, self.norm = function_of(body.model.embed_tokens), function_of(body.model.norm)
        self.parts = [LlamaParts(layer) for layer in body.model.layers]
        self.rotary, self.table = body.model.rotary_emb, torch.empty(0)

    def hidden(self, ids: Tensor, positions: Tensor, seen: Tensor | None) -> Tensor:
        x = self.embed(ids)
        cos, sin, signed = self.turns(x, positions)
        for parts, kept in zip(self.parts, self.layers, strict=True):
            normed = parts.norm(x)
            if parts.other is None:
                queries, keys, values = (heads_of(project(normed), parts.size) for project in parts.projections)
                queries, keys = rotated(queries, cos, signed), rotated(keys, cos, signed)
                x = x + parts.join(kept.attend(queries, keys, values, seen, parts.scale))
            else:
                turns = (cos.squeeze(1), sin.squeeze(1))
                x = (
                    x
                    + parts.other(hidden_states=normed, position_embeddings=turns, attention_mask=seen, cache=self, position_ids=positions)[
                        0
                    ]
                )
            x = x + parts.mlp(parts.second_norm(x))
        return self.norm(x[:, -1:])

    def turns(self, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """Cosines, sines, and sines as `rotated` takes them, at these positions: (1 or batch, 1, new, size) each, in the type of x."""
        longest = self.layers[0].tokens + positions.shape[1]
        if longest > len(self.table):
            cos, sin = self.rotary(x, torch.arange(longest + SPARE, device=x.device)[None])
            first, second = sin.chunk(2, dim=-1)
            self.table = torch.cat([cos, sin, -first, second], dim=-1)[0]
        return F.embedding(positions, self.table).unsqueeze(1).chunk(3, dim=-1)


class LlamaParts:
    """A layer's parts as functions. `other` is its attention if that is not Llama's, else None."""

    def __init__(self, layer: Any) -> None:
        self.norm, self.second_norm, self.mlp = map(function_of, (layer.input_layernorm, layer.post_attention_layernorm, layer.mlp))
        attention = layer.self_attn
        self.other = None if type(attention) is LlamaAttention else attention
        if self.other is None:
            self.projections = [function_of(part) for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
            self.join, self.size, self.scale = function_of(attention.o_proj), attention.head_dim, attention.scaling


class Gpt2Decoding(Decoding):
    """Radford et al. (2019)."""

    @staticmethod
    def fits(body: PreTrainedModel) -> bool:
        """Whether the model is put together as here."""
        known = type(body) is GPT2LMHeadModel and all(type(block) is GPT2Block for block in body.transformer.h)
        return known and not body.config.add_cross_attention

    def __init__(self, body: Any) -> None:
        super().__init__(body, len(body.transformer.h))
        self.embed, self.place, self.norm = map(function_of, (body.transformer.wte, body.transformer.wpe, body.transformer.ln_f))
        self.parts = [Gpt2Parts(block) for block in body.transformer.h]

    def hidden(self, ids: Tensor, positions: Tensor, seen: Tensor | None) -> Tensor:
        x = self.embed(ids) + self.place(positions)
        for parts, kept in zip(self.parts, self.layers, strict=True):
            queries, keys, values = (heads_of(each, parts.size) for each in parts.projections(parts.norm(x)).chunk(3, dim=-1))
            x = x + parts.join(kept.attend(queries, keys, values, seen, parts.scale))
            x = x + parts.contract(parts.act(parts.expand(parts.second_norm(x))))
        return self.norm(x[:, -1:])


class Gpt2Parts:
    """A layer's parts as functions."""

    def __init__(self, block: Any) -> None:
        self.norm, self.projections, self.join = map(function_of, (block.ln_1, block.attn.c_attn, block.attn.c_proj))
        self.second_norm, self.expand, self.act, self.contract = map(
            function_of, (block.ln_2, block.mlp.c_fc, block.mlp.act, block.mlp.c_proj)
        )
        self.size, self.scale = block.attn.head_dim, block.attn.scaling


def decoding_of(body: PreTrainedModel) -> Decoding | None:
    """A decoding of a model of transformers, with nothing kept yet; None for a model that is put together in a way not known here."""
    if LlamaDecoding.fits(body):
        return LlamaDecoding(body)
    return Gpt2Decoding(body) if Gpt2Decoding.fits(body) else None


def function_of(part: Any) -> Function:
    """What a module computes, without the machinery of modules; one of a class that is not known here is called as it is."""
    kind = type(part)
    if kind is nn.Linear:
        return partial(F.linear, weight=part.weight, bias=part.bias)
    if kind is Conv1D:  # whose weight is (in, out)
        return partial(F.linear, weight=part.weight.t(), bias=part.bias)
    if kind is nn.Embedding:
        return partial(F.embedding, weight=part.weight)
    if kind is nn.LayerNorm:
        return partial(F.layer_norm, normalized_shape=part.normalized_shape, weight=part.weight, bias=part.bias, eps=part.eps)
    if kind is LlamaRMSNorm:
        return partial(rms_norm, weight=part.weight, eps=part.variance_epsilon)
    if kind is SiLUActivation:
        return F.silu
    if kind is LlamaMLP:
        gate, up, down, act = map(function_of, (part.gate_proj, part.up_proj, part.down_proj, part.act_fn))
        return lambda x: down(act(gate(x)) * up(x))
    called: Function = part
    return called


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Zhang and Sennrich (2019), arXiv:1910.07467, equation 4. In single precision whatever x is in, as transformers' Llama has it."""
    if x.dtype is torch.float32:  # nothing to convert
        return F.rms_norm(x, weight.shape, weight, eps)
    return weight * F.rms_norm(x.float(), weight.shape, None, eps).to(x.dtype)


def heads_of(x: Tensor, size: int) -> Tensor:
    """(batch, new, heads · size) → (batch, heads, new, size)."""
    return x.view(x.shape[0], x.shape[1], -1, size).transpose(1, 2)


def rotated(x: Tensor, cos: Tensor, signed: Tensor) -> Tensor:
    """RoPE as Llama has it: numbers i and i + size / 2 of (…, size) are turned together. `signed` are the sines, negated in the first half."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * signed


def visible(mask: Tensor | None, *, new: int, past: int, device: torch.device) -> Tensor | None:
    """Where the new tokens may look, (1 or batch, 1, new, past + new) bool. None where nothing need be hidden but the future of a whole text.

    mask (batch, past + new) is 1 at real tokens; None if all are.
    """
    if mask is None and (new == 1 or past == 0):
        return None
    earlier = torch.ones(new, past + new, dtype=torch.bool, device=device).tril(past)[None, None]
    return earlier if mask is None else earlier & mask.bool()[:, None, None]


def positions_of(mask: Tensor) -> Tensor:
    """(batch, length) → each token's place among the real ones; padding has place 0."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)
