"""R(D) of a point that is uniform on the surface of a mesh, from its triangles [t, 3, 3].

Up to about 10 bits, R(D) comes from a search over the law of y (clouds), on a quadrature that resolves
exp(−λ|x−y|²); above, it comes from bounds for faces, bent edges and corners (mesh_edges). If a scan's
triangles are far finer than this resolution, nodes are merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import e, log, pi, sqrt

import numpy as np
from threadpoolctl import threadpool_limits

from snrvae.limit import clouds, mesh_edges
from snrvae.limit.clouds import Cloud
from snrvae.limit.quadrature import Array
from snrvae.limit.rate_distortion import Bound, Reproduction
from snrvae.limit.shannon import CERTIFIED, ESTIMATE, RateDistortionTable
from snrvae.limit.table import limit_table, octaves

# Lengths in units of 1/√λ
LARGEST = 1.25  # longest edge of a triangle that is not divided
TETRAHEDRON = np.array([[1, 1, 1], [-1, -1, 1], [1, -1, -1], [-1, 1, -1]])
MERGED = 0.5  # side of the cells within which nodes of smaller triangles are merged

FINE_BITS, SEARCHED_BITS, MOST_BITS = 8.2, 10.0, 22.0  # highest: fine search, coarse search, table
TOLERANCE = 0.006  # of max G, in nats, up to 6 bits
RESOLVED = 8.0  # least height of triangles whose corners do not interact


# --- quadrature ----------------------------------------------------------------------------------


def checked(triangles: Array) -> Array:
    """The triangles that have an area. Raises ValueError if there are none."""
    corners = np.asarray(triangles, np.float64)
    if corners.ndim != 3 or corners.shape[1:] != (3, 3) or not np.isfinite(corners).all():
        raise ValueError(f"a mesh is an array of finite triangles [t, 3, 3], not of shape {corners.shape}")
    kept = corners[areas(corners) > 0]
    if not len(kept):
        raise ValueError("the mesh has no triangle with an area: there is no surface to draw points from")
    return kept


def areas(triangles: Array) -> Array:
    """Area of each triangle: [t]."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def edge_lengths(triangles: Array) -> Array:
    """Lengths of the three edges of each triangle: [t, 3]."""
    return np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2)


def _rule() -> tuple[Array, Array]:
    """Six nodes of a triangle in barycentric coordinates, and weights: exact to degree 4.

    Dunavant, Int. J. Numer. Methods Eng. 21, 1985.
    """
    nodes, weights = [], []
    for a, weight in ((0.445948490915965, 0.223381589678011), (0.091576213509771, 0.109951743655322)):
        nodes += [np.roll([1 - 2 * a, a, a], turn) for turn in range(3)]
        weights += [weight] * 3
    return np.array(nodes), np.array(weights) / sum(weights)


def _parts(count: int) -> Array:
    """The count² equal parts of a triangle, their corners in barycentric coordinates: [count², 3, 3]."""
    up = [[(i, j), (i + 1, j), (i, j + 1)] for i in range(count) for j in range(count - i)]
    down = [[(i + 1, j), (i + 1, j + 1), (i, j + 1)] for i in range(count) for j in range(count - i - 1)]
    two = np.array(up + down) / count
    return np.concatenate([1 - two.sum(axis=2, keepdims=True), two], axis=2)


def quadrature(triangles: Array, lam: float) -> Cloud:
    """Nodes for kernels of width 1/√λ (λ in nats per unit of squared error)."""
    nodes, weights = _rule()
    longest = edge_lengths(triangles).max(axis=1)
    counts = np.maximum(1, np.ceil(longest * sqrt(lam) / LARGEST)).astype(int)
    area, points, shares = areas(triangles), [], []
    for count in np.unique(counts):
        inside = np.einsum("nc,pcd->pnd", nodes, _parts(count)).reshape(-1, 3)
        points.append(np.einsum("nc,tcd->tnd", inside, triangles[counts == count]).reshape(-1, 3))
        of_each = np.tile(weights, count**2) / count**2
        shares.append(np.outer(area[counts == count], of_each).ravel())
    share = np.concatenate(shares)
    cloud = Cloud(np.concatenate(points), share / share.sum())
    fewer = merged(cloud, MERGED / sqrt(lam))
    return fewer if len(fewer.points) < len(cloud.points) / 2 else cloud


def merged(cloud: Cloud, side: float) -> Cloud:
    """Four nodes for all in a cell of a grid, with the same mean and covariance; in a plane if they were."""
    cell = clouds.cells(cloud.points, side)
    centre = clouds.means(cloud, cell)
    off = cloud.points - centre.points[cell]
    covariance = np.empty((len(centre.weights), 3, 3))
    for i in range(3):
        for j in range(3):
            covariance[:, i, j] = np.bincount(cell, cloud.weights * off[:, i] * off[:, j]) / centre.weights
    variances, axes = np.linalg.eigh(covariance)
    spread = axes * np.sqrt(np.maximum(variances, 0))[:, None]
    four = centre.points[:, None] + np.einsum("nj,cij->cni", TETRAHEDRON, spread)
    return Cloud(four.reshape(-1, 3), np.repeat(centre.weights / 4, 4))


# --- the table -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mesh:
    """A point uniform on the surface of triangles [t, 3, 3] that have an area."""

    triangles: Array

    @cached_property
    def area(self) -> float:
        """The area of the surface."""
        return float(areas(self.triangles).sum())

    def steep(self, bits: float) -> float:
        """The slope, in bits, of R(D) of a plane of the same area at a rate."""
        return pi * e * 2**bits / self.area / log(2)

    def tolerance(self, slope: float) -> float:
        """The tolerance of max G, in nats; it grows, more slowly than the number of places to try."""
        return TOLERANCE * max(1.0, slope / self.steep(6)) ** 0.75

    def searched(self, slope: float) -> tuple[Bound, Reproduction]:
        """Both bounds at a slope, and the law of y behind them."""
        lam, tolerance = slope * log(2), self.tolerance(slope)
        cloud = quadrature(self.triangles, lam)
        q = clouds.fitted(cloud, lam, tolerance / 4)
        return clouds.bound(cloud, slope, q, tolerance), q

    def asymptotes(self, last: Bound, q: Reproduction) -> Iterator[Bound]:
        """Both bounds at slopes above the last searched; the lower is proved if corners are resolved."""
        lam = last.slope * log(2)
        cloud, edges = quadrature(self.triangles, lam), mesh_edges.sharp_edges(self.triangles)
        proved, peak = self.resolved(last.slope), 0.0
        if proved:
            peak = mesh_edges.log_peak(cloud, self.area, edges, lam, self.tolerance(last.slope) / 2)
        mass, covariance = clouds.conditional_covariance(cloud, q, lam)
        variances = np.maximum(np.linalg.eigvalsh(covariance), 0)
        for slope in octaves(last.slope, self.steep(MOST_BITS), 2)[1:]:
            lam = slope * log(2)
            plane = log(self.area * lam / pi)
            nats = plane - edges.loss(self.area, lam) - peak
            if not proved:  # the last line continues like R(D) of a plane, below the whole area's
                nats = min(plane, last.intercept * log(2) + log(slope / last.slope))
            yield Bound(slope, nats / log(2), *mesh_edges.refined(mass, variances, last.rate_upper_bits, lam))

    def resolved(self, slope: float) -> bool:
        """Whether from this slope on every y sees one corner at most, so that G keeps its maximum."""
        heights = 2 * areas(self.triangles) / edge_lengths(self.triangles).max(axis=1)
        return bool(heights.min() * sqrt(slope * log(2)) >= RESOLVED)


def table(triangles: Array, threads: int = 2) -> RateDistortionTable:
    """The table of R(D) from 0 to 22 bits for triangles [t, 3, 3]. Raises ValueError if they are no mesh."""
    mesh = Mesh(checked(triangles))
    rough = quadrature(mesh.triangles, 1 / mesh.area)
    first = 0.25 / (
        np.linalg.eigvalsh(clouds.covariance(rough)).max() * log(2)
    )  # R rises by twice that slope
    fine = octaves(first, mesh.steep(FINE_BITS), 5)
    slopes = fine + octaves(fine[-1], mesh.steep(SEARCHED_BITS), 2)[1:]
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        bounds, laws = zip(*pool.map(mesh.searched, slopes), strict=True)
    beyond = list(mesh.asymptotes(bounds[-1], laws[-1]))
    method = ["blahut-arimoto"] * len(bounds) + ["edge"] * len(beyond)
    certainty = [CERTIFIED] * len(bounds)
    certainty += [CERTIFIED if mesh.resolved(slopes[-1]) else ESTIMATE] * len(beyond)
    return limit_table([*bounds, *beyond], method, certainty)
