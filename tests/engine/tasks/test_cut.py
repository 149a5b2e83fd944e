"""How labeled rows are cut and spoiled."""

import pytest
import torch

from engine.tasks.classification import cut, noisy

LABELS = torch.arange(100) % 10


@pytest.mark.parametrize("how", ["random", "stratified"])
def test_the_three_parts_are_disjoint_and_hold_every_row(how):
    parts = cut(LABELS, (60, 20, 20), how=how, seed=3)

    assert [len(part) for part in parts] == [60, 20, 20]
    assert torch.cat(parts).sort().values.tolist() == list(range(100))


def test_a_random_cut_is_one_permutation_of_a_generator_with_the_seed():
    train, validation, test = cut(LABELS, (60, 20, 20), how="random", seed=7)

    order = torch.randperm(100, generator=torch.Generator().manual_seed(7))
    assert torch.equal(torch.cat([train, validation, test]), order)


def test_a_stratified_cut_gives_each_class_its_share_of_every_part():
    train, validation, test = cut(LABELS, (60, 20, 20), how="stratified", seed=0)

    assert LABELS[train].bincount().tolist() == [6] * 10
    assert LABELS[validation].bincount().tolist() == [2] * 10
    assert LABELS[test].bincount().tolist() == [2] * 10


@pytest.mark.parametrize("how", ["random", "stratified"])
def test_a_cut_depends_on_its_seed_alone(how):
    first, again, other = (cut(LABELS, (60, 20, 20), how=how, seed=seed)[0] for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_cut_does_not_touch_the_global_generators():
    before = torch.get_rng_state()

    cut(LABELS, (60, 20, 20), how="stratified", seed=0)
    noisy(LABELS, share=0.5, classes=10, seed=0)

    assert torch.equal(torch.get_rng_state(), before)


def test_noise_replaces_its_share_of_the_labels_and_leaves_a_tenth_of_those_right_by_chance():
    labels = torch.zeros(20_000, dtype=torch.int64)

    spoiled = noisy(labels, share=0.2, classes=10, seed=0)

    # 0.2 · 0.9 = 0.18, with a standard deviation of √(0.18 · 0.82 / 20,000) = 0.0027.
    assert (spoiled != 0).float().mean().item() == pytest.approx(0.18, abs=0.01)
    assert spoiled.unique().tolist() == list(range(10))


def test_no_noise_leaves_all_labels_and_full_noise_draws_them_all():
    assert torch.equal(noisy(LABELS, share=0.0, classes=10, seed=0), LABELS)
    assert (noisy(LABELS, share=1.0, classes=10, seed=0) == LABELS).float().mean() < 0.3
