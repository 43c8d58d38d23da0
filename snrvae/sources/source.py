"""What a source is: the law of a point x in space, and all that the pipeline asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Points = NDArray[np.float32]  # [n, k]
Labels = NDArray[np.uint8]  # [n]
Rng = np.random.Generator

CHECKED = 2**16  # points at a time
TOLERANCE = 1e-5  # of lengths in float32


@dataclass(frozen=True)
class Split:
    """Points [n, k] of a source and the label [n] that each was drawn with."""

    points: Points
    label: Labels


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


@dataclass(frozen=True)
class Source:
    """The law of x. Coordinates are uncorrelated; those that vary come first and have the same variance.

    title          what points are drawn from, in a sentence;  noun  what a heading calls it
    unit           of length
    dimension      of the set that the law is spread over, m (2: a surface), and
    volume         2 to the power of its differential entropy in bits there, of a uniform law the set's own:
                   at a high rate D ≈ m/(2πe)·(volume/2^R)^(2/m)
    bounds         of every coordinate: decoders answer within them
    mean           of each coordinate
    components     how many of them vary;  variance  of each that does
    sample         (n, rng) → n independent points [n, k]
    mean_distance  points p [n, k] → E|p − X| [n], in closed form
    mean_pair_distance  E|X − X′| of two independent points
    distance       points [n, k] → their distance [n] from where the law lives; None: it lives everywhere
    tangent        λ (nats per unit of squared error, above 1/(2·variance)) → D, and R(D) in nats, where
                   the slope is −λ; None: no closed form is known
    faces          what a point's label says; None: on which side of the mean each coordinate lies
    stratified     (n, rng) → a split with each label in its exact share; None: independent points
    """

    title: str
    noun: str
    unit: str
    dimension: int
    volume: float
    bounds: tuple[float, float]
    mean: tuple[float, ...]
    components: int
    variance: float
    sample: Callable[[int, Rng], NDArray[np.float64]]
    mean_distance: Callable[[Array], NDArray[np.float64]]
    mean_pair_distance: float
    distance: Callable[[Array], NDArray[np.float64]] | None = None
    tangent: Callable[[float], tuple[float, float]] | None = None
    faces: Faces | None = None
    stratified: Callable[[int, Rng], Split] | None = None

    def split(self, count: int, rng: Rng) -> Split:
        """`count` points and their labels."""
        if self.stratified is not None:
            return self.stratified(count, rng)
        points = self.sample(count, rng).astype(np.float32)
        return Split(points, self.nearest(points))

    @property
    def coordinates(self) -> int:
        """Of a point: k."""
        return len(self.mean)

    @property
    def part(self) -> str:
        """What a label names a part of space."""
        return "face" if self.faces else ("half", "quadrant", "octant")[self.components - 1]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels: of faces, or else of sides, the first coordinate changing fastest."""
        if self.faces:
            return self.faces.names
        return tuple(" ".join(reversed(sides)) for sides in product("−+", repeat=self.components))

    def nearest(self, points: Array) -> Labels:
        """The label [n] that each of points [n, k] would have (the lowest where some tie)."""
        if self.faces:
            return self.faces.distances(points).argmin(axis=1).astype(np.uint8)
        beyond = (points > np.array(self.mean))[:, : self.components]
        return (beyond @ 2 ** np.arange(self.components)).astype(np.uint8)

    def conditional_source(self, labelled: bool) -> Source:
        """What a codec has to code: with the label given the law of its face, or else the whole."""
        return self.faces.each if labelled and self.faces else self

    def contains(self, split: Split) -> bool:
        """Whether every point may be of the source, with its label, as nearly as float32 can say."""
        parts = -(-len(split.points) // CHECKED)
        chunks = zip(np.array_split(split.points, parts), np.array_split(split.label, parts), strict=True)
        return all(self._contains(points, label) for points, label in chunks)

    def _contains(self, points: Points, label: Labels) -> bool:
        if not np.isfinite(points).all() or label.max() >= len(self.labels):
            return False
        if self.faces:
            return bool((self.faces.distances(points)[np.arange(len(label)), label] <= TOLERANCE).all())
        lies = self.distance is None or (self.distance(points) <= TOLERANCE).all()
        return bool(lies and (label == self.nearest(points)).all())
