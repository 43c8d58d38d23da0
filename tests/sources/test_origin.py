"""A run's source by its name: laws, sets that come along, and a user's files, in any unit and place."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.checks import cube_mesh
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import dataset, domain, finite, origin, record
from snrvae.sources.domain import Split
from snrvae.sources.normalisation import GRID
from snrvae.sources.registry import SOURCES
from snrvae.sources.source import Source

COUNTS = {"train": 600, "validation": 300, "test": 600}
STREAM = partial(numpy_stream, 0, "data")
Drawn = tuple[Source, dict[str, Split]]


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Drawn]:
    """The source and splits of a name, after an array was saved under it."""

    def drawn(name: str, array: NDArray[np.generic] | None = None) -> Drawn:
        if array is not None:
            np.save(tmp_path / name, array)
        return origin.draw(name, COUNTS, STREAM, tmp_path)

    return drawn


def sample(count: int = 1500, k: int = 5) -> NDArray[np.float64]:
    return np.random.default_rng(1).standard_normal((count, k)) * np.arange(1, k + 1)


def write_off(path: Path, triangles: NDArray[np.float64]) -> None:
    corners = triangles.reshape(-1, 3)
    faces = [f"3 {i} {i + 1} {i + 2}" for i in range(0, len(corners), 3)]
    rows = [" ".join(map(repr, row)) for row in corners.tolist()]
    path.write_text("\n".join(["OFF", f"{len(corners)} {len(faces)} 0", *rows, *faces]))


@pytest.mark.parametrize("name", SOURCES)
def test_a_law_is_drawn_as_it_is(name: str, draw: Callable[..., Drawn]) -> None:
    source, splits = draw(name)
    assert source is SOURCES[name]
    for one, split in splits.items():
        assert split.points.tobytes() == source.split(COUNTS[one], STREAM(one)).points.tobytes()
        assert source.contains(split)


@pytest.mark.parametrize("name", [*SOURCES, "digits", "terrain"])
def test_source_npz_holds_what_is_known(name: str, draw: Callable[..., Drawn]) -> None:
    source, splits = draw(name)
    found = record.from_bytes(record.to_bytes(source))
    assert found.domain == source.domain
    assert found.variances == source.variances
    np.testing.assert_array_equal(found.axes, source.axes)
    test = splits["test"].points
    np.testing.assert_array_equal(found.nearest(test), source.nearest(test))
    if source.distance is not None:
        assert found.distance is not None
        np.testing.assert_array_equal(found.distance(test), source.distance(test))
    for split in splits.values():
        assert found.contains(split)


@pytest.mark.parametrize("factor", [1024.0, 2.0**-30])
def test_a_float32_file_in_another_unit_gives_the_same_bytes(
    factor: float, draw: Callable[..., Drawn]
) -> None:
    points = sample().astype(np.float32)
    (one, splits), (other, scaled) = draw("a.npy", points), draw("b.npy", points * np.float32(factor))
    assert dataset.to_bytes(splits) == dataset.to_bytes(scaled)
    assert other.domain.factor == one.domain.factor * factor
    assert other.variances == one.variances


def test_a_float64_file_in_another_unit_and_place_gives_the_same_bytes(draw: Callable[..., Drawn]) -> None:
    points = sample()
    (one, splits), (other, moved) = draw("a.npy", points), draw("b.npy", 1000 * points + 1e5)
    assert dataset.to_bytes(splits) == dataset.to_bytes(moved)
    assert other.domain.factor == pytest.approx(1000 * one.domain.factor, rel=1e-9)
    np.testing.assert_allclose(other.domain.centre, 1000 * np.array(one.domain.centre) + 1e5, rtol=1e-9)


def test_points_come_back_in_the_unit_of_the_file(draw: Callable[..., Drawn]) -> None:
    points = 40 * sample() - 7
    source, splits = draw("a.npy", points)
    back = source.domain.frame.restore(np.concatenate([split.points for split in splits.values()]))
    nearest = np.abs(points[:, None] - back[None, :50]).max(2).min(0)
    assert nearest.max() <= source.domain.factor * GRID


def test_x_has_the_cubes_variance_and_the_mean_0(draw: Callable[..., Drawn]) -> None:
    _, splits = draw("a.npy", 1e6 + sample())
    train = splits["train"].points.astype(np.float64)
    assert train.var(0).mean() == pytest.approx(5 / 36, rel=1e-5)
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)


def test_splits_of_a_file_are_disjoint_and_follow_the_seed(tmp_path: Path) -> None:
    points = sample()
    np.save(tmp_path / "a.npy", points)
    one, again, other = (
        origin.draw("a.npy", COUNTS, partial(numpy_stream, seed, "data"), tmp_path)[1] for seed in (0, 0, 1)
    )
    whole = np.concatenate([split.points for split in one.values()])
    assert len(np.unique(whole, axis=0)) == len(points)
    assert dataset.to_bytes(one) == dataset.to_bytes(again) != dataset.to_bytes(other)


def test_a_smaller_file_is_split_in_proportion(draw: Callable[..., Drawn]) -> None:
    _, splits = draw("a.npy", sample(150))
    assert {name: len(split.points) for name, split in splits.items()} == {
        "train": 60,
        "validation": 30,
        "test": 60,
    }


def test_a_csv_with_words_has_labels_by_share(tmp_path: Path) -> None:
    points, words = sample(900, 2), ["rare"] * 90 + ["common"] * 810
    rows = [f"{x!r},{y!r},{word}" for (x, y), word in zip(points.tolist(), words, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["x,y,label", *rows]))
    source, splits = origin.draw("a.csv", COUNTS, STREAM, tmp_path)
    assert source.labels == ("common", "rare")
    assert source.part == "label"
    assert source.domain.shares == pytest.approx((0.9, 0.1))
    assert source.domain.num_classes(conditional=True) == 2
    for split in splits.values():
        assert (split.label == 1).mean() == pytest.approx(0.1)
    inner = [splits["train"].points[splits["train"].label == n].var(0).sum() for n in (0, 1)]
    assert source.domain.left_open == pytest.approx(0.9 * inner[0] + 0.1 * inner[1], rel=1e-5)
    assert (source.nearest(splits["train"].points) == splits["train"].label).all()


def test_points_without_labels_are_named_by_their_side_of_the_mean(draw: Callable[..., Drawn]) -> None:
    source, splits = draw("a.npy", sample(900, 7))
    assert source.labels == SOURCES["sphere"].labels
    with pytest.raises(ValueError, match=r"conditional: source a\.npy has no labels"):
        source.domain.num_classes(conditional=True)
    shown = source.in_axes(splits["train"].points)
    assert shown.shape == (360, 3)
    spreads = shown.var(0)
    assert (np.diff(spreads) < 0).all()
    assert spreads == pytest.approx(source.variances[:3], rel=1e-4)


def test_digits_lie_in_their_box(draw: Callable[..., Drawn]) -> None:
    source, splits = draw("digits")
    assert source.domain.shape == (8, 8)
    assert source.labels == tuple("0123456789")
    grey = source.domain.frame.restore(splits["test"].points)
    np.testing.assert_allclose(grey, np.round(grey), atol=1e-4)
    assert source.domain.bounds is not None
    ends = source.domain.frame.restore(np.array(source.domain.bounds))
    np.testing.assert_allclose(ends, [[0] * 64, [16] * 64], atol=1e-4)
    right = (source.nearest(splits["test"].points) == splits["test"].label).mean()
    assert right >= 0.97


def test_the_cube_as_a_mesh_is_the_cube(tmp_path: Path) -> None:
    write_off(tmp_path / "cube.off", 7 * (cube_mesh() + 0.5) + 100)
    source, splits = origin.draw("cube.off", COUNTS, STREAM, tmp_path)
    cube, restore = SOURCES["cube"], source.domain.frame.restore
    assert source.domain.factor == pytest.approx(7)
    assert source.variances == pytest.approx(cube.variances)
    assert source.volume == pytest.approx(cube.volume)
    points = (restore(splits["test"].points) - 100) / 7
    assert cube.distance is not None
    assert source.distance is not None
    assert cube.distance(points).max() < 1e-6
    away = np.random.default_rng(0).random((200, 3)) * 2 - 0.5
    here = source.domain.frame.normalise(7 * away + 100).astype(np.float64)
    np.testing.assert_allclose(source.distance(here), cube.distance(away), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "cubes",
            "params.yaml: source: cubes is wrong; expected cube, sphere, square, gaussian, circle, digits",
        ),
        ("none.npy", "none.npy: No such file or directory; name a file below "),
        ("two.npy", "two.npy: every point is the same"),
        ("few.npy", "few.npy: 20 points leave "),
    ],
)
def test_what_is_no_source_is_refused_in_one_line(name: str, line: str, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.ones((900, 2)))
    np.save(tmp_path / "few.npy", sample(20))
    with pytest.raises(ValueError) as caught:
        origin.draw(name, COUNTS, STREAM, tmp_path)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({"train": 601}, "params.yaml: data.train_points: 601 points do not divide among 6 faces"),
        ({"test": 594}, "params.yaml: data.test_points: 594 is wrong; expected at least 600"),
    ],
)
def test_counts_that_a_law_cannot_have_are_refused(counts: dict[str, int], line: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        origin.draw("cube", COUNTS | counts, STREAM, tmp_path)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    "broken",
    [
        {"factor": 0.0},
        {"factor": float("nan")},
        {"labels": ()},
        {"centre": (0.0,)},
        {"shape": (2, 2)},
        {"name": 5},
    ],
)
def test_a_domain_that_no_source_has_is_refused(broken: dict[str, object]) -> None:
    text = json.loads(domain.to_json(SOURCES["cube"].domain)) | broken
    with pytest.raises(ValueError, match="describes no source"):
        domain.from_json(json.dumps(text))


def test_a_label_that_all_points_have_is_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", points=sample(900, 2), label=np.zeros(900, np.int64))
    source, splits = origin.draw("one.npz", COUNTS, STREAM, tmp_path)
    assert not source.domain.labelled
    assert len(source.labels) == 4
    assert all(source.contains(split) for split in splits.values())


def test_conditional_codecs_ask_for_three_test_points_of_every_label(tmp_path: Path) -> None:
    label = np.repeat([0, 1], [895, 5])
    np.savez(tmp_path / "rare.npz", points=sample(900, 2), label=label)
    source, splits = origin.draw("rare.npz", COUNTS, STREAM, tmp_path)
    line = (
        r"^params\.yaml: conditional: label 1 of rare\.npz has 2 test points; expected false, or at least 3$"
    )
    with pytest.raises(ValueError, match=line):
        finite.check_labels("rare.npz", splits["test"], source.labels)
    label[:4] = 1  # nine in all, of which at least three are test points
    np.savez(tmp_path / "rare.npz", points=sample(900, 2), label=label)
    source, splits = origin.draw("rare.npz", COUNTS, STREAM, tmp_path)
    finite.check_labels("rare.npz", splits["test"], source.labels)


def test_points_of_a_long_spike_stay_in_its_box(tmp_path: Path) -> None:
    spike = np.array([[[0, 0, 0], [1e4, 0, 0], [0, 1e-2, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 1]]], np.float64)
    write_off(tmp_path / "spike.off", spike)
    source, splits = origin.draw("spike.off", COUNTS, STREAM, tmp_path)
    assert all(source.contains(split) for split in splits.values())
