"""How well generated points follow the source's law: energy distance, a test with it, and coverage.

The energy distance (Székely & Rizzo, J. Stat. Plan. Inference 2013) of n generated points g from the exact
law X of the cube's surface is ED² = 2 E|g - X| - E|X - X′| - U(g, g). The first two terms are integrals over
the faces, in closed form; U is the mean distance of the pairs among the points. It makes ED² unbiased.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from snrvae import cube

Array = NDArray[np.floating]
NEIGHBOURS = 5
REFERENCE_POINTS = 12_000  # what generation_ratio is scaled to
IDEAL_SAMPLES, IDEAL_POINTS = 999, 200  # what p_value compares with


def mean_distance_to_surface_law(points: Array) -> NDArray[np.float64]:
    """E|p - X| [n] over X uniform on the cube's surface, for points p [n, 3], in closed form."""
    total = np.zeros(len(points))
    for face in range(cube.FACES):
        total += mean_distance_to_face(points, face)
    return total / cube.FACES


def mean_distance_to_face(points: Array, face: int) -> NDArray[np.float64]:
    """E|p - X| [n] over X uniform on one face, for points p [n, 3], in closed form."""
    points = np.asarray(points, np.float64)
    total = np.zeros(len(points))
    axis = face // 2
    height = points[:, axis] - face % 2
    u, v = (points[:, other] for other in range(3) if other != axis)
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


@cache
def mean_distance_within_surface_law() -> float:
    """E|X - X′| ≈ 0.8589 for two independent points of the surface, by Gauss–Legendre over one face."""
    return _mean_over_a_face(mean_distance_to_surface_law)


@cache
def mean_distance_within_face() -> float:
    """E|X - X′| ≈ 0.5214 for two independent points of one face, likewise."""
    return _mean_over_a_face(lambda points: mean_distance_to_face(points, 4))


def _mean_over_a_face(value: Callable[[Array], Array]) -> float:
    """The mean of value(points [n, 3]) [n] over the face z = 0."""
    nodes, weights = np.polynomial.legendre.leggauss(48)
    nodes, weights = (nodes + 1) / 2, weights / 2
    u, v = np.meshgrid(nodes, nodes, indexing="ij")
    face = np.stack([u.ravel(), v.ravel(), np.zeros(u.size)], axis=1)
    return float(np.outer(weights, weights).ravel() @ value(face))


def mean_pair_distance(points: Array, rows: int = 64) -> float:
    """U(g, g): mean distance over all pairs of different points [n, 3].

    |a - b|² = |a|² + |b|² - 2 a·b as one product of augmented points, in float32 about the centre: blocks of
    `rows` points against all that follow stay in the cache.
    """
    centred = torch.from_numpy(np.ascontiguousarray(points, np.float32)) - 0.5
    square = centred.square().sum(1, keepdim=True)
    one = torch.ones_like(square)
    left = torch.cat([-2 * centred, square, one], 1)  # [n, 5]
    right = torch.cat([centred, one, square], 1).T.contiguous()  # [5, n]
    count, total = len(centred), 0.0
    buffer = torch.empty(rows * count)
    for start in range(0, count, rows):
        block = left[start : start + rows]
        size, rest = len(block), count - start
        distance = torch.mm(block, right[:, start:], out=buffer[: size * rest].view(size, rest))
        distance.clamp_(min=0).sqrt_()
        within = distance[:, :size].sum(dtype=torch.float64)
        total += float(distance.sum(1).sum(dtype=torch.float64) - within / 2 - distance.diagonal().sum() / 2)
    return 2 * total / (count * (count - 1))


def excess(points: Array) -> float:
    """n·ED² / (2 E|X - X′|) of points [n, 3].

    Its expectation is 0 for independent points of the surface and grows with n for all others. For the former
    its distribution hardly depends on n: ED² is a degenerate U-statistic (Serfling, Approximation Theorems of
    Mathematical Statistics, 1980, section 5.5.2).
    """
    to_law = mean_distance_to_surface_law(points).mean()
    return float(_excess(len(points), to_law, mean_pair_distance(points), mean_distance_within_surface_law()))


def face_excess(points: Array, face: int) -> float:
    """As `excess`, where the law is one face's."""
    to_law = mean_distance_to_face(points, face).mean()
    return float(_excess(len(points), to_law, mean_pair_distance(points), mean_distance_within_face()))


def _excess(count: int, to_law: Any, within: Any, scale: float) -> Any:
    """The excess of `count` points from their mean distances to the law and among each other, elementwise.

    scale  E|X - X′| of the law
    """
    return count * (2 * to_law - scale - within) / (2 * scale)


def generation_ratio(excess: float, count: int) -> float:
    """1 + N·ED² / (2 E|X - X′|) with N = 12,000, from the excess of `count` points: ideally 1 on average."""
    return 1 + REFERENCE_POINTS / count * excess


def face_ratios(points: Array, face: NDArray[np.integer]) -> NDArray[np.float64]:
    """For each face the ratio [6] of the points [n, 3] that were to lie on it: N = 2,000, a face's share."""
    ratios = []
    for number in range(cube.FACES):
        own = points[face == number]
        scaled = REFERENCE_POINTS / cube.FACES / len(own)
        ratios.append(1 + scaled * face_excess(own, number))
    return np.array(ratios)


def ideal_excesses(rng: np.random.Generator) -> NDArray[np.float64]:
    """The excess of 999 samples of 200 independent points of the surface."""
    points = cube.independent(IDEAL_SAMPLES * IDEAL_POINTS, rng)
    to_law = mean_distance_to_surface_law(points).reshape(IDEAL_SAMPLES, -1).mean(1)
    within = np.array([mean_pair_distance(sample) for sample in np.split(points, IDEAL_SAMPLES)])
    return np.asarray(_excess(IDEAL_POINTS, to_law, within, mean_distance_within_surface_law()))


def p_value(excess: float, ideal: Array) -> float:
    """Share of samples with at least this excess, among `ideal` ones and this one (Monte Carlo test).

    Uniform for points that are independent draws of the law, small for others; at least 1/(1 + len(ideal)).
    """
    return float((1 + (ideal >= excess).sum()) / (1 + len(ideal)))


def neighbour_radius(points: Array) -> NDArray[np.float64]:
    """Distance [n] of each point [n, 3] to the fifth nearest of the others."""
    distances, _ = cKDTree(points).query(points, k=[NEIGHBOURS + 1])
    return np.asarray(distances).reshape(-1)


def coverage(points: Array, radius: Array, generated: Array) -> float:
    """Share of real points with a generated one within their radius (Naeem et al., ICML 2020, eq. 4)."""
    distances, _ = cKDTree(generated).query(points, k=1)
    return float(np.mean(distances <= radius))


@dataclass(frozen=True)
class Reference:
    """What generated points are compared with.

    points, radius  real points [n, 3], and neighbour_radius of each
    ideal           ideal_excesses
    """

    points: Array
    radius: Array
    ideal: Array


def reference(points: Array, rng: np.random.Generator) -> Reference:
    """Real points [n, 3], and the ideal samples that `rng` draws."""
    return Reference(points, neighbour_radius(points), ideal_excesses(rng))
