"""Points uniform on the surface of the unit cube, labelled by face: six unit squares."""

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import domain, square
from snrvae.sources.domain import Array, Split
from snrvae.sources.source import Faces, Source

FACES = 6
VARIANCE = 5 / 36  # of a coordinate
FACE_NAMES = ("x = 0", "x = 1", "y = 0", "y = 1", "z = 0", "z = 1")  # face f: axis f // 2 fixed at f % 2


def stratified(count: int, rng: np.random.Generator) -> Split:
    """`count` points, a sixth of them on each face, shuffled once.

    On each face one coordinate is 0 or 1, and the other two are uniform on [0, 1].
    """
    if count % FACES:
        raise ValueError(f"{count} points do not divide among {FACES} faces")
    points = rng.random((FACES, count // FACES, 3), dtype=np.float32)
    for face in range(FACES):
        points[face, :, face // 2] = face % 2
    order = rng.permutation(count)
    face_of = np.repeat(np.arange(FACES, dtype=np.uint8), count // FACES)
    return Split(points.reshape(count, 3)[order], face_of[order])


def sample(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`count` independent points [n, 3] of the surface; their faces are drawn independently too."""
    points, face = rng.random((count, 3)), rng.integers(FACES, size=count)
    points[np.arange(count), face // 2] = face % 2
    return points


def surface_distance(points: Array) -> NDArray[np.float64]:
    """Euclidean distance [n] of points [n, 3] to the cube's surface, from inside or outside."""
    beyond = np.abs(points.astype(np.float64) - 0.5) - 0.5  # [n, 3], negative inside
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    inside = np.maximum(-beyond.max(axis=1), 0)
    return outside + inside


def to_square(points: Array, face: int) -> NDArray[np.float64]:
    """Points [n, 3] after the motion that moves a face to the square of the module `square`."""
    points, axis = np.asarray(points, np.float64), face // 2
    u, v = (points[:, other] for other in range(3) if other != axis)
    return np.stack([u, v, points[:, axis] - face % 2], 1)


def mean_distance(points: Array) -> NDArray[np.float64]:
    """E|p - X| [n] over X uniform on the cube's surface, for points p [n, 3], in closed form."""
    total = np.zeros(len(points))
    for face in range(FACES):
        total += square.mean_distance(to_square(points, face))
    return total / FACES


SOURCE = Source(
    domain=domain.law(
        name="cube",
        title="the surface of the unit cube",
        noun="cube",
        unit="edge",
        mean=(0.5, 0.5, 0.5),
        bounds=(0.0, 1.0),
        spread=3 * VARIANCE,
        left_open=2 / 12,
        labels=FACE_NAMES,
        labelled=True,
        closed=True,
    ),
    variances=(VARIANCE,) * 3,
    axes=np.eye(3),
    dimension=2,
    volume=6.0,
    sample=sample,
    mean_distance=mean_distance,
    mean_pair_distance=0.8588926181724995,  # the mean of mean_distance over a face, by Gauss–Legendre
    distance=surface_distance,
    faces=Faces(FACE_NAMES, to_square, square.SOURCE),
    stratified=stratified,
)
