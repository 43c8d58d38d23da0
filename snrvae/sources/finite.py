"""A finite set of points: its source, and disjoint random splits with labels in proportion."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snrvae.sources.domain import SHOWN, Array, Domain, Labels, Points, Split, Words, sides
from snrvae.sources.normalisation import Frame
from snrvae.sources.reading import PointSet
from snrvae.sources.source import Source, eigenvalues

LEAST_OF_LABEL = 3  # test points of a label: two make a pair, a third gives a standard error
LEAST = 10  # points of a split: with fewer, the latents' entropy cannot be estimated


def counts(available: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """The number of points of each split: as wanted, or all that are available in these proportions.

    Raises ValueError if a split would have fewer than ten.
    """
    total = sum(wanted.values())
    for name, count in wanted.items():
        if count < LEAST:
            raise ValueError(
                f"{count} points for {name} are too few; expected data.{name}_points of at least {LEAST}"
            )
    if available >= total:
        return dict(wanted)
    used = {name: available * count // total for name, count in wanted.items()}
    rest = sorted(wanted, key=lambda name: available * wanted[name] % total, reverse=True)
    for name in rest[: available - sum(used.values())]:  # largest remainders first
        used[name] += 1
    smallest = min(used, key=lambda name: used[name])
    if used[smallest] < LEAST:
        needed = -(-LEAST * total // wanted[smallest])
        raise ValueError(
            f"{available} points leave {used[smallest]} for {smallest}; "
            f"a source split as data.* asks needs at least {needed}"
        )
    return used


def split(
    label: NDArray[np.uint8], names: Sequence[str], used: Mapping[str, int], rng: np.random.Generator
) -> dict[str, NDArray[np.intp]]:
    """The indices of the points of each split, in random order, from the labels [n] of all points.

    Points without labels all have the same label. Raises ValueError if a split would lack a label.
    """
    left = len(label) - sum(used.values())
    sizes = [*used.values(), left]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    turn = np.concatenate([(np.arange(size) + 0.5) / max(size, 1) for size in sizes])
    owner = owner[np.argsort(turn, kind="stable")]  # every stretch of it has all splits in proportion
    by_label = rng.permutation(len(label))
    by_label = by_label[np.argsort(label[by_label], kind="stable")]
    parts = {name: rng.permutation(by_label[owner == place]) for place, name in enumerate(used)}
    for name, part in parts.items():
        missing = np.setdiff1d(label, label[part])
        if len(missing):
            count = int((label == missing[0]).sum())
            raise ValueError(
                f"label {names[missing[0]]}: {count} points are too few for one in each split "
                f"({name} has none); add points with this label, or leave them out"
            )
    return parts


def check_labels(name: str, test: Split, names: Sequence[str]) -> None:
    """Raise ValueError if a label has too few test points to measure a conditional codec on."""
    for label, count in zip(names, np.bincount(test.label, minlength=len(names)), strict=True):
        if count < LEAST_OF_LABEL:
            raise ValueError(
                f"params.yaml: conditional: label {label} of {name} has {count} test points; "
                f"expected false, or at least {LEAST_OF_LABEL}"
            )


def domain(words: Words, found: PointSet, frame: Frame, train: Split) -> Domain:
    """The domain of a finite set, from its training points x'."""
    spread = float(train.points.var(0, dtype=np.float64).sum())
    by_label = [train.points[train.label == number] for number in range(len(found.names))]
    shares = tuple(len(points) / len(train.points) for points in by_label)
    inner = sum(len(p) / len(train.points) * float(p.var(0, dtype=np.float64).sum()) for p in by_label)
    bounds = None
    if found.bounds is not None:
        low, high = (frame.normalise(np.full((1, len(frame.centre)), end))[0] for end in found.bounds)
        bounds = tuple(low.tolist()), tuple(high.tolist())
    return words.domain(
        frame,
        shape=found.shape,
        mean=tuple(train.points.mean(0, dtype=np.float64).tolist()),
        bounds=bounds,
        spread=spread,
        left_open=inner if by_label else spread,
        labels=found.names or sides(min(SHOWN, len(frame.centre))),
        shares=shares,
        labelled=bool(found.names),
        finite=True,
    )


def source(domain: Domain, train: Split) -> Source:
    """The source behind training points x' with their labels."""
    return Source(
        domain=domain,
        variances=tuple(eigenvalues(train.points).tolist()),
        axes=principal_axes(train.points),
        classify=Neighbours(train).label if domain.labelled else None,
        known=train,
    )


def principal_axes(points: Points) -> Array:
    """The axes [a, k] in which points [n, k] are drawn: up to three coordinates, or else principal axes."""
    k = points.shape[1]
    if k <= SHOWN:
        return np.eye(k)
    off = points - points.mean(0, dtype=np.float64)
    _, vectors = np.linalg.eigh(off.T @ off)
    axes = vectors.T[: -SHOWN - 1 : -1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    return np.asarray(axes * np.sign(largest))  # the sign is arbitrary, and differs between libraries


class Neighbours:
    """Labels points by their five nearest training points, each weighted by 1/distance."""

    def __init__(self, train: Split):
        self._train = train

    @cached_property
    def _fitted(self) -> Any:
        from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415 - only evaluation asks for labels

        return KNeighborsClassifier(5, weights="distance").fit(self._train.points, self._train.label)

    def label(self, points: Array) -> Labels:
        """The label [n] of each of points [n, k]."""
        return np.asarray(self._fitted.predict(points), np.uint8)
