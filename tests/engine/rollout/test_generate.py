"""Sampling: what is drawn, what padding and the cache change (nothing), and where a completion ends."""

import pytest
import torch
from torch import Tensor, nn

from engine.losses.tokens import completion_log_probs, completion_logits
from engine.models.build import build
from engine.models.language import CausalLM
from engine.rollout.generate import Sampling, draw, generate, left_padded

VOCABULARY = 11
GPT2 = {"vocabulary": VOCABULARY, "width": 16, "layers": 2, "heads": 2, "positions": 32}
CONFIGS = {"gpt2": GPT2, "llama": {**GPT2, "mlp_width": 24, "kv_heads": 1}}
PROMPTS = [torch.tensor([3, 4, 5, 6]), torch.tensor([7]), torch.tensor([1, 2])]


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> CausalLM:
    torch.manual_seed(0)
    found = build(request.param, CONFIGS[request.param])
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(8)  # so that its distributions are not nearly uniform
    return found


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Script(nn.Module):
    """A decoder that surely says what it is reported, row by row, and notes what it was asked."""

    def __init__(self, said: list[list[int]]) -> None:
        super().__init__()
        self.said = torch.tensor(said)
        self.asked: list[tuple[Tensor, Tensor | None]] = []
        self.dropout = nn.Dropout()

    def new_cache(self) -> list[int]:
        return []

    def decode(self, ids: Tensor, mask: Tensor | None, cache: list[int]) -> Tensor:
        assert not self.training and not self.dropout.training
        self.asked.append((ids.clone(), None if mask is None else mask.clone()))
        cache.append(1)
        return nn.functional.one_hot(self.said[:, len(cache) - 1], VOCABULARY).float() * 1000


def test_log_probabilities_with_the_cache_are_those_of_one_parallel_forward(model):
    ids, mask = left_padded(PROMPTS)

    batch = generate(model, ids, mask, Sampling(9, temperature=0.7), seeded(), log_probs=True)

    logits = completion_logits(model.eval()(batch.ids, batch.mask, keep=10), 9)
    parallel = completion_log_probs(logits, batch.completion_ids, temperature=0.7)
    assert torch.allclose(batch.behavior_log_probs, parallel, atol=1e-5)
    assert batch.behavior_log_probs.exp().std() > 0.1


def test_more_padding_on_the_left_draws_the_same(model):
    ids, mask = left_padded(PROMPTS)
    wider = [torch.cat([torch.zeros(3, 5, dtype=torch.int64), part], dim=1) for part in (ids, mask)]

    narrow, wide = (generate(model, *prompt, Sampling(9), seeded(), log_probs=True) for prompt in ((ids, mask), wider))

    assert torch.equal(narrow.completion_ids, wide.completion_ids)
    assert torch.allclose(narrow.behavior_log_probs, wide.behavior_log_probs, atol=1e-5)


def test_what_stands_in_the_padding_changes_nothing(model):
    ids, mask = left_padded(PROMPTS)
    other = torch.where(mask.bool(), ids, 9)

    batches = [generate(model, each, mask, Sampling(9), seeded(), log_probs=True) for each in (ids, other)]

    assert torch.equal(batches[0].completion_ids, batches[1].completion_ids)
    assert torch.allclose(batches[0].behavior_log_probs, batches[1].behavior_log_probs, atol=1e-5)


def test_tokens_are_drawn_with_the_chances_of_the_model_at_the_temperature(model):
    prompt = torch.tensor([[3, 4]]).expand(4000, 2)
    with torch.no_grad():
        chances = (model.eval()(prompt[:1])[0, -1] / 2).softmax(dim=0)

    drawn = generate(model, prompt, torch.ones_like(prompt), Sampling(1, temperature=2.0), seeded()).completion_ids

    frequency = torch.bincount(drawn.flatten(), minlength=VOCABULARY) / 4000
    assert torch.allclose(frequency, chances, atol=0.035)  # four standard deviations of a share of 4000


def test_tokens_are_those_that_multinomial_draws():
    logits = torch.randn(500, VOCABULARY, generator=seeded(1)) * 3
    logits[:, 4] = -torch.inf

    found = [draw(logits, seeded(seed)) for seed in range(4)]

    for seed, tokens in enumerate(found):
        assert torch.equal(tokens, torch.multinomial(logits.softmax(dim=-1), 1, generator=seeded(seed)).squeeze(1))
    assert not torch.equal(found[0], found[1])


def test_the_same_generator_draws_the_same_and_another_seed_another_text(model):
    ids, mask = left_padded(PROMPTS)

    first, again, other = (generate(model, ids, mask, Sampling(9), seeded(seed)).completion_ids for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_but_the_generator_is_drawn_from(model):
    ids, mask = left_padded(PROMPTS)
    before = torch.get_rng_state()

    generate(model, ids, mask, Sampling(4), seeded())

    assert torch.equal(torch.get_rng_state(), before)


def test_greedy_takes_the_most_probable_token_and_needs_no_generator(model):
    ids, mask = left_padded(PROMPTS)

    batch = generate(model, ids, mask, Sampling(5, greedy=True), None)

    with torch.no_grad():
        logits = completion_logits(model.eval()(batch.ids, batch.mask, keep=6), 5)
    assert torch.equal(batch.completion_ids, logits.argmax(dim=-1))


def test_a_completion_ends_with_its_end_of_text_and_is_padded_after_it():
    script = Script([[5, 2, 7, 8], [2, 7, 7, 7], [1, 1, 1, 1]])
    prompt = torch.ones(3, 2, dtype=torch.int64)

    batch = generate(script, prompt, torch.ones_like(prompt), Sampling(4, eos_id=2, pad_id=9), seeded(), log_probs=True)

    assert batch.completion_ids.tolist() == [[5, 2, 9, 9], [2, 9, 9, 9], [1, 1, 1, 1]]
    assert batch.completion_mask.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert batch.behavior_log_probs[0].tolist() == [0, 0, 0, 0]


def test_padding_that_is_the_end_of_text_is_told_from_it_by_the_mask():
    script = Script([[2, 7, 7], [5, 5, 2]])
    prompt = torch.ones(2, 1, dtype=torch.int64)

    batch = generate(script, prompt, torch.ones_like(prompt), Sampling(3, eos_id=2, pad_id=2), seeded())

    assert batch.completion_ids.tolist() == [[2, 2, 2], [5, 5, 2]]
    assert batch.completion_mask.tolist() == [[1, 0, 0], [1, 1, 1]]


def test_it_is_cut_to_the_longest_completion_and_stops_when_all_are_finished():
    script = Script([[5, 2] + [7] * 38, [5, 5, 2] + [7] * 37])
    prompt = torch.ones(2, 1, dtype=torch.int64)

    batch = generate(script, prompt, torch.ones_like(prompt), Sampling(40, eos_id=2), seeded())

    assert batch.completion_ids.tolist() == [[5, 2, 0], [5, 5, 2]]
    assert len(script.asked) == 8  # it looks at every eighth token


def test_the_prompt_is_read_once_and_then_one_token_at_a_time():
    script = Script([[5, 6, 7]])
    prompt, mask = torch.tensor([[0, 3, 4]]), torch.tensor([[0, 1, 1]])

    generate(script, prompt, mask, Sampling(3), seeded())

    assert [ids.tolist() for ids, _ in script.asked] == [[[0, 3, 4]], [[5]], [[6]]]
    assert [seen.tolist() for _, seen in script.asked] == [[[0, 1, 1]], [[0, 1, 1, 1]], [[0, 1, 1, 1, 1]]]


def test_prompts_without_padding_need_no_mask():
    script = Script([[5, 6]])
    prompt = torch.tensor([[3, 4]])

    batch = generate(script, prompt, torch.ones_like(prompt), Sampling(2), seeded())

    assert [seen for _, seen in script.asked] == [None, None]
    assert batch.mask.tolist() == [[1, 1, 1, 1]]


def test_it_runs_in_eval_mode_without_gradient_and_leaves_each_module_in_its_own_mode():
    script = Script([[5]])
    script.dropout.eval()
    prompt = torch.ones(1, 1, dtype=torch.int64)

    batch = generate(script, prompt, torch.ones_like(prompt), Sampling(1), seeded(), log_probs=True)

    assert script.training and not script.dropout.training
    assert not batch.behavior_log_probs.requires_grad


def test_prompts_are_padded_on_the_left():
    ids, mask = left_padded([torch.tensor([4, 5, 6]), torch.tensor([7])], pad_id=9)

    assert ids.tolist() == [[4, 5, 6], [9, 9, 7]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
