"""The SNR channel: Gaussian noise whose power is the signal power over the SNR.

Latents are [c, d, b]. `log_noise_power` is ln σ²: [c, 1, 1] where the noise is isotropic, [c, d, b]
where the encoder's second head says how it is spread over dimensions and points.
"""

import math
from typing import Protocol

import torch
from torch import Tensor


def signal_power(mean: Tensor) -> Tensor:
    """P = E|μ|² / d of latent means [c, d, b], as [c, 1, 1]."""
    return mean.square().mean((1, 2), keepdim=True)


def log_mean_exp(head: Tensor) -> Tensor:
    """ln E exp(v) over dimensions and points of a log-variance head [c, d, b], as [c, 1, 1]."""
    return head.logsumexp((1, 2), keepdim=True) - math.log(head.shape[1] * head.shape[2])


def isotropic(power: Tensor, snr: Tensor) -> Tensor:
    """ln σ² [c, 1, 1] with σ² = P / s, the same for every dimension and point."""
    return torch.log(power / snr)


def learned(power: Tensor, snr: Tensor, head: Tensor, log_gain: Tensor) -> Tensor:
    """ln σ² [c, d, b] spread as the head v says, with mean σ² = P / s where log_gain = ln E exp(v)."""
    return isotropic(power, snr) + (head - log_gain)


def transmit(mean: Tensor, log_noise_power: Tensor, noise: Tensor) -> Tensor:
    """z = μ + σ·ε, with ε ~ N(0, I) given as `noise` (the VAE's reparameterisation)."""
    return torch.addcmul(mean, torch.exp(log_noise_power / 2), noise)


class Channel(Protocol):
    """A channel in training: P and σ² are of the batch, and gradients flow through both."""

    def forward(self, output: Tensor, noise: Tensor) -> Tensor:
        """Latents z [c, d, b] from an encoder's output and ε ~ N(0, I) [c, d, b]."""

    def kl_nats(self) -> Tensor:
        """E KL(q(z|x) ‖ N(0, I)) [c] over the points last sent, summed over dimensions."""

    def backward(self, gradient: Tensor) -> Tensor:
        """Gradient at the encoder's output of f(z) + kl_weight·E KL, where df/dz is `gradient`."""


# Both channels reckon with the norm |μ| over a batch, P = |μ|² / (d·b). Their factors are tensors: a plain
# number is made one at every step, which takes longer than the product.


class IsotropicChannel:
    """σ² = P / s for every dimension and point: the encoder's output is μ."""

    def __init__(self, snr: Tensor, latent_dim: int, batch: int, kl_weight: float):
        self._dims, self._kl_weight = latent_dim, kl_weight
        self._sigma_per_norm = (snr * (latent_dim * batch)).rsqrt()  # [c, 1, 1]
        self._received = (1 + 1 / snr) / (2 * batch)  # d/2·(P + σ²) per |μ|²
        self._offset = snr.new_tensor(-latent_dim / 2)
        self._pull = self._received * (2 * kl_weight)

    def forward(self, output: Tensor, noise: Tensor) -> Tensor:
        self._mean, self._noise = output, noise
        self._norm = torch.linalg.vector_norm(output, dim=(1, 2), keepdim=True)
        self._sigma = self._norm * self._sigma_per_norm
        return torch.addcmul(output, self._sigma, noise)

    def kl_nats(self) -> Tensor:
        # d/2·(P + σ² - 1) - d·ln σ
        power = torch.addcmul(self._offset, self._norm * self._norm, self._received)
        return power.sub_(self._sigma.log(), alpha=self._dims).flatten()

    def backward(self, gradient: Tensor) -> Tensor:
        # σ = |μ|·(dσ/d|μ|) and E KL has -d·ln |μ|, where d|μ|/dμ = μ / |μ|
        per_norm = self._norm.reciprocal()
        by_norm = (gradient * self._noise).sum((1, 2), keepdim=True).mul_(self._sigma_per_norm)
        by_norm.sub_(per_norm, alpha=self._kl_weight * self._dims)
        return torch.addcmul(gradient, self._mean, torch.addcmul(self._pull, by_norm, per_norm))


class LearnedChannel:
    """σ² spread as the encoder's second head v says, with mean P / s: its output is μ, then v.

    So σ² is |μ|² / s times the softmax of v over dimensions and points.
    """

    def __init__(self, snr: Tensor, latent_dim: int, batch: int, kl_weight: float):
        self._dims, self._batch, self._weight = latent_dim, batch, kl_weight / batch
        self._scale_per_norm = snr.rsqrt()  # [c, 1, 1]
        self._received = (1 + 1 / snr) / (2 * batch)
        self._offset = snr.new_tensor(-latent_dim / 2)
        self._half, self._pull = snr.new_tensor(0.5), snr.new_tensor(self._weight)
        self._minus_half_pull = snr.new_tensor(-self._weight / 2)

    def forward(self, output: Tensor, noise: Tensor) -> Tensor:
        self._mean, head = output.chunk(2, 1)
        self._noise = noise
        self._norm = torch.linalg.vector_norm(self._mean, dim=(1, 2), keepdim=True)
        self._log_root = torch.log_softmax(head.flatten(1), 1).view(noise.shape).mul_(self._half)
        self._root = self._log_root.exp()
        self._scale = self._norm * self._scale_per_norm
        self._sigma = self._root * self._scale
        return torch.addcmul(self._mean, self._sigma, noise)

    def kl_nats(self) -> Tensor:
        # d/2·(P + P/s - 1) - Σ_d E ln σ
        power = torch.addcmul(self._offset, self._norm * self._norm, self._received)
        power.sub_(self._scale.log(), alpha=self._dims)
        return power.sub_(self._log_root.sum((1, 2), keepdim=True), alpha=1 / self._batch).flatten()

    def backward(self, gradient: Tensor) -> Tensor:
        # d / d ln σ² [c, d, b]
        through_noise = torch.addcmul(self._minus_half_pull, self._sigma, self._sigma, value=self._weight / 2)
        through_noise.addcmul_(gradient * self._noise, self._sigma, value=0.5)
        total = through_noise.sum((1, 2), keepdim=True)
        pull = torch.addcdiv(self._pull, total, self._norm * self._norm, value=2)
        # the softmax takes out of each point's share what the head adds to the mean
        head = through_noise.addcmul_(self._root * self._root, total, value=-1)
        return torch.cat([torch.addcmul(gradient, self._mean, pull), head], 1)
