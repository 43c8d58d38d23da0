"""Exact distances from a surface of triangles [t, 3, 3], by a tree of boxes.

A complete binary tree: node i has the children 2i and 2i + 1, and its box contains theirs. A search goes to
the nearer child first and leaves out every box that is farther than the nearest triangle so far.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from snrvae.settings.machine_code import kept

Array = NDArray[np.float64]

LEAF = 4  # pieces in a leaf
LONG = 2  # a triangle is cut if longer than so many sides of a square of the mean area


class Surface:
    """Triangles [t, 3, 3] in a tree."""

    def __init__(self, triangles: Array) -> None:
        """Build the tree; long triangles enter its boxes in pieces."""
        pieces, whole = _pieces(triangles)
        order = _sorted(pieces.mean(1))  # [leaves, LEAF]
        self.triangles = triangles[whole[order]]  # [leaves, LEAF, 3, 3]
        self.low, self.high = _boxes(pieces[order])

    def distance(self, points: NDArray[np.floating]) -> Array:
        """Euclidean distance [n] of points [n, 3] to the surface."""
        found: Array = _search(np.asarray(points, np.float64), self.low, self.high, self.triangles)
        return found


def _pieces(triangles: Array) -> tuple[Array, NDArray[np.intp]]:
    """Pieces [m, 3, 3] after cutting long triangles at their longest side; and each one's triangle [m]."""
    pieces, whole = triangles, np.arange(len(triangles))
    a, b, c = np.moveaxis(triangles, 1, 0)
    most = LONG * np.sqrt(np.linalg.norm(np.cross(b - a, c - a), axis=1).mean() / 2)
    while len(pieces) < 4 * len(triangles):
        sides = np.linalg.norm(pieces - np.roll(pieces, -1, 1), axis=2)  # [m, 3]
        long = sides.max(1) > most
        if not long.any():
            break
        turn = (sides[long].argmax(1)[:, None] + np.arange(3)) % 3
        a, b, c = np.moveaxis(np.take_along_axis(pieces[long], turn[:, :, None], 1), 1, 0)
        middle = (a + b) / 2
        halves = [np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)]
        pieces = np.concatenate([pieces[~long], *halves])
        whole = np.concatenate([whole[~long], whole[long], whole[long]])
    return pieces, whole


def _sorted(centres: Array) -> NDArray[np.intp]:
    """Indices [leaves, LEAF] of centres [m, 3], halved along the longest side down to leaves."""
    depth = max(0, int(np.ceil(np.log2(len(centres) / LEAF))))
    order = np.resize(np.arange(len(centres)), (1, LEAF << depth))  # the first again, to fill the tree
    for _ in range(depth):
        part = centres[order]  # [nodes, size, 3]
        axis = np.ptp(part, axis=1).argmax(1)
        along = np.take_along_axis(part, axis[:, None, None], 2)[:, :, 0]
        order = np.take_along_axis(order, along.argsort(1), 1).reshape(2 * len(order), -1)
    return order


def _boxes(pieces: Array) -> tuple[Array, Array]:
    """Lowest and highest corner [nodes, 3] of each box above pieces [leaves, LEAF, 3, 3]; 0 is unused."""
    leaves = len(pieces)
    low, high = np.empty((2 * leaves, 3)), np.empty((2 * leaves, 3))
    low[leaves:], high[leaves:] = pieces.min((1, 2)), pieces.max((1, 2))
    while leaves > 1:
        leaves //= 2
        here, below = slice(leaves, 2 * leaves), slice(2 * leaves, 4 * leaves)
        low[here] = low[below].reshape(leaves, 2, 3).min(1)
        high[here] = high[below].reshape(leaves, 2, 3).max(1)
    return low, high


@kept
@njit(nogil=True)
def _search(points: Array, low: Array, high: Array, triangles: Array) -> Array:
    leaves = len(triangles)
    found = np.empty(len(points))
    waiting = np.empty(64, np.int64)  # nodes, the next one last; no tree is so deep
    bounds = np.empty(64)
    for i in range(len(points)):
        point, best, count = points[i], np.inf, 1
        waiting[0], bounds[0] = 1, 0.0
        while count:
            count -= 1
            node = waiting[count]
            if bounds[count] >= best:
                continue
            if node >= leaves:
                for triangle in triangles[node - leaves]:
                    best = min(best, _triangle(point, triangle))
                continue
            near, far = 2 * node, 2 * node + 1
            near_bound, far_bound = _box(point, low[near], high[near]), _box(point, low[far], high[far])
            if far_bound < near_bound:
                near, far, near_bound, far_bound = far, near, far_bound, near_bound
            waiting[count], bounds[count] = far, far_bound
            waiting[count + 1], bounds[count + 1] = near, near_bound
            count += 2
        found[i] = np.sqrt(best)
    return found


@kept
@njit(nogil=True)
def _box(point: Array, low: Array, high: Array) -> float:
    """Squared distance to a box."""
    squared = 0.0
    for axis in range(3):
        beyond = max(low[axis] - point[axis], point[axis] - high[axis], 0.0)
        squared += beyond * beyond
    return squared


@kept
@njit(nogil=True)
def _triangle(point: Array, triangle: Array) -> float:
    """Squared distance to a triangle: to its plane if the foot point is inside, or else to a side."""
    a, b, c = triangle
    normal = _cross(_minus(b, a), _minus(c, a))
    squared, inside = np.inf, True
    for start, end in ((a, b), (b, c), (c, a)):
        side, way = _minus(end, start), _minus(point, start)
        length = _dot(side, side)
        along = min(max(_dot(way, side) / length, 0.0), 1.0) if length > 0 else 0.0
        short = (way[0] - along * side[0], way[1] - along * side[1], way[2] - along * side[2])
        squared = min(squared, _dot(short, short))
        inside = inside and _dot(_cross(side, way), normal) >= 0
    area = _dot(normal, normal)
    if inside and area > 0:
        return _dot(_minus(point, a), normal) ** 2 / area
    return squared


@kept
@njit(nogil=True)
def _minus(a, b):  # type: ignore[no-untyped-def]
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@kept
@njit(nogil=True)
def _cross(a, b):  # type: ignore[no-untyped-def]
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@kept
@njit(nogil=True)
def _dot(a, b):  # type: ignore[no-untyped-def]
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
