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

    def backward(self, gradient: Tensor, kl_weight: float) -> Tensor:
        """Gradient at the encoder's output of f(z) + kl_weight·E KL, where df/dz is `gradient`."""


class IsotropicChannel:
    """σ² = P / s for every dimension and point: the encoder's output is μ."""

    def __init__(self, snr: Tensor):
        self._snr = snr  # [c, 1, 1]

    def forward(self, output: Tensor, noise: Tensor) -> Tensor:
        self._mean, self._noise = output, noise
        self._power = signal_power(output)
        self._noise_power = self._power / self._snr
        self._sigma = self._noise_power.sqrt()
        return torch.addcmul(output, self._sigma, noise)

    def kl_nats(self) -> Tensor:
        per_dim = self._power + self._noise_power - 1 - self._noise_power.log()
        return per_dim.flatten() * (self._mean.shape[1] / 2)

    def backward(self, gradient: Tensor, kl_weight: float) -> Tensor:
        _, dims, batch = gradient.shape
        # σ = √(P/s), so dσ/dμ = μ / (s·σ·d·b)
        through_noise = (gradient * self._noise).sum((1, 2), keepdim=True)
        through_noise /= self._snr * self._sigma * (dims * batch)
        # E KL = d/2·(P(1 + 1/s) - 1 - ln(P/s)) and dP/dμ = 2μ / (d·b)
        rate = (1 + 1 / self._snr - 1 / self._power) * (kl_weight / batch)
        return torch.addcmul(gradient, self._mean, through_noise + rate)


class LearnedChannel:
    """σ² spread as the encoder's second head v says, with mean P / s: its output is μ, then v."""

    def __init__(self, snr: Tensor):
        self._snr = snr

    def forward(self, output: Tensor, noise: Tensor) -> Tensor:
        self._mean, head = output.chunk(2, 1)
        self._noise = noise
        self._power = signal_power(self._mean)
        self._log_noise_power = learned(self._power, self._snr, head, log_mean_exp(head))
        self._sigma = torch.exp(self._log_noise_power / 2)
        return torch.addcmul(self._mean, self._sigma, noise)

    def kl_nats(self) -> Tensor:
        mean_log = self._log_noise_power.mean((1, 2), keepdim=True)
        per_dim = self._power + self._power / self._snr - 1 - mean_log
        return per_dim.flatten() * (self._mean.shape[1] / 2)

    def backward(self, gradient: Tensor, kl_weight: float) -> Tensor:
        _, dims, batch = gradient.shape
        noise_power = self._sigma.square()
        through_noise = gradient * self._noise * self._sigma / 2  # d / d ln σ² [c, d, b]
        through_noise += (noise_power - 1) * (kl_weight / (2 * batch))
        total = through_noise.sum((1, 2), keepdim=True)
        pull = total / self._power * (2 / (dims * batch)) + kl_weight / batch
        # the gain takes out of each point's share what the head adds to the mean
        share = noise_power * (self._snr / self._power / (dims * batch))
        head = through_noise.addcmul_(share, total, value=-1)
        return torch.cat([torch.addcmul(gradient, self._mean, pull), head], 1)
