"""The source: points uniform on the surface of the unit cube."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from snrvae import npz
from snrvae.randomness import numpy_stream

Points = NDArray[np.float32]  # [n, 3]
Faces = NDArray[np.uint8]  # [n]

DIMENSION = 3
FACES = 6
FACE_NAMES = ("x = 0", "x = 1", "y = 0", "y = 1", "z = 0", "z = 1")  # face f: axis f // 2 fixed at f % 2
SPLITS = ("train", "validation", "test")
RANGE = (0.0, 1.0)  # of each coordinate
VARIANCE = 5 / 36  # of each coordinate; the three are uncorrelated
FACE_VARIANCE = 1 / 12  # of each of a face's two free coordinates


@dataclass(frozen=True)
class Split:
    """Points [n, 3] of the surface and the face [n] that each was drawn on."""

    points: Points
    face: Faces


def sample(count: int, rng: np.random.Generator) -> Split:
    """`count` points, a sixth of them on each face, shuffled once.

    Face by face one coordinate is fixed at 0 or 1 and the other two are uniform on [0, 1].
    """
    if count % FACES:
        raise ValueError(f"{count} points do not divide among {FACES} faces")
    points = rng.random((FACES, count // FACES, 3), dtype=np.float32)
    for face in range(FACES):
        points[face, :, face // 2] = face % 2
    order = rng.permutation(count)
    face_of = np.repeat(np.arange(FACES, dtype=np.uint8), count // FACES)
    return Split(points.reshape(count, 3)[order], face_of[order])


def independent(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`count` independent points [n, 3] of the surface: which faces they are on is drawn too."""
    points, face = rng.random((count, 3)), rng.integers(FACES, size=count)
    points[np.arange(count), face // 2] = face % 2
    return points


def generate(counts: dict[str, int], seed: int) -> dict[str, Split]:
    """One split per name, each from its own stream: the size of one never moves another."""
    return {name: sample(count, numpy_stream(seed, "data", name)) for name, count in counts.items()}


def inputs(split: Split, conditional: bool) -> Points:
    """What an encoder is given: points [n, 3]; a conditional one [n, 9], the face one-hot behind them."""
    return np.concatenate([split.points, one_hot(split.face)], 1) if conditional else split.points


def one_hot(face: Faces) -> Points:
    """Faces [n] as [n, 6], 1 at the face's own place."""
    return np.eye(FACES, dtype=np.float32)[face]


def surface_distance(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Euclidean distance [n] of points [n, 3] to the cube's surface, from inside or outside."""
    beyond = np.abs(points.astype(np.float64) - 0.5) - 0.5  # [n, 3], negative inside
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    inside = np.maximum(-beyond.max(axis=1), 0)
    return outside + inside


def nearest_face(points: NDArray[np.floating]) -> Faces:
    """The face [n] that each of points [n, 3] lies nearest to (the lowest number where faces tie)."""
    return face_distances(points).argmin(axis=1).astype(np.uint8)


def face_distances(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distance [n, 6] of each of points [n, 3] to each face."""
    clipped = np.clip(points, 0, 1)
    distances = np.empty((len(points), FACES))
    for face in range(FACES):
        foot = clipped.copy()
        foot[:, face // 2] = face % 2
        distances[:, face] = np.linalg.norm(points - foot, axis=1)
    return distances


def to_bytes(splits: dict[str, Split]) -> bytes:
    """The splits as an npz: `train` [n, 3] float32, `train_face` [n] uint8, and so on."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, split in splits.items():
        arrays |= {name: split.points, f"{name}_face": split.face}
    return npz.to_bytes(arrays)


def of_counts(data: bytes, counts: Mapping[str, int]) -> dict[str, Split]:
    """from_bytes, but ValueError also where a split has not as many points as params.yaml says."""
    return {name: _counted(name, split, counts[name]) for name, split in from_bytes(data).items()}


def from_bytes(data: bytes) -> dict[str, Split]:
    """Inverse of to_bytes. Raises ValueError where `data` is anything else."""
    return _splits(npz.from_bytes(data), SPLITS)


def training_inputs(count: int, conditional: bool, file: BinaryIO) -> Points:
    """`inputs` of the training split alone, of a file with what to_bytes gives. Raises as of_counts."""
    splits = _splits(npz.from_file(file, ("train", "train_face")), ("train",))
    return inputs(_counted("train", splits["train"], count), conditional)


def _counted(name: str, split: Split, count: int) -> Split:
    if len(split.points) != count:
        raise ValueError(f"{name}: {len(split.points)} points, but params.yaml says {count}")
    return split


def _splits(arrays: dict[str, NDArray[Any]], names: Sequence[str]) -> dict[str, Split]:
    expected = {key for name in names for key in (name, f"{name}_face")}
    if set(arrays) != expected:
        raise ValueError(f"expected the arrays {', '.join(sorted(expected))}")
    return {name: _checked(name, arrays[name], arrays[f"{name}_face"]) for name in names}


def _checked(name: str, points: NDArray[Any], face: NDArray[Any]) -> Split:
    if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise ValueError(f"{name}: expected float32 [n, 3], found {points.dtype} {list(points.shape)}")
    if face.dtype != np.uint8 or face.shape != points.shape[:1]:
        raise ValueError(
            f"{name}_face: expected uint8 [{len(points)}], found {face.dtype} {list(face.shape)}"
        )
    if not np.isfinite(points).all() or points.min() < 0 or points.max() > 1 or face.max() >= FACES:
        raise ValueError(f"{name}: points outside the unit cube, or faces outside 0 to 5")
    return Split(points, face)
