"""Sums of a·exp(−λ|x−y|²) over the points x that lie near y (compiled, and without Python's lock).

Axis letters: n points x, m points y, k coordinates.
"""

from __future__ import annotations

from math import floor, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from snrvae.limit.quadrature import Array

CUTOFF = 18.0  # of λ|x−y|²: what lies farther off weighs less than exp(−CUTOFF), and may be left out
MATRIX_CUTOFF = 10.0  # the same for a matrix, which serves to find a law of y and proves nothing
WHOLE = 3_000_000  # entries that a matrix has whatever is how far: a point far from all others needs them
INDEXED = 3  # coordinates that the cells divide
FINENESS = 2  # cells in the cutoff's length
FARTHEST = 64.0  # beyond, the polynomial for exp would grow


def kernel_matrix(x: Array, y: Array, lam: float) -> csr_array:
    """exp(−λ|x−y|²), if they are many only within the matrix's cutoff: sparse [n, m]."""
    if len(x) * len(y) <= WHOLE or x.shape[1] > INDEXED:
        return csr_array(_dense_kernel(x, y, lam))
    reach = sqrt(MATRIX_CUTOFF / lam)
    near = cKDTree(x).sparse_distance_matrix(cKDTree(y), reach, output_type="coo_matrix").tocsr()
    near.data = np.exp(-lam * near.data**2)
    return csr_array(near)


def kernel_sums(x: Array, pull: Array, y: Array, lam: float, cutoff: float = CUTOFF) -> Array:
    """Σ pull·exp(−λ|x−y|²) over all x within the cutoff, and some beyond: [m]."""
    return _summed(x, pull, y, lam, cutoff, moments=False)[:, 0]


def kernel_means(x: Array, pull: Array, y: Array, lam: float) -> tuple[Array, Array]:
    """The same sum [m], and the mean of x under its terms [m, k]."""
    total = _summed(x, pull, y, lam, CUTOFF, moments=True)
    return total[:, 0], total[:, 1:] / np.maximum(total[:, :1], 1e-300) / sqrt(lam)


def _summed(x: Array, pull: Array, y: Array, lam: float, cutoff: float, *, moments: bool) -> Array:
    if x.shape[1] > INDEXED:
        return _dense(x, pull, y, lam, moments=moments)
    side = sqrt(cutoff / lam) / FINENESS
    used = min(x.shape[1], INDEXED)
    low, shape = np.zeros(INDEXED), np.ones(INDEXED, np.int64)
    low[:used] = x[:, :used].min(axis=0)
    place = np.zeros((len(x), INDEXED), np.int64)
    place[:, :used] = np.floor((x[:, :used] - low[:used]) / side)
    shape[:used] = place[:, :used].max(axis=0) + 1
    cell = (place[:, 0] * shape[1] + place[:, 1]) * shape[2] + place[:, 2]
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(shape.prod() + 1))
    total = np.zeros((len(y), 1 + x.shape[1] * moments))
    points = np.ascontiguousarray(x[order].T) * sqrt(lam)
    _add(points, pull[order], y * sqrt(lam), low * sqrt(lam), side * sqrt(lam), shape, starts, total)
    return total


def _dense(x: Array, pull: Array, y: Array, lam: float, *, moments: bool) -> Array:
    """The sums over all x, as in many coordinates few are farther than the cutoff."""
    factors = np.ones((len(x), 1))
    if moments:
        factors = np.concatenate([factors, x * sqrt(lam)], axis=1)
    factors *= pull[:, None]
    at_once = max(1, WHOLE // len(x))
    parts = [y[start : start + at_once] for start in range(0, max(len(y), 1), at_once)]
    return np.concatenate([_dense_kernel(part, x, lam) @ factors for part in parts])


def _dense_kernel(x: Array, y: Array, lam: float) -> Array:
    """exp(−λ|x−y|²) [n, m], by |x|² + |y|² − 2x·y: one product of matrices."""
    square = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    return np.exp(-lam * np.maximum(square, 0, out=square))


Integers = NDArray[np.int64]


@njit(nogil=True, fastmath={"reassoc", "contract"})
def _add(
    x: Array, pull: Array, y: Array, low: Array, side: float, shape: Integers, starts: Integers, total: Array
) -> None:
    """Adds the sums to `total` [m, 1 or 1 + k]; x is [k, n], by cells.

    exp(−t) is the 64th power of the Taylor polynomial of degree 8 of exp(−t/64): at most 10⁻⁸ too large
    within the cutoff, negligible beyond it, and what processors do for many t at once.
    """
    k, longest = x.shape[0], 0
    for cell in range(0, len(starts) - 1, shape[2]):
        longest = max(longest, starts[cell + shape[2]] - starts[cell])
    term = np.empty(longest)
    for m in range(len(y)):
        first, last = np.zeros(3, np.int64), np.ones(3, np.int64)
        for j in range(min(k, 3)):
            at = floor((y[m, j] - low[j]) / side)
            first[j] = max(at - 2, 0)
            last[j] = max(first[j], min(at + 3, shape[j]))
        for row in range((last[0] - first[0]) * (last[1] - first[1]) if last[2] > first[2] else 0):
            a, b = first[0] + row // (last[1] - first[1]), first[1] + row % (last[1] - first[1])
            begin = starts[(a * shape[1] + b) * shape[2] + first[2]]
            count = starts[(a * shape[1] + b) * shape[2] + last[2]] - begin
            term[:count] = 0.0
            for j in range(k):
                for i in range(count):
                    term[i] += (x[j, begin + i] - y[m, j]) ** 2
            weight = 0.0
            for i in range(count):
                u = min(term[i], FARTHEST) * (-1 / 64)
                p = 1 / 5040 + u * (1 / 40320)
                p = 1 / 24 + u * (1 / 120 + u * (1 / 720 + u * p))
                p = 1 + u * (1 + u * (1 / 2 + u * (1 / 6 + u * p)))
                p *= p
                p *= p
                p *= p
                p *= p
                p *= p
                term[i] = pull[begin + i] * p * p
                weight += term[i]
            total[m, 0] += weight
            for j in range(total.shape[1] - 1):
                first_moment = 0.0
                for i in range(count):
                    first_moment += term[i] * x[j, begin + i]
                total[m, 1 + j] += first_moment
