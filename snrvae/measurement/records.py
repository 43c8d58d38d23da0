"""What is measured of a cell: named records of plain numbers and arrays, free of torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snrvae.settings.grid import Cell
from snrvae.sources.source import Points


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error."""

    value: float
    stderr: float


@dataclass(frozen=True)
class CodecMetrics:
    """A cell on held-out points; its latents z [n, d] and reconstructions [n, 3] of the test points.

    noise_share  σ²·s / P [n, d]: how the noise is spread over points and dimensions (learned noise only)
    """

    cell: Cell
    validation_mse: float
    mse: Estimate
    linear_mse: float
    kl_bits: Estimate | None
    latent_kl_bits: float
    latent_shape_kl_bits: float
    latents: Points
    reconstructed: Points
    noise_share: Points | None


@dataclass(frozen=True)
class ConditionalGeneration:
    """Points that a conditional cell generated for a face each, against the faces.

    share        of the points, to which no face is nearer than the one asked for
    ratio        generation_ratio of a face's points, mean over the faces
    worst_ratio  the largest of them
    face         which face [n] was asked for of one draw's points
    """

    distance: float
    share: float
    ratio: Estimate
    worst_ratio: float
    face: NDArray[np.uint8]


@dataclass(frozen=True)
class Generation:
    """What a cell decodes from z ~ N(0, I), against the source's exact law; one draw's points [n, 3].

    p_value      of the hypothesis that those are independent points of the source
    conditional  for faces drawn at random; None unless the cell is conditional

    None: distances of a source that lives everywhere, and the error of shares of one without faces.
    """

    surface_distance: float | None
    surface_p95: float | None
    face_error: float | None
    ratio: Estimate
    p_value: float
    coverage: float
    points: Points
    conditional: ConditionalGeneration | None = None


@dataclass(frozen=True)
class Limit:
    """A cell against Shannon's limit: what its channel can carry, what passes, what that would allow.

    capacity_bits     (d/2)·log2(1 + s); None where noise is learned, which escapes it
    information_bits  I(x; z) from below and above; `saturated` where the sample cannot carry the rate
    gaussian_information_bits  Σ_j ½ log2(1 + P_j/σ²); None where noise is learned
    shannon_mse       the least mse of any code at the capacity (learned noise: at the cell's own E KL)
    gap_db            10·log10(mse / shannon_mse), with the standard error of the mse carried over
    """

    capacity_bits: float | None
    information_bits: Estimate
    information_upper_bits: Estimate
    information_saturated: bool
    gaussian_information_bits: float | None
    shannon_mse: float
    gap_db: Estimate
