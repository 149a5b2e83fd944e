"""How sources are told apart: scores that must not depend on names and units, the weights made of them, the table, and what is warned of."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.methods.distill_similar import charts, selection, warnings
from engine.methods.distill_similar.card import Settings
from engine.methods.distill_similar.transferability import check_probe, h_score, interval, knn, leep, nce, parc, principal, rsa, stratified

NO_SOURCE = "No source is similar to the target task: all similarities are at most 0. The largest one is used."
WITHIN_NOISE = "The two most similar sources are within each other's interval: more labels would be needed to tell them apart."


def drawn(seed: int, *, rows: int = 12, width: int = 4, classes: int = 3) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, width)), generator.permutation(np.arange(rows) % classes)


def softmax(logits: Any) -> Any:
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


# Scores


@pytest.mark.parametrize("score", [parc, knn, h_score])
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_a_score_of_features_sees_neither_the_order_of_rows_nor_the_names_of_classes(score: Any, seed: int):
    features, labels = drawn(seed)
    order, names = np.random.default_rng(seed + 1).permutation(12), np.array([40, -3, 7])

    assert score(features[order], names[labels][order]) == pytest.approx(score(features, labels), abs=1e-9)


@pytest.mark.parametrize("score", [leep, nce])
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_a_score_of_outputs_sees_neither_the_names_of_the_sources_classes_nor_those_of_the_target(score: Any, seed: int):
    features, labels = drawn(seed)
    probs, turned = softmax(features), np.random.default_rng(seed + 1).permutation(4)

    assert score(probs[:, turned], np.array([9, 2, 4])[labels]) == pytest.approx(score(probs, labels), abs=1e-12)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_the_h_score_and_rsa_see_no_unit_of_a_feature(seed: int, scale: float, shift: float):
    features, labels = drawn(seed)
    other, reference = features.copy(), drawn(seed + 1)[0]
    other[:, 1] = scale * other[:, 1] + shift

    assert h_score(other, labels) == pytest.approx(h_score(features, labels), rel=1e-6)
    assert rsa(other, reference) == pytest.approx(rsa(features, reference), abs=1e-6)


def test_a_model_is_like_itself_and_distances_of_two_models_compare_both_ways():
    features, reference = drawn(0)[0], drawn(1)[0]

    assert rsa(features, features) == pytest.approx(100.0)
    assert rsa(features, reference) == pytest.approx(rsa(reference, features))


def test_one_feature_has_an_h_score_too_and_it_is_the_share_of_variance_between_classes():
    features = np.array([[0.0], [2.0], [4.0], [6.0]])

    # Class means 1 and 5 are at distance 2 from the middle, the four rows at 3, 1, 1 and 3.
    assert h_score(features, np.array([0, 0, 1, 1])) == pytest.approx((4 * 4) / (9 + 1 + 1 + 9))


def test_a_class_that_the_source_never_thinks_of_adds_nothing():
    probs, labels = softmax(drawn(0)[0]), drawn(0)[1]
    wider = np.concatenate([probs, np.zeros((12, 2))], axis=1)

    assert leep(wider, labels) == pytest.approx(leep(probs, labels), rel=1e-12)


def test_a_source_whose_outputs_are_the_labels_scores_zero_and_one_that_knows_nothing_the_entropy_of_the_labels():
    labels = np.array([0, 0, 0, 1])
    certain, blind = np.eye(2)[labels], np.full((4, 2), 0.5)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)

    assert leep(certain, labels) == pytest.approx(0.0, abs=1e-12)
    assert leep(blind, labels) == pytest.approx(-entropy, rel=1e-12)
    assert nce(blind, labels) == pytest.approx(-entropy, abs=1e-3)


def test_components_are_at_most_as_many_as_there_are_rows_and_columns_and_keep_all_distances():
    features, _ = drawn(0, rows=5, width=9)

    whole = principal(features, 100)

    assert whole.shape == (5, 5)
    assert np.linalg.norm(whole[:, None] - whole[None], axis=2) == pytest.approx(np.linalg.norm(features[:, None] - features[None], axis=2))
    assert np.array_equal(principal(features, 2), whole[:, :2])
    assert (np.diff(np.square(whole).sum(axis=0)) <= 1e-9).all()


@pytest.mark.parametrize(
    ("labels", "found"), [([], "none"), ([4], "1 of class 4"), ([1, 1, 0], "1 of class 0, 2 of class 1"), ([7] * 3, "3 of class 7")]
)
def test_rows_that_say_nothing_of_likeness_are_refused_with_their_counts(labels: list[int], found: str):
    with pytest.raises(ValueError, match="labeled rows") as refused:
        check_probe(np.array(labels, dtype=np.int64))

    assert str(refused.value) == f"needs at least two classes with at least two labeled rows each; got {found}"


@settings(max_examples=25)
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=40), rows=st.integers(1, 45))
def test_a_stratified_choice_has_each_classes_share_to_within_one_row_and_takes_its_first_ones(labels: list[int], rows: int):
    names = np.array(labels)

    found = stratified(names, rows)

    assert len(found) == min(rows, len(names)) and (np.diff(found) > 0).all()
    for name in set(labels):
        mine, chosen = np.flatnonzero(names == name), found[names[found] == name]
        assert chosen.tolist() == mine[: len(chosen)].tolist()
        assert abs(len(chosen) - len(mine) * len(found) / len(names)) <= 1


def test_an_interval_holds_95_of_a_hundred_resamples():
    labels, scores = np.arange(30) % 3, []

    def score(rows: Any) -> float:
        assert len(set(rows.tolist())) == len(rows)
        scores.append(float(np.mean(rows)))
        return scores[-1]

    low, high = interval(score, labels, resamples=400, seed=0)

    inside = sum(low <= each <= high for each in scores) / len(scores)
    assert len(scores) == 400
    assert inside == pytest.approx(0.95, abs=0.01)
    assert low == pytest.approx(np.quantile(scores, 0.025)) and high == pytest.approx(np.quantile(scores, 0.975))


# Weights


@settings(max_examples=60)
@given(
    similarities=st.lists(st.floats(-100, 100), min_size=1, max_size=8),
    power=st.none() | st.floats(0, 30),
    least=st.floats(0, 1),
)
def test_weights_are_a_distribution_that_leaves_out_what_is_negative_or_below_the_least(similarities, power, least):
    assume(all(each == 0 or abs(each) > 1e-3 for each in similarities))

    found = selection.weights_of(similarities, power=power, least=least)

    assert sum(found) == pytest.approx(1.0)
    assert all(weight == 0 for weight, each in zip(found, similarities, strict=True) if each < 0 < max(similarities))
    positive = [weight for weight in found if weight > 0]
    assert max(positive) == max(found) == found[similarities.index(max(similarities))]
    assert min(positive) >= least * 0.999 or min(positive) == pytest.approx(max(positive))


def test_no_interval_is_taken_without_resamples_and_the_unchosen_measures_stand_beside_the_chosen():
    features, labels = drawn(0)
    probe = selection.Probe(features, features[:, :3], labels)

    found = selection.measured(probe, chosen="knn", components=None, resamples=0, seed=0)

    assert found["interval"] is None
    assert found["knn"] == knn(features, labels) and found["rsa"] is None
    assert found["leep"] == pytest.approx(leep(softmax(features[:, :3]), labels))
    assert set(found) == {*selection.MEASURES, "interval"}


def test_resampled_rows_take_features_outputs_labels_and_reference_along():
    features, labels = drawn(0)
    probe = selection.Probe(features, features[:, :3], labels, features[:, ::-1])

    found = probe.rows(np.array([5, 2]))

    assert np.array_equal(found.features, features[[5, 2]]) and np.array_equal(found.logits, features[[5, 2], :3])
    assert found.labels.tolist() == labels[[5, 2]].tolist()
    assert np.array_equal(found.reference, features[[5, 2], ::-1])


def test_half_precision_features_are_scored_in_double_precision_and_carry_no_graph():
    logits = torch.randn(4, 3, requires_grad=True)

    found = selection.Probe.of(torch.ones(4, 2, dtype=torch.float16), logits, torch.arange(4))

    assert (found.features.dtype, found.logits.dtype, found.labels.dtype) == (np.float64, np.float64, np.int64)
    assert found.reference is None


# What is shown and warned of


def source(**changes: Any) -> charts.SourceRow:
    scores = dict.fromkeys(selection.MEASURES, 0.123456)
    given_values = {"rank": 1, "weight": 2 / 3, "scores": scores, "interval": None, "classes": 7, "spread": 0.5, "parameters": 1234}
    return charts.SourceRow(**{**given_values, **changes})


def test_the_table_names_the_measure_that_ranks_and_leaves_empty_what_was_not_measured():
    scores = {**source().scores, "rsa": None}

    found = charts.similarity([source(interval=(-1.00004, 1.00006)), source(scores=scores)], "h-score")

    columns = found["columns"]
    assert columns[:5] == ["source", "rank", "weight", "H-score, low", "H-score, high"]
    assert columns[5:] == ["PARC", "RSA", "k-NN", "LEEP", "NCE", "H-score", "classes", "entropy of outputs", "parameters"]
    assert found["cells"][0] == ["source 1", 1, 0.6667, -1.0, 1.0001, *[0.1235] * 6, 7, 0.5, 1234]
    assert found["cells"][1][3:7] == [None, None, 0.1235, None]
    assert found["note"].startswith("Ranked by H-score; low and high are its 95 % interval over the labeled rows.")


def test_sizes_begin_with_the_student_and_go_on_with_the_sources_in_their_order():
    found = charts.cost(10, [30, 20])

    assert (found["labels"], found["series"]) == (["student", "source 1", "source 2"], {"parameters": [10, 30, 20]})
    assert charts.weights([0.25, 0.75])["series"] == {"α": [0.25, 0.75]}


@pytest.mark.parametrize(
    ("chosen", "intervals", "said"),
    [
        ([50.0, 10.0], [(40.0, 60.0), (5.0, 49.9)], []),
        ([50.0, 10.0], [(40.0, 60.0), (5.0, 50.0)], [WITHIN_NOISE]),
        ([10.0, 50.0], [(5.0, 50.0), (40.0, 60.0)], [WITHIN_NOISE]),
        ([50.0, 10.0], [(0.0, 90.0), None], []),
        ([50.0], [(0.0, 90.0)], []),
        ([0.0, -3.0], [None, None], [NO_SOURCE]),
        ([-2.0], [(-3.0, 4.0)], [NO_SOURCE]),
        ([1e-9, -3.0], [None, None], []),
    ],
)
def test_similarities_that_are_not_positive_or_within_noise_are_warned_of(chosen, intervals, said):
    assert list(warnings.of_similarities(chosen, intervals, Settings())) == said


def test_weights_that_all_fall_below_the_least_are_told_where_sources_are_weighted_alone():
    weighted = Settings(selection="weighted", power=1.0, least_weight=0.6)
    nearest = Settings(selection="nearest", power=1.0, least_weight=0.6)

    said = [list(warnings.of_similarities([5.0, 5.0], [None, None], each)) for each in (weighted, nearest)]

    assert said == [["All weights are below least_weight, 0.6: only the most similar source is used."], []]


def test_a_source_that_says_nearly_the_same_of_every_class_is_named_by_its_number():
    found = list(warnings.of_outputs({0: 0.95, 2: 0.951, 3: 0.1}))

    assert found == ["Source 3 says nearly the same of every class: it may expect other inputs."]
