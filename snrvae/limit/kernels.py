"""Sums of a·exp(−λ|x−y|²) over the points x that lie near y (compiled, and without Python's global lock).

Axis letters: n points x, m points y, k coordinates.
"""

from __future__ import annotations

from math import exp, floor, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from snrvae.limit.quadrature import Array

CUTOFF = 18.0  # of λ|x−y|²: farther points weigh less than exp(−CUTOFF), and may be left out
ROUGH_CUTOFF = 10.0  # the same for sums that help to find a law of y, but prove nothing
WHOLE = 300_000  # a matrix of fewer entries has all of them, even of far points
ENTRIES = 250_000  # of a whole matrix at a time: they stay in the cache
INDEXED = 3  # coordinates that the cells divide
FINENESS = 4  # cells in the cutoff's length
MOST_CELLS = 4_000_000
BLOCK = 8  # places of a block of a grid, along each coordinate
AT_ONCE = 256  # points whose powers stay in the cache

Integers = NDArray[np.int64]


def kernel_matrix(x: Array, y: Array, lam: float) -> csr_array:
    """exp(−λ|x−y|²), sparse [n, m]; if there are many points, only within the rough cutoff."""
    if len(x) * len(y) <= WHOLE or x.shape[1] > INDEXED:
        return csr_array(_dense_kernel(x, _factor(y, lam)))
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
    scaled, side = _scaled(x, lam), sqrt(cutoff) / FINENESS
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


@njit(cache=True, nogil=True)
def _within(near: Near, start: Array, end: Array, cutoff: float, found: Integers, squares: Array) -> int:
    """Write the points within the cutoff of a box, and their squared distances; return how many they are."""
    x, count, reach = near.x, 0, sqrt(cutoff)
    first, last = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for j in range(3):
        first[j] = max(floor((start[j] - reach - near.low[j]) / near.side), 0)
        last[j] = max(first[j], min(floor((end[j] + reach - near.low[j]) / near.side) + 1, near.shape[j]))
    for a in range(first[0], last[0]):
        for b in range(first[1], last[1]):
            row = (a * near.shape[1] + b) * near.shape[2]
            for i in range(near.starts[row + first[2]], near.starts[row + last[2]]):
                square = 0.0
                for j in range(3):
                    square += max(start[j] - x[j, i], x[j, i] - end[j], 0.0) ** 2
                found[count], squares[count] = i, square
                count += square <= cutoff
    return count


@njit(cache=True, nogil=True, fastmath=FAST)
def _add(near: Near, y: Array, cutoff: float, total: Array) -> None:
    """Add the sums to `total` [m, p].

    exp(−t) is the 64th power of the Taylor polynomial of degree 8 of exp(−t/64): at most 10⁻⁸ too large
    within the cutoff, and processors can compute it for many t at once.
    """
    points = near.x.shape[1]
    found, term = np.empty(points + 1, np.int64), np.empty(points + 1)
    for m in range(len(y)):
        count = _within(near, y[m], y[m], cutoff, found, term)
        for n in range(count):
            u = term[n] * (-1 / 64)
            p = 1 / 5040 + u * (1 / 40320)
            p = 1 / 24 + u * (1 / 120 + u * (1 / 720 + u * p))
            p = 1 + u * (1 + u * (1 / 2 + u * (1 / 6 + u * p)))
            p *= p
            p *= p
            p *= p
            p *= p
            p *= p
            term[n] = p * p
        for j in range(total.shape[1]):
            for n in range(count):
                total[m, j] += term[n] * near.pull[j, found[n]]


@njit(cache=True, nogil=True, fastmath=FAST)
def _powers(near: Near, found: Integers, first: Array, step: float, power: Array, ratio: Array) -> None:
    """Fill `power` [3, BLOCK, n], whose products are the terms of points at the places of a block.

    At a distance t from the block's first place o, in one coordinate,
    exp(−(x−o−t)²) = exp(−(x−o)²)·exp(2t(x−o))·exp(−t²). The last factor is left out: it is the same for all
    points.
    """
    for j in range(3):
        for n in range(len(found)):
            w = near.x[j, found[n]] - first[j]
            power[j, 0, n] = exp(-w * w)
            ratio[n] = exp(2 * step * w)
        for a in range(1, BLOCK):
            for n in range(len(found)):
                power[j, a, n] = power[j, a - 1, n] * ratio[n]
    for a in range(BLOCK):
        for n in range(len(found)):
            power[0, a, n] *= near.pull[0, found[n]]


@njit(cache=True, nogil=True, fastmath=FAST)
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
            for row in range(places[0] * places[1]):
                a, b = row // places[1], row % places[1]
                for n in range(held):
                    plane[n] = power[0, a, n] * power[1, b, n]
                for c in range(places[2]):
                    term = 0.0
                    for n in range(held):
                        term += plane[n] * power[2, c, n]
                    total[m, a, b, c] += term


@njit(cache=True, nogil=True)
def _entries(near: Near, x: Array, cutoff: float) -> tuple[Array, NDArray[np.int32], Integers]:
    """exp(−|x−y|²) within the cutoff, row by row of x [n, 3]: data, indices and starts of a sparse matrix."""
    starts, found = np.zeros(len(x) + 1, np.int64), np.empty(near.x.shape[1] + 1, np.int64)
    squares = np.empty(near.x.shape[1] + 1)
    data, indices = np.empty(16 * len(x)), np.empty(16 * len(x), np.int32)
    for n in range(len(x)):
        begin, count = starts[n], _within(near, x[n], x[n], cutoff, found, squares)
        starts[n + 1] = begin + count
        if begin + count > len(data):
            more = len(data) + count
            data, indices = np.append(data, np.empty(more)), np.append(indices, np.empty(more, np.int32))
        for i in range(count):
            data[begin + i], indices[begin + i] = exp(-squares[i]), near.pull[0, found[i]]
    return data[: starts[-1]], indices[: starts[-1]], starts
