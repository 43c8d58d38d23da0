"""Points, images and meshes from a user's file: every number is checked, nothing in the file is executed.

| suffix                 | holds                                                                |
|------------------------|----------------------------------------------------------------------|
| .npy                   | points [n, k], or images [n, h, w]                                   |
| .npz                   | the same as `points` or as the only array; `label` [n] is optional   |
| .csv                   | a column a coordinate; a header and a column `label` are optional    |
| .ply, .obj, .stl, .off | a mesh; a .ply without faces is points                               |
"""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import mesh_files, point_files
from snrvae.sources.point_files import Table

COORDINATES = 1024  # of a point, at most
LABELS = 255  # different labels, at most: a label is a byte
NAME = 40  # characters of a label, at most
LARGEST, SMALLEST = 1e60, 1e-60  # of a coordinate, of a spread: float64 holds their fourth powers
BYTES = 2**31  # of a file of points, at most
MESH_BYTES = 2**28  # of a mesh, at most: its text takes many times as much memory
DVC_CACHE = re.compile(r"/\.dvc/cache/(files/md5/)?[0-9a-f]{2}/[0-9a-f]{30}$")


@dataclass(frozen=True)
class PointSet:
    """Points of a file.

    points  [n, k]
    label   [n], the place of each point's label in `names`; None if the points have none
    names   of the labels, in ascending order
    shape   of one point: (k,), or (h, w) of an image, whose rows follow each other
    bounds  bounds of every coordinate; None for a file, which has none
    """

    points: NDArray[np.float64]
    label: NDArray[np.uint8] | None
    names: tuple[str, ...]
    shape: tuple[int, ...]
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Mesh:
    """The surface of a file as triangles [t, 3, 3], three corners each; all have an area."""

    triangles: NDArray[np.float64]


def read(path: Path, root: Path) -> PointSet | Mesh:
    """The points or the surface in the file `path` below the folder `root`.

    Raises ValueError, in one line, if the file is damaged, too large, or elsewhere.
    """
    name = path.relative_to(root) if path.is_relative_to(root) else path
    try:
        return _read(path, root)
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}; name a file below {root.name}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())}") from None


def _read(path: Path, root: Path) -> PointSet | Mesh:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"the suffix must be one of {', '.join(SUFFIXES)}")
    file = _located(path, root, MESH_BYTES if suffix in mesh_files.READERS else BYTES)
    if suffix in TABLES:
        return _point_set(TABLES[suffix](file))
    found = mesh_files.READERS[suffix](file.read_bytes())
    if not len(found.sizes) and suffix == ".ply":
        return _point_set(Table(found.vertices, None, lambda row, _: f"vertex {row + 1}"))
    return Mesh(found.triangles(LARGEST))


def _located(path: Path, root: Path, most: int) -> Path:
    """The regular file that `path` leads to: below `root`, or in DVC's cache by a link below `root`."""
    try:
        file, folder = path.resolve(strict=True), root.resolve()
    except RuntimeError:
        raise ValueError("a link that leads to itself; name a file") from None
    link = path.parent.resolve().is_relative_to(folder) and path.is_symlink()
    if not file.is_relative_to(folder) and not (link and DVC_CACHE.search(file.as_posix())):
        raise ValueError(f"leads out of {root.name}; copy the file into that folder")
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a file; a source is one file")
    if found.st_size > most:
        raise ValueError(f"{found.st_size} bytes; at most {most} are possible")
    return file


def _point_set(table: Table) -> PointSet:
    count, shape = len(table.points), table.points.shape[1:]
    coordinates = int(np.prod(shape))
    if not 1 <= coordinates <= COORDINATES:
        raise ValueError(f"a point has {coordinates} coordinates; from 1 to {COORDINATES} are possible")
    if count < 2:
        raise ValueError(f"{count} points; at least two different ones are needed")
    points = np.ascontiguousarray(table.points.reshape(count, coordinates), np.float64)
    wrong = ~(np.abs(points) <= LARGEST)  # NaN is
    if wrong.any():
        row, column = divmod(int(wrong.argmax()), coordinates)
        raise ValueError(
            f"{table.place(row, column)}: {points[row, column]:g}; "
            f"a coordinate must be a number of at most {LARGEST:g}"
        )
    if np.ptp(points, axis=0).max() < SMALLEST:
        raise ValueError("every point is the same; at least two different ones are needed")
    if table.words is None:
        return PointSet(points, None, (), shape)
    return PointSet(points, *_labels(table.words, table.place), shape)


def _labels(
    words: list[str], place: Callable[[int, int | None], str]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The label [n], and the names in numerical order if all are numbers, or else in alphabetical order."""
    for row, word in enumerate(words):
        if not (0 < len(word) <= NAME and word.isprintable()) or word.lower().lstrip("+-") == "nan":
            raise ValueError(
                f"{place(row, None)}: {word[:NAME]!r} is no label; "
                f"a label has from 1 to {NAME} printable characters"
            )
    try:
        found, label = np.unique([float(word) for word in words], return_inverse=True)
        names = tuple(f"{value:.15g}" for value in found)
    except ValueError:
        found, label = np.unique(words, return_inverse=True)
        names = tuple(str(word) for word in found)
    if len(names) > LABELS:
        raise ValueError(f"{len(names)} different labels; at most {LABELS} are possible")
    return label.astype(np.uint8), names


TABLES: dict[str, Callable[[Path], Table]] = {
    ".npy": point_files.npy,
    ".npz": point_files.npz,
    ".csv": point_files.csv_table,
}
SUFFIXES = (*TABLES, *mesh_files.READERS)
