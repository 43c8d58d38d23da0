"""Sums of a·exp(−λ|x−y|²) over the points x that lie near y (compiled, and without Python's global lock).

Axis letters: n points x, m points y, k coordinates.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from snrvae.limit.quadrature import Array
from snrvae.settings.machine_code import kept

CUTOFF = 18.0  # of λ|x−y|²: farther points weigh less than exp(−CUTOFF), and may be left out
ROUGH_CUTOFF = 10.0  # the same for sums that help to find a law of y, but prove nothing
WHOLE = 300_000  # a matrix of fewer entries has all of them, even of far points
ENTRIES = 250_000  # of a whole matrix at a time: they stay in the cache
INDEXED = 3  # coordinates that the cells divide
MOST_CELLS = 4_000_000
BLOCK = 8  # places of a block of a grid, along each coordinate
AT_ONCE = 256  # points whose terms or powers stay in the cache

Integers = NDArray[np.int64]


def kernel_matrix(x: Array, y: Array, lam: float) -> Array | csr_array:
    """exp(−λ|x−y|²) [n, m]; of many points in up to three coordinates sparse, within the rough cutoff."""
    if len(x) * len(y) <= WHOLE or x.shape[1] > INDEXED:
        return _dense_kernel(x, _factor(y, lam))
    near = _near(y, np.arange(len(y))[:, None], lam, ROUGH_CUTOFF)
    data, indices, indptr = _entries(near, _scaled(x, lam), ROUGH_CUTOFF)
    return csr_array((data, indices, indptr), shape=(len(x), len(y)))


def kernel_sums(x: Array, pull: Array, y: Array, lam: float, cutoff: float = CUTOFF) -> Array:
    """Σ pull·exp(−λ|x−y|²) over all x within the cutoff: [m]; for several pulls [n, p] at once, [m, p]."""
    pulls = pull.reshape(len(x), -1)
    if x.shape[1] > INDEXED:
        at_once = max(1, ENTRIES // len(x))
        parts = [y[start : start + at_once] for start in range(0, max(len(y), 1), at_once)]
        factor = _factor(x, lam)
        total = np.concatenate([_dense_kernel(part, factor) @ pulls for part in parts])
    else:
        total = np.zeros((len(y), pulls.shape[1]))
        _add(_near(x, pulls, lam, cutoff), _scaled(y, lam), cutoff, total)
    return total.reshape(len(y), *pull.shape[1:])


def kernel_means(x: Array, pull: Array, y: Array, lam: float, cutoff: float = CUTOFF) -> tuple[Array, Array]:
    """The same sum for one pull [m], and the mean of x weighted by its terms [m, k]."""
    total = kernel_sums(x, pull[:, None] * np.insert(x, 0, 1, axis=1), y, lam, cutoff)
    return total[:, 0], total[:, 1:] / np.maximum(total[:, :1], 1e-300)


def block_sums(
    x: Array, pull: Array, low: Array, step: float, blocks: Integers, lam: float, cutoff: float
) -> Array:
    """The sums at the BLOCK^k places of blocks [b, k] of a grid, over x within its cutoff: [b, BLOCK^k].

    A block's first place is low + (BLOCK − 1)·step·block: neighbours share their sides.
    """
    k = x.shape[1]
    first = _scaled(low + (BLOCK - 1) * step * blocks, lam)
    total = np.zeros((len(blocks), *[1] * (INDEXED - k), *[BLOCK] * k))
    _add_blocks(_near(x, pull[:, None], lam, cutoff), first, step * sqrt(lam), cutoff, total)
    square = np.sum(np.indices(total.shape[1:]) ** 2, axis=0)
    return (total * np.exp(-lam * step**2 * square)).reshape(len(blocks), -1)


class Near(NamedTuple):
    """Points sorted by the cells of a grid, to find the points near a place."""

    x: Array  # [3, n], in units of 1/√λ
    pull: NDArray[np.generic]  # [p, n]
    low: Array  # [3], of the grid
    side: float
    shape: Integers  # [3]
    starts: Integers  # [cells + 1]


def _scaled(x: Array, lam: float) -> Array:
    """Points in units of 1/√λ, with zeros in front up to three coordinates: [n, 3]."""
    return np.concatenate([np.zeros((len(x), INDEXED - x.shape[1])), x * sqrt(lam)], axis=1)


def _near(x: Array, pull: NDArray[np.generic], lam: float, cutoff: float) -> Near:
    scaled, side = _scaled(x, lam), sqrt(cutoff)
    low, size = scaled.min(axis=0), np.ptp(scaled, axis=0)
    while np.prod(np.floor(size / side) + 1) > MOST_CELLS:
        side *= 2
    shape = np.floor(size / side).astype(np.int64) + 1
    place = np.floor((scaled - low) / side).astype(np.int64)
    cell = np.ravel_multi_index(tuple(place.T), tuple(shape))
    order = np.argsort(cell, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=shape.prod()))])
    return Near(
        np.ascontiguousarray(scaled[order].T), np.ascontiguousarray(pull[order].T), low, side, shape, starts
    )


def _factor(y: Array, lam: float) -> Array:
    """What a dense kernel is made of, for points y [m, k]: [k + 2, m]."""
    square = np.square(y).sum(axis=1)
    return lam * np.stack([*(2 * y.T), -np.ones(len(y)), -square])


def _dense_kernel(x: Array, factor: Array) -> Array:
    """exp(−λ|x−y|²) [n, m], by 2x·y − |x|² − |y|²: one product of matrices, and the rest in its place."""
    square = np.square(x).sum(axis=1)
    power = np.stack([*x.T, square, np.ones(len(x))], axis=1) @ factor
    return np.exp(np.minimum(power, 0, out=power), out=power)


FAST = {"reassoc", "contract"}


@kept
@njit(nogil=True)
def _runs(near: Near, start: Array, end: Array, cutoff: float) -> Integers:
    """The runs of points in all cells within the cutoff of a box, each as begin and end: [r, 2]."""
    first, last, reach = np.empty(3, np.int64), np.empty(3, np.int64), sqrt(cutoff)
    for j in range(3):
        most = float(near.shape[j])
        first[j] = min(max((start[j] - reach - near.low[j]) / near.side, 0.0), most)  # drops the fraction
        last[j] = min(max((end[j] + reach - near.low[j]) / near.side + 1, 0.0), most)
    runs, r = np.empty(((last[0] - first[0]) * (last[1] - first[1]), 2), np.int64), 0
    for a in range(first[0], last[0]):
        for b in range(first[1], last[1]):
            row = (a * near.shape[1] + b) * near.shape[2]
            runs[r, 0], runs[r, 1] = near.starts[row + first[2]], near.starts[row + last[2]]
            r += 1
    return runs


@kept
@njit(nogil=True)
def _within(near: Near, start: Array, end: Array, cutoff: float, found: Integers, squares: Array) -> int:
    """Write the points within the cutoff of a box, and their squared distances; return how many they are."""
    x, count = near.x, 0
    for run in _runs(near, start, end, cutoff):
        for i in range(run[0], run[1]):
            square = 0.0
            for j in range(3):
                square += max(start[j] - x[j, i], x[j, i] - end[j], 0.0) ** 2
            found[count], squares[count] = i, square
            count += square <= cutoff
    return count


# The loops below run over arrays of one dimension: there, the compiler computes many entries at once.


@kept
@njit(nogil=True, fastmath=FAST)
def _exp(x: float) -> float:
    """exp(x) as the 1,024th power of the Taylor polynomial of degree 8 of exp(x/1024).

    Its relative error is below 10⁻¹² for |x| < 60, and below 10⁻⁵ for |x| < 400.
    """
    u = x * (1 / 1024)
    p = 1 / 720 + u * (1 / 5040 + u * (1 / 40320))
    p = 1 / 6 + u * (1 / 24 + u * (1 / 120 + u * p))
    p = 1 + u * (1 + u * (1 / 2 + u * p))
    for _ in range(10):
        p *= p
    return p


@kept
@njit(nogil=True, fastmath=FAST)
def _terms(x: Array, y: Array, z: Array, place: Array, cutoff: float, term: Array) -> None:
    """Fill `term` with exp(−t), t the squared distance of (x, y, z) from a place, or 0 beyond the cutoff."""
    for n in range(len(x)):
        t = (x[n] - place[0]) ** 2 + (y[n] - place[1]) ** 2 + (z[n] - place[2]) ** 2
        term[n] = _exp(-t) if t <= cutoff else 0.0


@kept
@njit(nogil=True, fastmath=FAST)
def _dot(one: Array, other: Array, count: int) -> float:
    total = 0.0
    for n in range(count):
        total += one[n] * other[n]
    return total


@kept
@njit(nogil=True, fastmath=FAST)
def _multiply(one: Array, other: Array, product: Array, count: int) -> None:
    for n in range(count):
        product[n] = one[n] * other[n]


@kept
@njit(nogil=True)
def _add(near: Near, y: Array, cutoff: float, total: Array) -> None:
    """Add the sums to `total` [m, p].

    The points of neighbouring cells lie side by side. To compute the terms of all of them at once is faster
    than to choose those within the cutoff first.
    """
    x0, x1, x2, term = near.x[0], near.x[1], near.x[2], np.empty(AT_ONCE)
    for m in range(len(y)):
        for run in _runs(near, y[m], y[m], cutoff):
            for begin in range(run[0], run[1], AT_ONCE):
                part = slice(begin, min(begin + AT_ONCE, run[1]))
                _terms(x0[part], x1[part], x2[part], y[m], cutoff, term)
                for j in range(total.shape[1]):
                    total[m, j] += _dot(term, near.pull[j][part], part.stop - begin)


@kept
@njit(nogil=True, fastmath=FAST)
def _first_power(x: Array, found: Integers, first: float, step: float, power: Array, ratio: Array) -> None:
    """Fill `power` with exp(−(x−o)²) for a block's first place o, and `ratio` with exp(2·step·(x−o))."""
    for n in range(len(found)):
        power[n] = x[found[n]] - first
    for n in range(len(found)):
        w = power[n]
        power[n], ratio[n] = _exp(-w * w), _exp(2 * step * w)


@kept
@njit(nogil=True)
def _powers(near: Near, found: Integers, first: Array, step: float, power: Array, ratio: Array) -> None:
    """Fill `power` [3, BLOCK, n], whose products are the terms of points at the places of a block.

    At a distance t from the block's first place o, in one coordinate,
    exp(−(x−o−t)²) = exp(−(x−o)²)·exp(2t(x−o))·exp(−t²). The last factor is left out: it is the same for all
    points.
    """
    for j in range(3):
        _first_power(near.x[j], found, first[j], step, power[j, 0], ratio)
        for a in range(1, BLOCK):
            _multiply(power[j, a - 1], ratio, power[j, a], len(found))
    ratio[: len(found)] = near.pull[0][found]
    for a in range(BLOCK):
        _multiply(power[0, a], ratio, power[0, a], len(found))


@kept
@njit(nogil=True)
def _add_blocks(near: Near, first: Array, step: float, cutoff: float, total: Array) -> None:
    """Add the sums, without the factor that `_powers` leaves out, to `total` [b, 1 or BLOCK, ..., BLOCK]."""
    places, points = total.shape[1:], near.x.shape[1]
    size = step * (np.array(places) - 1.0)
    found, squares = np.empty(points + 1, np.int64), np.empty(points + 1)
    power, ratio, plane = np.empty((3, BLOCK, AT_ONCE)), np.empty(AT_ONCE), np.empty(AT_ONCE)
    for m in range(len(first)):
        count = _within(near, first[m], first[m] + size, cutoff, found, squares)
        for begin in range(0, count, AT_ONCE):
            held = min(AT_ONCE, count - begin)
            _powers(near, found[begin : begin + held], first[m], step, power, ratio)
            for a in range(places[0]):
                for b in range(places[1]):
                    _multiply(power[0, a], power[1, b], plane, held)
                    for c in range(places[2]):
                        total[m, a, b, c] += _dot(plane, power[2, c], held)


@kept
@njit(nogil=True)
def _entries(near: Near, x: Array, cutoff: float) -> tuple[Array, NDArray[np.int32], Integers]:
    """exp(−|x−y|²) within the cutoff, row by row of x [n, 3]: data, indices and starts of a sparse matrix."""
    x0, x1, x2, term = near.x[0], near.x[1], near.x[2], np.empty(AT_ONCE)
    starts, count = np.zeros(len(x) + 1, np.int64), 0
    data, indices = np.empty(16 * len(x) + AT_ONCE), np.empty(16 * len(x) + AT_ONCE, np.int32)
    for n in range(len(x)):
        for run in _runs(near, x[n], x[n], cutoff):
            for begin in range(run[0], run[1], AT_ONCE):
                part = slice(begin, min(begin + AT_ONCE, run[1]))
                _terms(x0[part], x1[part], x2[part], x[n], cutoff, term)
                if count + AT_ONCE > len(data):
                    more = len(data)
                    data = np.append(data, np.empty(more))
                    indices = np.append(indices, np.empty(more, np.int32))
                for i in range(part.stop - begin):
                    data[count], indices[count] = term[i], near.pull[0, begin + i]
                    count += term[i] > 0
        starts[n + 1] = count
    return data[:count], indices[:count], starts
