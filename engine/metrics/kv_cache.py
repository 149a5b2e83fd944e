"""What decoding keeps of the tokens before: bytes of the key-value cache, from the architecture and as the cache object really is.

A layer keeps so many numbers of each token (at most `window` tokens of them), and so many whatever the length. MLPs and embeddings do not
enter, nor do activations. Bytes of one sequence of S tokens:

    Σ over layers of  elements · b · min(S, window)  +  state · 4  +  conv · b        with b bytes an element

The formula says what the architecture needs; what the model's cache object holds is measured beside it, and a difference is reported.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine import charts
from engine.errors import ModelError
from engine.models.language import CausalLM
from engine.models.latent_attention import latent_layers

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
STATE_BYTES = 4
"""A recurrent state adds up over the whole sequence: it is kept in float32 whatever the rest is kept in."""

CONTEXTS = (1024, 8192, 32768, 131072)
HEADLINE_DTYPE, HEADLINE_CONTEXT = "bfloat16", 32768
MEASURED_TOKENS = 4
MIB = 2**20


@dataclass(frozen=True)
class LayerCache:
    """One layer's cache. `elements` are kept of each of the last `window` tokens (None: of all), `state` and `conv` once a sequence."""

    mechanism: str
    elements: int
    window: int | None = None
    state: int = 0
    conv: int = 0

    def bytes_per_token(self, element: int) -> int:
        """What one more token costs, before a window is full; `element` is the bytes of a cached number."""
        return self.elements * element

    def fixed_bytes(self, element: int) -> int:
        """What is kept whatever the length."""
        return self.state * STATE_BYTES + self.conv * element

    def total(self, tokens: int, element: int) -> int:
        """Bytes of one sequence of so many tokens."""
        kept = tokens if self.window is None else min(tokens, self.window)
        return self.bytes_per_token(element) * kept + self.fixed_bytes(element)


# The mechanisms


def attention(*, heads: int, kv_heads: int, key: int, value: int | None = None, window: int | None = None) -> LayerCache:
    """Plain attention, kv_heads·(d_k + d_v): MHA with as many key heads as heads, MQA with one, GQA between; with a window, of its tokens."""
    name = "MHA" if kv_heads == heads else "MQA" if kv_heads == 1 else "GQA"
    return LayerCache(name if window is None else f"{name}, window {window}", kv_heads * (key + (value or key)), window)


def latent(*, rank: int, rope: int) -> LayerCache:
    """Latent attention, r + d_r: independent of the heads."""
    return LayerCache("MLA", rank + rope)


def latent_expanded(*, heads: int, nope: int, rope: int, value: int) -> LayerCache:
    """Latent attention whose keys and values are formed and kept, h·(d_n + d_r + d_v): more than it need be."""
    return LayerCache("MLA, expanded", heads * (nope + rope + value))


def linear_attention(*, heads: int, key: int, value: int, channels: int, kernel: int) -> LayerCache:
    """Linear attention, delta rule, KDA: a state heads·d_k·d_v, and a short convolution over `channels` (those of q, k and v), and no token."""
    return LayerCache("linear attention", 0, state=heads * key * value, conv=channels * kernel)


def mamba2(*, heads: int, width: int, state: int, channels: int, kernel: int) -> LayerCache:
    """Mamba2: a state heads·d_head·N, and a short convolution."""
    return LayerCache("Mamba2", 0, state=heads * width * state, conv=channels * kernel)


# Sums over layers


def bytes_per_token(layers: Sequence[LayerCache], element: int) -> int:
    """What one more token costs in all layers, before a window is full."""
    return sum(layer.bytes_per_token(element) for layer in layers)


def fixed_bytes(layers: Sequence[LayerCache], element: int) -> int:
    return sum(layer.fixed_bytes(element) for layer in layers)


def total_bytes(layers: Sequence[LayerCache], tokens: int, element: int, *, batch: int = 1) -> int:
    """Bytes of `batch` sequences of so many tokens."""
    return batch * sum(layer.total(tokens, element) for layer in layers)


def crossover(layers: Sequence[LayerCache], teacher: Sequence[LayerCache], element: int) -> float | None:
    """From how many tokens on a cache with a fixed part is smaller than the teacher's: fixed / (bytes saved a token). None if never."""
    saved = bytes_per_token(teacher, element) - bytes_per_token(layers, element)
    extra = fixed_bytes(layers, element) - fixed_bytes(teacher, element)
    return max(0, extra) / saved if saved > 0 else None


# Of a model


def layers_of(model: CausalLM) -> list[LayerCache]:
    """Each layer's cache, from the model's configuration and its latent attention. Raises ModelError for a layer that has no formula here."""
    config = model.body.config
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    latents = latent_layers(model)
    layers = []
    for number, kind in enumerate(kinds):
        if number in latents:
            sizes = latents[number].sizes
            layers.append(latent(rank=sizes.kv_rank, rope=sizes.rope))
        elif kind in ("full_attention", "sliding_attention"):
            window = config.sliding_window if kind == "sliding_attention" else None
            layers.append(attention(heads=heads, kv_heads=kv_heads, key=width, window=window))
        else:
            raise ModelError(f"There is no formula for the cache of layer {number}, which is a {kind!s:.40}.")
    return layers


@torch.no_grad()
def measured_layers(model: CausalLM) -> list[LayerCache]:
    """What the model's own cache object holds after decoding a few tokens: numbers of each token, and those that do not grow (as `conv`).

    Two short calls of `decode`, whatever the model's size. Draws nothing.
    """
    step = max(1, min(MEASURED_TOKENS, model.body.config.max_position_embeddings // 2))
    device = next(model.parameters()).device
    cache, held = model.new_cache(), []
    for tokens in (step, 2 * step):
        ids = torch.zeros(1, step, dtype=torch.int64, device=device)
        model.decode(ids, torch.ones(1, tokens, dtype=torch.int64, device=device), cache)
        held.append([sum(tensor.numel() for tensor in _tensors(vars(layer))) for layer in cache.layers])
    layers = []
    for first, second in zip(*held, strict=True):
        elements = (second - first) // step
        layers.append(LayerCache("measured", elements, conv=first - elements * step))
    return layers


def _tensors(held: Mapping[str, Any] | Sequence[Any]) -> Iterator[Tensor]:
    """The tensors that a cache's layer holds under public names, also within lists and dicts."""
    items = [value for name, value in held.items() if not str(name).startswith("_")] if isinstance(held, Mapping) else held
    for value in items:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping | list | tuple):
            yield from _tensors(value)


def warning_of(formula: Sequence[LayerCache], measured: Sequence[LayerCache]) -> str:
    """One sentence when the cache object holds another number of elements a token than the formula says; empty when they agree."""
    differing = [number for number, (a, b) in enumerate(zip(formula, measured, strict=True)) if a.elements != b.elements]
    if not differing:
        return ""
    ours, theirs = (sum(layer.elements for layer in layers) for layers in (formula, measured))
    return f"Warning: decoding keeps {theirs} numbers of a token, the architecture needs {ours}; they differ first in layer {differing[0]}."


def kv_report(model: CausalLM, *, teacher: CausalLM | None = None) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Numbers and charts of a language model's cache. Bytes are in bfloat16 where a number has no other format; one sequence.

    `kv_compression` is the teacher's bytes over the model's at 32k tokens, None without a teacher. Changes nothing in the model.
    """
    measured = measured_layers(model)
    layers, warning = _layers_or_measured(model, measured, "student")
    others, unknown = (None, "") if teacher is None else _layers_or_measured(teacher, None, "teacher")
    element = BYTES[HEADLINE_DTYPE]
    total = total_bytes(layers, HEADLINE_CONTEXT, element)
    metrics: dict[str, float | None] = {
        "kv_bytes_per_token": float(bytes_per_token(layers, element)),
        "kv_bytes_per_token_measured": float(bytes_per_token(measured, element)),
        "kv_fixed_bytes": float(fixed_bytes(layers, element)),
        "kv_total_32k": total / MIB,
        "kv_compression": total_bytes(others, HEADLINE_CONTEXT, element) / total if others is not None and total else None,
    }
    warning = " ".join(filter(None, (warning, unknown, warning_of(layers, measured))))
    models = {"student": layers} | ({} if others is None else {"teacher": others})
    tables = {
        "kv_cache": cache_table(models, note=warning),
        "kv_layers": layer_bars({**models, "student, measured": measured}, note=warning),
        "kv_context": context_lines(models),
    }
    return metrics, tables


def _layers_or_measured(model: CausalLM, measured: list[LayerCache] | None, whose: str) -> tuple[list[LayerCache], str]:
    """By formula, or where a layer has none as measured, with a sentence that says so: the end of a run must not fail at this."""
    try:
        return layers_of(model), ""
    except ModelError as error:
        return measured or measured_layers(model), f"{error} All numbers of the {whose} are measured."


# Charts


def cache_table(models: Mapping[str, Sequence[LayerCache]], *, note: str = "") -> charts.ChartSpec:
    """A row for each model and number format: bytes a token, fixed bytes, MiB at 1k, 8k, 32k and 128k tokens. With a model named teacher,
    also the share of its bytes at 128k, its bytes over the model's, and the length from which on the model's are fewer."""
    teacher = models.get("teacher")
    columns = ["model", "format", "bytes a token", "fixed bytes", *(f"MiB at {tokens // 1024}k" for tokens in CONTEXTS)]
    columns += [] if teacher is None else ["share of the teacher's at 128k", "compression at 128k", "smaller from (tokens)"]
    cells: list[list[Any]] = []
    for name, layers in models.items():
        for dtype, element in BYTES.items():
            totals = [total_bytes(layers, tokens, element) for tokens in CONTEXTS]
            cells.append([name, dtype, bytes_per_token(layers, element), fixed_bytes(layers, element), *(each / MIB for each in totals)])
            if teacher is not None:
                reference = total_bytes(teacher, CONTEXTS[-1], element)
                ratio = reference / totals[-1] if totals[-1] else None
                cells[-1] += [totals[-1] / reference if reference else None, ratio, crossover(layers, teacher, element)]
    return charts.rows("Key-value cache of one sequence", columns, cells, note=note)


def layer_bars(models: Mapping[str, Sequence[LayerCache]], *, note: str = "") -> charts.ChartSpec:
    """Bytes a token by layer, a bar for each model. Models may have different numbers of layers."""
    element, longest = BYTES[HEADLINE_DTYPE], max(len(layers) for layers in models.values())
    kinds = next(iter(models.values()))
    labels = [f"{number} {kinds[number].mechanism}" if number < len(kinds) else f"{number}" for number in range(longest)]
    series = {
        name: [layers[number].bytes_per_token(element) if number < len(layers) else None for number in range(longest)]
        for name, layers in models.items()
    }
    return charts.bars("Key-value cache by layer", labels, series, x="layer", y="bytes a token (bfloat16)", note=note)


def context_lines(models: Mapping[str, Sequence[LayerCache]]) -> charts.ChartSpec:
    """The cache's size against the length of the context, from 256 tokens to 128k."""
    lengths, element = [2**power for power in range(8, 18)], BYTES[HEADLINE_DTYPE]
    series = {name: (lengths, [total_bytes(layers, tokens, element) / MIB for tokens in lengths]) for name, layers in models.items()}
    title = "Key-value cache against context, one sequence in bfloat16"
    return charts.lines(title, series, x="context (tokens)", y="cache (MiB), lower is better", log_x=True, log_y=True)
