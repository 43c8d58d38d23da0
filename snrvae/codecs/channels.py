"""Channels: what an encoder's output means, and how much Gaussian noise is added to it.

    z = μ + σ·ε,  ε ~ N(0, I)

A channel turns an encoder's output [n, outputs·d] into `Latents`: the means μ [n, d] and the noise power σ².
The SNR s is a linear power ratio, and the signal power is P = E|μ|²/d. In training P is the batch's power,
and gradients flow through it; in evaluation P is the power measured once on the training points (`measure`),
so that the noise of a point does not depend on the rest of its batch.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snrvae.settings.grid import Cell


class Latents(NamedTuple):
    """Means μ [n, d], and ln σ² [n, d] or, if all points have the same noise, [1, 1]; None without noise."""

    mean: Tensor
    log_noise_power: Tensor | None

    def transmit(self, noise: Tensor) -> Tensor:
        """z = μ + σ·ε [n, d] for ε [n, d] (reparameterisation: Kingma & Welling, ICLR 2014, eq. 4)."""
        if self.log_noise_power is None:
            return self.mean
        return torch.addcmul(self.mean, torch.exp(self.log_noise_power / 2), noise)


class Channel(nn.Module):
    """The base of all channels. Its numbers are buffers, so that cells of one shape stack under vmap.

    outputs  numbers that the encoder gives for each latent dimension
    """

    outputs = 1
    snr: Tensor
    signal_power: Tensor
    noise_log_gain: Tensor

    def __init__(self, cell: Cell):
        super().__init__()
        given = torch.tensor(math.inf if cell.snr is None else cell.snr, dtype=torch.float32)
        self.register_buffer("snr", given, persistent=False)  # a file has it in the cell
        self.register_buffer("signal_power", torch.ones(()))
        self.register_buffer("noise_log_gain", torch.zeros(()))

    def forward(self, output: Tensor) -> Latents:
        """Latents of an encoder's output [n, outputs·d]."""
        raise NotImplementedError

    def mean(self, output: Tensor) -> Tensor:
        """μ [n, d] of an encoder's output: z without noise."""
        return output.chunk(self.outputs, 1)[0]

    def measure(self, output: Tensor) -> None:
        """Store the signal power of an encoder's output for the training points."""
        self.signal_power = self.mean(output).double().square().mean().float()

    def power(self, mean: Tensor) -> Tensor:
        """P: the batch's in training, the stored one in evaluation."""
        return mean.square().mean() if self.training else self.signal_power


class Noiseless(Channel):
    """z = μ: the channel of an autoencoder."""

    def forward(self, output: Tensor) -> Latents:
        return Latents(output, None)


class Isotropic(Channel):
    """σ² = P / s, the same for every point and dimension."""

    def forward(self, output: Tensor) -> Latents:
        mean = self.mean(output)
        return Latents(mean, torch.log(self.power(mean) / self.snr).reshape(1, 1))


class Learned(Channel):
    """σ² is spread over points and dimensions by a second output v, with the mean P / s.

    σ² = (P / s) · exp(v) / E exp(v)
    """

    outputs = 2

    def forward(self, output: Tensor) -> Latents:
        mean, spread = output.chunk(2, 1)
        gain = _log_mean_exp(spread) if self.training else self.noise_log_gain
        return Latents(mean, torch.log(self.power(mean) / self.snr) + (spread - gain))

    def measure(self, output: Tensor) -> None:
        super().measure(output)
        self.noise_log_gain = _log_mean_exp(output.chunk(2, 1)[1].double()).float()


class Free(Channel):
    """σ² = exp(v) with no SNR: the encoder of a variational autoencoder."""

    outputs = 2

    def forward(self, output: Tensor) -> Latents:
        return Latents(*output.chunk(2, 1))


CHANNELS: dict[str, type[Channel]] = {
    "none": Noiseless,
    "isotropic": Isotropic,
    "learned": Learned,
    "free": Free,
}


def _log_mean_exp(values: Tensor) -> Tensor:
    return values.flatten().logsumexp(0) - math.log(values.numel())
