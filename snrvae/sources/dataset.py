"""The splits of a run: drawn from a source, and as the file that the other stages read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import npz
from snrvae.sources.source import Labels, Points, Rng, Source, Split

SPLITS = ("train", "validation", "test")


def draw(source: Source, counts: Mapping[str, int], stream: Callable[[str], Rng]) -> dict[str, Split]:
    """One split per name, each from the random stream of its name: the size of one never moves another."""
    return {name: source.split(count, stream(name)) for name, count in counts.items()}


def inputs(split: Split, num_classes: int) -> Points:
    """What an encoder receives: points [n, k]; if num_classes > 0, with one-hot labels behind [n, k + l]."""
    if not num_classes:
        return split.points
    return np.concatenate([split.points, one_hot(split.label, num_classes)], 1)


def one_hot(label: Labels, num_classes: int) -> Points:
    """Labels [n] as [n, l], 1 at the label's own place."""
    return np.eye(num_classes, dtype=np.float32)[label]


def to_bytes(splits: Mapping[str, Split]) -> bytes:
    """The splits as an npz: `train` [n, k] float32, `train_face` [n] uint8 (the labels), and so on."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, split in splits.items():
        arrays |= {name: split.points, f"{name}_face": split.label}
    return npz.to_bytes(arrays)


def of_counts(source: Source, data: bytes, counts: Mapping[str, int]) -> dict[str, Split]:
    """from_bytes, but ValueError also where a split has not as many points as params.yaml says."""
    return {name: _counted(name, split, counts[name]) for name, split in from_bytes(source, data).items()}


def from_bytes(source: Source, data: bytes) -> dict[str, Split]:
    """Inverse of to_bytes. Raises ValueError where `data` is anything else, or not of the source."""
    return _splits(source, npz.from_bytes(data), SPLITS)


def training_inputs(source: Source, count: int, num_classes: int, file: BinaryIO) -> Points:
    """`inputs` of the training split alone, of a file with what to_bytes gives. Raises as of_counts."""
    splits = _splits(source, npz.from_file(file, ("train", "train_face")), ("train",))
    return inputs(_counted("train", splits["train"], count), num_classes)


def _counted(name: str, split: Split, count: int) -> Split:
    if len(split.points) != count:
        raise ValueError(f"{name}: {len(split.points)} points, but params.yaml says {count}")
    return split


def _splits(source: Source, arrays: dict[str, NDArray[Any]], names: Sequence[str]) -> dict[str, Split]:
    expected = {key for name in names for key in (name, f"{name}_face")}
    if set(arrays) != expected:
        raise ValueError(f"expected the arrays {', '.join(sorted(expected))}")
    return {name: _checked(source, name, arrays[name], arrays[f"{name}_face"]) for name in names}


def _checked(source: Source, name: str, points: NDArray[Any], label: NDArray[Any]) -> Split:
    if (
        points.dtype != np.float32
        or points.ndim != 2
        or points.shape[1] != source.coordinates
        or not len(points)
    ):
        raise ValueError(
            f"{name}: expected float32 [n, {source.coordinates}], found {points.dtype} {list(points.shape)}"
        )
    if label.dtype != np.uint8 or label.shape != points.shape[:1]:
        raise ValueError(
            f"{name}_face: expected uint8 [{len(points)}], found {label.dtype} {list(label.shape)}"
        )
    split = Split(points, label)
    if not source.contains(split):
        raise ValueError(
            f"{name}: points or labels that are not those of {source.title}, which params.yaml says"
        )
    return split
