"""Faces of any number of corners, as mesh files have them, split into triangles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import mesh

TRIANGLES = 2**22  # at most: 300 MB


@dataclass(frozen=True)
class Polygons:
    """The faces that a file describes, not checked: corners are indices of vertices, from 0.

    vertices  [n, 3]
    sizes     [m] corners of each face
    corners   of the first face, then of the second, and so on
    """

    vertices: NDArray[np.float64]
    sizes: NDArray[np.int64]
    corners: NDArray[np.int64]

    def triangles(self, largest: float) -> NDArray[np.float64]:
        """Triangles [t, 3, 3], without those that have no area.

        A face is split as a fan from its first corner: exactly, if it is flat and convex. Raises ValueError
        if nothing is left, if a corner is no vertex, or if it lies farther out than `largest`.
        """
        self._check_faces()
        fans = self.sizes - 2
        face = np.repeat(np.arange(len(fans)), fans)
        start = np.repeat(np.cumsum(self.sizes) - self.sizes, fans)
        turn = np.arange(len(face)) - np.repeat(np.cumsum(fans) - fans, fans)
        places = np.stack([start, start + turn + 1, start + turn + 2], 1)  # [t, 3]
        triangles = self.vertices[self.corners[places]]
        far = ~(np.abs(triangles) <= largest).all((1, 2))  # NaN is
        if far.any():
            raise ValueError(
                f"face {face[far.argmax()] + 1}: a corner is at no number, or at one beyond {largest:g}"
            )
        triangles = triangles[mesh.areas(triangles) > 0]
        if not len(triangles):
            raise ValueError("no face has an area; a surface needs three corners that are not in a line")
        return triangles

    def _check_faces(self) -> None:
        if not len(self.sizes):
            raise ValueError("no face; a surface needs at least one")
        if self.sizes.min() < 3:
            face = int(self.sizes.argmin())
            raise ValueError(f"face {face + 1}: {self.sizes[face]} corners; a face has three or more")
        if (self.sizes - 2).sum() > TRIANGLES:
            raise ValueError(f"{(self.sizes - 2).sum()} triangles; at most {TRIANGLES} are possible")
        wrong = (self.corners < 0) | (self.corners >= len(self.vertices))
        if wrong.any():
            face = int(np.searchsorted(np.cumsum(self.sizes), wrong.argmax(), side="right"))
            raise ValueError(
                f"face {face + 1}: a corner is none of the {len(self.vertices)} vertices of the file"
            )
