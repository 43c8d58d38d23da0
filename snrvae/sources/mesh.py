"""The uniform law on a surface of triangles [t, 3, 3]: samples and exact moments."""

import numpy as np
from numpy.typing import NDArray

from snrvae.sources.domain import Domain, Words, sides
from snrvae.sources.mesh_distance import Surface
from snrvae.sources.normalisation import of_moments, rounded
from snrvae.sources.source import Source

Array = NDArray[np.float64]


def areas(triangles: Array) -> Array:
    """The area [t] of each triangle."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def sample(triangles: Array, count: int, rng: np.random.Generator) -> Array:
    """`count` independent points [n, 3] of the surface."""
    edges = np.cumsum(areas(triangles))
    chosen = np.searchsorted(edges, edges[-1] * rng.random(count), side="right")
    a, b, c = np.moveaxis(triangles[np.minimum(chosen, len(triangles) - 1)], 1, 0)  # [n, 3] each
    u, v = rng.random((2, count, 1))
    beyond = u + v > 1  # the other half of the parallelogram
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    return a + u * (b - a) + v * (c - a)


def moments(triangles: Array) -> tuple[Array, Array]:
    """Mean [3] and covariance [3, 3] of a point of the surface, exactly.

    A triangle's own covariance is Σ (corner - centre)(corner - centre)ᵀ / 12.
    """
    share = areas(triangles)
    share /= share.sum()
    origin = triangles[0, 0]  # so a surface far from 0 loses no digits
    centres = (triangles - origin).mean(1)  # [t, 3]
    mean = share @ centres
    corners = triangles - origin - centres[:, None]
    covariance = np.einsum("t,tia,tib->ab", share / 12, corners, corners)
    covariance += np.einsum("t,ta,tb->ab", share, centres - mean, centres - mean)
    return origin + mean, covariance


def source(domain: Domain, triangles: Array) -> Source:
    """The source of x', uniform on triangles x' [t, 3, 3]."""
    _, covariance = moments(triangles)

    return Source(
        domain=domain,
        variances=tuple(np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0).tolist()),
        axes=np.eye(3),
        dimension=2,
        volume=float(areas(triangles).sum()),
        sample=lambda count, rng: rounded(sample(triangles, count, rng)).astype(np.float64),
        distance=Surface(triangles).distance,
        triangles=triangles,
    )


def domain(words: Words, triangles: Array) -> Domain:
    """The domain of a surface of triangles [t, 3, 3], in its own unit and position."""
    mean, covariance = moments(triangles)
    frame = of_moments(mean, covariance)
    corners = frame.normalise(triangles.reshape(-1, 3))
    spread = float(np.trace(covariance)) / frame.factor**2
    return words.domain(
        frame,
        shape=(3,),
        mean=(0.0,) * 3,
        bounds=(tuple(corners.min(0).tolist()), tuple(corners.max(0).tolist())),
        spread=spread,
        left_open=spread,
        labels=sides(3),
    )
