"""Codecs: encoder, channel and decoder of many cells of one shape.

An autoencoder is the same codec on a noiseless channel.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from snrvae.codecs import channel, network
from snrvae.codecs.network import Network
from snrvae.codecs.search import best_output, margin
from snrvae.settings.grid import Cell, Noise
from snrvae.sources.known import SOURCES
from snrvae.sources.source import DIMENSION

METADATA = "codecs"


def encoder_widths(noise: Noise, latent_dim: int, hidden: Sequence[int], labels: int = 0) -> list[int]:
    """Features of an encoder's layers: learned noise has a second head, for ln σ²."""
    return [DIMENSION + labels, *hidden, latent_dim * (2 if noise == "learned" else 1)]


def decoder_widths(latent_dim: int, hidden: Sequence[int], labels: int = 0) -> list[int]:
    """Features of a decoder's layers."""
    return [latent_dim + labels, *hidden, DIMENSION]


def label_of(inputs: Tensor) -> Tensor | None:
    """The one-hot labels [..., l, n] in inputs [..., 3 + l, n]; None where there are none."""
    return inputs[..., DIMENSION:, :] if inputs.shape[-2] > DIMENSION else None


def with_label(z: Tensor, label: Tensor | None) -> Tensor:
    """What a decoder is given: latents [..., d, n] and, if it is conditional, one-hot labels [..., l, n]."""
    return z if label is None else torch.cat([z, label], -2)


@dataclass(frozen=True)
class Latents:
    """What encoders say of points: μ [c, d, n], and ln σ² ([c, 1, 1] or [c, d, n]; None: no noise)."""

    mean: Tensor
    log_noise_power: Tensor | None

    def transmit(self, noise: Tensor) -> Tensor:
        """The latents z [c, d, n] that decoders get, with ε ~ N(0, I) given as `noise`."""
        if self.log_noise_power is None:
            return self.mean
        return channel.transmit(self.mean, self.log_noise_power, noise)


@dataclass(frozen=True)
class Codecs:
    """Trained codecs of cells with the same noise and latent_dim.

    Conditional ones (conditional VAE: Sohn et al., NeurIPS 2015) are told each point's label, one-hot, at
    both ends. Their inputs are points with it, [n, 3 + l]; those of all others are points, and l is 0.

    signal_power    P [c], measured once on the training set: a point's noise does not depend on
                    the points that came with it
    noise_log_gain  ln E exp(v) [c] of the log-variance head, likewise; zero without that head
    source          name of what they were trained on

    Of a cell whose training diverged every number is NaN.
    """

    cells: tuple[Cell, ...]
    encoder: Network
    decoder: Network
    signal_power: Tensor
    noise_log_gain: Tensor
    source: str

    @property
    def noise(self) -> Noise:
        return self.cells[0].noise

    @property
    def latent_dim(self) -> int:
        return self.cells[0].latent_dim

    @property
    def labels(self) -> int:
        """Labels that a codec is told apart; 0 for one that is told none."""
        return self.encoder.widths[0] - DIMENSION

    @property
    def diverged(self) -> tuple[Cell, ...]:
        """The cells whose training diverged."""
        return tuple(
            cell for cell, lost in zip(self.cells, self.signal_power.isnan().tolist(), strict=True) if lost
        )

    @property
    def finite(self) -> Tensor:
        """Whether every number of a cell is finite [c]."""
        return torch.stack([t.isfinite().reshape(len(t), -1).all(1) for t in self._tensors()]).all(0)

    def give_up(self, index: Sequence[int]) -> None:
        """Mark some of the cells as diverged."""
        for tensor in self._tensors():
            tensor[list(index)] = math.nan

    def _tensors(self) -> list[Tensor]:
        """All numbers, the cells along the first axis."""
        networks = (self.encoder, self.decoder)
        layers = [tensor for net in networks for tensor in (*net.weights, *net.biases)]
        return [self.signal_power, self.noise_log_gain, *layers]

    def encode(self, inputs: Tensor) -> Latents:
        """What is sent for inputs [n, 3 + l], the same for all cells. Raises ValueError for another l."""
        self._same_labels(inputs.shape[1] - DIMENSION)
        x = inputs.T.expand(len(self.cells), -1, -1)  # [c, 3 + l, n]
        label = label_of(x)

        def decode(output: Tensor) -> Tensor:
            return self._decode(output[:, : self.latent_dim], label)

        mean, head = heads(self.noise, self.latent_dim, best_output(x, self.encoder, decode, self._margins))
        if self.noise == "none":
            return Latents(mean, None)
        power, snr = self.signal_power.view(-1, 1, 1), snrs(self.cells).to(mean)
        if head is None:
            return Latents(mean, channel.isotropic(power, snr))
        gain = self.noise_log_gain.view(-1, 1, 1)
        return Latents(mean, channel.learned(power, snr, head, gain))

    def decode(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Points [c, n, 3] from latents z [c, d, n] and, for conditional codecs, one-hot labels [l, n].

        Raises ValueError for labels that the codecs were not trained with.
        """
        self._same_labels(0 if label is None else len(label))
        return self._decode(z, None if label is None else label.expand(len(self.cells), -1, -1)).mT

    def _decode(self, z: Tensor, label: Tensor | None) -> Tensor:
        """Points [c, 3, n] from latents [c, d, n] and labels [c, l, n]."""
        return project(self.decoder(with_label(z, label)), SOURCES[self.source].bounds)

    @property
    def _margins(self) -> Tensor:
        """By how much a neighbour's answer must be better [c]."""
        law = SOURCES[self.source].left_open(self.labels > 0)
        return torch.tensor([margin(law, cell.snr) for cell in self.cells])

    def _same_labels(self, given: int) -> None:
        if given != self.labels:
            raise ValueError(f"{self.cells[0].name}: trained with {self.labels} labels, not {given}")

    def select(self, index: Sequence[int]) -> "Codecs":
        """The codecs of some of the cells."""
        return Codecs(
            tuple(self.cells[i] for i in index),
            self.encoder.select(index),
            self.decoder.select(index),
            self.signal_power[list(index)],
            self.noise_log_gain[list(index)],
            self.source,
        )


def project(points: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Points [c, 3, n], each moved in place to the nearest one with coordinates within a source's bounds.

    It is no farther from any point of the source than it was: the projection onto a convex set that holds the
    source, for the cube its convex hull.
    """
    return points.clamp_(*bounds)


def heads(noise: Noise, latent_dim: int, output: Tensor) -> tuple[Tensor, Tensor | None]:
    """An encoder's output as μ [c, d, b] and, where the noise is learned, the head v [c, d, b]."""
    if noise == "learned":
        mean, head = output.split(latent_dim, 1)
        return mean, head
    return output, None


def snrs(cells: Sequence[Cell]) -> Tensor:
    """The cells' SNRs as [c, 1, 1]."""
    return torch.tensor([cell.snr for cell in cells], dtype=torch.float32).view(-1, 1, 1)


def concatenate(parts: Sequence[Codecs]) -> Codecs:
    """The codecs of all cells of several batches of one shape."""
    return Codecs(
        tuple(cell for part in parts for cell in part.cells),
        network.concatenate([part.encoder for part in parts]),
        network.concatenate([part.decoder for part in parts]),
        torch.cat([part.signal_power for part in parts]),
        torch.cat([part.noise_log_gain for part in parts]),
        parts[0].source,
    )


def to_bytes(codecs: Sequence[Codecs]) -> bytes:
    """The codecs as safetensors; one metadata key says which cells each group of tensors holds."""
    tensors: dict[str, Tensor] = {}
    groups = {}
    for batch in codecs:
        group = f"{batch.cells[0].model}/d{batch.latent_dim}"
        groups[group] = {
            "cells": [asdict(cell) for cell in batch.cells],
            "hidden": batch.encoder.widths[1:-1],
            "source": batch.source,
        } | ({"labels": batch.labels} if batch.labels else {})
        tensors[f"{group}/signal_power"] = batch.signal_power
        tensors[f"{group}/noise_log_gain"] = batch.noise_log_gain
        for part, net in (("encoder", batch.encoder), ("decoder", batch.decoder)):
            for layer, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
                tensors[f"{group}/{part}/{layer}/weight"] = weight.contiguous()
                tensors[f"{group}/{part}/{layer}/bias"] = bias.contiguous()
    return safetensors.torch.save(tensors, {METADATA: json.dumps(groups, sort_keys=True)})


def from_bytes(data: bytes) -> list[Codecs]:
    """Inverse of to_bytes. Raises ValueError where `data` is anything else."""
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        groups = {
            name: (
                tuple(Cell(**cell) for cell in group["cells"]),
                [int(h) for h in group["hidden"]],
                int(group.get("labels", 0)),
                str(group["source"]),
            )
            for name, group in json.loads(header["__metadata__"][METADATA]).items()
        }
        shapes = {
            f"{name}/{tensor}": shape
            for name, (cells, hidden, labels, source) in groups.items()
            for tensor, shape in _shapes(name, cells, hidden, labels, source).items()
        }
    except (
        safetensors.SafetensorError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"not a model file of this pipeline ({error!r})") from None
    _check(tensors, shapes)
    return [
        _codecs(tensors, name, cells, len(hidden) + 1, source)
        for name, (cells, hidden, _, source) in groups.items()
    ]


def autoencoders_from_bytes(data: bytes, source: str, labels: int = 0) -> list[Codecs]:
    """As from_bytes; ValueError where there are others than autoencoders of a source, told `labels` apart."""
    return _only(("none",), source, labels, from_bytes(data))


def snr_vaes_from_bytes(data: bytes, source: str, labels: int = 0) -> list[Codecs]:
    """As from_bytes; ValueError where there are others than SNR-VAEs of a source, told `labels` apart."""
    return _only(("isotropic", "learned"), source, labels, from_bytes(data))


def _only(kinds: Sequence[Noise], source: str, labels: int, codecs: list[Codecs]) -> list[Codecs]:
    for batch in codecs:
        if batch.noise not in kinds:
            raise ValueError(f"holds {batch.cells[0].name}, but expected noise: {' or '.join(kinds)}")
        if batch.source != source:
            raise ValueError(f"holds {batch.cells[0].name} of {batch.source}, but params.yaml says {source}")
        if batch.labels != labels:
            raise ValueError(
                f"holds {batch.cells[0].name}, trained with {batch.labels} labels, but expected {labels}: "
                "params.yaml and the models differ in conditional"
            )
    return codecs


def _shapes(
    group: str, cells: tuple[Cell, ...], hidden: Sequence[int], labels: int, source: str
) -> dict[str, list[int]]:
    """Shape of every tensor of a group, by name."""
    if source not in SOURCES:
        raise ValueError(f"source {source!r}")
    if labels not in (0, len(SOURCES[source].labels)):
        raise ValueError(f"{labels} labels")
    if {f"{cell.model}/d{cell.latent_dim}" for cell in cells} != {group}:
        raise ValueError(f"{group!r} is no group of its cells")
    count, latent_dim = len(cells), cells[0].latent_dim
    shapes = {"signal_power": [count], "noise_log_gain": [count]}
    for part, widths in (
        ("encoder", encoder_widths(cells[0].noise, latent_dim, hidden, labels)),
        ("decoder", decoder_widths(latent_dim, hidden, labels)),
    ):
        for layer, (i, o) in enumerate(pairwise(widths)):
            shapes[f"{part}/{layer}/weight"] = [count, o, i]
            shapes[f"{part}/{layer}/bias"] = [count, o, 1]
    return shapes


def _check(tensors: dict[str, Tensor], shapes: dict[str, list[int]]) -> None:
    """Raise ValueError unless the tensors are these, float32, and finite but for cells that diverged."""
    if not shapes or set(tensors) != set(shapes):
        names = ", ".join(map(repr, sorted(set(tensors) ^ set(shapes))[:3]))
        raise ValueError(f"its tensors are not those of its cells ({names or 'none at all'})")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or list(tensor.shape) != shapes[name]:
            raise ValueError(
                f"{name}: expected float32 {shapes[name]}, found {tensor.dtype} {list(tensor.shape)}"
            )
    for name, tensor in tensors.items():
        model, group, part = name.split("/", 2)
        lost = tensors[f"{model}/{group}/signal_power"].isnan()
        sound = tensor[~lost].isfinite().all() and tensor[lost].isnan().all()
        if not sound or (part == "signal_power" and (tensor < 0).any()):
            raise ValueError(f"{name}: values that are not finite, or a negative power")


def _codecs(
    tensors: dict[str, Tensor], group: str, cells: tuple[Cell, ...], layers: int, source: str
) -> Codecs:
    encoder, decoder = (
        Network(
            tuple(tensors[f"{group}/{part}/{layer}/weight"] for layer in range(layers)),
            tuple(tensors[f"{group}/{part}/{layer}/bias"] for layer in range(layers)),
        )
        for part in ("encoder", "decoder")
    )
    power, gain = tensors[f"{group}/signal_power"], tensors[f"{group}/noise_log_gain"]
    return Codecs(cells, encoder, decoder, power, gain, source)
