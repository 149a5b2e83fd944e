"""Several classifiers as one: an average of probabilities, not of logits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.models.ensemble import Ensemble


class Says(nn.Module):
    """The same logits for every row, shifted by what it is given, so that something is computed."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits + inputs.flatten(1)[:, :1]


numbers = st.lists(st.lists(st.floats(-8, 8), min_size=3, max_size=3), min_size=1, max_size=4)


@given(numbers, st.data())
def test_its_probabilities_are_the_weighted_mean_of_those_of_its_members(logits: list[list[float]], data: st.DataObject) -> None:
    shares = data.draw(st.lists(st.integers(0, 5), min_size=len(logits), max_size=len(logits)).filter(any))
    weights = [share / sum(shares) for share in shares]

    said = Ensemble([Says(each) for each in logits], weights)(torch.zeros(2, 1, dtype=torch.float64))

    slow = sum(weight * torch.tensor(each, dtype=torch.float64).softmax(dim=0) for weight, each in zip(weights, logits, strict=True))
    assert torch.allclose(said.exp(), slow.expand(2, -1), rtol=1e-9, atol=1e-12)
    assert torch.allclose(said.logsumexp(dim=1), torch.zeros(2, dtype=torch.float64), atol=1e-12)


def test_without_weights_all_count_the_same_and_their_order_does_not_matter() -> None:
    members = [Says([2.0, 0.0, -1.0]), Says([0.0, 3.0, 0.0])]
    rows = torch.zeros(1, 1, dtype=torch.float64)

    plain, turned, weighted = Ensemble(members)(rows), Ensemble(members[::-1])(rows), Ensemble(members, [0.5, 0.5])(rows)

    assert torch.allclose(plain, turned) and torch.allclose(plain, weighted)
    assert not torch.allclose(plain, torch.stack([member(rows) for member in members]).mean(dim=0).log_softmax(dim=1), atol=1e-2)


def test_a_member_that_shifts_its_logits_says_the_same_and_one_alone_is_itself() -> None:
    first, second = Says([2.0, 0.0, -1.0]), Says([0.0, 3.0, 0.0])
    rows = torch.zeros(1, 1, dtype=torch.float64)

    shifted = Ensemble([Says([102.0, 100.0, 99.0]), second])(rows)

    assert torch.allclose(shifted, Ensemble([first, second])(rows), atol=1e-12)
    assert torch.allclose(Ensemble([first])(rows), first(rows).log_softmax(dim=1), atol=1e-12)


def test_its_members_are_parts_of_it_and_each_learns() -> None:
    ensemble = Ensemble([Says([2.0, 0.0, -1.0]), Says([0.0, 3.0, 0.0])], [0.75, 0.25])

    assert torch.autograd.gradcheck(lambda *logits: _of(ensemble, logits), [member.logits for member in ensemble.members])
    assert len(list(ensemble.parameters())) == 2


def _of(ensemble: Ensemble, logits: tuple[Tensor, ...]) -> Tensor:
    given_ones = {f"members.{index}.logits": each for index, each in enumerate(logits)}
    said: Tensor = torch.func.functional_call(ensemble, given_ones, (torch.zeros(1, 1, dtype=torch.float64),))
    return said


@pytest.mark.parametrize("certain", [60.0, 800.0])
def test_two_that_are_certain_of_different_classes_leave_a_finite_doubt(certain: float) -> None:
    said = Ensemble([Says([certain, 0.0]), Says([0.0, certain])])(torch.zeros(1, 1, dtype=torch.float64))

    assert said.exp().tolist() == [pytest.approx([0.5, 0.5])]
    assert bool(said.isfinite().all())
