"""The splits of a run: as a file that the other stages read, and as the inputs of a codec."""

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import npz
from snrvae.sources.domain import Domain, Labels, Points, Split


def inputs(split: Split, num_classes: int) -> Points:
    """An encoder's inputs: points [n, k]; if num_classes > 0, followed by one-hot labels [n, k + l]."""
    if not num_classes:
        return split.points
    return np.concatenate([split.points, one_hot(split.label, num_classes)], 1)


def one_hot(label: Labels, num_classes: int) -> Points:
    """Labels [n] as one-hot rows [n, l]."""
    return np.eye(num_classes, dtype=np.float32)[label]


def to_bytes(splits: Mapping[str, Split]) -> bytes:
    """The splits as an npz: `train` [n, k] float32, `train_face` [n] uint8 (the labels), and so on."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, split in splits.items():
        arrays |= {name: split.points, f"{name}_face": split.label}
    return npz.to_bytes(arrays)


def from_bytes(domain: Domain, data: bytes, counts: Mapping[str, int]) -> dict[str, Split]:
    """Inverse of to_bytes. Raises ValueError if `data` is anything else, or not of the domain and counts."""
    return _splits(domain, npz.from_bytes(data), counts)


def training_inputs(domain: Domain, num_classes: int, count: int, file: BinaryIO) -> Points:
    """`inputs` of the training split alone, from a file that to_bytes wrote. Raises as from_bytes."""
    splits = _splits(domain, npz.from_file(file, ("train", "train_face")), {"train": count})
    return inputs(splits["train"], num_classes)


def _splits(domain: Domain, arrays: dict[str, NDArray[Any]], counts: Mapping[str, int]) -> dict[str, Split]:
    expected = {key for name in counts for key in (name, f"{name}_face")}
    if set(arrays) != expected:
        raise ValueError(f"expected the arrays {', '.join(sorted(expected))}")
    splits = {name: _checked(domain, name, arrays[name], arrays[f"{name}_face"]) for name in counts}
    for name, split in splits.items():
        found, wanted = len(split.points), counts[name]
        if found > wanted or (found < wanted and not domain.finite):
            raise ValueError(f"{name}: {found} points, but params.yaml says {wanted}")
    return splits


def _checked(domain: Domain, name: str, points: NDArray[Any], label: NDArray[Any]) -> Split:
    k = domain.coordinates
    if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != k or not len(points):
        raise ValueError(f"{name}: expected float32 [n, {k}], found {points.dtype} {list(points.shape)}")
    if label.dtype != np.uint8 or label.shape != points.shape[:1]:
        raise ValueError(
            f"{name}_face: expected uint8 [{len(points)}], found {label.dtype} {list(label.shape)}"
        )
    split = Split(points, label)
    if not domain.contains(split):
        raise ValueError(
            f"{name}: points or labels that do not fit params.yaml, whose source is {domain.title}"
        )
    return split
