"""A mesh at high rate: bounds on R(D) that need no search over the law of y.

Lengths are in units of 1/√λ. The lower bound: far from its edges a triangle is like a plane, for which
α = Aλ/π would be valid, A the area of the mesh. At a bend G(y) = E_x[α(x)·exp(−λ|x−y|²)] exceeds 1 between
the faces, so α is lowered beside sharp edges, as beside the cube's (cube_edges):

    α(x) = (Aλ/π)·f(a)/c,     f(a) = min(1, h·exp((a − b)²)),

a the distance of x to the nearest such edge. b is the worst place beside a bend when f = 1, and h is just low
enough for it. At corners and in curved parts G may still exceed 1; c = max G, by branch and bound. So any b
and h give a certificate, and the price is at most (2/A)·Σ length·∫ −ln f(a) da/√λ + ln c nats.

The upper bound refines y: given a y of the last search, x is sent like a normal law of the same covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import cos, erf, erfc, exp, log, pi, sin, sqrt

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.spatial import cKDTree

from snrvae.limit import clouds
from snrvae.limit.clouds import Cloud
from snrvae.limit.quadrature import Array

SHARP = 0.35  # radians; a gentler bend raises G by less than 1 %
BENDS = 64  # number of angles for which dips are computed
SAMPLES = 10.0  # of an edge, per unit of length


@dataclass(frozen=True)
class Dip:
    """f beside an edge: b, h, and ∫ −ln f(a) da."""

    place: float
    height: float
    loss: float


@cache
def dip(bend: float) -> Dip:
    """The dip for two half planes that meet at an angle of π − bend, in radians."""
    turn, lift = sin(bend / 2), cos(bend / 2)

    def worst(t: float) -> float:  # G at the depth t on the bisector if f = 1
        return exp(-((t * lift) ** 2)) * (1 + erf(t * turn))

    depth = float(minimize_scalar(lambda t: -worst(t), bounds=(0, 3), method="bounded").x)
    b, p = depth * turn, depth * lift

    def excess(log_h: float) -> float:  # of G there above 1, if f is lowered
        r = sqrt(-log_h)
        beyond = sqrt(pi) / 2 * (erfc(r) + max(0.0, erf(b) - erf(r)))
        return 2 * exp(-(p**2)) / sqrt(pi) * (exp(log_h) * (r + min(b, r)) + beyond) - 1

    log_h = float(brentq(excess, -50, 0))
    r = sqrt(-log_h)
    return Dip(b, exp(log_h), -(r + min(b, r)) * log_h - (r**3 + min(b, r) ** 3) / 3)


@dataclass(frozen=True)
class Edges:
    """The edges of sharp bends: their ends [e, 2, 3], and place, height and loss of their dips [e, 3]."""

    ends: Array
    dips: Array

    def loss(self, area: float, lam: float) -> float:
        """E[−ln f] in nats, or a little more if dips overlap."""
        lengths = np.linalg.norm(self.ends[:, 1] - self.ends[:, 0], axis=1)
        return 2 * float(lengths @ self.dips[:, 2]) / (area * sqrt(lam))

    def factor(self, points: Array, lam: float) -> Array:
        """f at points of the mesh: [n]."""
        if not len(self.ends):
            return np.ones(len(points))
        lengths = np.linalg.norm(self.ends[:, 1] - self.ends[:, 0], axis=1) * sqrt(lam)
        counts = np.ceil(lengths * SAMPLES).astype(int) + 1
        share = np.concatenate([np.linspace(0, 1, count) for count in counts])[:, None]
        edge = np.repeat(np.arange(len(counts)), counts)
        along = self.ends[edge, 0] * (1 - share) + self.ends[edge, 1] * share
        away, nearest = cKDTree(along).query(points)
        place, height, _ = self.dips[edge[nearest]].T
        off = np.minimum(np.abs(away * sqrt(lam) - place), 5)  # f is 1 at a much smaller distance
        return np.asarray(np.minimum(1, height * np.exp(off**2)))


def sharp_edges(triangles: Array) -> Edges:
    """Edges that two triangles [t, 3, 3] share at a sharp bend; corners are the same if nine digits agree."""
    same = np.round(triangles.reshape(-1, 3) / np.ptp(triangles.reshape(-1, 3)), 9)
    corner = np.unique(same, axis=0, return_inverse=True)[1].reshape(-1, 3)
    turns = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]  # both ends of an edge, and the opposite corner
    names = np.concatenate([np.sort(corner[:, turn[:2]], axis=1) for turn in turns])
    sides = np.concatenate([triangles[:, turn] for turn in turns])
    order = np.lexsort(names.T)
    names, sides = names[order], sides[order]
    pairs = np.flatnonzero(np.all(names[1:] == names[:-1], axis=1))
    one, two = _inward(sides[pairs]), _inward(sides[pairs + 1])
    bend = np.arccos(np.clip(-np.sum(one * two, axis=1), -1, 1))
    sharp = bend > SHARP
    steps = np.minimum(np.ceil(bend[sharp] / pi * BENDS), BENDS - 1)
    dips = [(d.place, d.height, d.loss) for d in (dip(step / BENDS * pi) for step in steps)]
    return Edges(sides[pairs][sharp, :2], np.array(dips).reshape(-1, 3))


def _inward(sides: Array) -> Array:
    """Unit vectors [e, 3] perpendicular to edges, the first two of [e, 3, 3], towards the third corner."""
    start, end, opposite = np.moveaxis(sides, 1, 0)
    along = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
    to = opposite - start
    square = to - np.sum(to * along, axis=1, keepdims=True) * along
    return np.asarray(square / np.linalg.norm(square, axis=1, keepdims=True))


def log_peak(cloud: Cloud, area: float, edges: Edges, lam: float, tolerance: float) -> float:
    """ln c in nats; `cloud` is a quadrature of the mesh for λ."""
    alpha = area * lam / pi * edges.factor(cloud.points, lam)
    return log(clouds.proved_peak(cloud, alpha, lam, tolerance))


def refined(mass: Array, variances: Array, rate_bits: float, lam: float) -> tuple[float, float]:
    """A point above R(D), a distortion and a rate in bits, from a coarser test channel of that rate.

    The remainder of x, given y, is sent like a normal law of its covariance (eigenvalues [m, k] for each of
    y's places, of masses [m]), with a distortion of 1/(2λ) in a component, or its variance if that is less.
    """
    noise = 0.5 / lam
    gained = np.log2(np.maximum(variances / noise, 1)).sum(axis=1) / 2
    left = np.minimum(variances, noise).sum(axis=1)
    return float(mass @ left), rate_bits + float(mass @ gained)
