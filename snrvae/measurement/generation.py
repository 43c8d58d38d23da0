"""How well generated points follow the source's law: energy distance, a test with it, and coverage.

The energy distance (Székely & Rizzo, J. Stat. Plan. Inference 2013) of n generated points g from the exact
law X of the source is ED² = 2 E|g - X| - E|X - X′| - U(g, g). The first two terms are integrals in closed
form; U is the mean distance of the pairs among the points. It makes ED² unbiased.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from snrvae.sources.source import Faces, Source

Array = NDArray[np.floating]
NEIGHBOURS = 5
LANES = 64  # partial sums: a multiple of every vector register's width
REFERENCE_POINTS = 12_000  # what generation_ratio is scaled to
IDEAL_SAMPLES, IDEAL_POINTS = 999, 200  # what p_value compares with


def mean_pair_distance(points: Array) -> float:
    """U(g, g): mean distance over all pairs of different points [n, k]."""
    count = len(points)
    by_axis = np.ascontiguousarray(points.T, np.float32)
    return 2 * _sum_of_distances(by_axis) / (count * (count - 1))


@numba.njit(nogil=True)
def _sum_of_distances(points: Array) -> float:
    """Sum of the distances of all pairs of points [k, n].

    An energy distance is a small difference of such sums, so that another rounding would show in its digits.
    So the sum is taken lane by lane, in an order that neither a processor nor a library chooses.
    """
    dimension, count = points.shape
    whole = count // LANES
    rows = np.ascontiguousarray(points[:, : whole * LANES]).reshape(dimension, whole, LANES)
    square, total = np.empty(LANES, np.float32), 0.0
    for i in range(count):
        own, lanes = points[:, i], np.zeros(LANES, np.float32)
        after = min(i // LANES + 1, whole)  # the first row that begins after point i
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
        for start, end in ((i + 1, after * LANES), (max(i + 1, whole * LANES), count)):  # what no row holds
            for j in range(start, end):
                total += np.sqrt(((points[:, j] - own) ** 2).sum())
    return total


def excess(points: Array, source: Source) -> float:
    """n·ED² / (2 E|X - X′|) of points [n, 3].

    Its expectation is 0 for independent points of the source and grows with n for all others. For the former
    its distribution hardly depends on n: ED² is a degenerate U-statistic (Serfling, Approximation Theorems of
    Mathematical Statistics, 1980, section 5.5.2).
    """
    to_law = source.mean_distance(points).mean()
    return float(_excess(len(points), to_law, mean_pair_distance(points), source.mean_pair_distance))


def _excess(count: int, to_law: Any, within: Any, scale: float) -> Any:
    """The excess of `count` points from their mean distances to the law and among each other, elementwise.

    scale  E|X - X′| of the law
    """
    return count * (2 * to_law - scale - within) / (2 * scale)


def generation_ratio(excess: float, count: int) -> float:
    """1 + N·ED² / (2 E|X - X′|) with N = 12,000, from the excess of `count` points: ideally 1 on average."""
    return 1 + REFERENCE_POINTS / count * excess


def face_ratios(points: Array, label: NDArray[np.integer], faces: Faces) -> NDArray[np.float64]:
    """For each of l faces the ratio [l] of the points [n, 3] that were to lie on it, N being its share."""
    ratios, num_classes = [], len(faces.names)
    for number in range(num_classes):
        own = faces.place(points[label == number], number)
        ratios.append(1 + REFERENCE_POINTS / num_classes / len(own) * excess(own, faces.each))
    return np.array(ratios)


def ideal_excesses(source: Source, rng: np.random.Generator) -> NDArray[np.float64]:
    """The excess of 999 samples of 200 independent points of the source."""
    points = source.sample(IDEAL_SAMPLES * IDEAL_POINTS, rng)
    to_law = source.mean_distance(points).reshape(IDEAL_SAMPLES, -1).mean(1)
    within = np.array([mean_pair_distance(sample) for sample in np.split(points, IDEAL_SAMPLES)])
    return np.asarray(_excess(IDEAL_POINTS, to_law, within, source.mean_pair_distance))


def p_value(excess: float, ideal: Array) -> float:
    """Share of samples with at least this excess, among `ideal` ones and this one (Monte Carlo test).

    Uniform for points that are independent draws of the law, small for others; at least 1/(1 + len(ideal)).
    """
    return float((1 + (ideal >= excess).sum()) / (1 + len(ideal)))


def neighbour_radius(points: Array) -> NDArray[np.float64]:
    """Distance [n] of each point [n, 3] to the fifth nearest of the others."""
    distances, _ = cKDTree(points).query(points, k=[NEIGHBOURS + 1])
    return np.asarray(distances).reshape(-1)


def coverage(points: Array, radius: Array, generated: Array) -> float:
    """Share of real points with a generated one within their radius (Naeem et al., ICML 2020, eq. 4)."""
    distances, _ = cKDTree(generated).query(points, k=1)
    return float(np.mean(distances <= radius))


@dataclass(frozen=True)
class Reference:
    """What generated points of a source are compared with.

    points, radius  real points [n, 3], and neighbour_radius of each
    ideal           ideal_excesses
    """

    source: Source
    points: Array
    radius: Array
    ideal: Array


def reference(source: Source, points: Array, rng: np.random.Generator) -> Reference:
    """Real points [n, 3] of a source, and the ideal samples that `rng` draws."""
    return Reference(source, points, neighbour_radius(points), ideal_excesses(source, rng))
