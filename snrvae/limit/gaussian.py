"""References from a covariance alone: the normal law's R(D), and the best linear code of single points.

Both are functions of its eigenvalues, the variances of uncorrelated components [k]. D = E|x − x̂|².
"""

from __future__ import annotations

from math import log2

import numpy as np

from snrvae.limit.quadrature import Array


def _checked(variances: Array) -> Array:
    """In descending order. Raises ValueError if they are no variances."""
    values = np.sort(np.asarray(variances, np.float64))[::-1]
    if values.ndim != 1 or not len(values) or not np.all(np.isfinite(values) & (values >= 0)):
        raise ValueError("variances are finite and ≥ 0")
    return values


def rate_bits(variances: Array, distortion: float) -> float:
    """R(D) of a normal law, by reverse water-filling: D = Σ min(θ, λᵢ), R = Σ ½ log2(λᵢ/θ)₊.

    Cover & Thomas, Elements of Information Theory, theorem 10.3.3. Every law of these variances has an R(D)
    that is at most this.
    """
    values = _checked(variances)
    if not distortion > 0:
        raise ValueError(f"a distortion is > 0, not {distortion}")
    for m in range(len(values), 0, -1):  # components that get bits
        water = (distortion - values[m:].sum()) / m
        if water <= values[m - 1] and water > 0:
            return float(np.log2(values[:m] / water).sum() / 2)
    return 0.0


def distortion(variances: Array, rate: float) -> float:
    """D(R) of a normal law, its inverse, at a rate in bits."""
    values = _checked(variances)
    if not rate >= 0:
        raise ValueError(f"a rate is ≥ 0 bits, not {rate}")
    values = values[values > 0]
    for m in range(len(values), 0, -1):
        log_water = np.log2(values[:m]).mean() - 2 * rate / m
        if log_water <= log2(values[m - 1]):
            return float(m * 2**log_water + values[m:].sum())
    return float(values.sum())


def linear_distortion(variances: Array, uses: int, snr: float) -> float:
    """D of the best linear code of single points, over `uses` of a channel of a given SNR, a ratio.

    Component i, one of the m ≤ min(uses, k) largest, is sent with qᵢ of the noise's power, Σ qᵢ = uses·snr:
    D = Σ λᵢ/(1 + qᵢ) + what is not sent. Least at 1 + qᵢ = max(1, √(λᵢ/ν)). One component may have several
    uses, or a part of one: what counts is its power.
    """
    values = _checked(variances)
    if uses < 1 or not snr >= 0:
        raise ValueError(f"need uses ≥ 1 and snr ≥ 0, not {uses} and {snr}")
    sent = values[: min(uses, len(values))]
    sent = sent[sent > 0]
    for m in range(len(sent), 0, -1):
        root = np.sqrt(sent[:m]).sum() / (uses * snr + m)  # √ν, if m components are sent
        if root <= np.sqrt(sent[m - 1]):
            return float(root * np.sqrt(sent[:m]).sum() + values[m:].sum())
    return float(values.sum())
