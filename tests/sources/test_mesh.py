"""The uniform law on a surface: samples, exact moments, exact distances; and the terrain."""

import math

import numpy as np
import pytest
import trimesh
from scipy import stats
from scipy.optimize import nnls

from snrvae.sources import cube, mesh, terrain
from snrvae.sources.mesh_distance import Surface

COUNT, SIGMAS = 100_000, 4.5
BOX = np.array(trimesh.creation.box().triangles) + 0.5  # the cube of the project
TRIANGLE = np.array([[[0.0, 0, 0], [3, 0, 0], [0, 1, 0]]])


def soup(count: int, seed: int = 0) -> mesh.Array:
    """Triangles of all sizes and shapes, long ones and slivers too."""
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(-3, 0, (count, 1, 1))
    triangles = rng.normal(size=(count, 1, 3)) + size * rng.normal(size=(count, 3, 3))
    thin = count // 4
    triangles[:thin, 2] = triangles[:thin].mean(1) + 1e-5 * rng.normal(size=(thin, 3))
    return triangles


def brute(points: mesh.Array, triangles: mesh.Array) -> mesh.Array:
    """The distance by another way: the best of the face, the sides and the corners that are right below."""
    best = np.full(len(points), np.inf)
    for triangle in triangles:
        for used in ((0,), (1,), (2,), (0, 1), (1, 2), (2, 0), (0, 1, 2)):
            origin, span = triangle[used[0]], (triangle[list(used[1:])] - triangle[used[0]]).T
            weights = np.zeros((0, len(points)))
            if len(used) > 1:
                weights = np.linalg.lstsq(span, (points - origin).T, rcond=None)[0]
            feasible = (weights >= 0).all(0) & (weights.sum(0) <= 1)
            distance = np.linalg.norm(points - origin - (span @ weights).T, axis=1)
            best = np.where(feasible, np.minimum(best, distance), best)
    return best


def test_areas_add_up_to_those_of_known_shapes() -> None:
    assert mesh.areas(TRIANGLE) == pytest.approx([1.5])
    assert mesh.areas(BOX).sum() == pytest.approx(6)
    shape = trimesh.creation.icosphere(5)
    assert mesh.areas(np.array(shape.triangles)).sum() == pytest.approx(4 * math.pi, rel=2e-3)


def test_triangles_get_points_by_their_area() -> None:
    triangles = soup(12)
    triangles += np.arange(12)[:, None, None] * [100, 0, 0]
    points = mesh.sample(triangles, COUNT, np.random.default_rng(1))
    assert points.shape == (COUNT, 3)
    assert points.dtype == np.float64
    counts = np.bincount(np.rint(points[:, 0] / 100).astype(int), minlength=12)
    shares = mesh.areas(triangles) / mesh.areas(triangles).sum()
    often = shares * COUNT > 5
    assert (
        stats.chisquare(counts[often], counts[often].sum() * shares[often] / shares[often].sum()).pvalue
        > 1e-4
    )
    assert counts[~often].sum() < 100


def test_points_are_uniform_within_a_triangle() -> None:
    points = mesh.sample(TRIANGLE, COUNT, np.random.default_rng(2))
    u, v = points[:, 0] / 3, points[:, 1]
    assert (points[:, 2] == 0).all()
    assert ((u >= 0) & (v >= 0) & (u + v <= 1)).all()
    # u + v is the root of a uniform number, and u/(u + v) another, independent one
    cells = np.histogram2d((u + v) ** 2, u / (u + v), bins=8, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(cells.ravel()).pvalue > 1e-4


def test_the_same_generator_gives_the_same_points() -> None:
    one, other = (mesh.sample(BOX, 100, np.random.default_rng(3)) for _ in range(2))
    assert one.tobytes() == other.tobytes()


def test_a_cube_as_a_mesh_has_the_moments_of_the_cube() -> None:
    mean, covariance = mesh.moments(BOX)
    assert mean == pytest.approx(np.array(cube.SOURCE.domain.mean), abs=1e-15)
    assert covariance == pytest.approx(cube.SOURCE.variance * np.eye(3), abs=1e-15)


def test_moments_are_those_of_a_triangles_points() -> None:
    mean, covariance = mesh.moments(TRIANGLE)
    assert mean == pytest.approx([1, 1 / 3, 0])
    assert covariance == pytest.approx(np.array([[1 / 2, -1 / 12, 0], [-1 / 12, 1 / 18, 0], [0, 0, 0]]))


def test_moments_are_those_of_samples() -> None:
    triangles = soup(40, seed=4)
    points = mesh.sample(triangles, COUNT, np.random.default_rng(5))
    mean, covariance = mesh.moments(triangles)
    centred = points - mean
    for found, values in ((mean, points), (covariance[0], centred[:, :1] * centred)):
        error = np.abs(values.mean(0) - found)
        assert (error < SIGMAS * values.std(0) / math.sqrt(COUNT)).all()


def test_moments_do_not_depend_on_the_place() -> None:
    triangles = np.rint(soup(40) * 2**20) / 2**20  # moved without an error
    mean, covariance = mesh.moments(triangles)
    moved_mean, moved = mesh.moments(triangles + 2.0**20)
    assert moved_mean == pytest.approx(mean + 2.0**20, rel=1e-16, abs=0)
    assert moved.tobytes() == covariance.tobytes()


def test_the_distance_from_a_cube_is_that_of_the_cube() -> None:
    points = np.random.default_rng(6).uniform(-1, 2, (3000, 3))
    assert Surface(BOX).distance(points) == pytest.approx(cube.surface_distance(points), abs=1e-15)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 33, 400])
def test_the_distance_is_exact(count: int) -> None:
    triangles = soup(count, seed=count)
    rng = np.random.default_rng(7)
    near = mesh.sample(triangles, 60, rng) + 1e-3 * rng.normal(size=(60, 3))
    points = np.concatenate(
        [near, 3 * rng.normal(size=(60, 3)), triangles[: 4 * 5, 0], triangles.mean((0, 1))[None]]
    )
    assert Surface(triangles).distance(points) == pytest.approx(brute(points, triangles), rel=1e-9, abs=1e-9)


def test_the_distance_is_the_least_over_the_hull_of_the_corners() -> None:
    """Against non-negative least squares, with a heavy row for the sum of the weights."""
    triangles, rng = soup(20, seed=8), np.random.default_rng(8)
    points = rng.normal(size=(20, 3))
    found = [
        min(nnls(np.vstack([t.T, 1e6 * np.ones(3)]), np.append(point, 1e6))[1] for t in triangles)
        for point in points
    ]
    assert Surface(triangles).distance(points) == pytest.approx(np.array(found), rel=1e-4)


@pytest.mark.parametrize("height", [1e-9, 1e-11, 1e-13, 1e-15])
def test_the_distance_from_a_sliver_is_that_from_its_longest_side(height: float) -> None:
    rng = np.random.default_rng(int(-np.log10(height)))
    start, end, across = rng.normal(size=(3, 3))
    for part in np.linspace(0, 1, 11):
        sliver = np.array([[start, start + part * (end - start) + height * across, end]])
        points = start + 3 * rng.normal(size=(200, 3))
        along = np.clip((points - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
        side = np.linalg.norm(points - start - along[:, None] * (end - start), axis=1)
        assert Surface(sliver).distance(points) == pytest.approx(side, abs=4 * height + 1e-9)


def test_points_of_the_surface_have_no_distance() -> None:
    triangles = soup(500, seed=9)
    points = mesh.sample(triangles, 2000, np.random.default_rng(9))
    assert Surface(triangles).distance(points).max() < 1e-14
    assert Surface(triangles).distance(points.astype(np.float32)).max() < 1e-6


def test_terrain_is_a_surface_in_metres() -> None:
    triangles = terrain.surface().triangles
    assert 10_000 < len(triangles) <= 20_000
    assert triangles.dtype == np.float64
    assert triangles.min((0, 1)) == pytest.approx([0, 0, 5 * 250])
    assert triangles.max((0, 1)) == pytest.approx([29_706, 31_507, 5 * 1053], rel=1e-3)
    ground = triangles * [1, 1, 0]
    assert mesh.areas(ground).sum() == pytest.approx(29_706 * 31_507, rel=1e-3)
    assert (
        np.cross(ground[:, 1] - ground[:, 0], ground[:, 2] - ground[:, 0])[:, 2] > 0
    ).all()  # seen from above
