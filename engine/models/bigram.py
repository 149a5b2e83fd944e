"""A table of which token follows which: the smallest causal language model, whose distributions can be written down."""

import torch
from torch import Tensor, nn
from transformers import GPT2Config, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from engine.models.language import CausalLM


class Table(PreTrainedModel):  # type: ignore[no-untyped-call]  # of transformers, for its subclasses
    """Logits of the next token from the last one alone, as a model of transformers without layers, so without anything to cache.

    `table` (vocabulary, vocabulary) has a row for each last token and begins at 0: all tokens are equally probable.
    """

    config_class = GPT2Config

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.table = nn.Parameter(torch.zeros(config.vocab_size, config.vocab_size))

    def forward(self, input_ids: Tensor, logits_to_keep: int = 0, **unused: object) -> CausalLMOutput:
        """input_ids (batch, length) int64 → logits (batch, length, vocabulary), or the last `logits_to_keep` of them."""
        return CausalLMOutput(logits=self.table[input_ids[:, -logits_to_keep:]])


def bigram(*, vocabulary: int, positions: int) -> CausalLM:
    """(batch, length) ids → logits (batch, length, vocabulary). The table is `body.table`."""
    return CausalLM(
        Table(GPT2Config(vocab_size=vocabulary, n_embd=1, n_layer=0, n_head=1, n_positions=positions, bos_token_id=None, eos_token_id=None))
    )
