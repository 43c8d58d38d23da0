"""The SNR channel: Gaussian noise whose power is the signal power over the SNR.

Latents are [c, d, b]. `log_noise_power` is ln σ²: [c, 1, 1] where the noise is isotropic, [c, d, b]
where the encoder's second head says how it is spread over dimensions and points.
"""

import torch
from torch import Tensor


def isotropic(power: Tensor, snr: Tensor) -> Tensor:
    """ln σ² [c, 1, 1] with σ² = P / s, the same for every dimension and point."""
    return torch.log(power / snr)


def learned(power: Tensor, snr: Tensor, head: Tensor, log_gain: Tensor) -> Tensor:
    """ln σ² [c, d, b] spread as the head v says, with mean σ² = P / s where log_gain = ln E exp(v)."""
    return isotropic(power, snr) + (head - log_gain)


def transmit(mean: Tensor, log_noise_power: Tensor, noise: Tensor) -> Tensor:
    """z = μ + σ·ε, with ε ~ N(0, I) given as `noise` (the VAE's reparameterisation)."""
    return torch.addcmul(mean, torch.exp(log_noise_power / 2), noise)


def kl_nats(mean: Tensor, log_noise_power: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) per point in nats, [c, b], from μ [c, d, b] and ln σ² (broadcast).

    ½ Σ_d (μ² + σ² - 1 - ln σ²): Kingma & Welling, ICLR 2014, appendix B.
    """
    excess = torch.expm1(log_noise_power) - log_noise_power  # σ² - 1 - ln σ², exact near σ = 1
    return (mean.square() + excess).sum(1) / 2
