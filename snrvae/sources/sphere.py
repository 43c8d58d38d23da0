"""Points uniform on the surface of the unit sphere: a surface without edges, with R(D) in closed form.

By symmetry the best y is uniform on a smaller sphere, and x about it von Mises–Fisher distributed, with a
density ∝ exp(κ x·y/r). Its mean resultant length is L(κ) = coth κ − 1/κ (Mardia & Jupp, Directional
Statistics, 2000, section 9.3.2), and y is the mean of x if r = L(κ). As |x − y|² = 1 + r² − 2r x·y/r, the
slope is λ = κ/(2r); D = 1 − r²; and R is the divergence of that density from the uniform one.
"""

from math import exp, log, log1p, pi

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import domain
from snrvae.sources.domain import Array
from snrvae.sources.source import Source


def sample(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`count` independent points [n, 3] of the surface."""
    points = rng.standard_normal((count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def distance(points: Array) -> NDArray[np.float64]:
    """Euclidean distance [n] of points [n, k] to the surface; for k = 2, to the unit circle."""
    return np.abs(np.linalg.norm(points.astype(np.float64), axis=1) - 1)


def mean_distance(points: Array) -> NDArray[np.float64]:
    """E|p - X| [n] over X uniform on the surface, p [n, 3]: 1 + r²/3 inside, r + 1/(3r) outside."""
    r = np.linalg.norm(points.astype(np.float64), axis=1)
    beyond = np.maximum(r, 1)
    return np.where(r <= 1, 1 + r**2 / 3, beyond + 1 / (3 * beyond))


def tangent(slope: float) -> tuple[float, float]:
    """D, and R(D) in nats, at the slope −λ of R(D), λ > 3/2 nats per unit of squared error."""
    kappa, before = 2 * slope, np.inf
    while kappa < before:  # Newton's method, down to the root of a convex function
        before, r = kappa, 1 - _short_of_one(kappa)
        kappa -= (kappa - 2 * slope * r) / (1 - 2 * slope * (1 - r**2 - 2 * r / kappa))
    short = _short_of_one(kappa)
    return short * (2 - short), log(2 * kappa) - log1p(-exp(-2 * kappa)) - kappa * short


def _short_of_one(kappa: float) -> float:
    """1 - L(κ), without the cancellation at large κ."""
    twice = exp(-2 * kappa)
    return 1 / kappa - 2 * twice / (1 - twice)


SOURCE = Source(
    domain=domain.law(
        name="sphere",
        title="the surface of the unit sphere",
        noun="sphere",
        unit="radius",
        mean=(0.0, 0.0, 0.0),
        bounds=(-1.0, 1.0),
        spread=1.0,
        labels=domain.sides(3),
        closed=True,
    ),
    variances=(1 / 3,) * 3,
    axes=np.eye(3),
    dimension=2,
    volume=4 * pi,
    sample=sample,
    mean_distance=mean_distance,
    mean_pair_distance=4 / 3,
    distance=distance,
    tangent=tangent,
)
