"""T, the distance of the latents' distribution from N(0, I), and its gradient.

The formula is in snrvae/codecs/losses.py (gaussianity).
"""

import numpy as np
from numpy.typing import NDArray

from snrvae.training.compiled.kernel import HALF, ONE, TWO, ZERO, Floats, compiled, exp_of_minus, inlined


@compiled
def gaussianity(
    z: Floats,
    kind: NDArray[np.int64],
    labels: int,
    rarity: Floats,
    weight: np.float32,
    gradient: Floats,
    kernel: Floats,
) -> np.float32:
    """T of latents z [d, b]; adds weight·dT/dz to `gradient`.

    kind    the label of each point [b], if there are labels; T is then the mean over labels
    rarity  the weight of a pair of points of each label [l]: 1/(l·share)
    kernel  work space [m + 5, m]: a batch is compared in groups of m, as pairs grow with m²
    """
    size, batch = kernel.shape[1], z.shape[1]
    weight /= np.float32(batch // size)
    total = ZERO
    for start in range(0, batch, size):
        total += _of_group(start, z, kind, labels, rarity, weight, gradient, kernel[:size], kernel[size:])
    return total / np.float32(batch // size)


@inlined
def _of_group(
    start: int,
    z: Floats,
    kind: NDArray[np.int64],
    labels: int,
    rarity: Floats,
    weight: np.float32,
    gradient: Floats,
    kernel: Floats,
    space: Floats,
) -> np.float32:
    dims, size = len(z), len(kernel)
    others, near, pulled, to_normal, ones = space[0], space[1], space[2], space[3], space[4]
    itself = _kernel(start, z, kind, labels, rarity, kernel, others)
    ones[:] = ONE
    np.dot(kernel, ones, near)
    to_normal[:] = ZERO
    for dim in range(dims):
        there = z[dim, start : start + size]
        for one in range(size):
            to_normal[one] += np.float32(0.25) * there[one] * there[one]
    exp_of_minus(to_normal)
    spread, pairs = np.float32(2 ** (-dims / 2)), np.float32(size * (size - 1) / max(labels, 1))  # on average
    for one in range(size):
        to_normal[one] *= others[one] * spread
    weight /= pairs
    for dim in range(dims):
        there, into = z[dim, start : start + size], gradient[dim, start : start + size]
        np.dot(kernel, there, pulled)
        for one in range(size):
            into[one] += weight * (TWO * pulled[one] + (to_normal[one] - TWO * near[one]) * there[one])
    within, across = np.dot(near, ones) - itself, np.dot(to_normal, ones)
    return (within - TWO * across + np.dot(others, ones) * np.float32(3 ** (-dims / 2))) / pairs


@inlined
def _kernel(
    start: int,
    z: Floats,
    kind: NDArray[np.int64],
    labels: int,
    rarity: Floats,
    kernel: Floats,
    others: Floats,
) -> np.float32:
    """Fill `kernel` for the points from `start` on, and `others` [m] with the number of each point's pairs.

    Both weight a pair by its label's rarity. Returns the kernel's sum over points paired with themselves.
    """
    dims, size = len(z), len(kernel)
    for one in range(size):
        row = kernel[one]
        row[:] = ZERO
        for dim in range(dims):
            here, there = z[dim, start + one], z[dim, start : start + size]
            for other in range(size):
                row[other] += HALF * (there[other] - here) * (there[other] - here)
    exp_of_minus(kernel.reshape(size * size))
    itself = np.float32(size) if labels == 0 else ZERO
    for one in range(size):
        same, counts = size, ONE
        if labels:
            own, counts = kind[start + one], rarity[kind[start + one]]
            for other in range(size):
                if kind[start + other] != own:
                    kernel[one, other] = ZERO
                    same -= 1
                kernel[one, other] *= counts
            itself += counts
        others[one] = counts * np.float32(same - 1)
    return itself
