"""The measurements of a cell: named records of plain numbers and arrays, without torch.

METRICS in metrics.py defines each number.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snrvae.settings.grid import Cell

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error."""

    value: float
    stderr: float


@dataclass(frozen=True)
class HeldOut:
    """A cell's mse on validation points, by which repeats are chosen, and on test points."""

    cell: Cell
    validation_mse: float
    mse: Estimate


@dataclass(frozen=True)
class CodecMetrics(HeldOut):
    """A cell on held-out points, with latents z [n, d] and reconstructions [n, k] of the first test points.

    noise_share  σ²·s / P [n, d]: how the noise is spread over points and dimensions (learned noise only)
    """

    linear_mse: float
    kl_bits: Estimate | None
    latent_kl_bits: float
    latent_shape_kl_bits: float
    latents: Array
    reconstructed: Array
    noise_share: Array | None


@dataclass(frozen=True)
class ConditionalGeneration:
    """Points that a conditional cell generated for a requested label each; `label` [n] for the first draw.

    distance    mean distance from the requested face; None if labels are not faces
    real_share  share of real points that are classified as their own label; None if labels are faces
    """

    distance: float | None
    share: float
    real_share: float | None
    ratio: Estimate
    worst_ratio: float
    label: NDArray[np.uint8]


@dataclass(frozen=True)
class Generation:
    """Points that a cell decodes from random latents, against the source, and the first `points` [n, k].

    A field is None if it does not apply: distances from a surface without a surface, nearest_distance without
    a finite set, face_error without labels, p_value if the law is not known exactly, and `conditional` if
    the cell is not conditional.
    """

    surface_distance: float | None
    surface_p95: float | None
    nearest_distance: float | None
    face_error: float | None
    ratio: Estimate
    p_value: float | None
    coverage: float
    points: Array
    conditional: ConditionalGeneration | None = None


@dataclass(frozen=True)
class Limit:
    """A cell with noise against Shannon's limit: capacity, information, and the least mse that they allow.

    Capacity, to which learned noise is not bound, and Gaussian information are None if noise is learned.

    certainty  how sure the limit is
    saturated  whether there are too few points for the rate; then there is no least mse and no gap
               (limit/shannon.py)
    gaussian_mse  least mse at this rate for a normal distribution of the same covariance
    one_point_db, network_db  the gap in two parts (prices.py); None if no table has the cell
    """

    capacity_bits: float | None
    information_bits: Estimate
    information_upper_bits: Estimate
    information_saturated: bool
    gaussian_information_bits: float | None
    shannon_mse: float | None
    certainty: str
    saturated: bool
    gaussian_mse: float
    gap_db: Estimate | None
    one_point_db: float | None = None
    network_db: float | None = None


@dataclass(frozen=True)
class Measured:
    """All measurements of one repeat of a cell.

    codec      None if it diverged
    generated  from z ~ N(0, I), if it is selected
    fitted     from a density fitted to its latents, if it is selected and its noise is not learned
    limit      if it is selected and has noise
    """

    codec: CodecMetrics | None
    generated: Generation | None
    fitted: Generation | None
    limit: Limit | None
