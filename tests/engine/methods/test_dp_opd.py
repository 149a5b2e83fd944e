"""Private distillation: clipping and noise by hand and by a slow loop, who writes the continuations, and Poisson batches."""

import pytest
import torch
from torch import Tensor

from engine.methods.dp_opd.mechanism import clip_factors, clipped_sum, noised_mean, norms_of
from engine.methods.dp_opd.method import DPOPD
from engine.methods.dp_opd.privacy import spent
from tests.engine.methods.dp_opd_bench import batch_of, new
from tests.engine.methods.harness import weights
from tests.engine.methods.language import gpt2


def slow_record_loss(method: DPOPD, record: Tensor) -> Tensor:
    """Σ_t KL(p_T ‖ p_S) / C for one record of the text, position by position."""
    ids, prompt = record[None], method.settings.prompt_tokens
    student, teacher = (model(ids)[0].log_softmax(dim=-1) for model in (method.student, method.teacher))
    total = torch.zeros((), dtype=torch.float64)
    for place in range(prompt - 1, len(record) - 1):
        for word in range(student.shape[1]):
            total = total + teacher[place, word].exp() * (teacher[place, word] - student[place, word])
    return total / (len(record) - prompt)


def looped_gradients(method: DPOPD, records: Tensor) -> list[dict[str, Tensor]]:
    """One backward pass a record."""
    found = []
    for record in records:
        method.student.zero_grad()
        slow_record_loss(method, record).backward()
        found.append({name: each.grad.clone() for name, each in method.student.named_parameters()})
    method.student.zero_grad()
    return found


def summed(method: DPOPD, *rows: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    rollouts, _ = method.continued(batch_of(method, *rows).inputs)
    return method.clipped_gradients(rollouts)


# The mechanism


def test_factors_leave_short_gradients_and_bring_long_ones_to_the_clip_norm():
    factors = clip_factors(torch.tensor([0.0, 0.25, 0.5, 2.0], dtype=torch.float64), 0.5)

    assert factors[:2].tolist() == [1.0, 1.0]
    assert factors[2:].tolist() == pytest.approx([0.5 / (0.5 + 1e-6), 0.5 / (2.0 + 1e-6)], rel=1e-12)


def test_the_norm_is_over_all_parameters_together_and_not_tensor_by_tensor():
    gradients = {"a": torch.tensor([[3.0, 0.0], [0.3, 0.0]]), "b": torch.tensor([[[4.0]], [[0.4]]])}

    total, norms = clipped_sum(gradients, 1.0)

    assert norms.tolist() == pytest.approx([5.0, 0.5])
    assert total["a"].tolist() == pytest.approx([0.6 + 0.3, 0.0], abs=1e-6)
    assert total["b"].flatten().tolist() == pytest.approx([0.8 + 0.4], abs=1e-6)


def test_noise_is_on_the_sum_and_the_divisor_is_the_expected_batch():
    zeros = {"a": torch.zeros(200_000, dtype=torch.float64)}

    noise = noised_mean(zeros, noise_multiplier=3.0, clip_norm=0.5, expected_batch=10, generator=torch.Generator().manual_seed(0))["a"]

    assert float(noise.std()) == pytest.approx(3.0 * 0.5 / 10, rel=0.01)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.002)


def test_without_noise_the_sum_is_only_divided():
    total = {"a": torch.tensor([1.0, -2.0])}

    mean = noised_mean(total, noise_multiplier=0.0, clip_norm=1e9, expected_batch=4, generator=torch.Generator())

    assert mean["a"].tolist() == [0.25, -0.5]


# One record's gradient


@pytest.mark.parametrize("architecture", [1, 2])
def test_gradients_by_vmap_are_those_of_a_loop_over_single_records(architecture):
    method = new(student=gpt2(1, layers=architecture))

    sums, norms, losses = summed(method, 0, 4, 11)

    looped = looped_gradients(method, method.corpus[[0, 4, 11]])
    for name, total in sums.items():
        assert torch.allclose(total, sum(each[name] for each in looped), rtol=0, atol=1e-10)
    by_hand = [torch.cat([each.flatten() for each in one.values()]).norm() for one in looped]
    assert norms.tolist() == pytest.approx([float(norm) for norm in by_hand], rel=1e-10)
    assert losses.tolist() == pytest.approx([slow_record_loss(method, method.corpus[row]).item() for row in (0, 4, 11)], rel=1e-12)


def test_the_gradient_of_a_record_is_that_of_finite_differences():
    method = new()
    record = method.corpus[2]
    sums, _, _ = summed(method, 2)
    weight = method.student.body.lm_head.weight

    step, differences = 1e-6, []
    for place in (0, 7, 19):
        with torch.no_grad():
            weight.view(-1)[place] += step
            above = slow_record_loss(method, record).item()
            weight.view(-1)[place] -= 2 * step
            below = slow_record_loss(method, record).item()
            weight.view(-1)[place] += step
        differences.append((above - below) / (2 * step))

    assert sums["body.lm_head.weight"].flatten()[[0, 7, 19]].tolist() == pytest.approx(differences, rel=1e-6, abs=1e-9)


def test_cross_entropy_on_labels_is_minus_the_mean_log_probability_of_the_private_text():
    method = new({"loss": "labels"})

    _, _, losses = summed(method, 3)

    record = method.corpus[3]
    log_probs = method.student(record[None])[0].log_softmax(dim=-1)
    by_hand = -sum(log_probs[place - 1, record[place]].item() for place in range(3, 8)) / 5
    assert losses.tolist() == pytest.approx([by_hand], rel=1e-12)


def test_a_record_counts_its_own_tokens_and_one_without_any_counts_nothing():
    method = new()
    rollouts, _ = method.continued(batch_of(method, 0, 1, 1).inputs)
    mask = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    object.__setattr__(rollouts, "completion_mask", mask)

    _, norms, losses = method.clipped_gradients(rollouts)

    student, teacher = (model(rollouts.ids)[0].log_softmax(dim=-1) for model in (method.student, method.teacher))
    first_two = (teacher.exp() * (teacher - student)).sum(dim=-1)[2:4].mean()
    assert losses[0].item() == pytest.approx(first_two.item(), rel=1e-12)
    assert losses[1].item() == norms[1].item() == 0.0
    assert losses[2].item() > 0


def test_a_tied_matrix_is_one_parameter_with_the_gradient_of_both_uses():
    student = gpt2(1)
    student.body.lm_head.weight = student.body.transformer.wte.weight
    method = new(student=student)

    sums, _, _ = summed(method, 0)

    assert "body.lm_head.weight" not in sums
    looped = looped_gradients(method, method.corpus[[0]])[0]
    assert torch.allclose(sums["body.transformer.wte.weight"], looped["body.transformer.wte.weight"], rtol=0, atol=1e-10)


# The step


def test_without_noise_and_clipping_a_step_is_the_mean_gradient_times_realized_over_expected_batch():
    method = new()
    before = weights(method.student)
    looped = looped_gradients(method, method.corpus[[1, 2, 3, 5, 8, 13]])
    mean = torch.cat([sum(one[name] for one in looped).flatten() / 6 for name in looped[0]])

    method.step(batch_of(method, 1, 2, 3, 5, 8, 13))

    assert torch.allclose(weights(method.student), before - 0.1 * mean * 6 / 4, rtol=0, atol=1e-12)


def test_no_clipped_gradient_is_longer_than_the_clip_norm():
    method = new({"clip_norm": 0.01})
    _, norms, _ = summed(method, *range(20))

    alone = [summed(method, row)[0] for row in range(20)]

    assert float(norms.min()) > 0.01
    lengths = [float(norms_of({name: each[None] for name, each in total.items()})) for total in alone]
    assert max(lengths) <= 0.01 and min(lengths) > 0.0099


def test_a_loss_a_thousand_times_as_large_makes_the_same_step_where_all_is_clipped():
    plain, scaled = new({"clip_norm": 1e-4}), new({"clip_norm": 1e-4})
    original = scaled.record_loss
    object.__setattr__(scaled, "record_loss", lambda *arguments: 1000 * original(*arguments))

    for method in (plain, scaled):
        method.step(batch_of(method, 0, 1, 2))

    moved = weights(plain.student) - weights(gpt2(1))
    assert float(moved.norm()) > 1e-6
    # f = C / (norm + 1e-6): the small constant is all that is left of the scale
    assert torch.allclose(weights(scaled.student) - weights(gpt2(1)), moved, rtol=0, atol=1e-3 * float(moved.norm()))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_record_more_changes_the_sum_by_at_most_the_clip_norm(share):
    method = new({"clip_norm": 0.05, "on_policy_share": share})
    rollouts, _ = method.continued(batch_of(method, 4, 7, 9, 12).inputs)

    with_it, _, _ = method.clipped_gradients(rollouts)
    without, _, _ = method.clipped_gradients(rollouts.take(slice(0, 3)))

    difference = torch.cat([(with_it[name] - without[name]).flatten() for name in with_it])
    assert 0 < float(difference.norm()) <= 0.05 + 1e-12


def test_sampling_and_judging_keep_their_kind_of_attention():
    method = new()

    method.step(batch_of(method, 0, 1))

    assert method.student.body.config._attn_implementation == "sdpa"


def test_how_many_gradients_are_in_memory_at_once_changes_nothing():
    rows = range(11)
    whole, pieces = new({"clip_norm": 0.2}), new({"clip_norm": 0.2, "gradients_at_once": 3})

    for method in (whole, pieces):
        method.step(batch_of(method, *rows))

    assert torch.allclose(weights(whole.student), weights(pieces.student), rtol=0, atol=1e-13)


def test_a_student_that_equals_its_teacher_moves_by_noise_alone():
    method = new(
        {"noise_multiplier": 2.0, "clip_norm": 0.5, "on_policy_share": 0.5}, student=gpt2(3, width=32), teachers=(gpt2(3, width=32),)
    )
    before = weights(method.student)

    terms = method.step(batch_of(method, *range(8)))

    moved = weights(method.student) - before
    assert float(terms["private/norm_mean"]) < 1e-12 and abs(float(terms["loss"])) < 1e-12
    assert float(moved.std()) == pytest.approx(0.1 * 2.0 * 0.5 / 4, rel=0.02)  # rate · σC/B
    assert len(moved) > 10_000


def test_an_empty_batch_still_makes_a_noisy_step_that_is_counted():
    method = new({"noise_multiplier": 1.0, "clip_norm": 0.5})
    before = weights(method.student)

    terms = method.step(batch_of(method))

    moved = weights(method.student) - before
    assert float(moved.std()) == pytest.approx(0.1 * 0.5 / 4, rel=0.1)
    assert method.account.steps == 1
    assert "loss" not in terms and float(terms["private/batch_rows"]) == 0
    assert float(terms["epsilon"]) == pytest.approx(spent([(1.0, 0.2, 1)], delta=1 / 40).epsilon, rel=1e-6)


# Who writes the continuation


def test_each_record_has_its_own_coin():
    method = new({"on_policy_share": 0.5, "records": 60})
    records = method.corpus

    rollouts, coins = method.continued(records)

    assert 15 < int(coins.sum()) < 45
    assert torch.equal(rollouts.completion_ids[~coins], records[~coins, 3:])
    changed = (rollouts.completion_ids[coins] != records[coins, 3:]).any(dim=1)
    assert float(changed.float().mean()) > 0.9  # five sampled letters are seldom those of the text
    assert torch.equal(rollouts.prompt_ids, records[:, :3])


def test_a_share_of_zero_draws_no_text_and_a_share_of_one_keeps_none():
    never, always = new({"on_policy_share": 0.0}), new({"on_policy_share": 1.0})

    assert not never.continued(never.corpus)[1].any()
    assert always.continued(always.corpus)[1].all()


def test_what_a_record_is_continued_with_leaves_the_student_as_it_was():
    method = new({"on_policy_share": 1.0})
    method.student.train()
    before = weights(method.student)

    method.continued(method.corpus)

    assert method.student.training
    assert torch.equal(weights(method.student), before)


# Batches


def test_batches_are_poisson_s_with_any_size():
    method = new({"records": 100, "expected_batch": 4})

    sizes = [len(method.poisson_batch(step, torch.Generator().manual_seed(step))) for step in range(500)]

    mean, variance = sum(sizes) / 500, sum((size - 4) ** 2 for size in sizes) / 500
    assert mean == pytest.approx(4, abs=0.35)  # four standard errors
    assert variance == pytest.approx(100 * 0.04 * 0.96, rel=0.3)
    assert 0 in sizes and max(sizes) > 8
