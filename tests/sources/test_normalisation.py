"""The unit of training: the file's own unit and place do not matter."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snrvae.sources import cube, digits, mesh, normalisation
from snrvae.sources.normalisation import GRID, VARIANCE, Frame


def drawn(seed: int = 0, count: int = 24_000) -> normalisation.Array:
    return cube.sample(count, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "points", [drawn(), digits.points().points, drawn()[:, :1] ** 9, drawn() * [1, 0, 0]]
)
def test_points_have_the_mean_zero_and_the_variance_of_the_cube(points: normalisation.Array) -> None:
    found = normalisation.of_points(points).normalise(points)
    assert found.dtype == np.float32
    assert found.mean(0, np.float64) == pytest.approx(0, abs=GRID / 2)
    assert found.var(0, dtype=np.float64).mean() == pytest.approx(VARIANCE, rel=1e-6)


def test_a_law_has_the_frame_of_its_moments() -> None:
    frame = normalisation.of_moments(np.array([1.0, 2, 3]), np.diag([5 / 36, 5 / 18, 0]))
    assert frame.centre.tolist() == [1, 2, 3]
    assert frame.factor == pytest.approx(1)


def test_the_frame_of_points_is_nearly_that_of_their_law() -> None:
    triangles = np.array([[[0.0, 0, 0], [3, 0, 0], [0, 1, 0]]])
    exact = normalisation.of_moments(*mesh.moments(triangles))
    found = normalisation.of_points(mesh.sample(triangles, 100_000, np.random.default_rng(0)))
    assert found.centre == pytest.approx(exact.centre, abs=0.01)
    assert found.factor == pytest.approx(exact.factor, rel=0.01)


@given(exponent=st.integers(-40, 40), seed=st.integers(0, 9))
def test_a_power_of_two_times_a_file_gives_the_same_bytes(exponent: int, seed: int) -> None:
    points = drawn(seed, 500).astype(np.float32).astype(np.float64)
    scaled = points * 2.0**exponent
    one, other = normalisation.of_points(points), normalisation.of_points(scaled)
    assert other.factor == one.factor * 2.0**exponent
    assert one.normalise(points).tobytes() == other.normalise(scaled).tobytes()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("scale", "shift"), [(1000, 1e5), (1e-3, -7), (25.4, 0), (1 / 3, 1e3)])
def test_another_unit_and_place_give_the_same_bytes(seed: int, scale: float, shift: float) -> None:
    points = drawn(seed, 42_000)
    moved = scale * points + shift
    one, other = normalisation.of_points(points[:24_000]), normalisation.of_points(moved[:24_000])
    assert one.normalise(points).tobytes() == other.normalise(moved).tobytes()


def test_digits_in_another_unit_and_place_give_the_same_bytes() -> None:
    points = digits.points().points
    moved = 1000 * points + 1e5
    one, other = normalisation.of_points(points[:1000]), normalisation.of_points(moved[:1000])
    assert one.normalise(points).tobytes() == other.normalise(moved).tobytes()


def test_a_mesh_in_another_unit_and_place_gives_the_same_bytes() -> None:
    triangles = drawn(0, 3000).reshape(1000, 3, 3)
    one = normalisation.of_moments(*mesh.moments(triangles))
    other = normalisation.of_moments(*mesh.moments(1000 * triangles + 1e5))
    points = mesh.sample(triangles, 10_000, np.random.default_rng(0))
    assert one.normalise(points).tobytes() == other.normalise(1000 * points + 1e5).tobytes()


@example(values=[14.0])
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_points_are_rounded_once(values: list[float]) -> None:
    points = np.array(values)[:, None]
    frame = Frame(np.array([0.25]), 3.0)
    exact = (points - 0.25) / 3
    found = frame.normalise(points).astype(np.float64)
    step = np.maximum(GRID, np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64))
    assert (np.abs(found - exact) <= 0.5 * step * (1 + 1e-6)).all()


def test_restoring_gives_the_points_back() -> None:
    points = 1000 * drawn() + 1e5
    frame = normalisation.of_points(points)
    assert frame.restore(frame.normalise(points)) == pytest.approx(points, abs=1000 * GRID)


def test_points_that_are_all_the_same_have_no_unit() -> None:
    with pytest.raises(ValueError, match="every training point is the same"):
        normalisation.of_points(np.full((5, 2), 1e5))
