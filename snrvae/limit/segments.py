"""R(D) of a point on a known face: of the uniform unit square, the product of two uniform segments.

Squared error is best divided equally between independent, equal coordinates: R(D) = 2·R₁(D/2), R₁ that of a
segment (Berger, Rate Distortion Theory, 1971, section 2.8). The face's normal coordinate is known and costs
nothing.

At high rate, in lengths of 1/√λ: below, α = √(λ/π) has G(y) ≤ 1 for every y (Shannon's lower bound); above,
a law of y that is uniform except for a margin at each end, with a point mass in the margin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import log, pi, sqrt

import numpy as np

from snrvae.limit.cube_edges import half_length, two_points, uniform_density
from snrvae.limit.quadrature import node_count, uniform_segment
from snrvae.limit.rate_distortion import Bound, blahut_arimoto

# The test channel behind the upper bound. Any values are valid; these minimise it at λ = 10⁴.
MARGIN, INSET, MASS = 1.8818, 1.0221, 1.8319

SMALLEST_SLOPE = 200.0  # in bits; from here on the margins of both ends are far apart


def searched(slopes: Iterable[float]) -> Iterator[Bound]:
    """Bounds for ascending slopes (bits per unit of squared error), by Blahut–Arimoto on a segment."""
    for bound in blahut_arimoto(lambda slope: uniform_segment(node_count(slope)), slopes):
        yield _doubled(bound)


def intercept(slope: float) -> float:
    """Certified a in R(D) ≥ a − slope·D, in bits, at any slope: Shannon's lower bound."""
    return log(slope * log(2) / pi) / log(2)


def bound(slope: float) -> Bound:
    """Both bounds at a slope ≥ SMALLEST_SLOPE (bits per unit of squared error)."""
    if not slope >= SMALLEST_SLOPE:
        raise ValueError(f"the closed form needs a slope ≥ {SMALLEST_SLOPE}, not {slope}")
    length = sqrt(slope * log(2))
    places, weights = half_length(length)
    z, error = (
        inner + MASS * ends
        for inner, ends in zip(
            uniform_density(places, MARGIN, length), two_points(places, INSET, length), strict=True
        )
    )
    lam_distortion = float(np.sum(weights * error / z))
    total = length - 2 * MARGIN + 2 * MASS
    rate = log(total) - float(np.sum(weights * np.log(z))) - lam_distortion
    return _doubled(Bound(slope, intercept(slope) / 2, lam_distortion / length**2, rate / log(2)))


def _doubled(segment: Bound) -> Bound:
    """The bounds of a square at a slope, from those of a segment."""
    return Bound(segment.slope, 2 * segment.intercept, 2 * segment.distortion, 2 * segment.rate_upper_bits)
