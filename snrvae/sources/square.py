"""Points uniform on a unit square in the plane z = 0: one face of the cube."""

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import domain
from snrvae.sources.domain import Array
from snrvae.sources.source import Source


def sample(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`count` independent points [n, 3] of the square."""
    points = rng.random((count, 3))
    points[:, 2] = 0
    return points


def distance(points: Array) -> NDArray[np.float64]:
    """Euclidean distance [n] of points [n, 3] to the square."""
    beyond = np.asarray(points, np.float64).copy()
    beyond[:, :2] -= np.clip(beyond[:, :2], 0, 1)
    return np.asarray(np.linalg.norm(beyond, axis=1))


def mean_distance(points: Array) -> NDArray[np.float64]:
    """E|p - X| [n] over X uniform on the square, for points p [n, 3], in closed form."""
    u, v, height = np.asarray(points, np.float64).T
    total = np.zeros(len(points))
    for low_u, sign_u in ((-u, -1), (1 - u, 1)):
        for low_v, sign_v in ((-v, -1), (1 - v, 1)):
            total += sign_u * sign_v * _corner(low_u, low_v, height)
    return total


def _corner(u: Array, v: Array, h: Array) -> NDArray[np.float64]:
    """∫₀ᵘ∫₀ᵛ √(a² + b² + h²) db da; differences of it at corners are integrals over rectangles."""
    r = np.sqrt(u * u + v * v + h * h)
    tiny = np.finfo(float).tiny
    # arsinh(v / √(u² + h²)) = ln(v + r) - ln √(u² + h²), without the cancellation at v < 0
    ln_v = np.arcsinh(v / np.sqrt(u * u + h * h + tiny))
    ln_u = np.arcsinh(u / np.sqrt(v * v + h * h + tiny))
    angle = np.arctan2(u * v, np.abs(h) * r + tiny)
    return (
        u * v * r / 3
        + u * (u * u + 3 * h * h) * ln_v / 6
        + v * (v * v + 3 * h * h) * ln_u / 6
        - np.abs(h) ** 3 * angle / 3
    )


SOURCE = Source(
    domain=domain.law(
        name="square",
        title="a unit square",
        noun="square",
        unit="edge",
        mean=(0.5, 0.5, 0.0),
        bounds=(0.0, 1.0),
        spread=2 / 12,
        labels=domain.sides(2),
    ),
    variances=(1 / 12, 1 / 12, 0.0),
    axes=np.eye(2, 3),
    dimension=2,
    volume=1.0,
    sample=sample,
    mean_distance=mean_distance,
    mean_pair_distance=float((2 + np.sqrt(2) + 5 * np.arcsinh(1)) / 15),
    distance=distance,
)
