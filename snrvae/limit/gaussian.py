"""References from covariances alone: R(D) of a normal law, and the best linear code of single points.

Both are functions of eigenvalues, the variances of uncorrelated components [k]. D = E|x − x̂|². If both
encoder and decoder know a label, variances are [l, k], of the points with each label, and D, rate and power
are means over labels, weighted by their shares [l]; without shares, labels are equally frequent.
"""

from __future__ import annotations

from math import log2

import numpy as np

from snrvae.limit.quadrature import Array


def _checked(variances: Array, shares: Array | None) -> tuple[Array, Array]:
    """Variances [l, k], each label's in descending order, and shares. Raises ValueError for others."""
    values = -np.sort(-np.atleast_2d(np.asarray(variances, np.float64)))
    if values.ndim != 2 or not values.size or not np.all(np.isfinite(values) & (values >= 0)):
        raise ValueError("variances are finite and ≥ 0")
    equal = np.full(len(values), 1 / len(values))
    return values, equal if shares is None else np.asarray(shares, np.float64)


def _in_order(values: Array, shares: Array) -> tuple[Array, Array]:
    """Variances above 0 of all labels in descending order, and the share of each."""
    weights = np.broadcast_to(shares[:, None], values.shape)[values > 0]
    values = values[values > 0]
    order = np.argsort(-values, kind="stable")
    return values[order], weights[order]


def rate_bits(variances: Array, distortion: float, shares: Array | None = None) -> float:
    """R(D) of a normal law, by reverse water-filling: D = Σ min(θ, λᵢ), R = Σ ½ log2(λᵢ/θ)₊.

    Cover & Thomas, Elements of Information Theory, theorem 10.3.3. No law with these variances has a
    larger R(D).
    """
    if not distortion > 0:
        raise ValueError(f"a distortion is > 0, not {distortion}")
    value, weight = _in_order(*_checked(variances, shares))
    for m in range(len(value), 0, -1):  # number of components that get bits
        water = (distortion - weight[m:] @ value[m:]) / weight[:m].sum()
        if 0 < water <= value[m - 1]:
            return float(weight[:m] @ np.log2(value[:m] / water) / 2)
    return 0.0


def distortion(variances: Array, rate: float, shares: Array | None = None) -> float:
    """D(R) of a normal law, the inverse of rate_bits, at a rate in bits."""
    if not rate >= 0:
        raise ValueError(f"a rate is ≥ 0 bits, not {rate}")
    value, weight = _in_order(*_checked(variances, shares))
    for m in range(len(value), 0, -1):
        log_water = (weight[:m] @ np.log2(value[:m]) - 2 * rate) / weight[:m].sum()
        if log_water <= log2(value[m - 1]):
            return float(weight[:m].sum() * 2**log_water + weight[m:] @ value[m:])
    return float(weight @ value)


def linear_distortion(variances: Array, uses: int, snr: float, shares: Array | None = None) -> float:
    """D of the best linear code of single points, over `uses` of a channel of a given SNR, a ratio.

    Component i, one of the m ≤ min(uses, k) largest, is sent with qᵢ times the noise power, Σ qᵢ = uses·snr:
    D = Σ λᵢ/(1 + qᵢ) + the variance that is not sent, least at 1 + qᵢ = max(1, √(λᵢ/ν)). One component may
    have several uses, or a part of one: only its power matters. If the SNR is infinite, only components that
    are not sent are lost.
    """
    if uses < 1 or not snr >= 0:
        raise ValueError(f"need uses ≥ 1 and snr ≥ 0, not {uses} and {snr}")
    values, share = _checked(variances, shares)
    left = float(share @ values[:, uses:].sum(axis=1))
    value, weight = _in_order(values[:, :uses], share)
    for m in range(len(value), 0, -1):
        root = weight[:m] @ np.sqrt(value[:m]) / (uses * snr + weight[:m].sum())  # √ν, if m are sent
        if root <= np.sqrt(value[m - 1]):
            return float(root * (weight[:m] @ np.sqrt(value[:m])) + weight[m:] @ value[m:]) + left
    return left
