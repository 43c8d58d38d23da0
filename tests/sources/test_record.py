"""What is known of every kind of source, its files, and what is wrong in settings or files, in one line."""

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh

from snrvae.settings.randomness import numpy_stream
from snrvae.sources import dataset, domain, npz, origin, record
from snrvae.sources.domain import Split
from snrvae.sources.registry import SETS, SOURCES
from snrvae.sources.source import Source

COUNTS = {"train": 1200, "validation": 600, "test": 600}
STREAM = partial(numpy_stream, 0, "data")


def draw(name: str, raw: Path, **counts: int) -> tuple[Source, dict[str, Split]]:
    return origin.draw(name, COUNTS | counts, STREAM, raw)


def refusal(name: str, raw: Path, **counts: int) -> str:
    with pytest.raises(ValueError) as caught:
        draw(name, raw, **counts)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder of data: a mesh, points in the plane, and points with unequal labels."""
    folder = tmp_path / "raw"
    folder.mkdir()
    rng = np.random.default_rng(0)
    trimesh.creation.icosphere(1, 3.0).export(folder / "ball.ply")
    np.save(folder / "plane.npy", [5, 0] + [100, 1] * rng.standard_normal((300, 2)))
    label = rng.choice(3, 400, p=[0.5, 0.3, 0.2])
    points = rng.standard_normal((400, 5)) + 3 * label[:, None]
    np.savez(folder / "kinds.npz", points=points, label=label)
    return folder


NAMES = [*SOURCES, *SETS, "ball.ply", "plane.npy", "kinds.npz"]


@pytest.mark.parametrize("name", NAMES)
def test_every_split_is_of_its_source_and_comes_back_from_its_file(name: str, raw: Path) -> None:
    source, splits = draw(name, raw)
    counts = {part: len(split.points) for part, split in splits.items()}
    assert source.domain.name == name
    assert list(counts) == list(COUNTS)
    assert all(source.contains(split) for split in splits.values())
    assert sum(counts.values()) <= 2400
    back = dataset.from_bytes(source.domain, dataset.to_bytes(splits), COUNTS)
    for part, split in splits.items():
        assert np.array_equal(back[part].points, split.points)
        assert np.array_equal(back[part].label, split.label)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_of_a_source_comes_back_from_its_file(name: str, raw: Path) -> None:
    source, splits = draw(name, raw)
    data = record.to_bytes(source)
    read = record.from_bytes(data)
    assert read.domain == source.domain == domain.from_archive(io.BytesIO(data))
    assert record.to_bytes(read) == data
    assert read.variances == source.variances
    assert np.array_equal(read.axes, source.axes)
    assert np.array_equal(read.nearest(splits["test"].points), source.nearest(splits["test"].points))
    assert (read is source) == (name in SOURCES)


@pytest.mark.parametrize("name", NAMES)
def test_the_spread_is_that_of_the_training_points(name: str, raw: Path) -> None:
    source, splits = draw(name, raw, train=6000)
    points, found = splits["train"].points.astype(np.float64), source.domain
    assert points.mean(0) == pytest.approx(np.array(found.mean), abs=0.05)
    assert points.var(0).sum() == pytest.approx(found.spread, rel=0.05)
    assert sum(source.variances) == pytest.approx(found.spread, rel=1e-6)
    if found.labelled:
        label = splits["train"].label
        inner = sum((label == n).mean() * points[label == n].var(0).sum() for n in range(len(found.labels)))
        assert inner == pytest.approx(found.left_open, rel=0.05)
        shares = found.shares or (1 / len(found.labels),) * len(found.labels)
        assert np.bincount(label) / len(label) == pytest.approx(np.array(shares))


def test_the_size_of_one_split_of_a_law_never_moves_another(raw: Path) -> None:
    for name in ("cube", "ball.ply"):
        one, other = (draw(name, raw, train=count)[1]["test"] for count in (1200, 6000))
        assert np.array_equal(one.points, other.points)


# What is wrong is told in one line that names what to change


@pytest.mark.parametrize("name", ["torus", "Cube", "cube ", "cow", "cow.txt", "scans/cow", ".hidden"])
def test_an_unknown_source_is_told_with_those_that_are_known(name: str, tmp_path: Path) -> None:
    line = refusal(name, tmp_path / "raw")
    assert line.startswith(f"params.yaml: source: {name} is wrong; expected ")
    assert "cube, sphere, square, gaussian, circle, digits, terrain, or the path of a file below " in line
    assert line.endswith("raw/ (.npy, .npz, .csv, .ply, .obj, .stl, .off)")


@pytest.mark.parametrize("part", COUNTS)
def test_a_count_that_does_not_divide_among_the_faces_is_told_by_its_key(part: str, tmp_path: Path) -> None:
    line = refusal("cube", tmp_path, **{part: 1201})
    assert line == f"params.yaml: data.{part}_points: 1201 points do not divide among 6 faces"
    for name in ("sphere", "terrain"):
        assert len(draw(name, tmp_path, **{part: 1201})[1][part].points) == 1201


@pytest.mark.parametrize("name", [*SOURCES, "terrain", "ball.ply"])
@pytest.mark.parametrize("count", [6, 594, 599])
def test_a_law_is_measured_on_600_points_at_least(name: str, count: int, raw: Path) -> None:
    line = refusal(name, raw, test=count)
    assert line.startswith(f"params.yaml: data.test_points: {count} is wrong; expected at least 600 ")


def test_a_finite_set_may_have_fewer(raw: Path) -> None:
    assert len(draw("plane.npy", raw, train=60, validation=60, test=60)[1]["test"].points) == 60


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("cube", "digits", "kinds.npz")])
def test_a_source_without_labels_cannot_be_conditional(name: str, raw: Path) -> None:
    source, _ = draw(name, raw)
    assert source.domain.num_classes(False) == 0
    with pytest.raises(ValueError) as caught:
        source.domain.num_classes(True)
    assert str(caught.value).startswith(f"params.yaml: conditional: source {name} has no labels; expected ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "labels"), [("cube", 6), ("digits", 10), ("kinds.npz", 3)])
def test_one_with_labels_can(name: str, labels: int, raw: Path) -> None:
    source, _ = draw(name, raw)
    assert (source.domain.num_classes(False), source.domain.num_classes(True)) == (0, labels)


# A damaged source.npz


def arrays_of(name: str, raw: Path) -> dict[str, np.ndarray]:
    return npz.from_bytes(record.to_bytes(draw(name, raw)[0]))


@pytest.mark.parametrize("name", ["cube", "digits", "ball.ply"])
def test_a_record_that_is_cut_is_refused_in_one_line(name: str, raw: Path) -> None:
    data = record.to_bytes(draw(name, raw)[0])
    for size in [*range(0, min(len(data), 2000), 97), len(data) - 40]:
        with pytest.raises(ValueError) as caught:
            record.from_bytes(data[:size])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fault", ["no domain", "words", "text", "more", "less", "nan", "kind", "another law"]
)
def test_a_record_that_is_none_is_refused_in_one_line(fault: str, raw: Path) -> None:
    arrays = arrays_of("ball.ply", raw)
    match fault:
        case "no domain":
            del arrays["domain"]
        case "words":
            arrays["domain"] = np.frombuffer(b"hello", np.uint8)
        case "text":
            arrays["domain"] = arrays["domain"].astype(np.int64)
        case "more":
            arrays["points"] = np.zeros((2, 3), np.float32)
        case "less":
            del arrays["triangles"]
        case "nan":
            arrays["triangles"] = arrays["triangles"] * np.nan
        case "kind":
            arrays["triangles"] = arrays["triangles"].astype(np.float32)
        case "another law":
            cube = replace(SOURCES["cube"].domain, spread=1.0)
            arrays = {"domain": np.frombuffer(domain.to_json(cube), np.uint8)}
    with pytest.raises(ValueError) as caught:
        record.from_bytes(npz.to_bytes(arrays))
    assert "\n" not in str(caught.value)


def test_known_points_outside_of_their_bounds_or_labels_are_refused(raw: Path) -> None:
    arrays = arrays_of("digits", raw)
    for name, wrong in (
        ("points", arrays["points"] + np.float32(100)),
        ("label", arrays["label"] + np.uint8(10)),
        ("label", arrays["label"][1:]),
        ("points", arrays["points"][:, 1:]),
    ):
        with pytest.raises(ValueError, match="lacks arrays of handwritten digits"):
            record.from_bytes(npz.to_bytes(arrays | {name: wrong}))
