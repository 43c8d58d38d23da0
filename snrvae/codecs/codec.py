"""The codec: encoder, channel and decoder.

    x ──encoder──▶ μ ──channel(SNR)──▶ z = μ + σ·ε ──decoder──▶ x̂

x   points [n, k]; a conditional codec also receives their one-hot labels [n, l]
μ   latent means [n, d]; their signal power is P = E|μ|²/d
z   what the decoder receives [n, d]; σ² = P / SNR, ε ~ N(0, I)
x̂   reconstructions [n, k]

One Codec is one cell of the grid. An autoencoder is a codec on a noiseless channel.
"""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snrvae.codecs import candidates
from snrvae.codecs.channels import CHANNELS, Latents
from snrvae.settings.grid import Cell
from snrvae.settings.params import Network
from snrvae.sources.domain import Domain

PASS = 8192  # points that go through a network at once: a few MB of activations
MEASURED = 120_000  # at most so many points measure the signal power, to half a percent


@dataclass(frozen=True)
class Architecture:
    """Everything about a codec except its trained numbers.

    num_classes  labels that a conditional codec receives; 0 if it receives none
    source       the source of its training points
    engine       the engine that trained it
    kernel       the OpenBLAS kernel that trained it: the codec's bytes depend on engine and kernel
    candidates   how many candidates the encoder offers for a point
    """

    cell: Cell
    network: Network
    num_classes: int
    source: Domain
    engine: str
    kernel: str = "unknown"
    candidates: int = 1

    @property
    def dimension(self) -> int:
        """Coordinates of a point, k."""
        return self.source.coordinates

    @property
    def spread(self) -> float:
        """E|x − E x|² of the source; for a conditional codec, within a label."""
        return self.source.left_open if self.num_classes else self.source.spread


class Transmission(NamedTuple):
    """A batch that went through a codec: its latents, z [n, d] as received, and reconstructions [n, k]."""

    latents: Latents
    z: Tensor
    reconstruction: Tensor


class Codec(nn.Module):
    """Encoder, channel and decoder of one cell, without trained numbers.

    choosing  whether the best candidate is sent; early in training, the first always is
    """

    lower: Tensor
    upper: Tensor

    def __init__(self, architecture: Architecture):
        super().__init__()
        cell, network = architecture.cell, architecture.network
        points, labels = architecture.dimension, architecture.num_classes
        build = import_module(f"snrvae.codecs.networks.{network.kind}").build
        self.architecture = architecture
        self.price, self.choosing = candidates.price(architecture.spread, cell), True
        self.fill_buffers()
        self.encoder = build(points + labels, architecture.candidates * self.outputs, network)
        self.decoder = build(cell.latent_dim + labels, points, network)

    def fill_buffers(self) -> None:
        """Set the buffers that follow from the architecture: the channel's SNR, and the bounds [k] of x̂."""
        points, source = self.architecture.dimension, self.architecture.source
        lower, upper = source.bounds or ((-math.inf,) * points, (math.inf,) * points)
        self.register_buffer("lower", torch.tensor(lower), persistent=False)
        self.register_buffer("upper", torch.tensor(upper), persistent=False)
        self.channel = CHANNELS[self.architecture.cell.noise](self.architecture.cell)

    def forward(self, x: Tensor, noise: Tensor, label: Tensor | None = None) -> Transmission:
        """Send points x [n, k] with ε = noise [n, d], which the caller draws from N(0, I)."""
        latents = self.encode(x, label)
        z = latents.transmit(noise)
        return Transmission(latents, z, self.decode(z, label))

    def encode(self, x: Tensor, label: Tensor | None = None) -> Latents:
        """Latents of points x [n, k]."""
        return self.channel(self.encoder_output(x, label))

    def transmit(self, x: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """What the decoder receives, z [n, d], for points x [n, k] with ε = noise [n, d]."""
        return self.encode(x, label).transmit(noise)

    def decode(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Points [n, k] from latents z [n, d]. Raises ValueError if l is not `num_classes`."""
        return project(self.decoder(self._with_label(z, label)), self.lower, self.upper)

    def sample(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """New points [n, k] from ε = noise [n, d] of N(0, I), as if the decoder had received it."""
        return self.decode(noise, label)

    def encoder_output(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """The candidate that is sent [n, outputs·d]: the best one of the encoder's output (candidates.py)."""
        offers = self.encoder(self._with_label(x, label))
        count = self.architecture.candidates
        offers = offers.reshape(len(x), count, -1)
        if count == 1 or not self.choosing:
            return offers[:, 0]
        labels = None if label is None else label.repeat_interleave(count, 0)
        return candidates.best(offers, x, self.channel.mean, lambda z: self.decode(z, labels), self.price)

    @torch.no_grad()
    def measure_power(self, x: Tensor, label: Tensor | None = None) -> None:
        """Measure the signal power on training points x [n, k]; the channel stores it for evaluation."""
        passes = [slice(start, start + PASS) for start in range(0, min(len(x), MEASURED), PASS)]
        self.eval()
        sent = [self.encoder_output(x[p], None if label is None else label[p]) for p in passes]
        self.channel.measure(torch.cat(sent)[:MEASURED])

    @torch.no_grad()
    def mark_diverged(self) -> None:
        """Make every number NaN: the mark of a codec whose training diverged."""
        for tensor in self.state_dict().values():
            tensor.fill_(math.nan)

    @property
    def outputs(self) -> int:
        """How many numbers a candidate has."""
        return self.channel.outputs * self.architecture.cell.latent_dim

    @property
    def diverged(self) -> bool:
        """Whether training diverged."""
        return bool(self.channel.signal_power.isnan())

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        return all(bool(tensor.isfinite().all()) for tensor in self.state_dict().values())

    def _with_label(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Points or latents, followed by their labels [n, · + l]."""
        given, expected = 0 if label is None else label.shape[1], self.architecture.num_classes
        if given != expected:
            name = self.architecture.cell.name
            raise ValueError(f"{name}: trained with {expected} labels, not {given}")
        return x if label is None else torch.cat([x, label], 1)


def project(points: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Points [n, k], each coordinate moved into a source's bounds [k].

    This projects onto a convex set that contains the source (for the cube, its convex hull), so that no point
    of the source gets farther away. The gradient ignores the projection (straight-through: Bengio et al.,
    arXiv:1308.3432), whose own gradient would be 0 outside the bounds, wherever x is.
    """
    return points.clamp(lower, upper).detach() + (points - points.detach())
