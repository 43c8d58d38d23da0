"""Bounds on R(D) for a law that is given as many weighted points: a quadrature of a mesh, or a sample.

The theory is in rate_distortion. This module is for larger problems: 10⁴ points and more, no symmetry, and as
many atoms as a rate of 10 bits needs. So the law q of y starts as the points themselves, thinned, and is
improved by expectation–maximisation; max G is bounded by branch and bound.

Axis letters: n points, m points y (atoms of q, or trial points), k coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil, exp, floor, inf, log, log2, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from snrvae.limit.kernels import (
    BLOCK,
    CUTOFF,
    ROUGH_CUTOFF,
    Integers,
    block_sums,
    kernel_matrix,
    kernel_means,
    kernel_sums,
)
from snrvae.limit.quadrature import Array
from snrvae.limit.rate_distortion import Bound, Reproduction

# Lengths in units of 1/√λ
ATOM_SPACING = 0.7  # of the first atoms; wider, they cannot imitate a uniform law of y
ROUGH_SPACING = 0.5  # of the points in the first rounds
COARSEST = 2.0  # side of the first cells of branch and bound
AT_ONCE = 200_000  # cells, which bounds the memory

ROUNDS, LAST_ROUNDS = 8, 3  # of the atoms' moves; before the first move and between two moves,
STEPS = 20  # steps of the masses
RELAXATION = 1.8  # q ← q·G^1.8: converges as q ← q·G does, and sooner
LEAST_MASS = 1e-13  # atoms below are dropped
GROWTHS = 2  # how many times atoms are added
NEW_MASS = 1e-2  # of all new atoms
NEARBY = 2  # moves from a place to a new atom
LOWERED = 20  # how many times α is lowered
LEAST_Z = 1e-25  # Z of points without an atom nearby
LEFT_OUT = 5e-4  # share of G from points too far from y to be summed
CERTIFIED_DIMENSION = 3  # in more dimensions, branch and bound has too many cells
MOST_ENTRIES = 12_000_000  # of a kernel; if there were more, atoms are spaced more widely
CLIMBS, CLIMB_STEPS = 2000, 30
ARRIVED = 1e-3  # a climb ends at so short a step


@dataclass(frozen=True)
class Cloud:
    """The law of x as weighted points."""

    points: Array  # [n, k]
    weights: Array  # [n], sum 1


def covariance(cloud: Cloud) -> Array:
    """Covariance of the coordinates: [k, k]."""
    off = cloud.points - cloud.weights @ cloud.points
    return np.asarray((off.T * cloud.weights) @ off)


def cells(points: Array, side: float) -> NDArray[np.intp]:
    """The cell of a grid in which each point is, with the occupied cells counted from 0: [n]."""
    return _distinct(np.floor((points - points.min(axis=0)) / side).astype(np.int64))[1]


def means(cloud: Cloud, cell: NDArray[np.intp]) -> Cloud:
    """One point for each cell: the mean of its points, with their total weight."""
    weights = np.asarray(np.bincount(cell, cloud.weights), np.float64)
    sums = [np.bincount(cell, cloud.weights * x) for x in cloud.points.T]
    return Cloud(np.stack(sums, axis=1) / weights[:, None], weights)


def thinned(cloud: Cloud, side: float) -> Cloud:
    """One point for all points in a cell of a grid."""
    return means(cloud, cells(cloud.points, side))


def fitted(cloud: Cloud, lam: float, tolerance: float) -> Reproduction:
    """A law q with G ≤ 1 + tolerance at its own atoms, or as close to this as the rounds get."""
    rough = thinned(cloud, ROUGH_SPACING / sqrt(lam))
    spacing = ATOM_SPACING / sqrt(lam)
    start, (n, k) = thinned(rough, spacing), cloud.points.shape
    while k > CERTIFIED_DIMENSION and len(start.points) * n > MOST_ENTRIES:
        spacing *= 1.2
        start = thinned(rough, spacing)
    q = Reproduction(shrunk(start, lam), start.weights)
    seen = rough if len(rough.points) < len(cloud.points) / 2 else cloud
    q = _settled(seen, q, lam, tolerance, ROUNDS)
    for _ in range(GROWTHS):
        new = _exceeding(cloud, q, start.points, lam, 1 + 4 * tolerance)
        if seen is cloud and not len(new):
            break
        added = np.full(len(new), NEW_MASS / max(len(new), 1))
        q = Reproduction(np.concatenate([q.atoms, new]), np.append(q.masses * (1 - added.sum()), added))
        q, seen = _settled(cloud, q, lam, tolerance, LAST_ROUNDS), cloud
    return q


def _exceeding(cloud: Cloud, q: Reproduction, places: Array, lam: float, most: float) -> Array:
    """Places near those given [m, k] at which G exceeds `most`, found by moves to the mean of x given y."""
    pull = cloud.weights / partition(cloud, q, lam, ROUGH_CUTOFF)
    for _ in range(NEARBY):
        load, mean = kernel_means(cloud.points, pull, places, lam, ROUGH_CUTOFF)
        places = mean[load > 1 - 4 * (most - 1)]
    return (
        places[kernel_sums(cloud.points, pull, places, lam, ROUGH_CUTOFF) > most] if len(places) else places
    )


def shrunk(cloud: Cloud, lam: float) -> Array:
    """The points, moved towards their mean until they have the covariance of y for a normal x: [n, k].

    For a component of variance v, the variance of y is max(v − 1/(2λ), 0).
    """
    variances, axes = np.linalg.eigh(covariance(cloud))
    kept = np.maximum(0, 1 - 0.5 / (lam * np.maximum(variances, 1e-300)))
    mean = cloud.weights @ cloud.points
    return np.asarray(mean + ((cloud.points - mean) @ axes * np.sqrt(kept)) @ axes.T)


def _settled(cloud: Cloud, q: Reproduction, lam: float, tolerance: float, rounds: int) -> Reproduction:
    """Update masses and places in turn; each atom moves to the mean of the points coded to it."""
    atoms, masses = q.atoms, q.masses
    for left in reversed(range(rounds)):
        kernel = kernel_matrix(cloud.points, atoms, lam)
        for _ in range(STEPS):
            load = kernel.T @ (cloud.weights / np.maximum(kernel @ masses, LEAST_Z))
            masses = masses * load**RELAXATION
            masses /= masses.sum()
        masses = np.where(masses > LEAST_MASS, masses, 0)
        keep, masses = masses > 0, masses / masses.sum()
        z = np.maximum(kernel @ masses, LEAST_Z)
        atoms, masses = atoms[keep], masses[keep]
        if not left or load.max() <= 1 + tolerance:  # the last update is of the masses
            break
        atoms = kernel_means(cloud.points, cloud.weights / z, atoms, lam, ROUGH_CUTOFF)[1]
    return Reproduction(atoms, masses)


def partition(cloud: Cloud, q: Reproduction, lam: float, cutoff: float = CUTOFF) -> Array:
    """Z(x) = E_q[exp(−λ|x−y|²)]: [n], by atoms within the cutoff of x."""
    return np.maximum(kernel_sums(q.atoms, q.masses, cloud.points, lam, cutoff), LEAST_Z)


def certificate(cloud: Cloud, q: Reproduction, lam: float, tolerance: float) -> Array:
    """α of q at the points [n]: 1/Z, lowered where G exceeds the tolerance, in nats, at the points.

    1/Z divided by max G would be valid too. But near an outlier of little weight G may be large, if q
    has no atom there; lowering α locally costs no more than that weight.
    """
    alpha, heavy = 1 / partition(cloud, q, lam), np.arange(len(cloud.points))
    for _ in range(LOWERED):
        load = kernel_sums(cloud.points, cloud.weights * alpha, cloud.points[heavy], lam, ROUGH_CUTOFF)
        if load.max(initial=0) <= exp(tolerance):
            break
        excess = load / exp(tolerance / 2)
        heavy, excess = heavy[excess > 1], excess[excess > 1]  # G only falls: other points stay below
        alpha[heavy] /= excess**3  # a y nearby may have a larger G
    return alpha


# --- the worst y ---------------------------------------------------------------------------------


def _distinct(places: Integers) -> tuple[Integers, Integers]:
    """The distinct rows of integers ≥ 0 [n, k], in order [m, k], and each row's place among them [n]."""
    which = np.zeros(len(places), np.int64)
    for column in places.T:
        which = np.unique(which * (column.max() + 1) + column, return_inverse=True)[1]
    first = np.zeros(which.max() + 1, np.int64)
    first[which] = np.arange(len(which))
    return places[first], which


def _around(points: Array, low: Array, step: float, reach: float) -> Integers:
    """The cells of a grid within reach of a point, in the points' bounding box: [c, k]."""
    found = _distinct(np.floor((points - low) / step).astype(np.int64))[0]
    last, far = found.max(axis=0), ceil(reach / step)
    for axis in np.eye(len(last), dtype=np.int64):
        near = (found[:, None] + axis * np.arange(-far, far + 1)[:, None]).reshape(
            found.shape[0] * (2 * far + 1), -1
        )
        found = _distinct(near[np.all((near >= 0) & (near <= last), axis=1)])[0]
    return found


def _highest(log_load: Array, signs: Array, side: float) -> Array:
    """An upper bound on ln G in cells of a side in units of 1/√λ, from ln G at their corners: [2^k, c] → [c].

    u(t) = ln G + |t|², t from the cell's centre, is convex, so it is at most what interpolates its corners:
    a plane with the slopes g, plus the largest deviation of a corner from it. The rest, g·t − |t|², has its
    maximum at t = g/2, or on the cell's side.
    """
    slope = signs.T @ log_load / len(signs) / (side / 2)
    mean = log_load.mean(axis=0)
    off = log_load - mean - side / 2 * signs @ slope
    inside = np.abs(slope) <= side
    gain = np.where(inside, slope**2 / 4, np.abs(slope) * side / 2 - side**2 / 4)
    planar = mean + off.max(axis=0) + gain.sum(axis=0)
    return np.asarray(np.minimum(planar, log_load.max(axis=0)) + signs.shape[1] * side**2 / 4)


def _bounded(
    cloud: Cloud, pull: Array, low: Array, step: float, cells: Integers, lam: float, cutoff: float
) -> tuple[float, Array]:
    """The highest ln G found in the blocks that hold cells [c, k] of a grid, and a bound in each cell [c]."""
    k = cells.shape[1]
    blocks, which = _distinct(cells // (BLOCK - 1))
    load = np.log(np.maximum(block_sums(cloud.points, pull, low, step, blocks, lam, cutoff), 1e-300))
    places = BLOCK ** np.arange(k - 1, -1, -1)
    halves = np.array(list(product((0, 1), repeat=k)))
    corners = load.ravel()[which * BLOCK**k + cells % (BLOCK - 1) @ places + (halves @ places)[:, None]]
    return float(load.max()), _highest(corners, 2 * halves - 1, step * sqrt(lam))


def proved_peak(cloud: Cloud, alpha: Array, lam: float, tolerance: float) -> float:
    """An upper bound on max G over all y, at most a factor exp(tolerance) too high.

    A cell of a grid is divided if G in it may exceed the highest corner so far by more than the tolerance.
    Outside the points' bounding box G is smaller than on its surface.
    """
    k = cloud.points.shape[1]
    halves = np.array(list(product((0, 1), repeat=k)))
    finest = sqrt(2.6 * tolerance / (max(k - 1, 1) * lam))  # at this size nearly all cells are done
    step = finest * 2 ** max(0, floor(log2(COARSEST / sqrt(lam) / finest)))
    pull, best, low = cloud.weights * alpha, -inf, cloud.points.min(axis=0)
    cutoff = log(pull.sum() / LEFT_OUT)
    left = _around(cloud.points, low, step, sqrt(cutoff / lam))
    while len(left):
        order = np.argsort(_distinct(left // (BLOCK - 1))[1], kind="stable")
        parts = np.array_split(left[order], ceil(len(left) / AT_ONCE))
        tops, uppers = zip(
            *(_bounded(cloud, pull, low, step, part, lam, cutoff) for part in parts), strict=True
        )
        best, upper, left = max(best, *tops), np.concatenate(uppers), left[order]
        left = (2 * left[upper > best + tolerance][:, None] + halves).reshape(-1, k)
        step /= 2
    return exp(best + tolerance) + LEFT_OUT


def searched_peak(cloud: Cloud, q: Reproduction, alpha: Array, lam: float) -> float:
    """A lower bound on max G, from climbs that start at atoms and points, in any dimension.

    A move to the mean of x given y never lowers G (mean shift).
    """
    atoms = q.atoms[np.argsort(-q.masses, kind="stable")[:CLIMBS]]
    y = np.concatenate([atoms, cloud.points[:: max(1, len(cloud.points) // CLIMBS)]])
    for _ in range(CLIMB_STEPS):
        before, y = y, kernel_means(cloud.points, cloud.weights * alpha, y, lam)[1]
        if np.abs(y - before).max() * sqrt(lam) < ARRIVED:
            break
    return float(kernel_sums(cloud.points, cloud.weights * alpha, y, lam).max())


def peak(cloud: Cloud, q: Reproduction, alpha: Array, lam: float, tolerance: float) -> float:
    """max G: a proved upper bound in up to three dimensions, the result of a search in more."""
    if cloud.points.shape[1] <= CERTIFIED_DIMENSION:
        return proved_peak(cloud, alpha, lam, tolerance)
    return searched_peak(cloud, q, alpha, lam)


# --- both bounds ---------------------------------------------------------------------------------


def conditional_covariance(cloud: Cloud, q: Reproduction, lam: float) -> tuple[Array, Array]:
    """The test channel's mass of each atom [m], and the covariance of x given that atom [m, k, k]."""
    pull = cloud.weights / partition(cloud, q, lam)
    x, k = cloud.points, cloud.points.shape[1]
    pairs = (x[:, :, None] * x[:, None]).reshape(-1, k * k)
    total = kernel_sums(
        x, pull[:, None] * np.concatenate([np.ones((len(x), 1)), x, pairs], axis=1), q.atoms, lam
    )
    load, mean, second = total[:, 0], total[:, 1 : k + 1] / total[:, :1], total[:, k + 1 :] / total[:, :1]
    return q.masses * load, second.reshape(-1, k, k) - mean[:, :, None] * mean[:, None]


def channel(cloud: Cloud, q: Reproduction, lam: float) -> tuple[float, float]:
    """−E[ln Z] in nats, and D, of the test channel of any q: R(D) ≤ −E[ln Z] − λD."""
    x = cloud.points
    square = np.sum(q.atoms**2, axis=1, keepdims=True)
    factors = np.concatenate([np.ones_like(square), q.atoms, square], axis=1)
    total = kernel_sums(q.atoms, q.masses[:, None] * factors, x, lam)
    z = total[:, 0]
    far, mean = z < LEAST_Z, total[:, 1:] / np.maximum(total[:, :1], LEAST_Z)
    error = np.sum(x * (x - 2 * mean[:, :-1]), axis=1) + mean[:, -1]
    log_z = np.log(np.maximum(z, LEAST_Z))
    if far.any():
        square = cdist(x[far], q.atoms, "sqeuclidean")
        terms = np.log(q.masses) - lam * square
        log_z[far] = logsumexp(terms, axis=1)
        error[far] = np.sum(np.exp(terms - log_z[far, None]) * square, axis=1)
    return -float(cloud.weights @ log_z), float(cloud.weights @ error)


def bound(cloud: Cloud, slope: float, q: Reproduction, tolerance: float) -> Bound:
    """Both bounds that q gives at a slope (bits per unit of squared error); any q is valid."""
    lam = slope * log(2)
    upper, distortion = channel(cloud, q, lam)
    alpha = certificate(cloud, q, lam, tolerance)
    nats = float(cloud.weights @ np.log(alpha)) - log(peak(cloud, q, alpha, lam, tolerance))
    return Bound(slope, nats / log(2), distortion, (upper - lam * distortion) / log(2))
