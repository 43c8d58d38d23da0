"""R(D) of a law from points that were drawn from it independently.

F(λ, p) = min over q of −E_p[ln E_q exp(−λ|x−y|²)] is the intercept of the line of slope −λ that touches the
R(D) of p, in nats. It is concave in p. For each slope there are three numbers:

plug-in   F of the points themselves, bounded from below by its certificate (rate_distortion). In
          expectation it is at most F of the law (Jensen).
99 %      F′, the same with Z + exp(−M) in place of Z, is at most F. A change of one point moves it by at
          most M′/n, M′ = M + ln(1 + exp(−M)). So, with all lines at once (McDiarmid, and a union bound),
          F(law) ≥ F′(points) − M′·√(ln(lines/δ)/2n).
above     a test channel fitted to half of the points and measured on the others, and the other way round: in
          expectation a point above the R(D) of the law. If it is far above the plug-in, n points are too few
          for the rate.

The lines are fixed in advance: slopes of a lattice that does not depend on the points, each with a few M.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice
from math import exp, floor, log, log1p, log2, sqrt

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from snrvae.limit import clouds
from snrvae.limit.clouds import Cloud
from snrvae.limit.quadrature import Array
from snrvae.limit.rate_distortion import Bound
from snrvae.limit.shannon import CONFIDENT, ESTIMATE, RateDistortionTable
from snrvae.limit.table import limit_table

RISK = 0.01  # δ: probability that any of the lines is above R(D) of the law
PER_OCTAVE = 3  # slopes 2^(i/3), whatever the points are
OCTAVES = 100  # from 2^−50 to 2^50 bits per unit of squared error
CEILINGS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)  # M, in nats
LINES = OCTAVES * PER_OCTAVE * len(CEILINGS)

TOLERANCE = 0.0095  # of max G, in nats: 0.0137 bit
SATURATED = 0.1  # bits between the plug-in and the point above, as for I(x; z)
LEAST_POINTS = 4
FLAT = 1e-20  # a variance that is only rounding, relative to the largest


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


def confident(cloud: Cloud, z: Array, highest: float) -> Array:
    """F′ of points in nats, for each of the ceilings M, from z = 1/α at each point of the cloud, and max G.

    With z′ = z + exp(−M), E[exp(−λ|x−y|²)/z′] is at most max z/z′ times max G.
    """
    found = []
    for ceiling in CEILINGS:
        floor_ = exp(-ceiling)
        raised = z + floor_
        load = highest * np.max(z / raised) + floor_ * float(cloud.weights @ (1 / raised))
        found.append(-float(cloud.weights @ np.log(raised)) - log(load))
    return np.array(found)


def risk(n: int) -> Array:
    """By how much F′ of n points may be above F of their law, for each of the ceilings."""
    return np.array([(m + log1p(exp(-m))) * sqrt(log(LINES / RISK) / (2 * n)) for m in CEILINGS])


@dataclass(frozen=True)
class Sample:
    """Points as laws: all of them, and their two halves."""

    count: int  # of points, with duplicates
    all: Cloud
    halves: tuple[Cloud, Cloud]

    def at(self, slope: float) -> tuple[Bound, Array]:
        """The plug-in with the point above, and F′ in nats."""
        lam = slope * log(2)
        q = clouds.fitted(self.all, lam, TOLERANCE / 4)
        alpha = clouds.certificate(self.all, q, lam, TOLERANCE)
        highest = clouds.peak(self.all, q, alpha, lam, TOLERANCE)
        nats = float(self.all.weights @ np.log(alpha)) - log(highest)
        above, distortion = self.held_out(lam)
        bound = Bound(slope, nats / log(2), distortion, (above - lam * distortion) / log(2))
        return bound, confident(self.all, 1 / alpha, highest)

    def held_out(self, lam: float) -> tuple[float, float]:
        """−E[ln Z] in nats, and D, of a test channel fitted to a half, on the other; mean of both ways."""
        one, two = self.halves
        ways = [
            clouds.channel(b, clouds.fitted(a, lam, TOLERANCE / 4), lam) for a, b in ((one, two), (two, one))
        ]
        nats, distortion = np.mean(ways, axis=0)
        return float(nats), float(distortion)


def halved(x: Array) -> Sample:
    """Points [n, k], in random order, with their halves."""
    return Sample(len(x), unique(x), (unique(x[::2]), unique(x[1::2])))


def table(points: Array, label: NDArray[np.integer] | None = None, threads: int = 2) -> RateDistortionTable:
    """R(D) of the law that points [n, k], in random order, were drawn from, up to the rates that they allow.

    With labels [n], which encoder and decoder know, it is R(D) given the label: the mean over labels,
    weighted by their shares. Raises ValueError as `whole` does.
    """
    groups = [points] if label is None else [points[label == number] for number in np.unique(label)]
    wholes = [whole(group) for group in groups]
    samples = [halved(x) for x in wholes]
    slopes = _slopes(max(float(x[:, 0].var()) for x in wholes))
    found: list[tuple[Bound, float]] = []
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        while not found or any(_excess(bound) <= SATURATED for bound, _ in found[-PER_OCTAVE:]):
            found += pool.map(lambda slope: _mean(samples, slope), islice(slopes, PER_OCTAVE))
    bounds, sure = zip(*found, strict=True)
    certainty = CONFIDENT if points.shape[1] <= clouds.CERTIFIED_DIMENSION else ESTIMATE
    lines = limit_table(list(bounds), ["plug-in"] * len(bounds), [certainty] * len(bounds))
    saturated = np.array([_excess(bound) > SATURATED for bound in bounds])
    known = np.array(sure) if certainty == CONFIDENT else lines.confident_intercept
    return replace(lines, confident_intercept=known, saturated=saturated)


def _mean(samples: Sequence[Sample], slope: float) -> tuple[Bound, float]:
    """The mean over one sample per label, by their shares: bound, and intercept of the 99 % line in bits."""
    count = sum(sample.count for sample in samples)
    share = np.array([sample.count for sample in samples]) / count
    bounds, sure = zip(*(sample.at(slope) for sample in samples), strict=True)
    of_each = np.array([[b.intercept, b.distortion, b.rate_upper_bits] for b in bounds])
    intercept, distortion, rate = share @ of_each
    line = float(np.max(share @ np.array(sure) - risk(count))) / log(2)
    return Bound(slope, float(intercept), float(distortion), float(rate)), line


def _excess(bound: Bound) -> float:
    """By how much the point above is above the line, in bits."""
    return bound.rate_upper_bits + bound.slope * bound.distortion - bound.intercept


def _slopes(variance: float) -> Iterator[float]:
    """The lattice's slopes, from just below the slope at which a normal law of this variance needs bits."""
    for step in count(floor(PER_OCTAVE * log2(0.25 / (variance * log(2))))):
        yield 2 ** (step / PER_OCTAVE)


def unique(points: Array) -> Cloud:
    """Each distinct point once, with its share of all points."""
    distinct, counts = np.unique(points, axis=0, return_counts=True)
    return Cloud(distinct, counts / len(points))
