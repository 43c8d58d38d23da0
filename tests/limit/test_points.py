"""The limit from points of a law: certificates, confidence, what cannot be carried, and bad input."""

from math import exp, log, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from snrvae.limit import clouds, gaussian, kernels, points, shannon
from snrvae.limit.clouds import Cloud
from snrvae.limit.rate_distortion import Reproduction, Tangents
from snrvae.sources import cube

Array = NDArray[np.float64]
VARIANCES = np.array([1.0, 0.25, 0.04])


def normal(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 3)) * np.sqrt(VARIANCES)


@pytest.fixture(scope="module")
def table() -> shannon.RateDistortionTable:
    return points.table(normal(1500))


# --- the certificate -----------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_proved_peak_is_above_every_value_and_close_to_the_highest(k: int) -> None:
    rng = np.random.default_rng(k)
    x = rng.standard_normal((300, k))
    cloud, alpha, lam = Cloud(x, np.full(300, 1 / 300)), rng.uniform(0.5, 2, 300), 6.0
    y = np.concatenate([x, x.repeat(60, axis=0) + rng.normal(0, 0.2, (300 * 60, k))])
    square = np.sum(y**2, axis=1)[:, None] + np.sum(x**2, axis=1) - 2 * y @ x.T
    highest = (np.exp(-lam * square) @ (alpha / 300)).max()
    proved = clouds.proved_peak(cloud, alpha, lam, 0.01)
    assert highest <= proved <= highest * exp(0.012) + 1e-3


@pytest.mark.parametrize("k", [1, 2, 3])
def test_sums_over_a_block_of_a_grid_are_those_of_its_places(k: int) -> None:
    rng = np.random.default_rng(k)
    x, pull = rng.normal(0, 2, (400, k)), rng.uniform(0, 1, 400)
    low, step, blocks = np.full(k, -1.0), 0.3, np.array([[0] * k, [1] * k])
    found = kernels.block_sums(x, pull, low, step, blocks, 2.0, 50.0)
    inside = np.stack(np.meshgrid(*[np.arange(kernels.BLOCK)] * k, indexing="ij"), axis=-1).reshape(-1, k)
    for block, sums in zip(blocks, found, strict=True):
        y = low + step * ((kernels.BLOCK - 1) * block + inside)
        square = np.sum((y[:, None] - x) ** 2, axis=2)
        np.testing.assert_allclose(sums, np.exp(-2 * square) @ pull, rtol=1e-9)


def test_the_exponential_is_as_exact_as_it_says() -> None:
    x = np.linspace(-400, 400, 8001)
    off = np.abs([kernels._exp(value) / exp(value) - 1 for value in x])
    assert off[np.abs(x) < 60].max() < 1e-12
    assert off.max() < 1e-5


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("lam", [1e-3, 1.0, 300.0, 1e8])
def test_sums_are_those_of_all_points_wherever_y_is(k: int, lam: float) -> None:
    rng = np.random.default_rng(k)
    x, pull = np.concatenate([rng.standard_normal((300, k)), np.full((3, k), 40.0)]), rng.random((303, 2))
    beyond = np.array([-1e300, -1e9, -1, 0, 1, 1e9, 1e300])[:, None]
    y = np.concatenate([x[::7], x[::7] + 0.3 / sqrt(lam), x.min(axis=0) + beyond, x.max(axis=0) + beyond])
    with np.errstate(over="ignore"):
        power = lam * np.sum((y[:, None] - x) ** 2, axis=2)
    found = kernels.kernel_sums(x, pull, y, lam)
    np.testing.assert_allclose(found, np.exp(-power) @ pull, rtol=1e-6, atol=303 * exp(-kernels.CUTOFF))
    sparse = kernels.kernel_matrix(np.tile(y, (12, 1)), x, lam)
    assert not isinstance(sparse, np.ndarray)
    entries = np.exp(-power) * (power <= kernels.ROUGH_CUTOFF)
    np.testing.assert_allclose(sparse.toarray()[: len(y)], entries, atol=1e-9)


@pytest.mark.parametrize("count", [40, 2000])
def test_in_five_coordinates_no_entry_of_a_kernel_is_left_out(count: int) -> None:
    rng = np.random.default_rng(0)
    x, y, pull = rng.standard_normal((count, 5)), rng.standard_normal((200, 5)), rng.random((count, 2))
    entries = np.exp(-3 * np.sum((x[:, None] - y) ** 2, axis=2))
    np.testing.assert_allclose(kernels.kernel_matrix(x, y, 3.0), entries, rtol=1e-9)
    np.testing.assert_allclose(kernels.kernel_sums(x, pull, y, 3.0), entries.T @ pull, rtol=1e-9)


def test_points_far_apart_need_no_memory_for_what_lies_between() -> None:
    x = np.random.default_rng(0).standard_normal((200, 3))
    x[:3] *= 1e6
    cloud = Cloud(x, np.full(200, 1 / 200))
    assert clouds.proved_peak(cloud, np.ones(200), 4.0, 0.01) < 1


def test_between_corners_of_a_cell_the_load_is_at_most_what_convexity_says() -> None:
    """A single point has ln G = −|y − x|², for which the bound is as tight as a convex function's can be."""
    rng = np.random.default_rng(0)
    signs = np.array([(a, b) for a in (-1, 1) for b in (-1, 1)])
    for _ in range(200):
        side, at = rng.uniform(0.05, 1), rng.uniform(-1, 1, 2)
        corners = -np.sum((signs * side / 2 - at) ** 2, axis=1)
        inside = -np.sum((rng.uniform(-side / 2, side / 2, (500, 2)) - at) ** 2, axis=1)
        bound = clouds._highest(corners[:, None], signs, side)[0]
        assert inside.max() <= bound + 1e-12
        assert bound <= max(inside.max(), corners.max()) + side**2 / 2


def test_any_law_of_y_gives_a_line_below_the_best() -> None:
    """The certificate is valid for a poor q too; the best line of the same points is above it."""
    x = normal(400)
    cloud, lam = points.unique(x), 4.0
    good = clouds.bound(cloud, lam / log(2), clouds.fitted(cloud, lam, 1e-3), 0.005)
    poor = clouds.bound(cloud, lam / log(2), Reproduction(x[:40], np.full(40, 1 / 40)), 0.005)
    assert poor.intercept < good.intercept
    upper = good.rate_upper_bits + good.slope * good.distortion
    assert 0 < upper - good.intercept < 0.05


def test_alpha_is_lowered_until_g_exceeds_the_tolerance_at_no_point() -> None:
    """At points without an atom nearby, G is far above it at first."""
    near = normal(300)
    x = np.concatenate([near, [[20.0, 0, 0], [20.1, 0, 0], [0, 30.0, 0]]])
    cloud, lam, tolerance = Cloud(x, np.full(len(x), 1 / len(x))), 4.0, 0.01
    q = Reproduction(near[:150], np.full(150, 1 / 150))  # poor: G is a little above it elsewhere too
    first, alpha = 1 / clouds.partition(cloud, q, lam), clouds.certificate(cloud, q, lam, tolerance)
    square = np.sum((x[:, None] - x) ** 2, axis=2)
    assert (np.exp(-lam * square) @ (cloud.weights * first)).max() > 100
    assert (np.exp(-lam * square) @ (cloud.weights * alpha)).max() <= exp(tolerance) + 1e-3
    assert np.all(alpha <= first)
    assert 0.1 < np.mean(alpha == first) < 0.9, "only some points have to be lowered"


def test_a_sparse_channel_is_the_dense_one() -> None:
    x, y = normal(200), normal(30, seed=1)
    y[0] += 50  # so that some points have no atom near
    far = np.concatenate([x, [[60.0, 0, 0]]])
    cloud, q, lam = Cloud(far, np.full(201, 1 / 201)), Reproduction(y, np.full(30, 1 / 30)), 8.0
    square = np.sum((far[:, None] - y) ** 2, axis=2)
    joint = np.exp(-lam * square) / 30
    top = np.max(-lam * square, axis=1, keepdims=True)
    log_z = np.log(np.exp(-lam * square - top).mean(axis=1)) + top[:, 0]
    error = np.sum(np.exp(-lam * square - log_z[:, None]) / 30 * square, axis=1)
    nats, distortion = clouds.channel(cloud, q, lam)
    assert nats == pytest.approx(-log_z.mean(), rel=1e-6)
    assert distortion == pytest.approx(error.mean(), rel=1e-6)
    assert joint.shape == (201, 30)


# --- the law ---------------------------------------------------------------------------------------


def test_the_plug_in_is_near_the_law_where_the_points_carry_the_rate(
    table: shannon.RateDistortionTable,
) -> None:
    held = ~table.saturated
    true = [gaussian.rate_bits(VARIANCES, d) for d in table.distortion]
    off = (table.rate_lower_bits - true)[held]
    assert off.min() > -0.15
    assert off.max() < 0.05


def test_what_is_held_out_is_above_the_law_in_expectation() -> None:
    """Over samples of their own, at one slope; its mean is three standard errors from any doubt."""
    slope, off = 8.0, []
    for seed in range(20):
        b = points.halved(points.whole(normal(300, seed))).at(slope)[0]
        touching = b.rate_upper_bits + slope * b.distortion
        theta = 0.5 / (slope * log(2))
        exact = gaussian.rate_bits(VARIANCES, np.minimum(VARIANCES, theta).sum())
        off.append(touching - exact - slope * np.minimum(VARIANCES, theta).sum())
    assert np.mean(off) > 3 * np.std(off) / sqrt(20)


def test_rates_that_the_points_cannot_carry_are_marked(table: shannon.RateDistortionTable) -> None:
    assert table.saturated[-points.PER_OCTAVE :].all()
    assert not table.saturated[0]
    assert table.rate_lower_bits[table.saturated].min() > 2
    assert table.rate_lower_bits.max() < np.log2(1500)


def test_the_confident_line_is_below_the_plug_in_and_says_so(table: shannon.RateDistortionTable) -> None:
    assert np.all(table.confident_intercept < table.intercept)
    assert set(table.certainty) == {"99 %"}


@pytest.mark.slow
def test_the_line_of_99_percent_is_below_the_law_every_time() -> None:
    """Small samples of a law whose R(D) is known, with all lines at once."""
    distortion = np.geomspace(1e-3, 1.0, 60)
    true = np.array([gaussian.rate_bits(np.array([1.0]), d) for d in distortion])
    for seed in range(200):
        x = np.random.default_rng(seed).standard_normal((60, 1))
        lines = points.table(x).tangents
        assert np.all(lines.rate_bits(distortion) <= true)


def test_the_price_of_99_percent_is_mcdiarmids() -> None:
    """With Z far above exp(−M) nothing else is lost."""
    cloud, n = Cloud(np.zeros((1, 1)), np.ones(1)), 24_000
    found = max(points.confident(cloud, np.ones(1), 1.0) - points.risk(n))
    price = min(
        (m + log(1 + exp(-m))) * sqrt(log(points.LINES / points.RISK) / (2 * n)) + log(1 + exp(-m))
        for m in points.CEILINGS
    )
    assert found == pytest.approx(-price, abs=1e-9)


def test_another_value_of_one_point_moves_the_bounded_objective_by_at_most_its_share() -> None:
    """−ln(Z + e^−M) lies between −ln(1 + e^−M) and M, whatever x."""
    m = 6.0
    z = np.concatenate([[0.0, 1.0], np.geomspace(1e-30, 1, 50)])
    value = -np.log(z + exp(-m))
    assert value.min() >= -log(1 + exp(-m)) - 1e-12
    assert value.max() <= m + 1e-12


@pytest.mark.slow
def test_24000_points_of_the_cube_have_a_limit_within_the_numbers() -> None:
    x = cube.SOURCE.sample(24_000, np.random.default_rng(1))
    found = points.table(x)
    true = shannon.rate_distortion_table()
    distortion = np.geomspace(0.003, 0.4, 300)
    rate = true.tangents.rate_bits(distortion)
    off = rate - Tangents(found.slope, found.intercept).rate_bits(distortion)
    assert off[rate <= 6].max() <= 0.05
    assert off[rate <= 8].max() <= 0.1
    assert np.all(found.tangents.rate_bits(distortion) < rate)


# --- input -----------------------------------------------------------------------------------------


def test_points_on_a_line_in_space_have_the_limit_of_the_line() -> None:
    t = np.random.default_rng(0).standard_normal((300, 1))
    line = points.table(t)
    space = points.table(t @ np.array([[2.0, 1.0, -2.0]]) / 3 + 5)
    np.testing.assert_allclose(line.intercept, space.intercept, atol=1e-3)


def test_duplicates_count_with_their_share() -> None:
    x = normal(40)
    cloud = points.unique(np.concatenate([x, x, x[:10]]))
    assert len(cloud.points) == 40
    assert cloud.weights.sum() == pytest.approx(1)
    assert sorted(set(np.round(cloud.weights * 90).astype(int))) == [2, 3]


def test_beyond_three_dimensions_the_limit_is_called_an_estimate() -> None:
    x = np.random.default_rng(0).standard_normal((200, 5))
    found = points.table(x)
    assert set(found.certainty) == {"estimate"}


def test_the_same_points_give_the_same_table_on_any_number_of_threads() -> None:
    one, two = (points.table(normal(200), threads=threads) for threads in (1, 2))
    assert shannon.to_csv(one) == shannon.to_csv(two)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((3, 3)), "at least 4 points, not 3"),
        (np.ones((10, 3)), "all points are the same"),
        (np.zeros(5), "finite points"),
        (np.full((5, 3), np.nan), "finite points"),
    ],
)
def test_what_is_no_sample_is_refused_in_one_line(bad: Array, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        points.table(bad)
    assert "\n" not in str(caught.value)
