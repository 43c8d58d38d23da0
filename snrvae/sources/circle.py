"""Points uniform on the unit circle: a curve in the plane, with R(D) in closed form.

By symmetry the best y is uniform on a smaller circle, and x about it von Mises distributed, with a density
∝ exp(κ cos θ). Its mean resultant length is A(κ) = I₁(κ)/I₀(κ) (Mardia & Jupp, Directional Statistics, 2000,
section 3.5.4), and y is the mean of x if r = A(κ). As |x − y|² = 1 + r² − 2r cos θ, the slope is λ = κ/(2r);
D = 1 − r²; and R = κ·r − ln I₀(κ) is the divergence of that density from the uniform one.
"""

from math import log, pi

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import domain, sphere
from snrvae.sources.domain import Array
from snrvae.sources.source import Source

SERIES = 1e3  # κ from which four terms of a series in 1/κ are exact


def sample(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`count` independent points [n, 2] of the circle."""
    angle = 2 * pi * rng.random(count)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def mean_distance(points: Array) -> NDArray[np.float64]:
    """E|p - X| [n] for points p [n, 2]: (2/π)·(1 + r)·E(m), m = 4r/(1 + r)², E an elliptic integral."""
    from scipy.special import ellipe  # noqa: PLC0415 - training starts without SciPy

    r = np.linalg.norm(points.astype(np.float64), axis=1)
    m = np.minimum(4 * r / (1 + r) ** 2, 1)  # rounding may make it more than 1
    return np.asarray(2 / pi * (1 + r) * ellipe(m))


def tangent(slope: float) -> tuple[float, float]:
    """D, and R(D) in nats, at the slope −λ of R(D), λ > 1 nat per unit of squared error."""
    from scipy.optimize import brentq  # noqa: PLC0415 - as above
    from scipy.special import i0e  # noqa: PLC0415 - as above

    def excess(short: float) -> float:
        return _short_of_one(2 * slope * (1 - short)) - short

    short = brentq(excess, 0, 1 - min(1e-6, (1 - 1 / slope) / 2), xtol=1e-300, rtol=1e-14)  # 1 − r
    kappa = 2 * slope * (1 - short)
    return short * (2 - short), -kappa * short - log(i0e(kappa))


def _short_of_one(kappa: float) -> float:
    """1 − A(κ), without the cancellation at large κ."""
    from scipy.special import i0e, i1e  # noqa: PLC0415 - as above

    if kappa > SERIES:
        u = 1 / kappa
        return u / 2 + u**2 / 8 + u**3 / 8 + 25 * u**4 / 128
    return float(1 - i1e(kappa) / i0e(kappa))


SOURCE = Source(
    domain=domain.law(
        name="circle",
        title="the unit circle",
        noun="circle",
        unit="radius",
        mean=(0.0, 0.0),
        bounds=(-1.0, 1.0),
        spread=1.0,
        labels=domain.sides(2),
    ),
    variances=(1 / 2, 1 / 2),
    axes=np.eye(2),
    dimension=1,
    volume=2 * pi,
    sample=sample,
    mean_distance=mean_distance,
    mean_pair_distance=4 / pi,
    distance=sphere.distance,
    tangent=tangent,
)
