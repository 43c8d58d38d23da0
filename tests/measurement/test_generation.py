"""Generated points against the source's law: the measures against quadrature, brute force, Monte Carlo."""

import math
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import dblquad
from scipy.spatial.distance import cdist, pdist

from snrvae.measurement import generation, measures
from snrvae.sources import cube, finite
from snrvae.sources.domain import Split, Words
from snrvae.sources.normalisation import Frame
from snrvae.sources.reading import PointSet
from snrvae.sources.source import Source

Array = NDArray[np.floating]

LAW = generation.law(cube.SOURCE, np.empty((0, 3)))  # known exactly, without points
CORNER_TO_SQUARE = (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 3  # mean distance from a square's corner


def surface_points(count: int, seed: int = 0) -> Array:
    return cube.sample(count, np.random.default_rng(seed))


def ratio(points: Array) -> float:
    return generation.generation_ratio(generation.excess(points, LAW), len(points))


def quadrature(point: tuple[float, float, float]) -> float:
    """E|p - X| by adaptive quadrature, each face cut where the point stands over it."""
    total = 0.0
    for axis, side in product(range(3), (0, 1)):
        height = point[axis] - side
        u, v = (x for other, x in enumerate(point) if other != axis)
        cut_u, cut_v = ([0.0, min(max(x, 0.0), 1.0), 1.0] for x in (u, v))
        for i, j in product((0, 1), (0, 1)):
            piece, _ = dblquad(
                lambda y, x, u=u, v=v, h=height: math.sqrt((x - u) ** 2 + (y - v) ** 2 + h * h),
                *cut_u[i : i + 2],
                *cut_v[j : j + 2],
                epsabs=1e-7,
            )
            total += piece
    return total / 6


@pytest.mark.parametrize(
    "point",
    [
        (0.5, 0.5, 0.5),
        (0.1, 0.7, 0.4),
        (1.3, 0.2, 0.9),
        (-0.4, 1.2, 2.0),
        (0.0, 0.3, 0.8),
        (0.6, 1.0, 0.5),
        (0.0, 1.0, 0.25),
        (1.0, 0.0, 1.0),
        (0.4, 0.4, -0.001),
    ],
    ids=["centre", "inside", "outside", "far outside", "face", "middle of a face", "edge", "corner", "below"],
)
def test_the_mean_distance_to_the_law_is_that_of_adaptive_quadrature(
    point: tuple[float, float, float],
) -> None:
    (found,) = cube.mean_distance(np.array([point]))
    assert found == pytest.approx(quadrature(point), abs=1e-5)


def test_the_mean_distance_to_the_law_is_that_of_many_points_of_it() -> None:
    points, law = np.random.default_rng(1).uniform(-0.5, 1.5, (8, 3)), surface_points(100_000)
    for point, found in zip(points, cube.mean_distance(points), strict=True):
        distance = np.linalg.norm(law - point, axis=1)
        assert abs(found - distance.mean()) < 5 * stats.sem(distance)


def test_the_mean_distance_from_a_corner_is_exact_on_the_three_faces_it_belongs_to() -> None:
    far = np.sqrt(1 + (surface_points(1, 0)[:, :2] ** 2).sum(1))  # at least 1 on the other three
    (found,) = cube.mean_distance(np.zeros((1, 3)))
    others, _ = dblquad(lambda y, x: math.sqrt(1 + x * x + y * y), 0, 1, 0, 1)
    assert found == pytest.approx((CORNER_TO_SQUARE + others) / 2, abs=1e-9)
    assert far.min() >= 1


def test_the_mean_distance_has_the_symmetries_of_the_cube() -> None:
    point = np.array([0.1, 0.35, 1.2])
    images = [
        np.where(flips, 1 - point[list(order)], point[list(order)])
        for order in permutations(range(3))
        for flips in product((False, True), repeat=3)
    ]
    found = cube.mean_distance(np.array(images))
    assert np.ptp(found) < 1e-12


def test_from_far_away_the_surface_is_a_point_with_a_spread() -> None:
    direction = np.array([0.6, 0.0, 0.8])
    (found,) = cube.mean_distance((0.5 + 50 * direction)[None])
    assert found == pytest.approx(50 + 2 * cube.SOURCE.variance / (2 * 50), abs=1e-5)


def test_the_mean_distance_within_the_law_is_that_of_independent_pairs() -> None:
    distance = np.linalg.norm(surface_points(1_000_000, 1) - surface_points(1_000_000, 2), axis=1)
    found = cube.SOURCE.mean_pair_distance
    assert abs(found - distance.mean()) < 5 * stats.sem(distance)
    assert found == pytest.approx(cube.mean_distance(surface_points(20_000)).mean(), rel=1e-3)


@pytest.mark.parametrize("count", [2, 63, 64, 65, 127, 128, 300])
@pytest.mark.parametrize("spread", [0.01, 1.0, 10.0])
def test_the_mean_pair_distance_is_that_of_every_pair(count: int, spread: float) -> None:
    points = 0.3 + spread * np.random.default_rng(count).normal(size=(count, 3))
    assert generation.mean_pair_distance(points) == pytest.approx(pdist(points).mean(), rel=1e-6)


def test_equal_points_have_no_distance() -> None:
    assert generation.mean_pair_distance(np.full((100, 3), 0.7)) == 0


def test_the_ratio_of_a_perfect_generator_is_one() -> None:
    ratios = [ratio(surface_points(2000, seed)) for seed in range(40)]
    assert abs(np.mean(ratios) - 1) < 4 * stats.sem(ratios)
    assert stats.sem(ratios) < 0.4


def test_the_ratio_is_the_energy_distance_of_twelve_thousand_points() -> None:
    points, law, other = 0.2 + 0.7 * surface_points(1000), surface_points(4000, 3), surface_points(4000, 4)
    to_law = np.mean([np.linalg.norm(law - point, axis=1).mean() for point in points])
    within = np.linalg.norm(law[:, None] - other[None, :500], axis=2).mean()
    expected = 1 + 12_000 * (2 * to_law - within - pdist(points).mean()) / (2 * within)
    assert ratio(points) == pytest.approx(expected, rel=0.05)


def test_the_ratio_grows_as_the_points_leave_the_law() -> None:
    points = surface_points(2000)
    perfect = ratio(points)
    for worse, worst in (
        (points + [0.05, 0, 0], points + [0.2, 0, 0]),
        (0.5 + 0.9 * (points - 0.5), 0.5 + 0.5 * (points - 0.5)),
        (
            points + 0.1 * np.random.default_rng(0).normal(size=points.shape),
            points + 0.5 * np.random.default_rng(0).normal(size=points.shape),
        ),
        (points[points[:, 2] < 1], points[points[:, 2] < 0.5]),
    ):
        assert perfect + 1 < ratio(worse) < ratio(worst)


@pytest.fixture(scope="module")
def ideal() -> Array:
    return generation.ideal_excesses(cube.SOURCE, np.random.default_rng(5))


@pytest.mark.slow
def test_the_excess_of_ideal_samples_has_one_distribution_whatever_their_size(ideal: Array) -> None:
    found = [generation.excess(surface_points(3000, seed), LAW) for seed in range(200)]
    assert stats.ks_2samp(found, ideal).pvalue > 0.01
    assert abs(ideal.mean()) < 4 * stats.sem(ideal)


@pytest.mark.slow
def test_the_p_value_of_a_perfect_generator_is_uniform(ideal: Array) -> None:
    found = [
        generation.p_value(generation.excess(surface_points(1000, seed), LAW), ideal) for seed in range(300)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_the_p_value_of_points_of_another_law_is_small_once_there_are_enough(ideal: Array) -> None:
    for count, least, most in ((300, 0.02, 1), (12_000, 0.001, 0.001)):
        points = 0.5 + 0.96 * (surface_points(count) - 0.5)
        assert least <= generation.p_value(generation.excess(points, LAW), ideal) <= most


def test_the_p_value_counts_the_samples_that_are_at_least_as_far_and_the_one_that_is_asked() -> None:
    ideal = np.array([0.0, 1.0, 2.0, 3.0])
    found = [generation.p_value(excess, ideal) for excess in (-1.0, 1.0, 1.5, 4.0)]
    assert found == [1.0, 0.8, 0.6, 0.2]


def test_the_radius_is_the_distance_to_the_fifth_nearest_of_the_others() -> None:
    points = surface_points(200)
    distances = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)
    assert distances[:, 0].max() == 0
    assert generation.neighbour_radius(points) == pytest.approx(distances[:, 5])


def test_coverage_of_a_perfect_generator_is_that_of_five_neighbours_among_equals() -> None:
    count = 1500
    ranks = np.arange(5)
    missed = np.prod((count - 1 - ranks) / (2 * count - 1 - ranks))  # the five nearest are all real
    found = []
    for seed in range(10):
        real, generated = surface_points(count, seed), surface_points(count, 100 + seed)
        found.append(generation.coverage(real, generation.neighbour_radius(real), generated))
    assert 1 - missed == pytest.approx(0.969, abs=1e-3)
    assert abs(np.mean(found) - (1 - missed)) < 5 * stats.sem(found)
    assert stats.sem(found) < 0.003


def test_coverage_is_the_share_of_real_points_that_have_a_generated_one_in_reach() -> None:
    real = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    radius = np.array([0.5, 0.1, 0.5, 0.5])
    generated = np.array([[0.0, 0, 0.5], [1, 0, 0.2], [9, 9, 9]])
    assert generation.coverage(real, radius, generated) == 0.5
    assert generation.coverage(real, radius, real) == 1
    assert generation.coverage(real, radius, real + 5) == 0


# --- held-out points in place of the law ------------------------------------------------------------


def labelled(count: int, seed: int) -> Split:
    """Points in R⁴ of two labels, one of them rare and elsewhere."""
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < 0.1).astype(np.uint8)
    points = rng.standard_normal((count, 4)) * [1, 0.5, 0.2, 0.1] + 3 * label[:, None]
    return Split(points.astype(np.float32), label)


def known(train: Split, names: tuple[str, ...] = ("common", "rare")) -> Source:
    frame = Frame(np.zeros(4), 1.0)
    found = PointSet(train.points.astype(np.float64), train.label, names, (4,))
    return finite.source(
        finite.domain(Words("a.csv", "the points in a.csv", "a", "unit"), found, frame, train), train
    )


def test_the_cross_distance_is_that_of_every_pair() -> None:
    rng = np.random.default_rng(0)
    for n, m, k in ((5, 7, 1), (64, 200, 4), (129, 65, 16)):
        one, other = rng.standard_normal((n, k)), rng.standard_normal((m, k))
        assert generation.mean_cross_distance(one, other) == pytest.approx(cdist(one, other).mean(), rel=1e-5)


def test_against_held_out_points_a_perfect_generator_has_the_ratio_1_on_average() -> None:
    source = known(labelled(400, 0))
    ratios = []
    for seed in range(1, 120):
        law = generation.law(source, labelled(200, seed).points)
        drawn = labelled(300, 1000 + seed).points
        ratios.append(generation.generation_ratio(generation.excess(drawn, law), 300))
    error = np.std(ratios, ddof=1) / math.sqrt(len(ratios))
    assert abs(np.mean(ratios) - 1) < 4 * error
    assert error < 5
    law = generation.law(source, labelled(200, 0).points)
    moved = labelled(300, 999).points + 0.3
    assert generation.generation_ratio(generation.excess(moved, law), 300) > 1 + 100 * error


def test_held_out_points_of_a_law_say_nearly_what_the_law_says() -> None:
    law = generation.law(replace(cube.SOURCE, mean_distance=None), surface_points(4000, 1))
    for points in (surface_points(2000, 2), surface_points(2000, 3) * 0.8):
        exact, held_out = (generation.excess(points, each) / 2000 for each in (LAW, law))
        assert held_out == pytest.approx(exact, abs=2e-3)


def test_ratios_by_label_have_1_on_average_and_leave_out_what_has_no_two_points() -> None:
    source = known(labelled(400, 0))
    ratios = []
    for seed in range(1, 80):
        parts = generation.parts(source, labelled(400, seed))
        drawn = labelled(400, 1000 + seed)
        ratios.append(generation.part_ratios(drawn.points, drawn.label, parts))
    errors = np.std(ratios, axis=0, ddof=1) / math.sqrt(len(ratios))
    assert (np.abs(np.mean(ratios, axis=0) - 1) < 4 * errors).all()
    assert [part.share for part in parts] == list(source.domain.shares)
    one = np.concatenate([np.zeros(399, np.uint8), np.ones(1, np.uint8)])
    assert np.isnan(generation.part_ratios(drawn.points, one, parts)).tolist() == [False, True]
    alone = generation.parts(source, Split(drawn.points, one))
    assert np.isnan(generation.part_ratios(drawn.points, drawn.label, alone)).tolist() == [False, True]


def test_points_have_the_label_of_the_five_nearest_training_points() -> None:
    train, test = labelled(400, 0), labelled(300, 1)
    away = cdist(test.points, train.points)
    nearest = away.argsort(1)[:, :5]
    votes = (1 / np.take_along_axis(away, nearest, 1)) * (2.0 * train.label[nearest] - 1)
    source = known(train)
    np.testing.assert_array_equal(source.nearest(test.points), votes.sum(1) > 0)
    assert (source.nearest(test.points) == test.label).mean() > 0.99
    only = test.points[source.nearest(test.points) == 0]
    assert measures.face_error(only, source) == pytest.approx(1.0)
    assert measures.face_error(train.points, source) == pytest.approx(0.0, abs=1e-12)
