"""A source: the law of a point x in space, as far as it is known, with its distances, labels and moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snrvae.sources.domain import Array, Domain, Labels, Points, Split

Rng = np.random.Generator

CHECKED = 2**16  # points at a time
TOLERANCE = 1e-5  # of lengths, in float32


def eigenvalues(points: Array) -> NDArray[np.float64]:
    """Eigenvalues [k] of the covariance of points [n, k], descending: variances of components."""
    off = points.astype(np.float64) - points.mean(0, dtype=np.float64)
    return np.maximum(np.linalg.eigvalsh(off.T @ off / len(off))[::-1], 0)


@dataclass(frozen=True)
class Faces:
    """Labelled faces of a source: equally likely, and congruent.

    names  one for each label
    place  (points [n, 3], label) → the points after the motion that moves the label's face to `each`
    each   the source of points on one face
    """

    names: tuple[str, ...]
    place: Callable[[Array, int], NDArray[np.float64]]
    each: Source

    def distances(self, points: Array) -> NDArray[np.float64]:
        """Distance [n, l] of each of points [n, 3] to each face."""
        assert self.each.distance is not None
        return np.stack([self.each.distance(self.place(points, i)) for i in range(len(self.names))], 1)


@dataclass(frozen=True, eq=False)
class Source:
    """The law of x' as far as it is known: all of a built-in law, much of a mesh, little of a file's points.

    variances      of uncorrelated components [k], in descending order
    axes           directions [a, k], a at most 3, in which points are drawn and labelled by their side
    dimension      m, of the set that the law is spread over (2: a surface); 0: not known
    volume         2 to the power of the law's differential entropy in bits on that set; the set's volume if
                   the law is uniform: at a high rate D ≈ m/(2πe)·(volume/2^R)^(2/m)
    sample         (n, rng) → n independent points [n, k]; None for a finite set
    mean_distance  points p [n, k] → E|p − X| [n], in closed form; None if that is not known
    mean_pair_distance  E|X − X′| of two independent points, if mean_distance is known
    distance       points [n, k] → their distance [n] from the law's support; None if it has none
    tangent        λ (nats per unit of squared error, above 1/(2·variance)) → D, and R(D) in nats, at
                   the slope −λ; None if no closed form is known
    faces          the faces that labels name, for a built-in law
    stratified     (n, rng) → a split with each label in its exact share; None for independent points
    classify       points [n, k] → the label [n] of each, if a file's points have labels
    triangles      [t, 3, 3] of a mesh
    known          training points of an unknown law, with their labels
    """

    domain: Domain
    variances: tuple[float, ...]
    axes: Array
    dimension: int = 0
    volume: float = 0.0
    sample: Callable[[int, Rng], NDArray[np.float64]] | None = None
    mean_distance: Callable[[Array], NDArray[np.float64]] | None = None
    mean_pair_distance: float = 0.0
    distance: Callable[[Array], NDArray[np.float64]] | None = None
    tangent: Callable[[float], tuple[float, float]] | None = None
    faces: Faces | None = None
    stratified: Callable[[int, Rng], Split] | None = None
    classify: Callable[[Array], Labels] | None = None
    triangles: NDArray[np.float64] | None = None
    known: Split | None = None

    def split(self, count: int, rng: Rng) -> Split:
        """`count` points and their labels."""
        if self.stratified is not None:
            return self.stratified(count, rng)
        assert self.sample is not None
        points = self.sample(count, rng).astype(np.float32)
        return Split(points, self.nearest(points))

    @property
    def coordinates(self) -> int:
        """Coordinates of a point, k."""
        return self.domain.coordinates

    @property
    def title(self) -> str:
        """The source's name in a sentence."""
        return self.domain.title

    @property
    def noun(self) -> str:
        """The source's name in a heading."""
        return self.domain.noun

    @property
    def unit(self) -> str:
        """The unit of length in the file."""
        return self.domain.unit

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels."""
        return self.domain.labels

    @property
    def components(self) -> int:
        """How many coordinates vary."""
        return sum(variance > 0 for variance in self.variances)

    @property
    def variance(self) -> float:
        """The largest variance of a component."""
        return self.variances[0]

    @cached_property
    def left_open(self) -> NDArray[np.float64]:
        """Variances [l, k] of the points with each label, as `variances`."""
        if self.faces:
            return np.array([self.faces.each.variances] * len(self.labels), np.float64)
        assert self.known is not None
        points, label = self.known.points, self.known.label
        return np.stack([eigenvalues(points[label == number]) for number in range(len(self.labels))])

    @property
    def exact(self) -> bool:
        """Whether E|p − X| is known, so that generated points are compared with the law itself."""
        return self.mean_distance is not None

    @property
    def part(self) -> str:
        """The noun for a label: a part of space, or a file's own label."""
        if self.faces:
            return "face"
        return "label" if self.domain.labelled else ("half", "quadrant", "octant")[len(self.axes) - 1]

    def nearest(self, points: Array) -> Labels:
        """The label [n] that each of points [n, k] would have (the lowest of equally near labels)."""
        if self.faces:
            return self.faces.distances(points).argmin(axis=1).astype(np.uint8)
        if self.classify is not None:
            return self.classify(points)
        beyond = self.in_axes(points) > 0
        return (beyond @ 2 ** np.arange(len(self.axes))).astype(np.uint8)

    def in_axes(self, points: Array) -> NDArray[np.float64]:
        """Points [n, k] relative to the mean, in the axes [n, a]."""
        return np.asarray((points - np.array(self.domain.mean)) @ self.axes.T)

    def conditional_source(self, labelled: bool) -> Source:
        """The source that a codec has to code: one face if `labelled`, or else the whole source."""
        return self.faces.each if labelled and self.faces else self

    def contains(self, split: Split) -> bool:
        """Whether every point, with its label, can come from the source, within float32's rounding."""
        parts = -(-len(split.points) // CHECKED)
        chunks = zip(np.array_split(split.points, parts), np.array_split(split.label, parts), strict=True)
        return self.domain.contains(split) and all(self._contains(points, label) for points, label in chunks)

    def _contains(self, points: Points, label: Labels) -> bool:
        if self.faces:
            return bool((self.faces.distances(points)[np.arange(len(label)), label] <= TOLERANCE).all())
        lies = self.distance is None or (self.distance(points) <= TOLERANCE).all()
        return bool(lies and (self.domain.labelled or (label == self.nearest(points)).all()))
