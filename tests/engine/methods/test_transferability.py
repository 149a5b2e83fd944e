"""Transferability scores: by hand, against slow versions, and by what must not change them."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from engine.methods.distill_similar.transferability import (
    check_probe,
    dissimilarity,
    h_score,
    interval,
    knn,
    leep,
    nce,
    parc,
    principal,
    rsa,
    standardized,
    stratified,
)


def drawn(seed: int, *, rows: int = 20, width: int = 6, classes: int = 3):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, width)), generator.permutation(np.arange(rows) % classes)


# PARC


def slow_parc(features, labels, *, dims: int | None = None) -> float:
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    if dims is not None:
        scaled = PCA(min(dims, *scaled.shape), svd_solver="full").fit_transform(scaled)
    distances, differ = [], []
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            distances.append(1 - np.corrcoef(scaled[i], scaled[j])[0, 1])
            differ.append(float(labels[i] != labels[j]))
    return 100 * spearmanr(np.round(distances, 10), differ).statistic


@pytest.mark.parametrize("seed", range(3))
def test_parc_is_spearmans_correlation_over_all_pairs(seed: int):
    features, labels = drawn(seed)

    assert parc(features, labels) == pytest.approx(slow_parc(features, labels), abs=1e-9)


def test_parc_is_near_100_where_classes_are_apart_and_cannot_be_100_for_ties():
    labels = np.array([0, 0, 0, 1, 1, 1])
    features = np.where(labels[:, None] == 0, [1.0, 2.0, 0.0], [2.0, 0.0, 1.0]) + 1e-3 * drawn(0, rows=6, width=3)[0]

    # 6 pairs of one class with the lowest ranks 1…6, 9 pairs apart with 7…15: their mean ranks 3.5 and 11, against the ranks 1…15.
    expected = (6 * (3.5 - 8) ** 2 + 9 * (11 - 8) ** 2) / math.sqrt((6 * (3.5 - 8) ** 2 + 9 * (11 - 8) ** 2) * 280)
    assert parc(features, labels) == pytest.approx(100 * expected, abs=1e-9)
    assert parc(features, labels) > 80


def test_parc_does_not_see_names_of_classes_order_of_rows_or_units_of_features():
    features, labels = drawn(1, classes=5)
    renamed = np.array([3, 0, 4, 1, 2])[labels]
    order = np.random.default_rng(9).permutation(len(labels))
    scales = np.array([0.1, 2.0, 30.0, 1.0, 5.0, 0.7])

    found = parc(features, labels)

    assert parc(features, renamed) == pytest.approx(found, abs=1e-9)
    assert parc(features[order], labels[order]) == pytest.approx(found, abs=1e-9)
    assert parc(features * scales + 4, labels) == pytest.approx(found, abs=1e-9)
    assert -100 <= found <= 100


@pytest.mark.parametrize(("rows", "dims"), [(40, 3), (40, 10), (40, 32), (8, 32)])
def test_parc_standardizes_features_before_it_projects_them_and_never_again(rows: int, dims: int):
    features, labels = drawn(2, rows=rows, width=10)

    assert parc(features, labels, dims=dims) == pytest.approx(slow_parc(features, labels, dims=dims), abs=1e-6)


def test_components_have_the_signs_of_scikit_learn_whatever_the_order_of_the_rows():
    features, _ = drawn(2, rows=40, width=10)
    order = np.random.default_rng(5).permutation(40)

    found = principal(features, 4)

    assert np.allclose(found, PCA(4, svd_solver="full").fit_transform(features), atol=1e-10)
    assert np.allclose(principal(features[order], 4), found[order], atol=1e-10)


def test_a_row_without_spread_is_at_distance_one_and_no_number_is_undefined():
    features, labels = drawn(3)
    features[4] = features.mean()

    distance = dissimilarity(features)

    assert distance[4].tolist() == [1.0] * 20 and distance[:, 4].tolist() == [1.0] * 20
    assert math.isfinite(parc(np.ones((20, 6)), labels)) and parc(np.ones((20, 6)), labels) == 0.0


def test_constant_columns_become_zero_even_where_their_deviation_is_rounding():
    features, _ = drawn(4)
    features[:, 2] = 0.1  # its mean differs from 0.1 in the last bit

    assert standardized(features)[:, 2].tolist() == [0.0] * 20
    assert np.allclose(standardized(features)[:, 0].std(), 1.0)


def test_labels_of_one_class_say_nothing_and_are_refused_with_their_counts():
    with pytest.raises(ValueError, match="needs at least two classes with at least two labeled rows each; got 5 of class 0, 1 of class 3"):
        check_probe(np.array([0, 0, 0, 0, 0, 3]))


# The other scores


def test_rsa_is_parc_with_the_distances_of_another_model():
    features, _ = drawn(5)
    other, _ = drawn(6, width=4)

    above = np.triu_indices(20, k=1)
    expected = 100 * spearmanr(dissimilarity(standardized(features))[above], dissimilarity(standardized(other))[above]).statistic
    assert rsa(features, other) == pytest.approx(expected, abs=1e-6)
    assert rsa(features, features * 3 - 1) == pytest.approx(100.0)


def test_knn_asks_the_nearest_other_row_and_of_equal_ones_the_first():
    features = np.array([[0.0], [1.0], [2.0], [10.0], [10.5]])
    labels = np.array([0, 1, 1, 2, 2])

    # Row 0 → 1 (wrong); row 1 is as near to 0 as to 2, the first counts (wrong); row 2 → 1 (right); rows 3 and 4 find each other.
    assert knn(features, labels) == pytest.approx(60.0)


def test_leep_is_the_mean_log_of_the_expected_label_probability():
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    labels = np.array([0, 0, 1])

    first = (0.9 + 0.8) / 2.0, (0.1 + 0.2) / 1.0  # P(y = 0 | z) for both z
    second = 0.3 / 2.0, 0.7 / 1.0
    expected = [0.9 * first[0] + 0.1 * first[1], 0.8 * first[0] + 0.2 * first[1], 0.3 * second[0] + 0.7 * second[1]]
    assert leep(probs, labels) == pytest.approx(np.mean(np.log(expected)), abs=1e-12)


def test_nce_counts_the_sources_choices_with_a_small_constant_in_every_cell():
    probs = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [0.6, 0.4, 0.0]])
    labels = np.array([0, 0, 1, 1])

    joint = {(0, 0): 0.25, (0, 1): 0.25, (0, 2): 0.0, (1, 0): 0.5, (1, 1): 0.0, (1, 2): 0.0}
    marginal, e = [0.75, 0.25, 0.0], 1e-5
    expected = sum((p + e) * math.log((p + e) / (marginal[z] + e)) for (_, z), p in joint.items())
    assert nce(probs, labels) == pytest.approx(expected, abs=1e-12)


def test_the_h_score_is_the_share_of_variance_between_classes():
    features, labels = drawn(7, width=1)
    scaled = (features[:, 0] - features.mean()) / features.std()
    means = np.array([scaled[labels == label].mean() for label in labels])

    assert h_score(features, labels) == pytest.approx(means.var(ddof=1) / scaled.var(ddof=1), rel=1e-9)


# Rows


def test_a_stratified_choice_gives_each_class_its_share_of_its_first_rows():
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)

    rows = stratified(labels, 20)

    assert np.bincount(labels[rows]).tolist() == [12, 6, 2]
    assert rows[:12].tolist() == list(range(12))
    assert stratified(labels, 100).tolist() == list(range(100))


def test_the_interval_counts_a_row_once_and_is_the_same_every_time():
    _, labels = drawn(8)
    seen = []

    first = interval(lambda rows: float(seen.append(rows) or len(rows)), labels, resamples=50, seed=1)

    assert all(len(np.unique(rows)) == len(rows) for rows in seen)
    assert first == interval(lambda rows: float(len(rows)), labels, resamples=50, seed=1)
    assert 8 <= first[0] < first[1] <= 18


def test_there_is_no_interval_where_no_resample_has_two_classes():
    assert interval(lambda rows: 1.0, np.zeros(10, dtype=np.int64), resamples=5, seed=0) is None
