"""R(D) in a bracket for a law that is given as many weighted points: a quadrature of a mesh, or a sample.

The theory is rate_distortion's. What differs is the size: 10⁴ points and more, no symmetry, and as many atoms
as a rate of 10 bits needs. So the law q of y starts as the points themselves, thinned, and is improved by
expectation–maximisation with sparse kernels; and max G is bounded by branch and bound.

Axis letters: n points, m points y (atoms of q, or trial points), k coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil, exp, inf, log, log2, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from snrvae.limit.kernels import kernel_matrix, kernel_means, kernel_sums
from snrvae.limit.quadrature import Array
from snrvae.limit.rate_distortion import Bound, Reproduction

# Lengths in units of 1/√λ
ATOM_SPACING = 0.7  # of the first atoms; wider, they cannot imitate a uniform law of y
ROUGH_SPACING = 0.35  # of the points that the first rounds see
COARSEST = 2.0  # cells that branch and bound starts from

ROUNDS, LAST_ROUNDS = 8, 3  # of the atoms' moves; before the first, and between two,
STEPS = 20  # steps of the masses
RELAXATION = 1.8  # q ← q·G^1.8: converges as q ← q·G does, and sooner
LEAST_MASS = 1e-13  # atoms below are dropped
GROWTHS = 2  # times that atoms are added
NEW_MASS = 1e-2  # of all new atoms
NEARBY = 4  # moves from a place that leads to a new atom
LOWERED = 20  # times that α is lowered
LEAST_Z = 1e-25  # of points that no atom is near
LEFT_OUT = 5e-4  # of G, by points too far from y to be summed
CERTIFIED_DIMENSION = 3  # beyond, branch and bound has too many cells
MOST_ENTRIES = 12_000_000  # of a kernel beyond: then atoms are wider apart than they should be
CLIMBS, CLIMB_STEPS = 2000, 30
ARRIVED = 1e-3  # a step of a climb that is at its top


@dataclass(frozen=True)
class Cloud:
    """The law of x as weighted points."""

    points: Array  # [n, k]
    weights: Array  # [n], sum 1


def covariance(cloud: Cloud) -> Array:
    """Of the coordinates: [k, k]."""
    off = cloud.points - cloud.weights @ cloud.points
    return np.asarray((off.T * cloud.weights) @ off)


def cells(points: Array, side: float) -> NDArray[np.intp]:
    """Which cell of a grid each point is in, the cells in use counted from 0: [n]."""
    place = np.floor((points - points.min(axis=0)) / side).astype(np.int64)
    return np.unique(place, axis=0, return_inverse=True)[1].ravel()


def means(cloud: Cloud, cell: NDArray[np.intp]) -> Cloud:
    """The points of each cell as one: their mean, with their weight."""
    weights = np.asarray(np.bincount(cell, cloud.weights), np.float64)
    sums = [np.bincount(cell, cloud.weights * x) for x in cloud.points.T]
    return Cloud(np.stack(sums, axis=1) / weights[:, None], weights)


def thinned(cloud: Cloud, side: float) -> Cloud:
    """One point for all in a cell of a grid."""
    return means(cloud, cells(cloud.points, side))


def fitted(cloud: Cloud, lam: float, tolerance: float) -> Reproduction:
    """A law q with G ≤ 1 + tolerance at its own atoms, or as near to that as the rounds come."""
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
    """Where G exceeds the most, near some places [m, k]: a move to the mean of x given y never lowers G."""
    pull = cloud.weights / partition(cloud, q, lam)
    for _ in range(NEARBY):
        load, mean = kernel_means(cloud.points, pull, places, lam)
        places = mean[load > 1 - 4 * (most - 1)]
    return places[kernel_sums(cloud.points, pull, places, lam) > most] if len(places) else places


def shrunk(cloud: Cloud, lam: float) -> Array:
    """The points drawn to their mean, until they have the covariance of y for a normal x: [n, k].

    Of a component of variance v that is max(v − 1/(2λ), 0).
    """
    variances, axes = np.linalg.eigh(covariance(cloud))
    kept = np.maximum(0, 1 - 0.5 / (lam * np.maximum(variances, 1e-300)))
    mean = cloud.weights @ cloud.points
    return np.asarray(mean + ((cloud.points - mean) @ axes * np.sqrt(kept)) @ axes.T)


def _settled(cloud: Cloud, q: Reproduction, lam: float, tolerance: float, rounds: int) -> Reproduction:
    """Masses and places in turn; each atom moves to the mean of what is coded to it."""
    atoms, masses = q.atoms, q.masses
    for left in reversed(range(rounds)):
        kernel = kernel_matrix(cloud.points, atoms, lam)
        for _ in range(STEPS):
            load = kernel.T @ (cloud.weights / np.maximum(kernel @ masses, LEAST_Z))
            masses = masses * load**RELAXATION
            masses /= masses.sum()
        keep = masses > LEAST_MASS
        atoms, masses = atoms[keep], masses[keep] / masses[keep].sum()
        if not left or load.max() <= 1 + tolerance:  # the last move is the masses'
            break
        z = np.maximum(kernel[:, keep] @ masses, LEAST_Z)
        atoms = kernel_means(cloud.points, cloud.weights / z, atoms, lam)[1]
    return Reproduction(atoms, masses)


def partition(cloud: Cloud, q: Reproduction, lam: float) -> Array:
    """Z(x) = E_q[exp(−λ|x−y|²)]: [n], by atoms near x."""
    return np.maximum(kernel_sums(q.atoms, q.masses, cloud.points, lam), LEAST_Z)


def certificate(cloud: Cloud, q: Reproduction, lam: float, tolerance: float) -> Array:
    """α of q at the points [n]: 1/Z, lowered where G exceeds the tolerance, in nats, at the points.

    1/Z divided by max G would serve. But a far point of little weight may have a large G about it, if q
    has no atom there; then it costs no more than that weight.
    """
    alpha = 1 / partition(cloud, q, lam)
    for _ in range(LOWERED):
        load = kernel_sums(cloud.points, cloud.weights * alpha, cloud.points, lam)
        if load.max() <= exp(tolerance):
            break
        alpha = alpha / np.maximum(1, load / exp(tolerance / 2)) ** 3  # y nearby may have more
    return alpha


# --- the worst y ---------------------------------------------------------------------------------


def _corners(cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The corners [m, k] of cells [c, k] of the grid, each once, and which are a cell's: [c, 2^k]."""
    low = cells.min(axis=0)
    shape = tuple(cells.max(axis=0) - low + 2)
    one = np.ravel_multi_index(tuple((cells - low).T), shape)
    others = np.ravel_multi_index(tuple(np.array(list(product((0, 1), repeat=cells.shape[1]))).T), shape)
    key, which = np.unique(one[:, None] + others, return_inverse=True)
    return np.stack(np.unravel_index(key, shape), axis=1) + low, which.reshape(len(cells), -1)


def _highest(log_load: Array, signs: Array, side: float) -> Array:
    """An upper bound on ln G in cells of a side in units of 1/√λ, from ln G at their corners: [c, 2^k] → [c].

    u(t) = ln G + |t|², t from the cell's centre, is convex, so at most what its corners interpolate: a plane
    with the slopes g, and at most the largest deviation of a corner from it. What is left of g·t − |t|² is
    at its largest at t = g/2, or on the cell's side.
    """
    slope = log_load @ signs / len(signs) / (side / 2)
    plane = log_load.mean(axis=1)[:, None] + side / 2 * slope @ signs.T
    inside = np.abs(slope) <= side
    gain = np.where(inside, slope**2 / 4, np.abs(slope) * side / 2 - side**2 / 4)
    planar = log_load.mean(axis=1) + (log_load - plane).max(axis=1) + gain.sum(axis=1)
    return np.asarray(np.minimum(planar, log_load.max(axis=1)) + signs.shape[1] * side**2 / 4)


def proved_peak(cloud: Cloud, alpha: Array, lam: float, tolerance: float) -> float:
    """An upper bound on max G over all y, at most a factor exp(tolerance) too high.

    Cells of a grid that may hold more than the highest corner so far, and the tolerance, are divided.
    Outside the points' bounding box G is smaller than on it.
    """
    k = cloud.points.shape[1]
    halves = np.array(list(product((0, 1), repeat=k)))
    low, size = cloud.points.min(axis=0), np.ptp(cloud.points, axis=0)
    finest = sqrt(3.6 * tolerance / (max(k - 1, 1) * lam))  # here most cells end
    step = finest * 2 ** max(0, ceil(log2(COARSEST / sqrt(lam) / finest)))
    left = np.stack([axis.ravel() for axis in np.indices(np.ceil(size / step).astype(int) + 1)], axis=1)
    pull, best = cloud.weights * alpha, -inf
    cutoff = log(pull.sum() / LEFT_OUT)
    while len(left):
        corners, which = _corners(left)
        load = np.log(np.maximum(kernel_sums(cloud.points, pull, low + step * corners, lam, cutoff), 1e-300))
        best = max(best, float(load.max()))
        upper = _highest(load[which], 2 * halves - 1, step * sqrt(lam))
        left = (2 * left[upper > best + tolerance][:, None] + halves).reshape(-1, k)
        step /= 2
    return exp(best + tolerance) + LEFT_OUT


def searched_peak(cloud: Cloud, q: Reproduction, alpha: Array, lam: float) -> float:
    """max G as climbs from atoms and points find it: a lower bound on it, in any dimension.

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
    """max G: proved from above in up to three dimensions, searched beyond."""
    if cloud.points.shape[1] <= CERTIFIED_DIMENSION:
        return proved_peak(cloud, alpha, lam, tolerance)
    return searched_peak(cloud, q, alpha, lam)


# --- both bounds ---------------------------------------------------------------------------------


def conditional_covariance(cloud: Cloud, q: Reproduction, lam: float) -> tuple[Array, Array]:
    """The test channel's mass of each atom [m], and the covariance of x given that atom [m, k, k]."""
    pull = cloud.weights / partition(cloud, q, lam)
    load, mean = kernel_means(cloud.points, pull, q.atoms, lam)
    k = cloud.points.shape[1]
    covariance = np.empty((len(q.atoms), k, k))
    for i in range(k):
        for j in range(i + 1):
            product_pull = pull * cloud.points[:, i] * cloud.points[:, j]
            second = kernel_sums(cloud.points, product_pull, q.atoms, lam) / load
            covariance[:, i, j] = covariance[:, j, i] = second - mean[:, i] * mean[:, j]
    return q.masses * load, covariance


def channel(cloud: Cloud, q: Reproduction, lam: float) -> tuple[float, float]:
    """−E[ln Z] in nats, and D, of the test channel of any q: R(D) ≤ −E[ln Z] − λD."""
    x = cloud.points
    z, mean = kernel_means(q.atoms, q.masses, x, lam)
    far = z < LEAST_Z
    second = kernel_sums(q.atoms, q.masses * np.sum(q.atoms**2, axis=1), x, lam) / np.maximum(z, LEAST_Z)
    error = np.sum(x * (x - 2 * mean), axis=1) + second
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
