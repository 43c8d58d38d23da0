"""R(D) of a law that is known by points of it alone, drawn independently.

F(λ, p) = min over q of −E_p[ln E_q exp(−λ|x−y|²)] is the intercept of the line of slope −λ that touches the
R(D) of p, in nats. It is concave in p. Three numbers for a slope:

plug-in   F of the points themselves, from below by its certificate (rate_distortion). In expectation it is at
          most F of the law (Jensen).
99 %      F′, the same with Z + exp(−M) in place of Z, is at most F. Another value of one point moves it by at
          most M′/n, M′ = M + ln(1 + exp(−M)). So, with all lines at once (McDiarmid, and a union bound),
          F(law) ≥ F′(points) − M′·√(ln(lines/δ)/2n).
above     a test channel fitted to half of the points, measured on the others, and the other way round: in
          expectation a point above the R(D) of the law. If it is far above the plug-in, n points cannot carry
          the rate.

The lines are fixed in advance: slopes of a lattice that knows nothing of the points, each with a few M.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from math import exp, floor, log, log1p, log2, sqrt

import numpy as np
from numpy.typing import NDArray

from snrvae.limit import clouds
from snrvae.limit.clouds import Cloud
from snrvae.limit.quadrature import Array
from snrvae.limit.rate_distortion import Bound, Tangents
from snrvae.limit.table import CONFIDENT, ESTIMATE, LimitTable, limit_table

RISK = 0.01  # δ: of any of the lines being above the law's
PER_OCTAVE = 3  # slopes 2^(i/3), whatever the points are
OCTAVES = 100  # from 2^−50 to 2^50 bits per unit of squared error
CEILINGS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)  # M, in nats
LINES = OCTAVES * PER_OCTAVE * len(CEILINGS)

TOLERANCE = 0.0095  # of max G, in nats: 0.0137 bit
SATURATED = 0.1  # bits between plug-in and above, as for I(x; z)
LEAST_POINTS = 4
FLAT = 1e-20  # a variance that is no more than rounding beside the largest


@dataclass(frozen=True)
class PointsTable(LimitTable):
    """R(D) of the law behind points; `intercept` is the plug-in's and rate_upper_bits a held-out estimate."""

    confident_intercept: Array  # of the 99 % line, in bits
    saturated: NDArray[np.bool_]

    @property
    def confident_tangents(self) -> Tangents:
        """Lines that are below R(D) of the law, all of them, with 99 %; an estimate if max G is searched."""
        return Tangents(self.slope, self.confident_intercept)


def whole(points: Array) -> Array:
    """Points [n, k] in as few coordinates as hold them, relative to their mean.

    Raises ValueError if they are no sample, too few, or all the same.
    """
    x = np.asarray(points, np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(f"a sample is an array of finite points [n, k], not of shape {x.shape}")
    if len(x) < LEAST_POINTS:
        raise ValueError(f"a limit needs at least {LEAST_POINTS} points, not {len(x)}")
    x = x - x.mean(axis=0)
    variances, axes = np.linalg.eigh(x.T @ x / len(x))
    if not variances[-1] > 0 or np.ptp(x, axis=0).max() == 0:
        raise ValueError("all points are the same: nothing has to be sent")
    return x @ axes[:, variances > FLAT * variances[-1]][:, ::-1]


def confident(cloud: Cloud, n: int, z: Array, highest: float) -> float:
    """The intercept of the 99 % line in nats, from n points, z = 1/α at each of the cloud's, and max G.

    With z′ = z + exp(−M), E[exp(−λ|x−y|²)/z′] is at most max z/z′ times max G.
    """
    best = -np.inf
    for ceiling in CEILINGS:
        floor_ = exp(-ceiling)
        raised = z + floor_
        load = highest * np.max(z / raised) + floor_ * float(cloud.weights @ (1 / raised))
        plug_in = -float(cloud.weights @ np.log(raised)) - log(load)
        range_ = ceiling + log1p(floor_)
        best = max(best, plug_in - range_ * sqrt(log(LINES / RISK) / (2 * n)))
    return best


@dataclass(frozen=True)
class Sample:
    """Points as laws: all of them, and their two halves."""

    count: int  # of points, like ones too
    all: Cloud
    halves: tuple[Cloud, Cloud]

    def at(self, slope: float) -> tuple[Bound, float]:
        """The plug-in with the point above, and the intercept of the 99 % line in bits."""
        lam = slope * log(2)
        q = clouds.fitted(self.all, lam, TOLERANCE / 4)
        alpha = clouds.certificate(self.all, q, lam, TOLERANCE)
        highest = clouds.peak(self.all, q, alpha, lam, TOLERANCE)
        nats = float(self.all.weights @ np.log(alpha)) - log(highest)
        above, distortion = self.held_out(lam)
        bound = Bound(slope, nats / log(2), distortion, (above - lam * distortion) / log(2))
        return bound, confident(self.all, self.count, 1 / alpha, highest) / log(2)

    def held_out(self, lam: float) -> tuple[float, float]:
        """−E[ln Z] in nats, and D, of a test channel fitted to a half, on the other: both ways' mean."""
        one, two = self.halves
        ways = [
            clouds.channel(b, clouds.fitted(a, lam, TOLERANCE / 4), lam) for a, b in ((one, two), (two, one))
        ]
        nats, distortion = np.mean(ways, axis=0)
        return float(nats), float(distortion)


def halved(x: Array, rng: np.random.Generator) -> Sample:
    """Points [n, k] with their halves, drawn by `rng`."""
    order = rng.permutation(len(x))
    return Sample(len(x), unique(x), (unique(x[order[::2]]), unique(x[order[1::2]])))


def table(points: Array, rng: np.random.Generator, threads: int = 2) -> PointsTable:
    """R(D) of the law that points [n, k] were drawn from, up to the rates that they carry.

    `rng` halves them for what is held out. Raises ValueError as `whole` does.
    """
    x = whole(points)
    sample = halved(x, rng)
    slopes = _slopes(float(x[:, 0].var()))
    found: list[tuple[Bound, float]] = []
    with ThreadPoolExecutor(threads) as pool:
        while not found or any(_excess(bound) <= SATURATED for bound, _ in found[-PER_OCTAVE:]):
            found += pool.map(sample.at, islice(slopes, PER_OCTAVE))
    bounds, sure = zip(*found, strict=True)
    certainty = CONFIDENT if x.shape[1] <= clouds.CERTIFIED_DIMENSION else ESTIMATE
    lines = limit_table(list(bounds), ["plug-in"] * len(bounds), [certainty] * len(bounds))
    saturated = np.array([_excess(bound) > SATURATED for bound in bounds])
    return PointsTable(**vars(lines), confident_intercept=np.array(sure), saturated=saturated)


def _excess(bound: Bound) -> float:
    """By how much the point above is above the line, in bits."""
    return bound.rate_upper_bits + bound.slope * bound.distortion - bound.intercept


def _slopes(variance: float) -> Iterator[float]:
    """The lattice's slopes from below where a normal law of that variance needs bits."""
    for step in count(floor(PER_OCTAVE * log2(0.25 / (variance * log(2))))):
        yield 2 ** (step / PER_OCTAVE)


def unique(points: Array) -> Cloud:
    """Each point once, with the share of all that are like it."""
    distinct, counts = np.unique(points, axis=0, return_counts=True)
    return Cloud(distinct, counts / len(points))
