"""Points uniform on the surface of the unit sphere: a surface without edges, and with R(D) in closed form.

By symmetry the best y is uniform on a smaller sphere, and x about it von Mises–Fisher distributed, with a
density ∝ exp(κ x·y/r). Its mean resultant length is L(κ) = coth κ − 1/κ (Mardia & Jupp, Directional
Statistics, 2000, section 9.3.2), and y the mean of x where r = L(κ). As |x − y|² = 1 + r² − 2r x·y/r, the
slope is λ = κ/(2r); D = 1 − r²; and R is the divergence of that density from the uniform one.
"""

from math import cos, exp, log, log1p, pi, sin, tanh

import numpy as np
from numpy.typing import NDArray

from snrvae.sources.source import Array, Exact, Place, Source


def independent(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`count` independent points [n, 3] of the surface."""
    points = rng.standard_normal((count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def distance(points: Array) -> NDArray[np.float64]:
    """Euclidean distance [n] of points [n, 3] to the surface."""
    return np.abs(np.linalg.norm(points.astype(np.float64), axis=1) - 1)


def mean_distance(points: Array) -> NDArray[np.float64]:
    """E|p - X| [n] over X uniform on the surface, p [n, 3]: 1 + r²/3 inside, r + 1/(3r) outside."""
    r = np.linalg.norm(points.astype(np.float64), axis=1)
    beyond = np.maximum(r, 1)
    return np.where(r <= 1, 1 + r**2 / 3, beyond + 1 / (3 * beyond))


def tangent(slope: float) -> tuple[float, float]:
    """D, and R(D) in nats, where R(D) has the slope −λ, λ > 3/2 nats per unit of squared error."""
    kappa, before = 2 * slope, np.inf
    while kappa < before:  # Newton's method, down to the root of a convex function
        before, r = kappa, _mean_resultant(kappa)
        kappa -= (kappa - 2 * slope * r) / (1 - 2 * slope * (1 - r**2 - 2 * r / kappa))
    r = _mean_resultant(kappa)
    return (1 - r) * (1 + r), kappa * r - (kappa + log1p(-exp(-2 * kappa)) - log(2 * kappa))


def _mean_resultant(kappa: float) -> float:
    return 1 / tanh(kappa) - 1 / kappa


def _circle(axis: int, points: int = 73) -> tuple[Place, ...]:
    """The great circle around an axis, as a line."""
    turns = [2 * pi * k / (points - 1) for k in range(points)]
    around = [(cos(t), sin(t), 0.0) for t in turns]
    return tuple((p[-axis % 3], p[(1 - axis) % 3], p[(2 - axis) % 3]) for p in around)


SOURCE = Source(
    title="the surface of the unit sphere",
    noun="sphere",
    unit="radius",
    bounds=(-1.0, 1.0),
    mean=(0.0, 0.0, 0.0),
    components=3,
    variance=1 / 3,
    independent=independent,
    mean_distance=mean_distance,
    within=4 / 3,
    view=(-1.2, 1.2),
    outline=(_circle(0), _circle(1), _circle(2)),
    distance=distance,
    exact=Exact(tangent, 2, 4 * pi),
)
