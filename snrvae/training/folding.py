"""The folded start of three latents: a closed surface, flattened and folded twice, like a napkin.

Unfolded, a surface leaves most of the space of three latents empty, and training does not change that. If the
surface is flattened into two layers and folded into eight, without a cut, a larger copy of it fits at the
same power, and the same noise is smaller compared with it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from snrvae.settings.grid import Cell
from snrvae.sources.domain import Domain, Points

Floats = NDArray[np.float32]

LAYER = np.float32(0.06)  # half of the distance between layers, for a disc of radius 1
RIM = np.float32(0.15)  # width of the disc's edge, within which the two layers come together
MEAN = np.array([[0.25], [0.07], [0]], np.float32)  # of the folded disc
SPREAD = np.float32(0.235)  # its root mean square around that mean, per coordinate
APART = 4  # least distance between layers, in standard deviations of the noise


def folds(source: Domain, cell: Cell) -> bool:
    """Whether a cell has three latents for a closed surface, and too little noise to mix the layers."""
    if cell.latent_dim != 3 or cell.snr is None:
        return False
    return source.closed and 2 * float(LAYER / SPREAD) >= APART / math.sqrt(cell.snr)


def folded(points: Points, source: Domain) -> Floats:
    """Latents [3, n] for points [n, 3] of a closed surface: their mean is about 0, their mean square 1."""
    first, second, height = _disc(points - np.array(source.mean, np.float32))
    first, height = _fold(first, height, 2 * LAYER)
    second, height = _fold(second, height, 4 * LAYER)
    return (np.stack([first, second, height]) - MEAN) / SPREAD


def _disc(x: Floats) -> tuple[Floats, Floats, Floats]:
    """Both halves of a surface around 0 as two layers of a disc: two coordinates and the height [n].

    Equal solid angles become equal areas of the disc (Lambert's azimuthal projection).
    """
    x = x.T / np.linalg.norm(x, axis=1)
    radius = np.sqrt(1 - np.abs(x[2]))
    first, second = x[:2] * (radius / np.maximum(np.hypot(x[0], x[1]), np.float32(1e-30)))
    return first, second, np.sign(x[2]) * LAYER * np.minimum((1 - radius) / RIM, 1)


def _fold(along: Floats, height: Floats, bend: np.float32) -> tuple[Floats, Floats]:
    """A sheet along a line and `height` above it, folded at 0 around a half circle of radius `bend`."""
    angle = np.clip(along / bend, -np.pi / 2, np.pi / 2)
    radius = bend + height
    return np.abs(along) - np.abs(angle) * bend - radius * np.cos(angle), radius * np.sin(angle)
