"""The source: points uniform on the surface of the unit cube, and their file."""

import io
import pickle
import zipfile
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from conftest import draw_splits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree

from snrvae.settings import params
from snrvae.sources import cube, dataset
from snrvae.sources.cube import FACES
from snrvae.sources.domain import Split

COUNT = 60_000
SIGMAS = 5  # a tolerance in standard errors
COUNTS = {"train": 48, "validation": 12, "test": 24}
GRID = 81  # nodes along each edge of the brute-force surface


@pytest.fixture(scope="module")
def sample() -> Split:
    return cube.SOURCE.split(COUNT, np.random.default_rng(1))


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    return draw_splits(cube.SOURCE, COUNTS, seed=3)


def on_face(face: int, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [n, 3] of a face from its two free coordinates."""
    columns = [u, v]
    columns.insert(face // 2, np.full_like(u, face % 2))
    return np.stack(columns, axis=1)


@pytest.fixture(scope="module")
def surface() -> list[cKDTree]:
    """A dense grid of points on each face."""
    u, v = (x.ravel() for x in np.meshgrid(np.linspace(0, 1, GRID), np.linspace(0, 1, GRID)))
    return [cKDTree(on_face(face, u, v)) for face in range(FACES)]


def test_each_face_gets_exactly_a_sixth_of_the_points(sample: Split) -> None:
    assert np.bincount(sample.label).tolist() == [COUNT // FACES] * FACES


@pytest.mark.parametrize("count", [1, 599, 601])
def test_a_count_that_does_not_divide_among_the_faces_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=str(count)):
        cube.SOURCE.split(count, np.random.default_rng(0))


def test_the_fixed_coordinate_is_exactly_0_or_1_as_the_face_says(sample: Split) -> None:
    for face, name in enumerate(cube.FACE_NAMES):
        points = sample.points[sample.label == face]
        axis, _, side = name.partition(" = ")
        assert (points[:, "xyz".index(axis)] == float(side)).all()
        assert np.delete(points, "xyz".index(axis), axis=1).std(axis=0).min() > 0.2
    assert not cube.surface_distance(sample.points).any()


def test_the_two_free_coordinates_of_a_face_are_uniform_and_independent(sample: Split) -> None:
    for face in range(FACES):
        free = np.delete(sample.points[sample.label == face].astype(np.float64), face // 2, axis=1)
        assert min(stats.kstest(column, "uniform").pvalue for column in free.T) > 1e-4
        assert abs(stats.pearsonr(*free.T).statistic) < SIGMAS / np.sqrt(len(free))


def test_each_coordinate_has_mean_one_half_and_variance_5_over_36_without_correlation(sample: Split) -> None:
    centred = sample.points.astype(np.float64) - 0.5
    products = centred[:, :, None] * centred[:, None, :]  # [n, 3, 3]
    tolerance = SIGMAS * products.std(axis=0) / np.sqrt(COUNT)
    assert pytest.approx(1 / 3 * 1 / 4 + 2 / 3 * 1 / 12) == cube.SOURCE.variance
    assert (abs(products.mean(axis=0) - np.eye(3) * 5 / 36) < tolerance).all()
    assert (abs(centred.mean(axis=0)) < SIGMAS * np.sqrt(5 / 36 / COUNT)).all()


def test_points_come_shuffled_with_their_faces(sample: Split) -> None:
    half = np.bincount(sample.label[: COUNT // 2])
    spread = np.sqrt(COUNT / 2 * (1 / 6) * (5 / 6) / 2)  # without replacement
    assert (abs(half - COUNT / 12) < SIGMAS * spread).all()
    same_as_next = (sample.label[:-1] == sample.label[1:]).mean()
    assert abs(same_as_next - 1 / 6) < SIGMAS * np.sqrt(5 / 36 / COUNT)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones() -> None:
    counts = {"train": 60, "validation": 12, "test": 12}
    once, twice, other = (dataset.to_bytes(draw_splits(cube.SOURCE, counts, seed)) for seed in (5, 5, 6))
    assert once == twice != other


def test_the_size_of_one_split_never_moves_another() -> None:
    small = draw_splits(cube.SOURCE, {"train": 60, "validation": 12, "test": 12}, seed=0)
    large = draw_splits(cube.SOURCE, {"train": 6000, "test": 12}, seed=0)
    assert np.array_equal(small["test"].points, large["test"].points)
    assert np.array_equal(small["test"].label, large["test"].label)


def test_no_two_splits_share_a_point() -> None:
    counts = dict.fromkeys(params.SPLITS, 600)
    splits = draw_splits(cube.SOURCE, counts, seed=0)
    together = np.concatenate([split.points for split in splits.values()])
    assert len(np.unique(together, axis=0)) == sum(counts.values())


@given(hnp.arrays(np.float64, (40, 3), elements=st.floats(-1.5, 2.5)))
def test_the_distance_to_the_surface_is_that_of_a_search_over_its_points(
    surface: list[cKDTree], points: NDArray[np.float64]
) -> None:
    searched = np.min([tree.query(points)[0] for tree in surface], axis=0)
    found = cube.surface_distance(points)
    assert (found <= searched + 1e-12).all()
    assert (found >= searched - np.sqrt(0.5) / (GRID - 1)).all()


@pytest.mark.parametrize(
    ("point", "distance"),
    [
        ((0.5, 0.5, 0.5), 0.5),
        ((0.5, 0.2, 0.5), 0.2),
        ((0.9, 0.4, 0.3), 0.1),
        ((0.5, 0.5, 3.0), 2.0),
        ((-3.0, 5.0, 0.5), 5.0),
        ((2.0, 3.0, 3.0), 3.0),
        ((0.0, 0.0, 0.0), 0.0),
        ((1.0, 0.3, 0.7), 0.0),
    ],
)
def test_the_distance_to_the_surface_is_exact_where_it_is_known(
    point: tuple[float, float, float], distance: float
) -> None:
    assert cube.surface_distance(np.array([point], np.float32))[0] == pytest.approx(distance, abs=1e-7)


@given(hnp.arrays(np.float64, (40, 3), elements=st.floats(-1.5, 2.5)))
def test_no_other_face_lies_nearer_than_the_nearest(
    surface: list[cKDTree], points: NDArray[np.float64]
) -> None:
    searched = np.stack([tree.query(points)[0] for tree in surface], axis=1)
    found = searched[np.arange(len(points)), cube.SOURCE.nearest(points)]
    assert (found <= searched.min(axis=1) + np.sqrt(0.5) / (GRID - 1)).all()


def test_the_nearest_face_of_a_point_of_the_surface_is_its_own(sample: Split) -> None:
    assert np.array_equal(cube.SOURCE.nearest(sample.points), sample.label)
    assert cube.SOURCE.nearest(sample.points).dtype == np.uint8


def test_where_faces_tie_the_lowest_number_is_the_nearest() -> None:
    ties = {
        (0.5, 0.5, 0.5): 0,
        (0.0, 0.0, 0.5): 0,
        (1.0, 1.0, 1.0): 1,
        (0.5, 0.0, 1.0): 2,
        (0.5, 1.5, 1.5): 3,
    }
    assert cube.SOURCE.nearest(np.array(list(ties))).tolist() == list(ties.values())


def test_the_file_gives_back_what_was_put_in(splits: dict[str, Split]) -> None:
    read = dataset.from_bytes(cube.SOURCE.domain, dataset.to_bytes(splits), COUNTS)
    assert list(read) == list(params.SPLITS)
    for name, split in splits.items():
        assert read[name].points.dtype == np.float32
        assert read[name].label.dtype == np.uint8
        assert np.array_equal(read[name].points, split.points)
        assert np.array_equal(read[name].label, split.label)


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        dataset.from_bytes(cube.SOURCE.domain, data, COUNTS)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_truncated_file_is_refused_wherever_it_ends(splits: dict[str, Split]) -> None:
    data = dataset.to_bytes(splits)
    for size in range(0, len(data), 13):
        refusal(data[:size])


def test_a_damaged_byte_is_refused_or_harmless(splits: dict[str, Split]) -> None:
    data = dataset.to_bytes(splits)
    for place in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        try:
            read = dataset.from_bytes(cube.SOURCE.domain, bytes(damaged), COUNTS)
        except ValueError:
            continue
        assert all(np.array_equal(read[name].points, split.points) for name, split in splits.items())


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        pickle.dumps({"train": 1}),
        npy(np.zeros((6, 3), np.float32)),
        zipped({}),
        zipped({"other.npy": npy(np.zeros(3))}),
        zipped({f"{name}{part}": b"text" for name, part in product(params.SPLITS, ("", "_face"))}),
        zipped({f"{name}{part}.npy": b"text" for name, part in product(params.SPLITS, ("", "_face"))}),
    ],
    ids=[
        "empty",
        "text",
        "pickle",
        "one array",
        "no array",
        "another array",
        "texts",
        "texts named as arrays",
    ],
)
def test_a_foreign_file_is_refused_in_one_line(data: bytes) -> None:
    refusal(data)


def test_a_pickled_array_is_refused_and_never_unpickled(splits: dict[str, Split]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return pytest.exit, ("a pickle was loaded",)

    buffer = io.BytesIO()
    arrays = {name: split.points for name, split in splits.items()}
    arrays |= {f"{name}_face": np.array([Trap()], object) for name in splits}
    np.savez(buffer, allow_pickle=True, **arrays)
    assert "pickle" in refusal(buffer.getvalue())


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("test", lambda x: x.astype(np.float64)),
        ("test", lambda x: x[:, :2]),
        ("test", lambda x: x[0]),
        ("test", lambda x: x[:0]),
        ("test", lambda x: x[1:]),
        ("test", lambda x: np.where(x == x.max(), np.nan, x)),
        ("test", lambda x: np.where(x == x.max(), np.inf, x)),
        ("test", lambda x: x + np.float32(0.001)),
        ("test", lambda x: x - np.float32(0.001)),
        ("validation_face", lambda x: x.astype(np.int64)),
        ("validation_face", lambda x: x[1:]),
        ("validation_face", lambda x: x[:, None]),
        ("validation_face", lambda x: x + np.uint8(1)),
    ],
)
def test_an_array_of_the_wrong_kind_is_refused_by_name(
    splits: dict[str, Split], array: str, change: Callable[[NDArray[np.generic]], NDArray[np.generic]]
) -> None:
    with np.load(io.BytesIO(dataset.to_bytes(splits))) as archive:
        arrays = dict(archive)
    arrays[array] = change(arrays[array])
    name = array.removesuffix("_face")
    assert refusal(zipped({f"{key}.npy": npy(value) for key, value in arrays.items()})).startswith(name)


def test_an_empty_split_is_refused_by_name(splits: dict[str, Split]) -> None:
    empty = Split(np.zeros((0, 3), np.float32), np.zeros(0, np.uint8))
    assert refusal(dataset.to_bytes(splits | {"test": empty})).startswith("test: ")


def test_a_missing_split_is_refused_by_name(splits: dict[str, Split]) -> None:
    assert "validation" in refusal(dataset.to_bytes({"train": splits["train"], "test": splits["test"]}))
