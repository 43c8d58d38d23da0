"""Normally distributed points with the mean and variance of the cube's surface: everything is known exactly.

R(D) = (3/2)·log2(3·variance/D) (Cover & Thomas, Elements of Information Theory, 2006, theorem 10.3.3), the
largest of all sources with these moments. A linear map reaches it over three uses of the SNR channel, so
this source can test the training itself.
"""

from math import e, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import cube, domain
from snrvae.sources.domain import Array
from snrvae.sources.source import Source

MEAN, VARIANCE = cube.SOURCE.domain.mean, cube.VARIANCE
SIGMA = sqrt(VARIANCE)
DIMENSION = 3


def sample(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`count` independent points [n, 3]."""
    return MEAN + SIGMA * rng.standard_normal((count, DIMENSION))


def mean_distance(points: Array) -> NDArray[np.float64]:
    """E|p - X| [n] for points p [n, 3]: σ·[√(2/π) exp(−r²/2) + (r + 1/r) erf(r/√2)], r = |p - mean|/σ."""
    from scipy.special import erf  # noqa: PLC0415 - training draws no such distance, and starts without SciPy

    r = np.linalg.norm(points.astype(np.float64) - MEAN, axis=1) / SIGMA
    r = np.maximum(r, 1e-6)  # at 0 it is 2√(2/π)·σ
    return np.asarray(SIGMA * (sqrt(2 / pi) * np.exp(-(r**2) / 2) + (r + 1 / r) * erf(r / sqrt(2))))


def tangent(slope: float) -> tuple[float, float]:
    """D, and R(D) in nats, at the slope −λ of R(D), λ > 18/5 nats per unit of squared error."""
    return DIMENSION / (2 * slope), DIMENSION / 2 * log(2 * slope * VARIANCE)


SOURCE = Source(
    domain=domain.law(
        name="gaussian",
        title="a normal distribution with the mean and variance of a unit cube's surface",
        noun="normal distribution",
        unit="edge",
        mean=MEAN,
        bounds=None,
        spread=DIMENSION * VARIANCE,
        labels=domain.sides(3),
    ),
    variances=(VARIANCE,) * DIMENSION,
    axes=np.eye(DIMENSION),
    dimension=DIMENSION,
    volume=(2 * pi * e * VARIANCE) ** (DIMENSION / 2),
    sample=sample,
    mean_distance=mean_distance,
    mean_pair_distance=4 * SIGMA / sqrt(pi),
    tangent=tangent,
)
