"""What is shown of a conversion, the rule of ranks against a slow one, and the edges of both losses."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.methods.x_ecomla import pictures
from engine.methods.x_ecomla.conversion import Decomposition, SourceLayer, energy, rank_for_energy
from engine.methods.x_ecomla.method import preference_loss, sequence_log_prob
from engine.tasks.vocabulary import Characters
from tests.engine.methods.language import LETTERS, table


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(*queries: float, joint: tuple[float, ...] = (3.0, 1.0)) -> SourceLayer:
    """One with these singular values."""
    of_queries, of_joint = (
        Decomposition(torch.eye(len(values)), torch.tensor(values, dtype=torch.float64), torch.eye(len(values)))
        for values in (queries, joint)
    )
    return SourceLayer(of_queries, of_joint, torch.zeros(1, 1))


# What is shown


def test_facts_of_a_layer_are_its_ranks_of_how_many_and_the_energy_they_keep():
    found = pictures.facts(3, layer(4.0, 2.0, 1.0, joint=(3.0, 1.0)), {"q_rank": 2, "kv_rank": 2, "rope": 6})

    assert found == {
        "layer": 3,
        "q_rank": 2,
        "q_values": 3,
        "energy_q": pytest.approx(20 / 21),
        "kv_rank": 2,
        "kv_values": 2,
        "energy_kv": 1.0,
        "rope": 6,
    }
    row = pictures.ranks_table([found])["cells"][0]
    assert row[:3] == [3, 2, 3] and row[4:6] == [2, 2] and row[-2:] == [6, 8]
    assert pictures.energy_bars([found])["labels"] == ["3"]


def test_at_most_eight_layers_are_drawn_equally_spaced_with_the_first_and_the_last():
    sizes = {"q_rank": 1, "kv_rank": 2}

    spectra = pictures.spectra({number: layer(2.0, 1.0) for number in range(15)}, [sizes] * 15)

    drawn_layers = [name for name in spectra["q"]["series"] if name.endswith("kept")]
    assert drawn_layers == [f"layer {number}, kept" for number in (0, 2, 4, 6, 8, 10, 12, 14)]
    assert spectra["q"]["series"]["layer 0, kept"] == {"x": [1], "y": [2.0]}
    assert spectra["q"]["series"]["layer 0, dropped"] == {"x": [2], "y": [1.0]}
    assert not any(name.endswith("dropped") for name in spectra["kv"]["series"])


def test_a_long_spectrum_is_thinned_to_96_points_with_both_ends_and_zeros_can_be_drawn_on_a_logarithmic_axis():
    values = (*(float(number) for number in range(300, 1, -1)), 0.0)

    series = pictures.spectra({0: layer(*values)}, [{"q_rank": 200, "kv_rank": 2}])["q"]["series"]

    kept, dropped = series["layer 0, kept"], series["layer 0, dropped"]
    assert (len(kept["x"]), kept["x"][0], kept["x"][-1], kept["y"][0], kept["y"][-1]) == (96, 1, 200, 300.0, 101.0)
    assert (len(dropped["x"]), dropped["x"][0], dropped["x"][-1], dropped["y"][-1]) == (96, 201, 300, 1e-12)


def test_quality_is_shown_of_what_was_measured_alone():
    at = {"elements": 10.0, "kl": 0.5}

    bare = pictures.compression_quality(at, at, {})
    whole = pictures.compression_quality(at, at, {"4": {**at, "kl": 2.0}, "8": at}, trained={**at, "kl": 0.25})

    assert list(bare["groups"]) == ["source", "this run, before training"] and bare["note"] == ""
    assert whole["groups"]["other ranks, before training"] == {"x": [10.0, 10.0], "y": [2.0, 0.5]}
    assert whole["groups"]["this run, trained"]["y"] == [0.25] and whole["note"] == "Other ranks: 4, 8."


def test_pairs_are_shown_without_what_comes_after_their_end_the_preferred_one_first():
    vocabulary = Characters(LETTERS)
    ids = vocabulary.encode("abcdabcdabcdabcd").reshape(2, 2, 4)
    pairs = {
        "ids": ids,
        "completion_mask": torch.tensor([[[1, 1], [1, 0]], [[1, 1], [1, 1]]]),
        "teacher": torch.tensor([[-1.26, -4.0], [0.0, 0.0]]),
    }

    items = pictures.preference_pairs(pairs, 2, vocabulary, 1)["items"]

    assert items == [
        {"label": "preferred, log-probability -1.3 to the teacher", "prompt": "ab", "text": "cd"},
        {"label": "other, log-probability -4.0 to the teacher", "prompt": "ab", "text": "c"},
    ]


# Ranks


@settings(max_examples=60)
@given(
    values=st.lists(st.floats(0.01, 10), min_size=1, max_size=30),
    share=st.floats(0.01, 1.0),
    divisor=st.sampled_from([1, 2, 8]),
)
def test_the_rank_for_an_energy_keeps_at_most_that_share_and_is_rounded_up(values: list[float], share: float, divisor: int):
    s = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    whole, kept, count = sum(value**2 for value in values), 0.0, 0
    for value in s.tolist():
        kept += value**2
        assume(abs(kept - share * whole) > 1e-9 * whole)
        count += kept < share * whole

    rank = rank_for_energy(s, share, divisor)

    assert rank % divisor == 0
    assert max(1, count) <= rank < max(1, count) + divisor
    assert rank_for_energy(s, 1.0, 1) == len(values)
    assert (energy(s).diff() >= 0).all() and float(energy(s)[-1]) == pytest.approx(1.0)


def test_a_decomposition_is_put_together_again_by_its_two_sides_and_the_singular_values_are_below():
    weight = drawn(0, 5, 3)

    found = Decomposition.of(weight)

    assert torch.allclose(found.up(3) @ found.down(3), weight, atol=1e-12)
    assert torch.allclose(found.up(2).T @ found.up(2), torch.eye(2, dtype=torch.float64), atol=1e-12)
    assert torch.allclose((found.down(2) @ found.down(2).T).diagonal().sqrt(), found.s[:2], atol=1e-12)


def test_half_precision_weights_are_decomposed_in_single_precision_and_carry_no_graph():
    found = Decomposition.of(drawn(0, 4, 3).bfloat16().requires_grad_())

    assert found.u.dtype == torch.float32
    assert not found.s.requires_grad


# Losses


@pytest.mark.parametrize("beta", [0.1, 5.0])
def test_the_preference_loss_begins_at_log_two_with_a_slope_of_half_of_beta_and_stays_finite(beta: float):
    margin = torch.tensor([0.5, 1e4, -1e4], dtype=torch.float64, requires_grad=True)

    found = preference_loss(margin=margin, reference_margin=torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64), beta=beta)
    found.sum().backward()

    assert found.tolist() == pytest.approx([math.log(2), 0.0, beta * 1e4])
    assert margin.grad.tolist() == pytest.approx([-beta / 2, 0.0, -beta])


def test_what_comes_after_the_end_changes_no_log_probability_and_has_no_gradient():
    model = table(3)
    ids, mask, completion = torch.tensor([[0, 1, 2, 3]]), torch.ones(1, 4, dtype=torch.int64), torch.tensor([[1, 0]])

    said = sequence_log_prob(model, ids, mask, completion)
    said.sum().backward()

    other = sequence_log_prob(model, torch.tensor([[0, 1, 2, 4]]), mask, completion)
    assert torch.equal(said.detach(), other.detach())
    assert model.body.table.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [1]  # the word before the only real token
