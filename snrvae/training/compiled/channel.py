"""The SNR channel, forward and backward.

P and σ² are the batch's, and gradients flow through both. All is computed with |μ|, the norm over a batch:
P = |μ|² / (d·b) and d|μ|/dμ = μ / |μ|.
"""

import numpy as np

from snrvae.training.compiled.kernel import HALF, ONE, TWO, ZERO, Floats, compiled

NONE, ISOTROPIC, LEARNED = range(3)  # noise


@compiled
def norm(mean: Floats) -> np.float32:
    """|μ| of latent means [d, b]."""
    dims, batch = mean.shape
    total = ZERO
    for dim in range(dims):
        for point in range(batch):
            total += mean[dim, point] * mean[dim, point]
    return np.sqrt(total)


@compiled
def isotropic_forward(mean: Floats, noise: Floats, snr: np.float32, z: Floats) -> np.float32:
    """z = μ + σ·ε with σ² = P / s, all [d, b]; returns E KL(q(z|x) ‖ N(0, I)) in nats."""
    dims, batch = mean.shape
    length = norm(mean)
    sigma = length / np.sqrt(snr * np.float32(mean.size))
    for dim in range(dims):
        for point in range(batch):
            z[dim, point] = mean[dim, point] + sigma * noise[dim, point]
    return _kl_nats(length, snr, mean) - np.float32(dims) * np.log(sigma)


@compiled
def isotropic_backward(
    mean: Floats, noise: Floats, snr: np.float32, kl_weight: np.float32, at_z: Floats, delta: Floats
) -> None:
    """`delta` receives the gradient at μ of f(z) + kl_weight·E KL, where df/dz is `at_z`, all [d, b].

    σ = |μ|·dσ/d|μ|, and E KL contains -d·ln |μ|.
    """
    dims, batch = mean.shape
    length = norm(mean)
    by_sigma = ZERO
    for dim in range(dims):
        for point in range(batch):
            by_sigma += at_z[dim, point] * noise[dim, point]
    by_norm = by_sigma / np.sqrt(snr * np.float32(mean.size)) - kl_weight * np.float32(dims) / length
    factor = kl_weight * (ONE + ONE / snr) / np.float32(batch) + by_norm / length
    for dim in range(dims):
        for point in range(batch):
            delta[dim, point] = at_z[dim, point] + factor * mean[dim, point]


@compiled
def _kl_nats(length: np.float32, snr: np.float32, mean: Floats) -> np.float32:
    """E KL without its term -Σ E ln σ: d/2·(P + P/s - 1)."""
    dims, batch = mean.shape
    received = length * length * (ONE + ONE / snr) / np.float32(batch)
    return HALF * (received - np.float32(dims))


@compiled
def learned_forward(output: Floats, noise: Floats, snr: np.float32, z: Floats, root: Floats) -> np.float32:
    """As `isotropic_forward`, with σ² spread by the head v: |μ|² / s times the softmax of v over [d, b].

    `output` is μ, then v [2·d, b]; `root` receives the root of the softmax.
    """
    dims, batch = z.shape
    mean, head = output[:dims], output[dims:]
    largest = head[0, 0]
    for value in head.flat:
        largest = value if value > largest else largest
    total = ZERO
    for dim in range(dims):
        for point in range(batch):
            root[dim, point] = np.exp(HALF * (head[dim, point] - largest))
            total += root[dim, point] * root[dim, point]
    length, share = norm(mean), ONE / np.sqrt(total)
    scale = length / np.sqrt(snr)
    logs = ZERO
    for dim in range(dims):
        for point in range(batch):
            logs += HALF * (head[dim, point] - largest)
            root[dim, point] *= share
            z[dim, point] = mean[dim, point] + scale * root[dim, point] * noise[dim, point]
    logs = logs / np.float32(batch) + np.float32(dims) * np.log(scale * share)
    return _kl_nats(length, snr, mean) - logs


@compiled
def learned_backward(
    output: Floats,
    noise: Floats,
    snr: np.float32,
    kl_weight: np.float32,
    root: Floats,
    at_z: Floats,
    delta: Floats,
) -> None:
    """As `isotropic_backward`, for learned noise: `delta` is the gradient at μ, then v [2·d, b]."""
    dims, batch = noise.shape
    mean = output[:dims]
    length, weight = norm(mean), kl_weight / np.float32(batch)
    scale = length / np.sqrt(snr)
    total = ZERO
    for dim in range(dims):
        for point in range(batch):
            sigma = scale * root[dim, point]
            # gradient at ln σ²: from the noise sent, and from σ²/2 and -ln σ in E KL
            here = HALF * (sigma * (at_z[dim, point] * noise[dim, point] + weight * sigma) - weight)
            delta[dims + dim, point] = here
            total += here
    factor = weight + TWO * total / (length * length)
    for dim in range(dims):
        for point in range(batch):
            delta[dim, point] = at_z[dim, point] + factor * mean[dim, point]
            # the softmax's shares add up to 1: each loses its part of the total
            delta[dims + dim, point] -= root[dim, point] * root[dim, point] * total
