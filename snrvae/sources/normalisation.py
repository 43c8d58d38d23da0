"""Normalisation: codecs are trained on x' = (x - centre)/factor, whatever the file's unit and position.

The same shape in another unit or position gives the same bytes, as nearly as float64 allows. Statistics are
computed on differences from one of the points, so that a position far from 0 costs no digits. And x' is
rounded to multiples of one number: float64's errors change the result more rarely than they would with
float32's fine steps near 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

VARIANCE = 5 / 36  # mean over the coordinates of x', as for the cube
GRID = 2.0**-22  # step of x': exact in float32 below 4, which is ten standard deviations


@dataclass(frozen=True)
class Frame:
    """Where x' = 0 lies, [k], and the length of x' = 1, both in the file's unit."""

    centre: Array
    factor: float

    def normalise(self, points: Array) -> NDArray[np.float32]:
        """Points [n, k] as x', rounded once."""
        return rounded((points - self.centre) / self.factor)

    def restore(self, points: NDArray[np.floating]) -> Array:
        """Points x' [n, k] in the file's unit."""
        return self.centre + self.factor * points.astype(np.float64)


def rounded(points: Array) -> NDArray[np.float32]:
    """Points x' rounded to multiples of GRID or, beyond 4, to the coarser steps of float32."""
    step = np.maximum(GRID, np.spacing(np.abs(points).astype(np.float32)))
    return (np.rint(points / step) * step).astype(np.float32)


def of_moments(mean: Array, covariance: Array) -> Frame:
    """The frame of a distribution with this mean [k] and covariance [k, k]."""
    return Frame(mean, float(np.sqrt(np.trace(covariance) / len(mean) / VARIANCE)))


def of_points(points: Array) -> Frame:
    """The frame of points [n, k]. Raises ValueError if all are the same."""
    columns = np.ascontiguousarray((points - points[0]).T)  # [k, n]: sums along rows keep more digits
    mean = columns.mean(1)
    mean += (columns - mean[:, None]).mean(1)
    variance = np.square(columns - mean[:, None]).mean()
    if not variance > 0:
        raise ValueError("every training point is the same; at least two different ones are needed")
    return Frame(points[0] + mean, float(np.sqrt(variance / VARIANCE)))
