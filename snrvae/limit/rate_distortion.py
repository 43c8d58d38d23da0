"""Bounds on R(D) for squared error: Blahut–Arimoto from above, its dual certificate from below.

For a slope λ > 0 (nats per unit of squared error) and any law q of the reproduction y

    Z(x) = E_q[exp(−λ|x−y|²)],     p(y|x) = q(y)·exp(−λ|x−y|²)/Z(x),     D = E|x−y|².

Above:  R(D) ≤ I(x; y) ≤ −E[ln Z] − λD                 (Blahut, IEEE Trans. IT 18, 1972)
Below:  R(D') ≥ E[ln α] − λD' for every D' and any α > 0 with
        G(y) = E_x[α(x)·exp(−λ|x−y|²)] ≤ 1 for all y   (Csiszár, Studia Sci. Math. Hung. 9, 1974)

With α = 1/(Z·max G) the two are ln max G apart at D' = D. So q is improved at places y with
G(y) > 1; if there is no such y, q is optimal.

Axis letters: n points of the quadrature, m points y (atoms of q, or trial points), k coordinates.
Sums use einsum, not matmul, so that their order does not depend on the number of BLAS threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil, exp, log, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from snrvae.limit.quadrature import Array, Source, kernel, kernel_moments

# Lengths in units of 1/√λ; the kernel exp(−λ|x−y|²) has the standard deviation 0.71.
GRID_STEP = 0.25
PEAK_DISTANCE = 0.6
LEAST_MASS = 1e-13  # atoms below are dropped
CHUNK = 32  # trial points at a time: bounds the memory and stays in the cache


@dataclass(frozen=True)
class Reproduction:
    """The law q of y: atoms and masses. For a symmetric source each atom represents its images."""

    atoms: Array  # [m, k]
    masses: Array  # [m], sum 1


@dataclass(frozen=True)
class Bound:
    """Both bounds at one slope, in bits and bits per unit of squared error.

    A line below, R(D) ≥ intercept − slope·D for every D, and a point above,
    R(distortion) ≤ rate_upper_bits.
    """

    slope: float
    intercept: float
    distortion: float
    rate_upper_bits: float


@dataclass(frozen=True)
class Tangents:
    """Certified lines R(D) ≥ intercept − slope·D, in bits."""

    slope: Array  # [lines], > 0
    intercept: Array  # [lines]

    def rate_bits(self, distortion: ArrayLike) -> Array:
        """Certified lower bound on R(D), elementwise."""
        d = np.asarray(distortion, dtype=np.float64)[..., None]
        best: Array = np.max(self.intercept - self.slope * d, axis=-1)
        return np.asarray(np.maximum(best, 0.0))

    def distortion(self, rate_bits: ArrayLike) -> Array:
        """Certified lower bound on D(R), elementwise: the best line, never an interpolation."""
        r = np.asarray(rate_bits, dtype=np.float64)[..., None]
        best: Array = np.max((self.intercept - r) / self.slope, axis=-1)
        return np.asarray(np.maximum(best, 0.0))


# --- the law of x given y ----------------------------------------------------------------------


def partition(source: Source, q: Reproduction, lam: float) -> Array:
    """Z(x) = E_q[exp(−λ|x−y|²)]: [n]."""
    z: Array = np.einsum("nm,m->n", kernel(source, q.atoms, lam), q.masses)
    return z


def certificate_load(source: Source, lam: float, alpha: Array, y: Array) -> Array:
    """G(y) = E_x[α(x)·exp(−λ|x−y|²)], α given at the quadrature's points: [m]."""
    pull = source.weights * alpha
    chunks = [y[i : i + CHUNK] for i in range(0, len(y), CHUNK)]
    return np.concatenate([np.einsum("n,nm->m", pull, kernel(source, c, lam)) for c in chunks])


def _moments(source: Source, lam: float, alpha: Array, y: Array, powers: list[tuple[int, ...]]) -> Array:
    """E_x[α(x)·exp(−λ|x−y|²)·Π x_j^p_j] for each p: [powers, m]."""
    pull = source.weights * alpha
    terms = kernel_moments(source, y, lam, powers)
    return np.stack([np.einsum("n,nm->m", pull, term) for term in terms])


def conditional_mean(source: Source, lam: float, alpha: Array, y: Array) -> Array:
    """Mean of x given y under the density α(x)·exp(−λ|x−y|²)/G(y): [m, k].

    With α = 1/Z it is the mean under the test channel. (mean − y) is ∇ln G/(2λ): a move to the mean never
    lowers G (mean shift).
    """
    unit = np.eye(source.dimension, dtype=int)
    load, *first = _moments(source, lam, alpha, y, [tuple(p) for p in (0 * unit[0], *unit)])
    mean: Array = np.stack(first, axis=1) / load[:, None]
    return mean


def conditional_law(source: Source, lam: float, alpha: Array, y: Array) -> tuple[Array, Array, Array]:
    """G(y), and the mean and covariance of x given y as above: [m], [m, k], [m, k, k].

    ∇²ln G = 4λ²·covariance − 2λ.
    """
    k = source.dimension
    unit = np.eye(k, dtype=int)
    pairs = [(i, j) for i in range(k) for j in range(i + 1)]
    powers = [0 * unit[0], *unit, *(unit[i] + unit[j] for i, j in pairs)]
    load, *rest = _moments(source, lam, alpha, y, [tuple(p) for p in powers])
    mean = np.stack(rest[:k], axis=1) / load[:, None]
    covariance = np.empty((len(y), k, k))
    for (i, j), second in zip(pairs, rest[k:], strict=True):
        covariance[:, i, j] = covariance[:, j, i] = second / load - mean[:, i] * mean[:, j]
    return load, mean, covariance


# --- the worst y ---------------------------------------------------------------------------------


def _folded(source: Source, y: Array) -> Array:
    """The representative of each y [m, k]: for a symmetric source non-negative and descending."""
    return -np.sort(-np.abs(y), axis=1) if source.symmetric else y


def search_grid(source: Source, lam: float) -> Array:
    """Points over the source's bounding box, at most GRID_STEP/√λ apart: [m, k].

    A y outside the convex hull is farther from every x than its projection onto the hull is: G is smaller.
    """
    low, high = source.points.min(axis=0), source.points.max(axis=0)
    if source.symmetric:
        low, high = np.zeros_like(low), np.full_like(high, np.abs(source.points).max())
    axes = [
        np.linspace(a, b, max(8, ceil((b - a) * sqrt(lam) / GRID_STEP)) + 1)
        for a, b in zip(low, high, strict=True)
    ]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    return grid[np.all(np.diff(grid, axis=1) <= 0, axis=1)] if source.symmetric else grid


def _spread(grid: Array, load: Array, lam: float, above: float) -> Array:
    """Grid points with load ≥ `above`, highest first, none of them near a higher one: [m, k]."""
    order = np.argsort(-load, kind="stable")
    left = grid[order[load[order] >= above]]
    kept = []
    while len(left):
        kept.append(left[0])
        left = left[np.sum((left - left[0]) ** 2, axis=1) * lam > PEAK_DISTANCE**2]
    return np.array(kept)


def _climbed(source: Source, lam: float, alpha: Array, y: Array, steps: int) -> Array:
    """The places y [m, k] after Newton steps uphill in ln G, within a trust radius, or else mean shifts."""
    radius = np.full((len(y), 1), GRID_STEP / sqrt(lam))
    for _ in range(steps):
        load, mean, covariance = conditional_law(source, lam, alpha, y)
        shift = mean - y
        # Newton's step is shift/(1 − 2λ·covariance), made an ascent by |eigenvalues|
        values, vectors = np.linalg.eigh(np.eye(source.dimension) - 2 * lam * covariance)
        along = np.einsum("mki,mk->mi", vectors, shift) / np.maximum(np.abs(values), 1e-6)
        step = np.einsum("mki,mi->mk", vectors, along)
        length = np.sqrt(np.sum(step**2, axis=1, keepdims=True))
        step *= np.minimum(1.0, radius / np.maximum(length, 1e-300))
        reached = certificate_load(source, lam, alpha, y + step)
        rises = (reached > load)[:, None]
        y = _folded(source, y + np.where(rises, step, shift))
        radius = np.where(rises, radius, radius / 4)
        if np.all(reached <= load * (1 + 1e-10)) and np.all(radius < 0.01 / sqrt(lam)):
            break
    return y


def summits(source: Source, lam: float, alpha: Array, grid: Array, steps: int) -> tuple[Array, Array]:
    """The highest maxima of G over all y: places [m, k] and heights [m].

    ln G(y) + λ|y|² is convex, since G is a Laplace transform except for that factor. So around a maximum
    y*, ln G(y) ≥ ln G(y*) − λ|y−y*|²: the grid point next to the highest one is at most 5 % lower
    (k·GRID_STEP²/4), and grid points below that need no climb. While the highest is far above 1,
    all maxima above 1 are useful as new atoms.
    """
    load = certificate_load(source, lam, alpha, grid)
    unseen = exp(-source.dimension * GRID_STEP**2 / 4)
    places = _spread(grid, load, lam, above=min(load.max() * unseen, 1.0))
    places = _climbed(source, lam, alpha, places, steps)
    return places, certificate_load(source, lam, alpha, places)


# --- Blahut–Arimoto with moving support ----------------------------------------------------------


def _newton_masses(k: Array, weights: Array, masses: Array, steps: int) -> Array:
    """Masses that lower −E[ln Z] on given atoms, k their kernel [n, m].

    To second order around q the objective is ½|S·q' − 2√w|² with S = √w·k/Z, so that a step is a
    non-negative least-squares problem, which also drops needless atoms (Wang, J. R. Stat. Soc. B
    69, 2007). Blahut–Arimoto's own q ← q·G has the same fixed point and takes far more steps.
    """
    root = np.sqrt(weights)
    sum_row = np.full((1, len(masses)), 1e3)  # Σ q = 1: this row makes it nearly so, the division exactly
    z = np.einsum("nm,m->n", k, masses)
    for _ in range(steps):
        scaled = k * (root / z)[:, None]
        rows, target = np.concatenate([scaled, sum_row]), np.append(2 * root, 1e3)
        new, _ = nnls(rows, target, maxiter=100 * len(masses))
        step = 0.99 * (new / new.sum() - masses)  # no mass becomes 0 at once, since it could not grow again
        for _ in range(12):
            z_new = np.einsum("nm,m->n", k, masses + step)
            gain = np.sum(weights * np.log(z_new / z))
            if gain > 0:
                break
            step = step / 2
        else:
            break
        masses, z = masses + step, z_new
        if gain < 1e-13:
            break
    # Blahut–Arimoto's own step, for the masses of rare x, which are small and converge last
    grown: Array = masses * np.einsum("n,nm->m", weights / z, k)
    return grown


def _settled(source: Source, q: Reproduction, lam: float, sweeps: int = 8) -> Reproduction:
    """Update masses and places in turn; each atom moves to the mean of the points coded to it."""
    atoms, masses = q.atoms, q.masses
    for sweep in range(sweeps + 1):
        k = kernel(source, atoms, lam)
        masses = _newton_masses(k, source.weights, masses, steps=4)
        keep = masses > LEAST_MASS
        atoms, masses = atoms[keep], masses[keep] / masses[keep].sum()
        if sweep < sweeps:  # the last update is of the masses, which are then exact for their atoms
            z = np.einsum("nm,m->n", k[:, keep], masses)
            atoms = _folded(source, conditional_mean(source, lam, 1 / z, atoms))
    return Reproduction(atoms, masses)


def improved(
    source: Source, start: Reproduction, lam: float, tolerance: float, rounds: int = 30
) -> Reproduction:
    """A q with G ≤ 1 + tolerance at the summits that a short climb finds; until then, they become atoms."""
    grid = search_grid(source, lam)
    q = _settled(source, start, lam)
    for _ in range(rounds):
        places, heights = summits(source, lam, 1 / partition(source, q, lam), grid, steps=3)
        if heights.max() <= 1 + tolerance:
            break
        new = places[heights > 1]
        masses = np.append(q.masses * (1 - 1e-3), np.full(len(new), 1e-3 / len(new)))
        q = _settled(source, Reproduction(np.append(q.atoms, new, axis=0), masses), lam)
    return q


def certified(source: Source, slope: float, q: Reproduction) -> Bound:
    """Both bounds that q gives at this slope (bits per unit of squared error); any q is valid."""
    lam = slope * log(2)
    z = partition(source, q, lam)
    grid = search_grid(source, lam)
    _, heights = summits(source, lam, 1 / z, grid, steps=25)
    upper = -float(np.sum(source.weights * np.log(z)))  # nats; the point above is on this line
    # E|x−y|² in three parts; E[x·y] through the mean of x given y, weighted with G·q
    at_atoms = certificate_load(source, lam, 1 / z, q.atoms) * q.masses
    mean = conditional_mean(source, lam, 1 / z, q.atoms)
    second = np.sum(source.weights * np.sum(source.points**2, axis=1))
    distortion = second + np.sum(at_atoms * np.sum(q.atoms * (q.atoms - 2 * mean), axis=1))
    return Bound(
        slope=slope,
        intercept=(upper - log(max(1.0, heights.max()))) / log(2),
        distortion=float(distortion),
        rate_upper_bits=(upper - lam * float(distortion)) / log(2),
    )


def blahut_arimoto(
    source_at: Callable[[float], Source], slopes: Iterable[float], tolerance: float = 2e-4
) -> Iterator[Bound]:
    """Bounds for ascending slopes (bits per unit of squared error), each starting from the last q.

    source_at(slope) is a quadrature that is fine enough. The bounds are log2(1 + tolerance) bits apart.
    """
    q: Reproduction | None = None
    for slope in slopes:
        source = source_at(slope)
        if q is None:
            mean = np.einsum("n,nk->k", source.weights, source.points)[None]
            q = Reproduction(0 * mean if source.symmetric else mean, np.ones(1))
        q = improved(source, q, slope * log(2), tolerance)
        yield certified(source, slope, q)
