"""Measures of codecs on held-out points, in NumPy: each takes arrays and returns numbers."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from snrvae.limit import gaussian
from snrvae.measurement.records import Estimate
from snrvae.settings.grid import Cell
from snrvae.sources.source import Source

Array = NDArray[np.floating]

SPACING = 8  # of a normal sample of 12,000 the KL comes out 0.003 bit too high; larger spacings lose tails
SMALLEST = 1e-6  # latents are of the order of 1: values below this count as ties


def estimate(values: Array) -> Estimate:
    """Mean of independent values [n] with its standard error."""
    values = np.asarray(values, np.float64)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def squared_error(points: Array, reconstructed: Array) -> NDArray[np.float64]:
    """Mean over coordinates of (x - x̂)², per point [n]; its mean is the mse of torch.nn.MSELoss."""
    difference = points.astype(np.float64) - reconstructed
    return (difference**2).mean(axis=-1)


def linear_mse(cell: Cell, source: Source, conditional: bool) -> float:
    """MSE of the best linear codec of a source: the SNR channel between two linear maps.

    A conditional codec has maps for each label. Without noise (PCA), only components not sent are lost.
    """
    variances, shares = moments(source, conditional)
    snr = np.inf if cell.snr is None else cell.snr
    return gaussian.linear_distortion(variances, cell.latent_dim, snr, shares) / source.coordinates


def moments(source: Source, conditional: bool) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Variances [k] of the source; if `conditional`, [l, k] within each label, and the labels' shares [l]."""
    if not conditional:
        return np.array(source.variances), None
    return source.left_open, np.array(source.domain.shares) if source.domain.shares else None


def entropy_nats(values: Array) -> float:
    """Differential entropy of a sample [n] by its 8-spacings (Vasicek, JRSS B 1976).

    Bias-corrected: for uniform values E ln(m-spacing) = ψ(m) - ψ(n + 1). A spacing is never taken as
    less than float32 can resolve there, so ties (a dead latent, say) give a finite, very low entropy.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    gaps = ordered[SPACING:] - ordered[:-SPACING]
    resolution = np.spacing(np.maximum(np.abs(ordered[SPACING:]), SMALLEST).astype(np.float32))
    return float(np.log(np.maximum(gaps, resolution)).mean() - digamma(SPACING) + digamma(len(ordered) + 1))


def normal_kl_bits(values: Array) -> float:
    """KL of the law behind a sample [n] from N(0, 1), in bits: -h(q) + ½ ln 2π + ½ E z²."""
    second_moment = float(np.mean(np.asarray(values, np.float64) ** 2))
    nats = -entropy_nats(values) + (np.log(2 * np.pi) + second_moment) / 2
    return float(nats / np.log(2))


def latent_kl_bits(latents: Array) -> float:
    """Mean over latent dimensions of normal_kl_bits, for latents [n, d]."""
    return float(np.mean([normal_kl_bits(column) for column in latents.T]))


def latent_shape_kl_bits(latents: Array) -> float:
    """latent_kl_bits after standardising each dimension: it measures shape alone, not scale."""
    latents = np.asarray(latents, np.float64)
    spread = np.maximum(latents.std(axis=0), np.finfo(np.float32).tiny)
    return latent_kl_bits((latents - latents.mean(axis=0)) / spread)


def face_error(points: Array, source: Source) -> float | None:
    """Largest relative error of the labels' shares of points [n, k], each of which has its nearest label."""
    if not source.domain.labelled:
        return None
    num_classes = len(source.labels)
    shares = np.array(source.domain.shares or [1 / num_classes] * num_classes)
    found = np.bincount(source.nearest(points), minlength=num_classes) / len(points)
    return float(np.abs(found / shares - 1).max())
