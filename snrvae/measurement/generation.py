"""How well generated points follow the source's law: energy distance, a test with it, and coverage.

The energy distance (Székely & Rizzo, J. Stat. Plan. Inference 2013) of n generated points g from the law X of
the source is ED² = 2 E|g - X| - E|X - X′| - U(g, g). If the law is known exactly, the first two terms are
integrals in closed form; if not, they are means over held-out points. U is the mean distance over pairs of
different points, which makes ED² unbiased.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from snrvae.settings.machine_code import kept
from snrvae.sources.domain import Split
from snrvae.sources.source import Source

Array = NDArray[np.floating]
NEIGHBOURS = 5
LANES = 64  # partial sums: a multiple of every vector register's width
REFERENCE_POINTS = 12_000  # to which generation_ratio is scaled
IDEAL_SAMPLES, IDEAL_POINTS = 999, 200  # the samples that p_value compares with


def mean_pair_distance(points: Array) -> float:
    """U(g, g): mean distance over all pairs of different points [n, k]."""
    count = len(points)
    by_axis = np.ascontiguousarray(points.T, np.float32)
    return 2 * _sum_of_distances(by_axis, by_axis, True) / (count * (count - 1))


def mean_cross_distance(points: Array, others: Array) -> float:
    """Mean distance of points [n, k] from others [m, k]."""
    one, other = (np.ascontiguousarray(each.T, np.float32) for each in (points, others))
    return float(_sum_of_distances(one, other, False) / (len(points) * len(others)))


@kept
@njit(nogil=True)
def _sum_of_distances(points: Array, others: Array, same: bool) -> float:
    """Sum of the distances of points [k, n] from others [k, m]; if they are the `same`, each pair once.

    An energy distance is a small difference of such sums, so that other rounding would change its digits.
    Therefore the sum is taken lane by lane, in an order that neither processor nor library chooses.
    """
    dimension, count = others.shape
    whole = count // LANES
    rows = np.ascontiguousarray(others[:, : whole * LANES]).reshape(dimension, whole, LANES)
    square, total = np.empty(LANES, np.float32), 0.0
    for i in range(points.shape[1]):
        own, lanes = points[:, i], np.zeros(LANES, np.float32)
        first = i + 1 if same else 0
        after = min((first + LANES - 1) // LANES, whole)  # the first row that begins at `first` or later
        for row in range(after, whole):
            square[:] = 0
            for axis in range(dimension):
                for lane in range(LANES):
                    away = rows[axis, row, lane] - own[axis]
                    square[lane] += away * away
            for lane in range(LANES):
                lanes[lane] += np.sqrt(square[lane])
        for lane in range(LANES):
            total += lanes[lane]
        for start, end in ((first, after * LANES), (max(first, whole * LANES), count)):  # outside rows
            for j in range(start, end):
                total += np.sqrt(((others[:, j] - own) ** 2).sum())
    return total


@dataclass(frozen=True)
class Law:
    """The law that generated points are compared with.

    mean_distance       points p [n, k] → the mean of E|p - X|;  mean_pair_distance  E|X - X′|
    """

    mean_distance: Callable[[Array], float]
    mean_pair_distance: float


def law(source: Source, points: Array) -> Law:
    """The exact law of a source or, if it is not known, of its held-out `points` [n, k]."""
    if source.mean_distance is None:
        return Law(partial(mean_cross_distance, others=points), mean_pair_distance(points))
    exact = source.mean_distance
    return Law(lambda generated: float(exact(generated).mean()), source.mean_pair_distance)


def excess(points: Array, law: Law) -> float:
    """n·ED² / (2 E|X - X′|) of points [n, k].

    Its expectation is 0 for independent points of the source and grows with n for all others. For points of
    the source its distribution hardly depends on n: ED² is a degenerate U-statistic (Serfling, Approximation
    Theorems of Mathematical Statistics, 1980, section 5.5.2).
    """
    to_law = law.mean_distance(points)
    return float(_excess(len(points), to_law, mean_pair_distance(points), law.mean_pair_distance))


def _excess(count: int, to_law: Any, within: Any, scale: float) -> Any:
    """The excess of `count` points from their mean distances to the law and among each other, elementwise.

    scale  E|X - X′| of the law
    """
    return count * (2 * to_law - scale - within) / (2 * scale)


def generation_ratio(excess: float, count: int) -> float:
    """1 + N·ED² / (2 E|X - X′|) with N = 12,000, from the excess of `count` points: ideally 1 on average."""
    return 1 + REFERENCE_POINTS / count * excess


@dataclass(frozen=True)
class Part:
    """The law of the points with one label; `place` first moves the points of any face to the same face.

    share  the label's share of the points;  law  None if it has fewer than two points
    """

    law: Law | None
    share: float
    place: Callable[[Array], Array]


def parts(source: Source, test: Split) -> list[Part]:
    """The part of every label: the exact law of a face, or the law of the label's test points."""
    if source.faces:
        each, equal = law(source.faces.each, test.points), 1 / len(source.labels)
        return [Part(each, equal, partial(_placed, source.faces.place, n)) for n in range(len(source.labels))]
    own = [test.points[test.label == number] for number in range(len(source.labels))]
    shares = source.domain.shares
    laws = [law(source, points) if len(points) > 1 else None for points in own]
    return [Part(each, share, np.asarray) for each, share in zip(laws, shares, strict=True)]


def _placed(place: Callable[[Array, int], Array], number: int, points: Array) -> Array:
    return place(points, number)


def part_ratios(points: Array, label: NDArray[np.integer], parts: Sequence[Part]) -> NDArray[np.float64]:
    """For each label the ratio [l] of the points [n, k] that request it, scaled to its share of N points.

    NaN for a label with fewer than two points.
    """
    ratios = np.full(len(parts), np.nan)
    for number, part in enumerate(parts):
        own = part.place(points[label == number])
        if len(own) > 1 and part.law is not None:
            ratios[number] = 1 + REFERENCE_POINTS * part.share / len(own) * excess(own, part.law)
    return ratios


def ideal_excesses(source: Source, rng: np.random.Generator) -> NDArray[np.float64]:
    """The excess of 999 samples of 200 independent points of a source whose law is known exactly."""
    assert source.sample is not None
    assert source.mean_distance is not None
    points = source.sample(IDEAL_SAMPLES * IDEAL_POINTS, rng)
    to_law = source.mean_distance(points).reshape(IDEAL_SAMPLES, -1).mean(1)
    within = np.array([mean_pair_distance(sample) for sample in np.split(points, IDEAL_SAMPLES)])
    return np.asarray(_excess(IDEAL_POINTS, to_law, within, source.mean_pair_distance))


def p_value(excess: float, ideal: Array) -> float:
    """Share of the `ideal` samples and this one that have at least this excess (Monte Carlo test).

    Uniform for independent draws of the law, small for other points; at least 1/(1 + len(ideal)).
    """
    return float((1 + (ideal >= excess).sum()) / (1 + len(ideal)))


def neighbour_radius(points: Array) -> NDArray[np.float64]:
    """Distance [n] of each point [n, k] to the fifth nearest of the others."""
    distances, _ = cKDTree(points).query(points, k=[min(NEIGHBOURS + 1, len(points))])
    return np.asarray(distances).reshape(-1)


def nearest_distance(points: Array, generated: Array) -> NDArray[np.float64]:
    """Distance [n] of each of points [n, k] to the nearest generated one."""
    return np.asarray(cKDTree(generated).query(points, k=1)[0])


def coverage(points: Array, radius: Array, generated: Array) -> float:
    """Share of real points with a generated one within their radius (Naeem et al., ICML 2020, eq. 4)."""
    return float(np.mean(nearest_distance(points, generated) <= radius))


@dataclass(frozen=True)
class Reference:
    """The reference that generated points of a source are compared with.

    law     law of the source, as well as it is known;  parts  the same for each label, if there are labels
    points  test points [n, k] with their labels;  radius  neighbour_radius of each [n]
    ideal   ideal_excesses; empty if the law is not known exactly
    """

    source: Source
    law: Law
    parts: Sequence[Part]
    points: Split
    radius: Array
    ideal: Array


def reference(source: Source, test: Split, radius: Array, ideal: Array) -> Reference:
    """The reference of a source, from its test points and the results of `compared`."""
    by_label = parts(source, test) if source.domain.labelled else []
    return Reference(source, law(source, test.points), by_label, test, radius, ideal)


def compared(source: Source, test: Split, rng: np.random.Generator) -> tuple[Array, Array]:
    """The neighbour_radius [n] of test points, and ideal_excesses with samples that `rng` draws."""
    ideal = ideal_excesses(source, rng) if source.exact else np.empty(0)
    return neighbour_radius(test.points), ideal
