"""Shannon's limit: the capacity of the SNR channel, and the least distortion that it allows.

x → encoder → μ → channel(SNR) → z → decoder → x̂:  D = E|x − x̂|² ≥ D(R), R = I(x; z) ≤ C.

Rates are in bits, D is the squared error of a point (three times the mean squared error of its
coordinates), slopes are bits per unit of D. Every slope of the table certifies a line below R(D). Some
sources have R(D) in closed form (sources). For the others, lines up to some slope come from a search over
the law of y (rate_distortion), and lines above it from bounds that hold at any rate: for faces, edges and
corners (cube_edges), and for a square (segments). If encoder and decoder know the face, D(R) is that of a
square, and R = I(x; z | face).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from math import e, floor, log, log1p, log2, pi, sqrt

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from snrvae.limit import cube_edges, segments
from snrvae.limit.quadrature import Array, cube_surface, node_count
from snrvae.limit.rate_distortion import Bound, Tangents, blahut_arimoto
from snrvae.settings import tables
from snrvae.sources import cube, square
from snrvae.sources.source import Source

PER_BIT = 1e6  # steps of rate in the table, per bit
CERTIFIED, CONFIDENT, ESTIMATE = ORDER = ("certified", "99 %", "estimate")


@dataclass(frozen=True)
class RateDistortion:
    """How to bound R(D) of a source: by a search, and in closed form at high rate or at any rate.

    spacing       slopes per octave up to a slope, from `first` on: between two tangents R(D) is up to
                  (0.3/per octave)² bits above both, more where D falls fast with the slope (near rate 0)
    last_searched the largest slope of a search, whose time grows with the slope

    Slopes in bits per unit of squared error.
    """

    source: Source
    zero_rate: Bound  # y is the mean alone: a line that is exact in floating point
    first: float
    spacing: tuple[tuple[float, int], ...]
    last_searched: float
    searched: Callable[[Iterable[float]], Iterator[Bound]]
    closed: Callable[[float], Bound]
    closed_intercept: Callable[[float], float]
    smallest_closed: float
    method: str = "edge"  # name of the closed form in the table

    @property
    def slopes(self) -> list[float]:
        """The slopes of the table, except for the first row's."""
        slopes = [self.first]
        for last, per_octave in self.spacing:
            while slopes[-1] < last:
                slopes.append(float(f"{slopes[-1] * 2 ** (1 / per_octave):.5g}"))
        return slopes

    @property
    def dims(self) -> tuple[int, ...]:
        """Latent dimensions for which the best codes for one point at a time are known at a high SNR."""
        surface, in_space = self.source.dimension == 2, self.source.components == 3
        return ((1, 2) if surface else ()) + ((3,) if in_space else ())


def _steep_slope(source: Source, rate_bits: ArrayLike) -> Array:
    """The slope m/(2D ln 2) of R(D) at high rates."""
    rate = np.minimum(rate_bits, 500.0 * source.dimension)  # at higher rates, floats overflow
    return np.asarray(pi * e * (2.0**rate / source.volume) ** (2 / source.dimension) / log(2))


CUBE_SURFACE = RateDistortion(
    cube.SOURCE,
    Bound(5.184, 2.16, 5 / 12, 0.0),  # up to λ = 18/5 the mean alone is optimal
    5.25,
    ((9.0, 32), (500.0, 8), (1e7, 16)),
    500.0,  # R ≈ 7.8 bits
    lambda slopes: blahut_arimoto(lambda slope: cube_surface(node_count(slope)), slopes),
    cube_edges.edge_bound,
    cube_edges.edge_intercept,
    cube_edges.SMALLEST_SLOPE,
)
UNIT_SQUARE = RateDistortion(
    square.SOURCE,
    Bound(8.4, 1.4, 1 / 6, 0.0),  # up to λ = 6
    9.0,
    ((16.0, 32), (2e4, 8), (6e7, 16)),
    2e4,  # R ≈ 10.7 bits
    segments.searched,
    segments.bound,
    segments.intercept,
    segments.SMALLEST_SLOPE,
)


LAWS = {law.source.domain.name: law for law in (CUBE_SURFACE, UNIT_SQUARE)}
BITS_PER_DIMENSION = 11  # highest rate of a table of tangents


@cache
def law(source: Source) -> RateDistortion:
    """R(D) of a source. Raises ValueError if it is neither given in closed form nor known here."""
    if source.domain.name in LAWS:
        return LAWS[source.domain.name]
    if source.tangent is None:
        raise ValueError(
            f"no R(D) is known of {source.title}; give its Source a tangent, or shannon.LAWS a bracket"
        )
    tangent, variance = source.tangent, source.components * source.variance
    flat = floor(1e4 / (2 * source.variance * log(2))) / 1e4  # up to here the mean alone is optimal

    def bound(slope: float) -> Bound:
        distortion, nats = tangent(slope * log(2))
        return Bound(slope, nats / log(2) + slope * distortion, distortion, nats / log(2))

    steepest = float(_steep_slope(source, BITS_PER_DIMENSION * source.dimension))
    return RateDistortion(
        source,
        Bound(flat, floor(flat * variance * PER_BIT) / PER_BIT, variance, 0.0),
        float(f"{flat * 1.01:.5g}"),
        ((flat * 2, 32), (steepest, 16)),
        0.0,  # nothing to search
        lambda _: iter(()),
        bound,
        lambda slope: bound(slope).intercept,
        flat,
        "exact",
    )


def capacity_bits(latent_dim: int, snr: float) -> float:
    """C = (d/2)·log2(1 + s): bits that d uses of the SNR channel carry, s a linear power ratio."""
    if latent_dim < 1 or not snr >= 0:
        raise ValueError(f"need latent_dim ≥ 1 and snr ≥ 0, not {latent_dim} and {snr}")
    return latent_dim / 2 * log1p(snr) / log(2)


# --- the table -------------------------------------------------------------------------------


@dataclass(frozen=True)
class RateDistortionTable:
    """R(D) of a source, by ascending slope: the columns of reports/rate_distortion.csv.

    Each row has a line below R(D), intercept − slope·D for every D, and how sure it is: "certified"; "99 %",
    all lines together, with confident_intercept in place of intercept (points.py); or "estimate". At the
    row's own distortion R lies between rate_lower_bits, the best of all rows' lines with `intercept` there,
    and rate_upper_bits. `saturated` marks rates for which the points are too few.
    """

    slope: Array  # bits per unit of squared error
    intercept: Array  # bits
    distortion: Array
    rate_lower_bits: Array
    rate_upper_bits: Array
    method: tuple[str, ...]  # "mean", "blahut-arimoto", "edge", "exact" or "plug-in"
    certainty: tuple[str, ...]
    confident_intercept: Array  # NaN unless 99 %
    saturated: NDArray[np.bool_]

    @property
    def tangents(self) -> Tangents:
        """The lines with the certainty that each row has."""
        sure = np.array([certainty == CONFIDENT for certainty in self.certainty])
        return Tangents(self.slope, np.where(sure, self.confident_intercept, self.intercept))

    def certainty_at(self, rate_bits: float) -> str:
        """How sure the lines are up to a rate."""
        passed = self.rate_lower_bits <= rate_bits
        return max(itertools.compress(self.certainty, passed), key=ORDER.index, default=self.certainty[0])

    def saturated_at(self, rate_bits: float) -> bool:
        """Whether the points are too few for a rate."""
        return bool(self.saturated.any() and rate_bits > self.rate_upper_bits[~self.saturated].max(initial=0))

    def upper_bits(self, distortion: ArrayLike) -> Array:
        """Upper bound on R(D), elementwise, within the table, by time sharing between two rows' codes."""
        d = np.asarray(distortion, dtype=np.float64)
        if np.any(d < self.distortion[-1]):
            raise ValueError(f"the table's upper bound ends at D = {self.distortion[-1]:g}")
        return np.interp(d, self.distortion[::-1], self.rate_upper_bits[::-1])


def _round_up(value: float, digits: int) -> float:
    """Up to a number of significant digits."""
    rounded = float(f"{value:.{digits}g}")
    unit = 10.0 ** (floor(np.log10(value)) - digits + 1)
    return rounded if rounded >= value else float(f"{value + unit / 2:.{digits}g}")


def rounded(bounds: list[Bound]) -> tuple[Array, Array, Array, Array]:
    """Slopes, intercepts, distortions and upper rates of bounds, rounded outwards."""
    slope = np.array([b.slope for b in bounds])
    intercept = np.floor(np.array([b.intercept for b in bounds]) * PER_BIT) / PER_BIT
    distortion = np.array([_round_up(b.distortion, 8) for b in bounds])
    upper = np.maximum(0, np.ceil(np.array([b.rate_upper_bits for b in bounds]) * PER_BIT)) / PER_BIT
    return slope, intercept, distortion, upper


def lower_bits(slope: Array, intercept: Array, distortion: Array) -> Array:
    """The best of all lines at each distortion, rounded down."""
    return np.floor(Tangents(slope, intercept).rate_bits(distortion) * PER_BIT) / PER_BIT


def rate_distortion_table(law: RateDistortion = CUBE_SURFACE) -> RateDistortionTable:
    """The table from 0 to 11 bits per dimension of the source. Nothing in it is random.

    Rates are rounded outwards at 10⁻⁶ bit, distortions upwards at 8 digits, so that the
    numbers in a CSV are certified too.
    """
    slopes, zero = law.slopes, law.zero_rate
    searched = [s for s in slopes if s <= law.last_searched]
    bounds = [zero, *law.searched(searched), *(law.closed(s) for s in slopes[len(searched) :])]
    method = ["mean", *["blahut-arimoto"] * len(searched)]
    method += [law.method] * (len(bounds) - len(method))

    slope, intercept, distortion, upper = rounded(bounds)
    intercept[0], distortion[0], upper[0] = zero.intercept, zero.distortion, 0.0
    lower = lower_bits(slope, intercept, distortion)
    return certified(slope, intercept, distortion, lower, upper, tuple(method))


def certified(
    slope: Array, intercept: Array, distortion: Array, lower: Array, upper: Array, method: tuple[str, ...]
) -> RateDistortionTable:
    """A table of certified lines."""
    none, all_held = np.full(len(slope), np.nan), np.zeros(len(slope), bool)
    sure = (CERTIFIED,) * len(slope)
    return RateDistortionTable(slope, intercept, distortion, lower, upper, method, sure, none, all_held)


def to_csv(table: RateDistortionTable, factor: float = 1.0) -> str:
    """The table as CSV, in a unit of which `factor` make the table's; ten digits hold each value exactly."""
    columns = pd.DataFrame(asdict(table))
    columns["slope"] /= factor**2
    columns["distortion"] *= factor**2
    columns["saturated"] = columns["saturated"].astype(int)
    return columns.to_csv(index=False, float_format="%.10g", lineterminator="\n")


NUMBERS = ["slope", "intercept", "distortion", "rate_lower_bits", "rate_upper_bits"]


def table_from_csv(
    data: bytes, law: RateDistortion | None = CUBE_SURFACE, factor: float = 1.0
) -> RateDistortionTable:
    """Inverse of to_csv, for a table of `law` if there is one. Raises ValueError if it is another table."""
    table = tables.from_csv(data)
    tables.numbers(table, [*NUMBERS, "confident_intercept", "saturated"])
    slopes = [] if law is None else [law.zero_rate.slope, *law.slopes]
    whole = {"method", "certainty"} <= {*table} and len(table) > 1
    if whole:
        whole = not table[[*NUMBERS, "method", "certainty", "saturated"]].isna().to_numpy().any()
    if not whole or (slopes and table.slope.tolist() != slopes):
        count = f"{len(slopes)} " if slopes else ""
        raise ValueError(f"expected {count}whole rows: the table is cut short, or another's")
    slope, intercept, distortion, lower, upper = (table[name].to_numpy(np.float64) for name in NUMBERS)
    if distortion.min() <= 0 or not _ordered(table, strictly=law is not None):
        raise ValueError("its slopes, intercepts and rates do not ascend, or its distortions do not descend")
    certainty, sure = tuple(map(str, table["certainty"])), table["confident_intercept"].to_numpy(np.float64)
    lacks = any(np.isnan(line) for name, line in zip(certainty, sure, strict=True) if name == CONFIDENT)
    if lacks or not {*certainty} <= {*ORDER}:
        raise ValueError(f"certainty: expected {', '.join(ORDER)}; with 99 % a confident_intercept")
    method, saturated = tuple(map(str, table["method"])), table["saturated"].to_numpy() == 1
    scaled = slope * factor**2, intercept, distortion / factor**2, lower, upper
    return RateDistortionTable(*scaled, method, certainty, sure, saturated)


def _ordered(table: pd.DataFrame, strictly: bool) -> bool:
    """Whether slopes ascend and, if `strictly`, other columns are ordered; from points they are estimates."""
    steps = {name: np.diff(table[name]) for name in NUMBERS}
    if not strictly:
        return bool(steps["slope"].min() > 0)
    rises = min(steps[name].min() for name in NUMBERS if name != "distortion")
    return bool(
        rises > 0 > steps["distortion"].max() and (table.rate_lower_bits <= table.rate_upper_bits).all()
    )


def tangents_from_csv(data: bytes, law: RateDistortion = CUBE_SURFACE) -> Tangents:
    """The certified lines of a table's CSV. Raises ValueError if `data` is another table."""
    return table_from_csv(data, law).tangents


# --- D(R) ------------------------------------------------------------------------------------


def distortion_at_rate(
    lines: Tangents, rate_bits: ArrayLike, law: RateDistortion | None = CUBE_SURFACE
) -> Array:
    """Certified lower bound on D(R) of a law, elementwise, at any rate in bits.

    Above the rate at which the steepest line touches R(D), the closed form adds another line
    at each rate: nothing is extrapolated. Without a law (None), only the given lines are used.
    """
    rate = np.asarray(rate_bits, dtype=np.float64)
    if not np.all((rate >= 0) & np.isfinite(rate)):
        raise ValueError("rates are finite and ≥ 0 bits")
    least = np.array(lines.distortion(rate))
    if law is None:
        return least
    # A line touches an R(D) of slope −m/(2D ln 2) at λD = m/2, m/2·log2(e) bits below its intercept.
    beyond = rate > np.max(lines.intercept) - law.source.dimension / 2 * log2(e)
    slope = _steep_slope(law.source, rate)
    usable = beyond & (slope >= law.smallest_closed)
    for i in np.ndindex(rate.shape):
        if usable[i]:
            own = (law.closed_intercept(float(slope[i])) - rate[i]) / slope[i]
            least[i] = max(least[i], own)
    return least


# --- point by point --------------------------------------------------------------------------

ASYMPTOTE_BELOW = 0.048  # of the distortion at rate 0; above, asymptotes mean little


def point_by_point_distortion(latent_dim: int, snr: float, law: RateDistortion = CUBE_SURFACE) -> float:
    """High-SNR asymptote of the best codes for one point at a time.

    For a surface of the area A:
    d = 1: a curve in strands Δ apart, D = Δ²/12 + 3A²/(4π²sΔ²), least at Δ⁴ = 9A²/(π²s).
    d = 2: a flat map with the density of latents ∝ 6P − |z|², D = 2Aσ²∫q² (no flat map can have
           it everywhere, so real codes stay a little above).
    For a set of m dimensions in space:
    d = 3: points are sent as they are, D = m·σ² at P = E|x − E x|²/3; a folded surface can be better.
    """
    if latent_dim not in law.dims or not snr > 0:
        dims = ", ".join(map(str, law.dims))
        raise ValueError(f"need a latent_dim of {dims} and snr > 0, not {latent_dim} and {snr}")
    if latent_dim == 3:
        return law.source.dimension * law.zero_rate.distortion / (3 * snr)
    share = law.source.volume / 6
    return 3 * share / (pi * sqrt(snr)) if latent_dim == 1 else 8 * share / (3 * pi * snr)


def point_by_point_curve(
    latent_dim: int, most_bits: float, law: RateDistortion = CUBE_SURFACE
) -> tuple[Array, Array]:
    """The asymptote at low distortions, where it is meaningful: (capacity in bits, distortion)."""
    snrs = 10 ** np.linspace(-1, 2 * most_bits / latent_dim * np.log10(2), 200)
    bits = np.array([capacity_bits(latent_dim, float(snr)) for snr in snrs])
    distortion = np.array([point_by_point_distortion(latent_dim, float(snr), law) for snr in snrs])
    holds = distortion < ASYMPTOTE_BELOW * law.zero_rate.distortion
    return bits[holds], distortion[holds]
