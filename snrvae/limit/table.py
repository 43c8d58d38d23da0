"""A table of R(D) for a law that is not built in."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, log2

from snrvae.limit.rate_distortion import Bound
from snrvae.limit.shannon import RateDistortionTable, certified, lower_bits, rounded


def limit_table(bounds: list[Bound], method: list[str], certainty: list[str]) -> RateDistortionTable:
    """The table of bounds by ascending slope, rounded outwards."""
    slope, intercept, distortion, upper = rounded(bounds)
    lower = lower_bits(slope, intercept, distortion)
    table = certified(slope, intercept, distortion, lower, upper, tuple(method))
    return replace(table, certainty=tuple(certainty))


def octaves(first: float, last: float, per_octave: int) -> list[float]:
    """Ascending slopes from `first` to the first slope not below `last`."""
    count = max(0, ceil(per_octave * log2(last / first)))
    return [float(f"{first * 2 ** (i / per_octave):.5g}") for i in range(count + 1)]
