"""The SNR channel: Gaussian noise whose power is the signal power over the SNR.

Latents are [c, d, b]. `log_noise_power` is ln σ²: [c, 1, 1] where the noise is isotropic, [c, d, b]
where the encoder's second head says how it is spread over dimensions and points.
"""

import math

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
    return isotropic(power, snr) + head - log_gain


def transmit(mean: Tensor, log_noise_power: Tensor, noise: Tensor) -> Tensor:
    """z = μ + σ·ε, with ε ~ N(0, I) given as `noise` (the VAE's reparameterisation)."""
    return mean + torch.exp(log_noise_power / 2) * noise
