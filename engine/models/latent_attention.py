"""Multi-head latent attention inside transformers' Llama: DeepSeek-AI (2024), arXiv:2405.04434, section 2.1; as X-EcoMLA, arXiv:2503.11132, has it.

Keys and values of a token are made from one latent c of kv_rank numbers; positions act on a small key of `rope` numbers that all heads share.
These two are all that decoding keeps of a token. The layer has two forms that give the same output:

- expanded, for whole sequences: keys and values are formed from c, and heads attend as usual;
- absorbed, for new tokens after cached ones: the queries are taken into the latent's space, qᵀ(W_UK c) = (W_UKᵀ q)ᵀ c, and heads attend to c itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from engine.losses.precision import full_precision
from engine.models.configs import LatentSizes
from engine.models.language import CausalLM, _fresh, llama


class LatentAttention(nn.Module):
    """Attention whose keys and values come from a latent. It stands where LlamaAttention stands, and takes what that takes.

    In the paper's letters, with h heads: q_down W_DQ (r_q, width), q_up W_UQ (h·(d_n + d_r), r_q), kv_down W_DKV (r + d_r, width),
    kv_up W_UKV (h·(d_n + d_v), r), o_proj W_O (width, h·d_v).
    """

    def __init__(self, *, width: int, heads: int, sizes: LatentSizes, layer: int, rope_theta: float, norm_eps: float | None = None) -> None:
        super().__init__()
        self.heads, self.sizes, self.layer, self.rope_theta = heads, sizes, layer, rope_theta
        self.q_down = nn.Linear(width, sizes.q_rank, bias=False)
        self.q_up = nn.Linear(sizes.q_rank, heads * (sizes.nope + sizes.rope), bias=False)
        self.kv_down = nn.Linear(width, sizes.kv_rank + sizes.rope, bias=False)
        self.kv_up = nn.Linear(sizes.kv_rank, heads * (sizes.nope + sizes.value), bias=False)
        self.o_proj = nn.Linear(heads * sizes.value, width, bias=False)
        self.q_norm = nn.Identity() if norm_eps is None else LlamaRMSNorm(sizes.q_rank, eps=norm_eps)
        self.kv_norm = nn.Identity() if norm_eps is None else LlamaRMSNorm(sizes.kv_rank, eps=norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        *,
        position_ids: Tensor,
        **rest: Any,
    ) -> tuple[Tensor, None]:
        """(batch, new, width) → (batch, new, width), and None in place of the attention's weights.

        attention_mask (batch, 1, new, all) is true where a query may look, or is added to the scores; None for a causal one. position_ids
        (1 or batch, new) are absolute. position_embeddings, which have the plain layer's width, are not used.
        """
        q_nope, q_rope = self.queries(hidden_states, position_ids)
        latent, k_rope = self.latents(hidden_states, position_ids)
        new = latent.shape[2]
        if cache is not None:
            latent, k_rope = cache.update(latent, k_rope, self.layer)
        attend = self.absorbed if latent.shape[2] > new else self.expanded
        heads = attend(q_nope, q_rope, latent, k_rope, attention_mask)
        return self.o_proj(heads.transpose(1, 2).flatten(2)), None

    def queries(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, new, width) → those without position (batch, heads, new, nope) and rotated ones (batch, heads, new, rope)."""
        q = self.q_up(self.q_norm(self.q_down(x))).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q_nope, q_rope = q.split([self.sizes.nope, self.sizes.rope], dim=-1)
        return q_nope, rotated(q_rope, positions, self.rope_theta)

    def latents(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """What is cached of each token, (batch, new, width) → c (batch, 1, new, kv_rank) and the rotated key (batch, 1, new, rope)."""
        latent, k_rope = self.kv_down(x).unsqueeze(1).split([self.sizes.kv_rank, self.sizes.rope], dim=-1)
        return self.kv_norm(latent), rotated(k_rope, positions, self.rope_theta)

    def expanded(self, q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, mask: Tensor | None) -> Tensor:
        """The heads' outputs (batch, heads, new, value), with keys and values formed for every token and head."""
        kv = self.kv_up(latent).squeeze(1).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k_nope, values = kv.split([self.sizes.nope, self.sizes.value], dim=-1)
        keys = torch.cat([k_nope, k_rope.expand(-1, self.heads, -1, -1)], dim=-1)
        queries = torch.cat([q_nope, q_rope], dim=-1)
        causal = mask is None and queries.shape[2] > 1
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=causal, scale=self.scale)

    def absorbed(self, q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, mask: Tensor | None) -> Tensor:
        """The same outputs, with neither keys nor values formed: all heads' queries attend to one key [c, k_r], and the value is c."""
        up_keys, up_values = self.kv_up.weight.unflatten(0, (self.heads, -1)).split([self.sizes.nope, self.sizes.value], dim=1)
        batch, new, total = len(latent), q_nope.shape[2], latent.shape[2]
        queries = torch.cat([torch.einsum("bhtn,hnr->bhtr", q_nope, up_keys), q_rope], dim=-1)
        if mask is None and new > 1:
            mask = torch.ones(new, total, dtype=torch.bool, device=latent.device).tril(total - new).expand(1, 1, new, total)
        if mask is not None:  # one key for all heads: they are further rows of queries
            mask = mask.expand(-1, 1, new, total).repeat(1, 1, self.heads, 1)
        keys = torch.cat([latent, k_rope], dim=-1)
        seen = F.scaled_dot_product_attention(queries.flatten(1, 2).unsqueeze(1), keys, latent, attn_mask=mask, scale=self.scale)
        seen = seen.view(batch, self.heads, new, self.sizes.kv_rank)
        return torch.einsum("bhtr,hvr->bhtv", seen, up_values)

    @property
    def scale(self) -> float:
        """(d_n + d_r)^(−1/2), whatever the width of the heads that the layer was made from."""
        return float((self.sizes.nope + self.sizes.rope) ** -0.5)


def rotated(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """RoPE, Su et al. (2021), arXiv:2104.09864, equation 34: neighbors (2i, 2i + 1) are turned by position · theta^(−2i / size).

    x (batch, heads, tokens, size), size even; positions (1 or batch, tokens). Angles are computed in at least single precision.
    """
    size, full = x.shape[-1], full_precision(x)
    frequencies = theta ** (-torch.arange(0, size, 2, device=x.device, dtype=full.dtype) / max(size, 1))
    angles = positions[:, None, :, None].to(full.dtype) * frequencies
    first, second = full.unflatten(-1, (-1, 2) if size else (0, 2)).unbind(-1)
    turned = (first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos())
    return torch.stack(turned, dim=-1).flatten(-2).to(x.dtype)


def latent_layers(model: nn.Module) -> dict[int, LatentAttention]:
    """The layers of a model that have latent attention, by their number from 0."""
    return {part.layer: part for part in model.modules() if isinstance(part, LatentAttention)}


def latent_llama(
    *, latent: Sequence[Mapping[str, int] | None], latent_norm: bool, norm_eps: float, rope_theta: float, **sizes: Any
) -> CausalLM:
    """(batch, length) ids → logits (batch, length, vocabulary): `engine.models.language.llama` with latent attention in the layers that have
    an entry in `latent`. Weights N(0, 0.02), norms 1."""
    model = llama(rope_theta=rope_theta, **sizes)
    model.body.config.rms_norm_eps = norm_eps
    for part in model.body.modules():
        if isinstance(part, LlamaRMSNorm):
            part.variance_epsilon = norm_eps
    for number, (block, entry) in enumerate(zip(model.body.model.layers, latent, strict=True)):
        if entry is not None:
            block.self_attn = LatentAttention(
                width=sizes["width"],
                heads=sizes["heads"],
                sizes=LatentSizes.model_validate(dict(entry)),
                layer=number,
                rope_theta=rope_theta,
                norm_eps=norm_eps if latent_norm else None,
            )
    return _fresh(model.body)
