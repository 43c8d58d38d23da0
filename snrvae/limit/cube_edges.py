"""The cube surface at high rate: both bounds on R(D), in closed form but for one small integral.

Lengths are in units of 1/√λ. Far from its edges a face is like a plane, for which α = 6λ/π would be valid,
and R(D) ≈ log2(6/(πeD)). That is no lower bound: in G(y) = E_x[α(x)·exp(−λ|x−y|²)], two faces add up to 1.22
near an edge, and three to 1.35 near a corner. So α is lowered there:

    α(x) = (6λ/π)·f(a₁)·f(a₂),     f(a) = min(1, h·exp((a − b)²)),

a₁, a₂ the distances of x to the nearest edge in either direction of its face. With
F(p) = ∫₀^∞ f(a)·exp(−(a−p)²) da/√π, a y at the distances p, q, r inside a corner's faces has

    G = exp(−p²)·F(q)·F(r) + exp(−q²)·F(p)·F(r) + exp(−r²)·F(p)·F(q)

from these three, bounded by an infinite corner's since f ≤ 1, and at most 3·exp(−λ/4) from the opposite
faces. The price is E[ln f(a₁)f(a₂)] = −(4/√λ)·∫ −ln f(a) da nats.

Of all f ≤ 1 this form is the best for an edge: G ≤ 1 binds at one y only, b inside both faces, and
where f < 1 it is the reciprocal of that y's kernel. An f above 1 in places gains 0.07·√D bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import exp, log, log1p, pi, sqrt

import numpy as np
from scipy.special import erf, erfc

from snrvae.limit.quadrature import Array
from snrvae.limit.rate_distortion import Bound

DIP_PLACE = 0.4  # b
DIP_HEIGHT = 0.6889  # h; an edge's G reaches 1 at h = 0.68897
DIP_REACH = DIP_PLACE + sqrt(-log(DIP_HEIGHT))  # f is 1 from here on

# The test channel behind the upper bound. Any values are valid; these minimise it at λ = 400.
FACE_MARGIN = 1.4127  # a uniform density on each face, this far from its edges
EDGE_INSET, EDGE_MARGIN, EDGE_MASS = 0.3973, 1.5186, 2.6937  # a line inside each edge
CORNER_INSET, CORNER_MASS = 0.5721, 6.2544  # a point inside each corner

SMALLEST_SLOPE = 25.0  # in bits; from here on the dips and margins of two edges do not overlap


# --- below -----------------------------------------------------------------------------------


def dip(a: Array) -> Array:
    """f(a), a ≥ 0 the distance to an edge."""
    inside = np.minimum(a, DIP_REACH)
    return DIP_HEIGHT * np.exp((inside - DIP_PLACE) ** 2)


def dip_loss() -> float:
    """∫₀^∞ −ln f(a) da."""
    return -DIP_REACH * log(DIP_HEIGHT) - ((DIP_REACH - DIP_PLACE) ** 3 + DIP_PLACE**3) / 3


def smoothed_dip(p: Array) -> Array:
    """F(p). Where f < 1 the squares of a cancel and leave ∫ exp(2a(p − b)) da."""
    slope = 2 * (p - DIP_PLACE)
    flat = np.abs(slope) < 1e-9
    divisor = np.where(flat, 1.0, slope)
    within = np.where(flat, DIP_REACH, np.expm1(DIP_REACH * divisor) / divisor)
    near = DIP_HEIGHT * np.exp(DIP_PLACE**2 - p**2) * within / sqrt(pi)
    return np.asarray(near + erfc(DIP_REACH - p) / 2)


def edge_load(p: Array, q: Array) -> Array:
    """G at the distances p, q inside the two faces of an edge, far from corners."""
    return np.exp(-(p**2)) * smoothed_dip(q) + np.exp(-(q**2)) * smoothed_dip(p)


def corner_load(p: Array, q: Array, r: Array) -> Array:
    """G at the distances p, q, r inside the three faces of a corner."""
    fq, fr = smoothed_dip(q), smoothed_dip(r)
    return smoothed_dip(p) * edge_load(q, r) + np.exp(-(p**2)) * fq * fr


@cache
def proved_peak() -> float:
    """An upper bound on max G over faces, edges and corners, between grid points too.

    1. Where F(p) + exp(−p²) ≤ 1, edge_load(p, q) is at most a mean of exp(−q²) and F(q), so ≤ 1,
       and corner_load(p, q, r) a mean of edge_load(q, r) and F(q)·F(r). That inequality holds for
       all p beyond the first p where it does: (1 − F(p))·exp(p²) is a Laplace transform of 1 − f
       (f = 0 for a < 0), thus convex, and has reached 1 from below.
    2. What remains is a box of side 2.5. ln G + p² + q² + r² is convex, so around a maximum y*
       ln G(y) ≥ ln G(y*) − |y−y*|²: the grid misses at most half a cell's diagonal, squared.
    """
    side = 2.5
    if smoothed_dip(np.array(side)) + exp(-(side**2)) > 1:
        raise ArithmeticError("the box does not hold all y at which G may exceed 1")
    fine, coarse = np.arange(0, side + 0.01, 0.01), np.arange(0, side + 0.03, 0.03)
    edge = edge_load(fine[:, None], fine).max() * exp(2 * 0.005**2)
    corner = corner_load(coarse[:, None, None], coarse[:, None], coarse).max() * exp(3 * 0.015**2)
    return float(max(1.0, edge, corner))


def edge_intercept(slope: float) -> float:
    """Certified a in R(D) ≥ a − slope·D, in bits, at a slope ≥ SMALLEST_SLOPE in bits."""
    if not slope >= SMALLEST_SLOPE:
        raise ValueError(f"the edge certificate needs a slope ≥ {SMALLEST_SLOPE}, not {slope}")
    lam = slope * log(2)
    load = log(proved_peak()) + log1p(3 * exp(-lam / 4))
    return (log(6 * lam / pi) - 4 * dip_loss() / sqrt(lam) - load) / log(2)


# --- above -----------------------------------------------------------------------------------

# A law on one coordinate, seen from each a: ∫exp(−(a−y)²) and ∫(a−y)²·exp(−(a−y)²).
View = tuple[Array, Array]


def two_points(a: Array, inset: float, length: float) -> View:
    """Mass 1 each at `inset` from both ends of [0, length]."""
    left, right = (a - inset) ** 2, (a - length + inset) ** 2
    return np.exp(-left) + np.exp(-right), left * np.exp(-left) + right * np.exp(-right)


def uniform_density(a: Array, margin: float, length: float) -> View:
    """Density 1 on [margin, length − margin]."""
    low, high = margin - a, length - margin - a
    mass = sqrt(pi) / 2 * (erf(high) - erf(low))
    return mass, (mass - high * np.exp(-(high**2)) + low * np.exp(-(low**2))) / 2


def _product(first: View, second: View, third: View) -> View:
    """The product law as seen from x = (0, u, v): ∫exp(−|x−y|²) and ∫|x−y|²·exp(−|x−y|²), [u, v] each."""
    outer = np.multiply.outer
    (m1, s1), (m2, s2), (m3, s3) = first, second, third
    mass = m1 * outer(m2, m3)
    return mass, s1 * outer(m2, m3) + m1 * (outer(s2, m3) + outer(m2, s3))


def half_length(length: float) -> tuple[Array, Array]:
    """Gauss–Legendre for a mean over [0, length/2], denser within 8 of the edge."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    ends = [0.0, *([8.0] if length > 16 else []), length / 2]
    pieces = list(pairwise(ends))
    points = [low + (nodes + 1) / 2 * (high - low) for low, high in pieces]
    shares = [weights * (high - low) / length for low, high in pieces]
    return np.concatenate(points), np.concatenate(shares)


@dataclass(frozen=True)
class _Part:
    """A product law with `one` on one coordinate and `two` on both others, in all three orders."""

    one: Callable[[Array], View]
    two: Callable[[Array], View]
    density: float
    mass: float  # of all three orders together


def _reproduction(length: float) -> list[_Part]:
    """Faces, lines inside the edges, points inside the corners."""

    def points(inset: float) -> Callable[[Array], View]:
        return lambda a: two_points(a, inset, length)

    def uniform(margin: float) -> Callable[[Array], View]:
        return lambda a: uniform_density(a, margin, length)

    corner = points(CORNER_INSET)
    face, line = length - 2 * FACE_MARGIN, length - 2 * EDGE_MARGIN
    return [
        _Part(points(0.0), uniform(FACE_MARGIN), 1.0, 6 * face**2),
        _Part(uniform(EDGE_MARGIN), points(EDGE_INSET), EDGE_MASS, 12 * EDGE_MASS * line),
        _Part(corner, corner, CORNER_MASS / 3, 8 * CORNER_MASS),  # its three orders are the same
    ]


def edge_channel(slope: float) -> tuple[float, float]:
    """A point above R(D): a distortion and a rate in bits, at a slope ≥ SMALLEST_SLOPE in bits.

    The law of y is uniform on the faces, on lines inside the edges and on points inside the
    corners, so Z(x) is a sum of products, and R ≤ −E[ln Z] − λD.
    """
    length = sqrt(slope * log(2))
    u, shares = half_length(length)
    normal = np.zeros(1)  # x = (0, u, v): the faces are alike

    z, error = np.zeros((len(u), len(u))), np.zeros((len(u), len(u)))
    total = 0.0
    for parts in _reproduction(length):
        total += parts.mass
        for odd in range(3):  # the coordinate that differs from the other two
            laws = [parts.one if j == odd else parts.two for j in range(3)]
            views = [law(a) for law, a in zip(laws, (normal, u, u), strict=True)]
            mass, moment = _product(*views)
            z += parts.density * mass
            error += parts.density * moment
    weights = np.multiply.outer(shares, shares)
    lam_distortion = float(np.sum(weights * error / z))
    rate = log(total) - float(np.sum(weights * np.log(z))) - lam_distortion
    return lam_distortion / length**2, rate / log(2)


def edge_bound(slope: float) -> Bound:
    """Both bounds at a slope ≥ SMALLEST_SLOPE (bits per unit of squared error)."""
    distortion, rate_upper_bits = edge_channel(slope)
    return Bound(slope, edge_intercept(slope), distortion, rate_upper_bits)
