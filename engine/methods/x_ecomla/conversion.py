"""From a Llama's attention to latent attention: singular value decompositions of the old projections, X-EcoMLA section 3.1 and its code.

Letters: D hidden size, h query heads, h_kv key and value heads, d head width; W_Q (h·d, D), W_K and W_V (h_kv·d, D). Decompositions are made in
float32 (float64 of float64 weights). The singular values go to the down side: W ≈ U (S Vᵀ). Factors are unique up to signs, products are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, Qwen3ForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

from engine.errors import SpecError
from engine.losses.precision import full_precision
from engine.models.build import build
from engine.models.configs import LatentSizes
from engine.models.language import CausalLM
from engine.models.latent_attention import LatentAttention, latent_layers

Source = LlamaForCausalLM | Qwen3ForCausalLM


@dataclass(frozen=True)
class Decomposition:
    """W = U diag(s) Vᵀ, thin: u (rows, k), s (k,) falling, vt (k, D) with k = min(rows, D)."""

    u: Tensor
    s: Tensor
    vt: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> "Decomposition":
        return cls(*torch.linalg.svd(full_precision(weight.detach()), full_matrices=False))

    def down(self, rank: int) -> Tensor:
        """S_r V_rᵀ, (rank, D)."""
        return self.s[:rank, None] * self.vt[:rank]

    def up(self, rank: int) -> Tensor:
        """U_r, (rows, rank)."""
        return self.u[:, :rank]


@dataclass(frozen=True)
class SourceLayer:
    """What is needed of one layer of the source: its decompositions and the rows for the shared key."""

    queries: Decomposition
    joint: Decomposition
    mean_key: Tensor

    @classmethod
    def of(cls, attention: LlamaAttention | Qwen3Attention, heads: int, kv_heads: int) -> "SourceLayer":
        """Keys and values are repeated to h heads before they are decomposed together; `mean_key` (d, D) is the mean over the original key heads.

        Qwen3's RMSNorm on each head's query and key has no place in latent attention: its weight goes into the rows, the division is lost.
        """
        w_q, w_k, w_v = (full_precision(each.weight.detach()) for each in (attention.q_proj, attention.k_proj, attention.v_proj))
        if isinstance(attention, Qwen3Attention):
            w_q = w_q * attention.q_norm.weight.detach().repeat(heads)[:, None]
            w_k = w_k * attention.k_norm.weight.detach().repeat(kv_heads)[:, None]
        repeated = [w.unflatten(0, (kv_heads, -1)).repeat_interleave(heads // kv_heads, dim=0).flatten(0, 1) for w in (w_k, w_v)]
        return cls(Decomposition.of(w_q), Decomposition.of(torch.cat(repeated)), w_k.unflatten(0, (kv_heads, -1)).mean(dim=0))


# Ranks


def energy(singular_values: Tensor) -> Tensor:
    """E_j = Σ_{i ≤ j} s_i² / Σ s_i², (k,) → (k,) non-decreasing, in float64."""
    squares = singular_values.double().square()
    return squares.cumsum(0) / squares.sum()


def rank_for_energy(singular_values: Tensor, share: float, divisor: int) -> int:
    """max(1, #{j : E_j ≤ share}), rounded up to a multiple of `divisor`; share 1 means all. It may exceed the number of singular values.

    The count keeps at most this share of the energy: before rounding, one fewer than the smallest rank that reaches it.
    """
    count = len(singular_values) if share >= 1 else int((energy(singular_values) <= share).sum())
    return rounded_up(max(1, count), divisor)


def rounded_up(rank: int, divisor: int) -> int:
    """The next multiple of `divisor`, at least `rank`."""
    return -(-rank // divisor) * divisor


@dataclass(frozen=True)
class Ranks:
    """How ranks are chosen. `q` and `kv` are the fixed ones; with `energies` (δ_q, δ_kv) each layer chooses its own, but with `fixed_ends`
    the first and the last layer."""

    q: int
    kv: int
    energies: tuple[float, float] | None = None
    fixed_ends: bool = False
    divisor: int = 8

    def of(self, source: SourceLayer, *, end: bool) -> tuple[int, int]:
        """(r_q, r) of a layer, at most as many as it has singular values; `end` says whether it is the stack's first or last."""
        if self.energies is None or (self.fixed_ends and end):
            chosen = rounded_up(self.q, self.divisor), rounded_up(self.kv, self.divisor)
        else:
            share_q, share_kv = self.energies
            chosen = rank_for_energy(source.queries.s, share_q, self.divisor), rank_for_energy(source.joint.s, share_kv, self.divisor)
        return min(chosen[0], len(source.queries.s)), min(chosen[1], len(source.joint.s))


# Weights


def svd_weights(source: SourceLayer, sizes: LatentSizes, heads: int) -> dict[str, Tensor]:
    """The four new projections by LatentAttention's names. A head of d rows gives its first d_n and its **last** d_r rows."""
    nope, rope = sizes.nope, sizes.rope
    u_q = source.queries.up(sizes.q_rank).unflatten(0, (heads, -1))
    head = u_q.shape[1]
    u_keys, u_values = source.joint.up(sizes.kv_rank).unflatten(0, (2, heads, -1))
    # head − rope and not −rope, which with rope = 0 would take every row.
    return {
        "q_down": source.queries.down(sizes.q_rank),
        "q_up": torch.cat([u_q[:, :nope], u_q[:, head - rope :]], dim=1).flatten(0, 1),
        "kv_down": torch.cat([source.joint.down(sizes.kv_rank), source.mean_key[head - rope :]]),
        "kv_up": torch.cat([u_keys[:, :nope], u_values], dim=1).flatten(0, 1),
    }


@torch.no_grad()
def fill(layer: LatentAttention, old: LlamaAttention | Qwen3Attention, source: SourceLayer, how: Literal["svd", "random"]) -> None:
    """Gives a latent layer its first weights. W_O is the old one's either way; `random` draws the rest as nn.Linear does, from torch's
    global generator."""
    layer.o_proj.weight.copy_(old.o_proj.weight)
    if how == "random":
        for projection in (layer.q_down, layer.q_up, layer.kv_down, layer.kv_up):
            projection.reset_parameters()
        return
    for name, weight in svd_weights(source, layer.sizes, layer.heads).items():
        getattr(layer, name).weight.copy_(weight)


# The whole model


@dataclass(frozen=True)
class Plan:
    """What is converted, and how. `layers` are numbers from 0, empty for all; `rope` is d_r, None for half of a head's width."""

    ranks: Ranks
    layers: Sequence[int] = ()
    rope: int | None = None
    norm: bool = False
    how: Literal["svd", "random"] = "svd"


def convertible(model: nn.Module, layers: Sequence[int] = (), field: str = "student") -> Source:
    """The Llama or Qwen3 in a model, whose attention can be written as latent attention in these layers (empty for all).

    Raises SpecError with one sentence for any other model.
    """
    body = model.body if isinstance(model, CausalLM) else model
    if not isinstance(body, LlamaForCausalLM | Qwen3ForCausalLM):
        raise SpecError.at(field, f"must be a Llama or a Qwen3, whose attention x-ecomla converts; got a {type(body).__name__}.")
    latent, config = latent_layers(body), body.config
    if latent:
        raise SpecError.at(field, f"has latent attention already, first in layer {min(latent)}; choose the model that it was made from.")
    if config.attention_bias or getattr(config, "mlp_bias", False):
        raise SpecError.at(field, "has biases in its projections, which latent attention can not hold; choose a model without.")
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    if kind != "default":
        raise SpecError.at(field, f"has rotary positions of the kind {kind!r:.40}; x-ecomla converts those of the kind 'default'.")
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise SpecError.at(field, "has layers with a sliding window, which latent attention has not; choose a model without.")
    for number in layers:
        if number >= config.num_hidden_layers:
            raise SpecError.at("settings.mla_layers", f"must name layers from 0 to {config.num_hidden_layers - 1}; got {number}.")
    if layers and isinstance(body, Qwen3ForCausalLM):
        raise SpecError.at(
            "settings.mla_layers", "must be empty for a Qwen3, all of whose layers are converted; got " + f"{list(layers)!r:.80}."
        )
    return body


def sizes_of(source: SourceLayer, plan: Plan, head: int, *, end: bool) -> LatentSizes:
    """The sizes of one converted layer, from its source and the width of its heads."""
    rope = head // 4 * 2 if plan.rope is None else plan.rope
    if rope >= head:
        raise SpecError.at("settings.rope_width", f"must be less than the {head} numbers of a head; got {rope}.")
    q_rank, kv_rank = plan.ranks.of(source, end=end)
    return LatentSizes(q_rank=q_rank, kv_rank=kv_rank, nope=head - rope, rope=rope, value=head)


def sources_of(body: Source, layers: Sequence[int]) -> dict[int, SourceLayer]:
    """The decompositions of the layers to convert, by number; `layers` empty for all."""
    config = body.config
    chosen = sorted(set(layers)) or range(config.num_hidden_layers)
    attentions = {number: body.model.layers[number].self_attn for number in chosen}
    kv_heads = config.num_key_value_heads or config.num_attention_heads
    return {number: SourceLayer.of(each, config.num_attention_heads, kv_heads) for number, each in attentions.items()}


def convert(body: Source, sources: Mapping[int, SourceLayer], plan: Plan) -> tuple[CausalLM, dict[str, Any]]:
    """The same model with latent attention, and the config that `engine.models.latent_attention.latent_llama` makes it of.

    MLPs, norms, embeddings, output layer, W_O and the layers that stay are copied. The source is not changed and shares no tensor.
    """
    config = body.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    ends = (0, config.num_hidden_layers - 1)
    sizes = {number: sizes_of(source, plan, head, end=number in ends) for number, source in sources.items()}
    blueprint = {
        "vocabulary": config.vocab_size,
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "positions": config.max_position_embeddings,
        "kv_heads": config.num_key_value_heads,
        "head_width": head,
        "mlp_width": config.intermediate_size,
        "rope_theta": float((config.rope_parameters or {}).get("rope_theta") or 10000.0),
        "tied": bool(config.tie_word_embeddings),
        "latent": [sizes[number].model_dump() if number in sizes else None for number in range(config.num_hidden_layers)],
        "latent_norm": plan.norm,
        "norm_eps": float(config.rms_norm_eps),
    }
    model = build("latent_llama", blueprint)
    assert isinstance(model, CausalLM)
    reference = next(body.parameters())
    model = model.to(reference.device, reference.dtype)
    kept = {f"body.{name}": tensor for name, tensor in body.state_dict().items()}
    model.load_state_dict({name: tensor for name, tensor in kept.items() if name in model.state_dict()}, strict=False)
    for number, layer in latent_layers(model).items():
        fill(layer, body.model.layers[number].self_attn, sources[number], plan.how)
    return model, blueprint
