"""Distances of samples from real examples: invariants, values by hand, and other people's implementations."""

import math
import re

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from engine.metrics import distances
from engine.metrics.extractors import coordinates, fingerprint, principal


def features(seed: int, rows: int = 200, dims: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    return torch.randn(rows, dims, generator=generator, dtype=torch.float64) @ mixing + seed


def test_a_set_has_no_distance_from_itself():
    assert distances.fid(features(0), features(0)) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_is_that_of_the_matrix_square_root():
    real, fake = features(0), features(1)

    found = distances.fid(real, fake)

    c_real, c_fake = (np.cov(rows.numpy(), rowvar=False) for rows in (real, fake))
    root = scipy.linalg.sqrtm(c_real @ c_fake).real
    gap = ((real.mean(0) - fake.mean(0)) ** 2).sum().item()
    assert found == pytest.approx(gap + np.trace(c_real + c_fake - 2 * root), rel=1e-10)


def test_with_fewer_rows_than_dimensions_it_still_is():
    real, fake = features(0, rows=12, dims=20), features(1, rows=15, dims=20)

    c_real, c_fake = (np.cov(rows.numpy(), rowvar=False) for rows in (real, fake))
    eigenvalues = np.linalg.eigvals(c_real @ c_fake).real.clip(min=0)
    gap = ((real.mean(0) - fake.mean(0)) ** 2).sum().item()
    expected = gap + np.trace(c_real + c_fake) - 2 * np.sqrt(eigenvalues).sum()
    assert distances.fid(real, fake) == pytest.approx(expected, rel=1e-6)


class AsTheyAre(nn.Module):
    """Features that are given as they are."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.num_features = dims

    def forward(self, rows: Tensor) -> Tensor:
        return rows


def fid_of_torchmetrics(real: Tensor, fake: Tensor) -> float:
    metric = FrechetInceptionDistance(feature=AsTheyAre(real.shape[1]), input_img_size=(1, 1, 1)).set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return float(metric.compute())


def of_rank(seed: int, rows: int, rank: int, dims: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(rank, dims, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
    return torch.randn(rows, rank, generator=generator, dtype=torch.float64) @ mixing


@pytest.mark.parametrize(
    ("real", "fake"), [(features(0), features(1)), (features(0), features(0, rows=400)[200:]), (features(0, 300, 20), features(1, 900, 20))]
)
def test_it_is_that_of_torchmetrics_in_double_precision(real, fake):
    assert distances.fid(real, fake) == pytest.approx(fid_of_torchmetrics(real, fake), rel=1e-9)


@pytest.mark.parametrize(("rows", "rank", "dims"), [(2000, 3, 24), (300, 20, 24), (60, 60, 300)])
def test_where_covariances_are_singular_both_are_right_to_a_ten_millionth_of_the_variances(rows, rank, dims):
    """The roots of eigenvalues that are 0 but for rounding: neither implementation has six digits of a small distance, see decision 0007."""
    real, fake = of_rank(0, rows, rank, dims), of_rank(1, rows, rank, dims)
    directions = torch.linalg.svd(torch.cat([real, fake]) - real.mean(dim=0), full_matrices=False).Vh[: min(rank, 2 * rows - 1)].T
    exact = distances.fid(real @ directions, fake @ directions)

    variances = float(real.var(dim=0).sum() + fake.var(dim=0).sum())
    assert distances.fid(real, fake) == pytest.approx(exact, abs=1e-7 * variances)
    assert fid_of_torchmetrics(real, fake) == pytest.approx(exact, abs=1e-7 * variances)


def test_it_does_not_change_when_both_sets_are_turned_and_moved():
    real, fake = features(0), features(1)
    turn = torch.linalg.qr(features(2, rows=6)).Q

    moved = distances.fid(real @ turn + 5, fake @ turn + 5)

    assert moved == pytest.approx(distances.fid(real, fake), rel=1e-9)


def test_with_equal_covariances_it_is_the_squared_distance_of_the_means():
    real = features(0)

    assert distances.fid(real, real + torch.tensor([3.0, 4, 0, 0, 0, 0])) == pytest.approx(25, rel=1e-9)


def test_single_precision_features_are_widened_before_anything_is_summed():
    real, fake = features(0).float() + 1000, features(1).float() + 1000

    assert distances.fid(real, fake) == pytest.approx(distances.fid(real.double() - 1000, fake.double() - 1000), rel=1e-6)


def test_the_kernel_distance_is_that_of_another_implementation():
    real, fake = features(0, rows=50), features(1, rows=50)

    assert distances.kid(real, fake) == pytest.approx(float(poly_mmd(real, fake)), rel=1e-10)


def test_the_kernel_distance_of_equal_sets_is_negative():
    assert distances.kid(features(0), features(0)) < 0


def test_subsets_give_a_mean_near_the_whole_and_a_spread_and_depend_on_the_generator_alone():
    real, fake = features(0), features(0, rows=400)[200:]

    found = [distances.kid_of_subsets(real, fake, size=150, count=40, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]

    assert found[0] == found[1] != found[2]
    assert abs(found[0][0] - distances.kid(real, fake)) < 3 * found[0][1]


def test_all_rows_as_one_subset_are_the_whole():
    real, fake = features(0), features(1)

    mean, spread = distances.kid_of_subsets(real, fake, size=200, count=1, generator=torch.Generator().manual_seed(0))

    assert mean == pytest.approx(distances.kid(real, fake), rel=1e-9)
    assert spread == 0


def test_neighborhoods_on_a_line_by_hand():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    fake = torch.tensor([[0.5], [1.5], [30.0]])

    found = distances.neighborhoods(real, fake, k=1)

    # radii of real: 1, 1, 1, 8; of fake: 1, 1, 28.5
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1.0  # 0, 1 and 2 are within 1 of a fake, and 10 is within 28.5 of 30
    assert found.density == pytest.approx((2 + 2 + 0) / 3)  # the ball of 10 begins at 2
    assert found.coverage == pytest.approx(3 / 4)


def test_a_border_counts_as_inside():
    real, fake = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [5.0]])

    assert distances.neighborhoods(real, fake, k=1).precision == 0.5


def test_equal_sets_are_precise_and_cover_everything():
    found = distances.neighborhoods(features(0), features(0), k=3)

    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)


def slow_mean(a: Tensor, b: Tensor, *, without_self: bool = False) -> float:
    pairs = [math.dist(x, y) for i, x in enumerate(a.tolist()) for j, y in enumerate(b.tolist()) if not (without_self and i == j)]
    return sum(pairs) / len(pairs)


def test_the_energy_distance_by_pairs():
    real, fake = features(0, rows=20), features(1, rows=15)

    expected = 2 * slow_mean(real, fake) - slow_mean(real, real, without_self=True) - slow_mean(fake, fake, without_self=True)

    assert distances.energy_distance(real, fake) == pytest.approx(expected, rel=1e-7)


def test_the_distance_to_the_data_is_that_of_the_nearest_row():
    real, fake = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 1.0], [3.0, 6.0]])

    assert distances.nearest_distance(real, fake) == pytest.approx(1.5)


@pytest.mark.parametrize("known", [False, True])
def test_closeness_is_all_three_from_one_table_whether_or_not_the_real_set_is_known(known):
    real, fake = features(0, rows=30), features(1, rows=20)

    found = distances.closeness(real, fake, k=3, within_real=distances.within(real, k=3) if known else None)

    near = found.neighborhoods
    between = [[math.dist(x, y) for y in fake.tolist()] for x in real.tolist()]
    balls = [[sorted(math.dist(x, y) for y in rows)[3] for x in rows] for rows in (real.tolist(), fake.tolist())]  # the nearest is itself
    inside = [[between[i][j] <= balls[0][i] for j in range(20)] for i in range(30)]
    assert near.precision == pytest.approx(sum(any(row[j] for row in inside) for j in range(20)) / 20)
    assert near.density == pytest.approx(sum(map(sum, inside)) / 20 / 3)
    assert near.coverage == pytest.approx(sum(map(any, inside)) / 30)
    assert near.recall == pytest.approx(sum(any(between[i][j] <= balls[1][j] for j in range(20)) for i in range(30)) / 30)
    assert found.energy_distance == pytest.approx(distances.energy_distance(real, fake), rel=1e-12)
    assert found.nearest_distance == pytest.approx(distances.nearest_distance(real, fake), rel=1e-12)


def test_what_lies_within_a_set_by_hand():
    found = distances.within(torch.tensor([[0.0], [1.0], [3.0]]), k=1)

    assert found.radii.tolist() == [1.0, 1.0, 2.0]
    assert float(found.mean) == pytest.approx((1 + 3 + 2) / 3)


def test_diversity_is_within_classes_and_each_class_counts_alike():
    rows = torch.tensor([[0.0], [2.0], [10.0], [11.0], [12.0]])
    labels = torch.tensor([0, 0, 1, 1, 1])

    assert distances.spread_within(rows, labels) == pytest.approx((2 + (1 + 2 + 1) / 3) / 2)
    assert distances.spread_within(rows[:2], None) == pytest.approx(2)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: distances.fid(torch.zeros(1, 3), features(0)),
            "real must have 2 axes and at least 2 rows; got shape (1, 3).",
        ),
        (
            lambda: distances.kid(features(0), torch.full((5, 6), torch.nan)),
            "fake must be finite; some row holds NaN or infinity.",
        ),
        (
            lambda: distances.neighborhoods(features(0), features(1, rows=5), k=5),
            "fake must have 2 axes and at least 6 rows; got shape (5, 6).",
        ),
        (
            lambda: distances.spread_within(torch.zeros(2, 1), torch.tensor([0, 1])),
            "features must have two rows of some class; every row has a label of its own.",
        ),
    ],
)
def test_what_can_not_be_measured_is_refused(call, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()


def test_principal_directions_keep_the_leading_variances_and_center_with_the_examples_mean():
    examples = features(0).reshape(200, 2, 3).float()

    found = principal("rows-pca-4", examples, 4).features(examples)

    expected = torch.linalg.eigvalsh(torch.cov(examples.flatten(1).double().T)).flip(0)[:4]
    assert found.dtype == torch.float64
    assert torch.allclose(found.mean(dim=0), torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(torch.cov(found.T), expected.diag(), atol=1e-9 * float(expected[0]))


def test_an_extractors_hash_depends_on_what_it_was_made_of():
    examples = features(0)

    same, other, fewer = principal("p", examples, 3), principal("p", examples + 1e-9, 3), principal("p", examples, 2)

    assert same.hash == principal("p", examples.clone(), 3).hash
    assert len({same.hash, other.hash, fewer.hash}) == 3
    assert fingerprint(torch.zeros(2, 3)) != fingerprint(torch.zeros(3, 2))


def test_points_are_their_own_features():
    points = features(0, rows=5, dims=2).float()

    extractor = coordinates("points-2", 2)

    assert torch.equal(extractor.features(points), points.double())
    assert extractor.key == "points_2"
