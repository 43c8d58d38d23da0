"""Sources as quadratures, and exp(−λ|x−y|²) with its moments over their symmetries.

Axis letters: n points of the quadrature, u distinct coordinate values, m points y, k coordinates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import permutations
from math import ceil, log, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """The law of x as points and weights, coordinates relative to its centre.

    A `symmetric` source looks the same after any change of sign and of order of its coordinates
    (48 maps in three dimensions, the cube's own). Then one point represents all its images, with
    the sum of their weights, for x as for y, and every kernel below is a mean over the maps.
    """

    points: Array  # [n, k]
    weights: Array  # [n], sum 1
    symmetric: bool = True

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return int(self.points.shape[1])

    @cached_property
    def levels(self) -> tuple[Array, NDArray[np.intp]]:
        """The distinct coordinate values [u], and the places of each point's values among them [n, k]."""
        values, index = np.unique(self.points, return_inverse=True)
        return values, index.reshape(self.points.shape)


def half_unit_nodes(count: int) -> tuple[Array, Array]:
    """Gauss–Legendre for a mean over [0, ½]: nodes, and weights of sum 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 4, weights / 2


def uniform_segment(count: int) -> Source:
    """Uniform on [−½, ½], represented by the half [0, ½]."""
    nodes, weights = half_unit_nodes(count)
    return Source(nodes[:, None], weights)


def uniform_square(count: int) -> Source:
    """Uniform on [−½, ½]², represented by the triangle 0 ≤ second ≤ first ≤ ½."""
    nodes, weights = half_unit_nodes(count)
    first, second = np.tril_indices(count)
    orders = np.where(first == second, 1.0, 2.0)
    points = np.stack([nodes[first], nodes[second]], axis=1)
    return Source(points, orders * weights[first] * weights[second])


def cube_surface(count: int) -> Source:
    """Uniform on the surface of [−½, ½]³: one of six equal faces, and on it a uniform square."""
    face = uniform_square(count)
    normal = np.full((len(face.points), 1), 0.5)
    return Source(np.concatenate([normal, face.points], axis=1), face.weights)


def node_count(slope: float) -> int:
    """Nodes on [0, ½] for kernels of width 1/√λ: the error is below 10⁻⁷ bit (slope in bits)."""
    return ceil(1.4 * sqrt(slope * log(2))) + 8


def kernel_moments(
    source: Source, y: Array, lam: float, powers: Iterable[tuple[int, ...]]
) -> Iterator[Array]:
    """exp(−λ|x−y|²)·Π x_j^p_j, for each tuple p of powers up to 2: [n, m] each.

    A mean over the images of x. exp(−λ|x−y|²) is a product over coordinates, so the mean over all
    signs is a product of means of two; the mean over all orders is a sum of products.
    """
    values, index = source.levels
    offset, target = values[:, None], y.T[:, None, :]  # [u, 1] against [k, 1, m]
    even = np.exp(-lam * (offset - target) ** 2)
    odd = even
    if source.symmetric:
        mirrored = np.exp(-lam * (offset + target) ** 2)
        even, odd = (even + mirrored) / 2, (even - mirrored) / 2
    factors = (even, offset * odd, offset**2 * even)  # x to the power 0, 1, 2: [k, u, m] each

    @cache
    def factor(power: int, j: int, axis: int) -> Array:
        """The factor of coordinate j of y and coordinate `axis` of x: [n, m]."""
        return np.asarray(factors[power][j][index[:, axis]])

    straight = tuple(range(source.dimension))
    orders = list(permutations(straight)) if source.symmetric else [straight]
    term = np.empty((len(source.points), len(y)))
    for power in powers:
        total = np.zeros_like(term)
        for order in orders:
            term[...] = factor(power[0], 0, order[0])
            for j in straight[1:]:
                term *= factor(power[j], j, order[j])
            total += term
        yield total / len(orders)


def kernel(source: Source, y: Array, lam: float) -> Array:
    """exp(−λ|x−y|²), a mean over the images of x: [n, m]."""
    (total,) = kernel_moments(source, y, lam, [(0,) * source.dimension])
    return total
