"""The lines of the rate–distortion plane, bits against mse: Shannon's limit, and codes of other kinds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snrvae.limit import gaussian, of_source, shannon
from snrvae.limit.shannon import RateDistortionTable
from snrvae.measurement import measures
from snrvae.sources.source import Source

Array = NDArray[np.float64]
Line = tuple[Array, Array]  # bits, mse

STEPS = 500  # of a line
FAR = 25  # bits up to which the asymptote of codes for one point at a time is drawn
LIMITS = {  # names in the legend, by certainty
    "certified": "Shannon's limit",
    "99 %": "Shannon's limit, 99 % sure",
    "estimate": "Shannon's limit, an estimate",
}
SURE = ("certified", "99 %")  # below such a limit no code can be


@dataclass(frozen=True)
class Lines:
    """limit     Shannon's limit by its certainty, up to rates for which the points suffice
    normal    the limit for a normal distribution of the same covariance
    by_point  by latent_dim, the asymptote of codes for one point at a time at a high SNR, if it is known
    one_point  by latent_dim, the best known codes for one point at a time, at the cells' SNRs
    """

    limit: Mapping[str, Line]
    normal: Line
    by_point: Mapping[int, Line]
    one_point: Mapping[int, Line]


def bits(cells: pd.DataFrame) -> "pd.Series[float]":
    """The cells' places on the axis of bits: their capacity, or E KL if the SNR sets no capacity."""
    return cells.capacity_bits.fillna(cells.kl_bits)


def most_bits(cells: pd.DataFrame) -> float:
    """The end of the axis of bits; 2 if there are no cells, since their maximum is NaN."""
    noisy = cells[(cells.selected == 1) & (cells.diverged == 0) & (cells.noise != "none")]
    return float(max(2.0, bits(noisy).max() * 1.06))


def of(
    cells: pd.DataFrame, table: RateDistortionTable, source: Source, conditional: bool, dims: Iterable[int]
) -> Lines:
    """The lines of a run, from its table of R(D) in the source's own unit."""
    k, law = source.coordinates, of_source.law(source, conditional)
    rate = np.linspace(0, most_bits(cells) + 1, STEPS)
    distortion = shannon.distortion_at_rate(table.tangents, rate, law)
    carried = np.array([not table.saturated_at(one) for one in rate])
    if law is None:
        carried &= distortion >= table.distortion[-1]  # beyond the last line nothing is known
    sure = np.array([table.certainty_at(one) for one in rate])
    limit = {}
    for certainty in LIMITS:
        part = carried & (sure == certainty)
        if part.sum() > STEPS // 100:  # long enough to be seen
            part[1:] |= carried[1:] & part[:-1] & (sure[1:] != certainty)  # up to the next
            limit[certainty] = rate[part], distortion[part] / k
    variances, shares = measures.moments(source, conditional)
    scale = source.domain.factor**2 / k
    normal = np.array([gaussian.distortion(variances, one, shares) for one in rate]) * scale
    curves = {d: shannon.point_by_point_curve(d, FAR, law) for d in dims if law is not None and d in law.dims}
    by_point = {d: (there, loss / k) for d, (there, loss) in curves.items()}
    return Lines(limit, (rate, normal), by_point, _one_point(cells))


def _one_point(cells: pd.DataFrame) -> dict[int, Line]:
    """Bits and mse of the best known codes for one point at a time, by latent_dim."""
    known = cells[cells.one_point_db.notna()]
    mse = known.shannon_mse * 10 ** (known.one_point_db / 10)
    own = {int(d): known.latent_dim == d for d in known.latent_dim.unique()}
    return {d: (known.capacity_bits[rows].to_numpy(), mse[rows].to_numpy()) for d, rows in own.items()}
