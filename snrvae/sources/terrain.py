"""The land around Jacksboro, Tennessee: the sample elevation model that Matplotlib ships, as a surface in R³.

Its grid is of arc seconds; here east, north and up are in metres.
"""

from math import cos, radians
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import npz
from snrvae.sources.reading import Mesh

EXAGGERATION = 5  # of heights: they span 840 m, over a ground of 30 km by 32 km
STEP = 4  # every fourth grid point is kept: 17,000 triangles
DEGREE = 111_200  # metres of latitude


def surface() -> Mesh:
    """The surface; its origin is in the south-west, at sea level."""
    from matplotlib.cbook import get_sample_data  # noqa: PLC0415 - other sources start without Matplotlib

    model = npz.from_bytes(Path(get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)).read_bytes())
    heights = model["elevation"][::-STEP, ::STEP].astype(np.float64)  # [north, east]
    north = STEP * DEGREE * float(model["dy"])
    east = STEP * DEGREE * float(model["dx"]) * cos(radians(float(model["ymin"])))
    rows, columns = np.indices(heights.shape)
    grid = np.stack([east * columns, north * rows, EXAGGERATION * heights], -1)
    return Mesh(_triangles(grid))


def _triangles(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two triangles [t, 3, 3] for each square of a grid [rows, columns, 3]."""
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    halves = [np.stack([a, b, c], 2), np.stack([a, c, d], 2)]  # [rows, columns, 3, 3] each
    return np.concatenate([half.reshape(-1, 3, 3) for half in halves])
