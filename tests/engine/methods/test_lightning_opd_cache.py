"""The cache and what is watched of it: room, order, and numbers against slow versions; tokens after an end count nowhere."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.methods.lightning_opd.cache import log_probs, rows_of_step, scored, store
from engine.methods.lightning_opd.card import Settings
from engine.methods.lightning_opd.consistency import consistency_of
from engine.methods.lightning_opd.losses import advantages, clipped, drift, surrogate
from engine.methods.lightning_opd.pages import advantage_table, cache_facts, cache_table, first_rollouts
from engine.methods.lightning_opd.watching import cache_warnings, distill_terms, fit, kl_on
from engine.rollout.record import new_batch
from engine.tasks.vocabulary import Characters
from tests.engine.methods.language import LETTERS, gpt2, table

INFINITE = float("inf")


def numbers(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def stored(**changes: Tensor) -> dict[str, Tensor]:
    """Two rows of three tokens, the last of the second after its end."""
    whole = {
        "completion_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "teacher_log_probs": numbers([-1.0, -2.0, -0.5], [-1.5, -3.0, INFINITE]),
        "start_log_probs": numbers([-1.0, -1.0, -1.0], [-1.0, -1.0, -INFINITE]),
        "now": numbers([-1.0, -1.5, -1.0], [-1.0, -2.5, 7.0]),
    }
    return {**whole, **changes}


def rows(count: int = 2, *, width: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    prompt, completion = (torch.randint(0, 5, (count, each), generator=generator) for each in (3, width))
    return {
        "prompt_ids": prompt,
        "prompt_mask": torch.ones_like(prompt),
        "completion_ids": completion,
        "completion_mask": torch.ones_like(completion),
    }


# The cache


def test_a_cache_has_room_for_the_longest_completion_whatever_the_first_ones_were():
    cache: dict[str, Tensor] = {}
    short, long = rows(2, width=2), rows(1, width=4)

    store(cache, short, torch.tensor([2, 0]), size=3, width=4)
    store(cache, long, torch.tensor([1]), size=3, width=4)

    assert {name: tuple(tensor.shape) for name, tensor in cache.items()} == {
        "prompt_ids": (3, 3),
        "prompt_mask": (3, 3),
        "completion_ids": (3, 4),
        "completion_mask": (3, 4),
    }
    assert cache["completion_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]
    assert torch.equal(cache["completion_ids"][2, :2], short["completion_ids"][0])
    assert torch.equal(cache["prompt_ids"][0], short["prompt_ids"][1])


@settings(max_examples=40)
@given(count=st.integers(1, 30), batch=st.integers(1, 12), epoch=st.integers(0, 3), seed=st.integers(0, 99))
def test_each_pass_shows_every_row_once_also_where_the_last_batch_is_short(count: int, batch: int, epoch: int, seed: int):
    steps = -(-count // batch)

    def passed(number: int, what: str = "cache") -> list[int]:
        found = [rows_of_step(number * steps + at, rows=count, batch_size=batch, seed=seed, what=what) for at in range(steps)]
        assert [len(each) for each in found[:-1]] == [batch] * (steps - 1)
        return torch.cat(found).tolist()

    assert sorted(passed(epoch)) == list(range(count))
    assert passed(epoch) == passed(epoch)
    if count > 12:
        assert passed(epoch) != passed(epoch + 1) and passed(epoch) != passed(epoch, "sft")


def test_stored_scores_are_those_without_dropout_in_single_precision_and_without_a_graph():
    model, inputs = gpt2(1).train(), rows()

    found = scored(model, inputs)

    assert found.dtype == torch.float32 and not found.requires_grad
    assert model.training
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    said = model.eval()(ids, torch.ones_like(ids)).log_softmax(dim=-1)
    for row in range(2):
        for token in range(4):
            assert float(found[row, token]) == pytest.approx(float(said[row, 2 + token, ids[row, 3 + token]].detach()), abs=1e-6)
    assert log_probs(model, inputs).requires_grad


# Losses at their edges


@settings(max_examples=60)
@given(
    now=st.floats(-1, 1),
    advantage=st.floats(-3, 3).filter(lambda value: abs(value) > 1e-3),
    low=st.floats(0.01, 0.9),
    high=st.floats(0.01, 2),
)
def test_a_token_is_clipped_exactly_where_the_surrogate_has_no_gradient(now: float, advantage: float, low: float, high: float):
    limits = {"before": numbers([0.0]), "advantage": numbers([advantage]), "clip_low": low, "clip_high": high}
    log_prob = numbers([now]).requires_grad_()
    if min(abs(math.exp(now) - 1 + low), abs(math.exp(now) - 1 - high)) < 1e-6:
        return

    surrogate(log_prob, **limits).sum().backward()

    assert bool(clipped(log_prob.detach(), **limits)) is (float(log_prob.grad) == 0)


def test_the_batchs_start_has_no_gradient_in_the_surrogate():
    log_prob = numbers([-1.0, -2.0]).requires_grad_()

    surrogate(log_prob, before=log_prob, advantage=numbers([2.0, -1.0]), clip_low=0.2, clip_high=0.2).sum().backward()

    assert log_prob.grad.tolist() == [[-2.0, 1.0]]


def test_advantages_without_a_limit_are_the_whole_gap():
    found = advantages(teacher_log_probs=numbers([50.0, -50.0]), student_log_probs=numbers([0.0, 0.0]), clip=None)

    assert found.tolist() == [[50.0, -50.0]]


@settings(max_examples=30)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8))
def test_distances_from_the_start_are_ordered_and_zero_at_it(distances: list[float]):
    d = numbers(distances)

    found = drift(log_probs=d, start_log_probs=torch.zeros_like(d), mask=torch.ones_like(d))
    still = drift(log_probs=d, start_log_probs=d, mask=torch.ones_like(d))

    assert found["k3"] >= -1e-12 and found["k2"] >= 0
    assert float(found["weight_mean"]) == pytest.approx(sum(map(math.exp, distances)) / len(distances))
    assert float(found["weight_std"]) == pytest.approx(float(d.exp().std(correction=0)), abs=1e-12)
    assert {name: float(value) for name, value in still.items()} == {"k1": 0, "k2": 0, "k3": 0, "weight_mean": 1, "weight_std": 0}


# What is watched


def watched(chosen: dict[str, Any] | None = None, **changes: Tensor) -> dict[str, Tensor]:
    given_settings = Settings(**{"advantage_clip": 1.0, **(chosen or {})})
    inputs = stored(**changes)
    before, now = inputs["start_log_probs"], inputs["now"]
    gap = inputs["teacher_log_probs"] - before
    advantage = gap.clamp(-1, 1)
    return distill_terms(inputs, given_settings, loss=torch.tensor(0.5), gap=gap, advantage=advantage, before=before, now=now)


def test_a_steps_terms_are_means_over_real_tokens():
    found = {name: float(value) for name, value in watched().items()}

    # The gaps are 0, −1, 0.5 and −0.5, −2; at the limit of 1 are the second and the last.
    assert found["advantage"] == pytest.approx((0 - 1 + 0.5 - 0.5 - 1) / 5)
    assert found["advantage_squared"] == pytest.approx((0 + 1 + 0.25 + 0.25 + 4) / 5)
    assert found["sequence_gap"] == pytest.approx(((0 + 1 - 0.5) + (0.5 + 2)) / 2)
    assert found["advantage_clipped"] == pytest.approx(2 / 5)
    assert found["drift/weight_mean"] == 1.0
    assert "ratio_clipped" not in found


def test_terms_are_told_only_where_there_is_something_to_tell():
    unlimited, online, several = (set(watched(each)) for each in ({"advantage_clip": None}, {"mode": "online"}, {"updates_per_batch": 2}))

    assert "advantage_clipped" not in unlimited
    assert not any(name.startswith("drift/") for name in online)
    assert "ratio_clipped" in several


def test_the_fit_is_the_mean_squared_gap_of_now_over_real_tokens():
    # Gaps of now: 0, −0.5, 0.5 and −0.5, −0.5.
    assert fit(stored()) == pytest.approx(4 * 0.25 / 5)


def warned(rows_now: dict[str, Tensor], *, clip: float | None = None, begin_fit: float = 0.0, begin_kl: float = 1.0, kl: float = 0.5):
    asked: list[float] = []

    def now() -> float:
        asked.append(kl)
        return kl

    return cache_warnings(rows_now, clip=clip, begin_fit=begin_fit, begin_kl=begin_kl, kl_now=now), len(asked)


def test_a_cache_that_still_fits_is_not_warned_of_and_the_teacher_not_asked():
    calm = stored(now=stored()["start_log_probs"])

    assert warned(calm) == ([], 0)
    assert warned(calm, begin_fit=fit(calm)) == ([], 0)


def test_fresh_text_is_asked_for_once_the_fit_is_better_and_a_larger_divergence_is_told():
    calm = stored(now=stored()["start_log_probs"])

    assert warned(calm, begin_fit=10.0, begin_kl=0.5, kl=0.5) == ([], 1)
    assert warned(calm, begin_fit=10.0, begin_kl=0.5, kl=0.75) == (
        ["KL on fresh text rose from 0.500 to 0.750 nats, while the fit to the cache got better."],
        1,
    )


def test_more_tokens_at_the_advantages_limit_than_at_the_start_are_told_as_shares():
    # At a limit of 0.75 two of five gaps are at it at the start, and none now; the other way round, none and then two.
    rows_now = stored()
    turned = {**rows_now, "now": rows_now["start_log_probs"], "start_log_probs": rows_now["now"]}
    spread = "The weights π_θ/π_ref have a standard deviation of "

    assert [text for text in warned(rows_now, clip=0.75)[0] if not text.startswith(spread)] == []
    assert [text for text in warned(turned, clip=0.75)[0] if not text.startswith(spread)] == [
        "40.00% of the stored tokens are at the advantage's limit; at the start 0.00% were."
    ]


def test_weights_that_spread_beyond_their_limit_are_told_with_their_deviation():
    near, far = (stored(now=stored()["start_log_probs"] + numbers([d, 0.0, d], [0.0, 0.0, 0.0])) for d in (0.4, 0.8))
    weights = numbers([math.exp(0.8), 1.0, math.exp(0.8), 1.0, 1.0])

    assert warned(near)[0] == []
    assert warned(far)[0] == [
        f"The weights π_θ/π_ref have a standard deviation of {float(weights.std(correction=0)):.2f}, above 0.3: the cache has grown old."
    ]


def test_the_divergence_on_fresh_text_is_that_of_the_student_from_the_teacher_on_real_tokens():
    student, teacher = table(1), table(2)
    given_rows = rows()
    given_rows["completion_mask"] = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    rollouts = new_batch(**given_rows, source="student")

    found = kl_on(rollouts, student=student, teacher=teacher)

    total = 0.0
    for row, length in ((0, 4), (1, 2)):
        context = [int(given_rows["prompt_ids"][row, -1]), *given_rows["completion_ids"][row].tolist()]
        for token in context[:length]:
            q, p = (model.body.table[token].log_softmax(dim=0) for model in (student, teacher))
            total += float((q.exp() * (q - p)).sum().detach())
    assert found == pytest.approx(total / 6, rel=1e-6)


# What is shown


@pytest.mark.parametrize(("writer", "found"), [("unknown", "unknown"), ("a", "consistent"), ("b", "inconsistent")])
def test_consistency_compares_the_writer_of_the_first_text_with_the_teacher(writer: str, found: str):
    assert consistency_of({"teacher": "a", "sft_teacher": writer}) == found


def test_facts_of_an_empty_cache_are_zero_and_of_a_full_one_its_bytes_and_real_tokens():
    chosen = Settings(cache_rows=2, sampling_temperature=0.7)

    empty, full = (cache_facts(cache, chosen, "unknown") for cache in ({}, stored()))

    assert (empty["bytes"], empty["tokens"]) == (0, 0)
    assert (full["bytes"], full["tokens"]) == (3 * 6 * 8 + 6 * 8, 5)
    assert (full["rows"], full["sampling temperature"], full["teacher consistency"]) == (2, 0.7, "unknown")


def test_the_table_shortens_fingerprints_and_leaves_empty_those_not_taken_yet():
    found = cache_table({"rows": 3}, fingerprints={"sft_teacher": "f" * 64, "start": ""}, teacher_tokens={"prepare": 12})

    assert found["cells"] == [
        ["fingerprint of sft teacher", "f" * 16],
        ["fingerprint of start", None],
        ["rows", 3],
        ["teacher's tokens for prepare", 12],
    ]


def test_the_first_twelve_rows_are_shown_without_padding_and_shaded_by_the_teachers_doubt():
    cache = rows(14, width=3)
    cache["prompt_mask"][:, 0] = 0
    cache["completion_mask"][:, 2] = 0
    cache["teacher_log_probs"] = torch.tensor([[0.0, math.log(0.25), INFINITE]]).expand(14, 3)

    found = first_rollouts(cache, Characters(LETTERS))

    first = found["items"][0]
    pieces = Characters(LETTERS).pieces(cache["completion_ids"][0, :2].tolist())
    assert len(found["items"]) == 12
    assert first["weights"] == pytest.approx([0.0, 0.75])
    assert (first["pieces"], first["text"]) == (pieces, "".join(pieces))
    assert first["prompt"] == "".join(Characters(LETTERS).pieces(cache["prompt_ids"][0, 1:].tolist()))
    assert first["label"] == f"row 0: teacher's log-probability a token {math.log(0.25) / 2:.3f}"


def test_advantages_are_counted_over_a_range_that_is_symmetric_and_holds_the_largest():
    found = advantage_table(stored())

    assert (found["edges"][0], found["edges"][-1], len(found["edges"])) == (-2.0, 2.0, 41)
    assert (found["counts"]["at the start"][0], sum(found["counts"]["at the start"]), sum(found["counts"]["now"])) == (1, 5, 5)


def test_a_student_that_says_what_its_teacher_says_has_all_advantages_in_the_middle_of_a_range_of_two():
    same = stored()["teacher_log_probs"]

    found = advantage_table(stored(start_log_probs=same, now=same))

    assert (found["edges"][0], found["edges"][-1]) == (-1.0, 1.0)
    assert found["counts"]["now"][20] == 5
