"""What a source is: the law of a point x in space, as far as it is known, and all that is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snrvae.sources.domain import Array, Domain, Labels, Points, Split

Rng = np.random.Generator

CHECKED = 2**16  # points at a time
TOLERANCE = 1e-5  # of lengths in float32


def eigenvalues(points: Array) -> NDArray[np.float64]:
    """Of the covariance of points [n, k], in descending order [k]: variances of uncorrelated components."""
    off = points.astype(np.float64) - points.mean(0, dtype=np.float64)
    return np.maximum(np.linalg.eigvalsh(off.T @ off / len(off))[::-1], 0)


@dataclass(frozen=True)
class Faces:
    """Labelled faces of a source: equally likely, and equal but for where they lie.

    names  one for each label
    place  (points [n, 3], label) → the points moved as the face has to be to lie where `each` does
    each   the law of a point on a face
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
    """The law of x' as far as it is known: of a built-in law all, of a mesh much, of a file's points little.

    variances      of uncorrelated components [k], in descending order
    axes           directions [a, k], a at most 3, in which points are drawn and labelled by their side
    dimension      of the set that the law is spread over, m (2: a surface); 0: not known
    volume         of a law, 2 to the power of its differential entropy in bits there; of a uniform one the
                   set's own: at a high rate D ≈ m/(2πe)·(volume/2^R)^(2/m)
    sample         (n, rng) → n independent points [n, k]; None: there is a finite set of them
    mean_distance  points p [n, k] → E|p − X| [n], in closed form; None: none is known
    mean_pair_distance  E|X − X′| of two independent points, if mean_distance is known
    distance       points [n, k] → their distance [n] from where the law lives; None: it lives everywhere
    tangent        λ (nats per unit of squared error, above 1/(2·variance)) → D, and R(D) in nats, where
                   the slope is −λ; None: no closed form is known
    faces          what a point's label says, of a built-in law
    stratified     (n, rng) → a split with each label in its exact share; None: independent points
    classify       points [n, k] → the label [n] of each, of a file whose points have labels
    triangles      [t, 3, 3], of a mesh
    known          points of an unknown law, with their labels
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
        """Of a point: k."""
        return self.domain.coordinates

    @property
    def title(self) -> str:
        """What points are drawn from, in a sentence."""
        return self.domain.title

    @property
    def noun(self) -> str:
        """What a heading calls the source."""
        return self.domain.noun

    @property
    def unit(self) -> str:
        """Of length, in the file."""
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
        """The largest of a component."""
        return self.variances[0]

    @cached_property
    def left_open(self) -> NDArray[np.float64]:
        """Variances [l, k], as `variances`, of what each label leaves open."""
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
        """What a label names: a part of space, or what a file says."""
        if self.faces:
            return "face"
        return "label" if self.domain.labelled else ("half", "quadrant", "octant")[len(self.axes) - 1]

    def nearest(self, points: Array) -> Labels:
        """The label [n] that each of points [n, k] would have (the lowest where some tie)."""
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
        """What a codec has to code: with the label given the law of its face, or else the whole."""
        return self.faces.each if labelled and self.faces else self

    def contains(self, split: Split) -> bool:
        """Whether every point may be of the source, with its label, as nearly as float32 can say."""
        parts = -(-len(split.points) // CHECKED)
        chunks = zip(np.array_split(split.points, parts), np.array_split(split.label, parts), strict=True)
        return self.domain.contains(split) and all(self._contains(points, label) for points, label in chunks)

    def _contains(self, points: Points, label: Labels) -> bool:
        if self.faces:
            return bool((self.faces.distances(points)[np.arange(len(label)), label] <= TOLERANCE).all())
        lies = self.distance is None or (self.distance(points) <= TOLERANCE).all()
        return bool(lies and (self.domain.labelled or (label == self.nearest(points)).all()))
