"""Codecs: encoder, channel and decoder of many cells of one shape.

An autoencoder is the same codec on a noiseless channel.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from snrvae import channel, network
from snrvae.grid import Cell, Noise
from snrvae.network import Network

SOURCE_DIM = 3
METADATA = "codecs"


def encoder_widths(noise: Noise, latent_dim: int, hidden: Sequence[int]) -> list[int]:
    """Features of an encoder's layers: learned noise has a second head, for ln σ²."""
    return [SOURCE_DIM, *hidden, latent_dim * (2 if noise == "learned" else 1)]


def decoder_widths(latent_dim: int, hidden: Sequence[int]) -> list[int]:
    """Features of a decoder's layers."""
    return [latent_dim, *hidden, SOURCE_DIM]


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

    signal_power    P [c], measured once on the training set: a point's noise does not depend on
                    the points that came with it
    noise_log_gain  ln E exp(v) [c] of the log-variance head, likewise; zero without that head
    """

    cells: tuple[Cell, ...]
    encoder: Network
    decoder: Network
    signal_power: Tensor
    noise_log_gain: Tensor

    @property
    def noise(self) -> Noise:
        return self.cells[0].noise

    @property
    def latent_dim(self) -> int:
        return self.cells[0].latent_dim

    def encode(self, points: Tensor) -> Latents:
        """Latents of points [n, 3], the same points for every cell."""
        x = points.T.expand(len(self.cells), -1, -1)  # [c, 3, n]
        mean, head = heads(self.noise, self.latent_dim, self.encoder(x))
        if self.noise == "none":
            return Latents(mean, None)
        power, snr = self.signal_power.view(-1, 1, 1), snrs(self.cells).to(mean)
        if head is None:
            return Latents(mean, channel.isotropic(power, snr))
        gain = self.noise_log_gain.view(-1, 1, 1)
        return Latents(mean, channel.learned(power, snr, head, gain))

    def decode(self, z: Tensor) -> Tensor:
        """Points [c, n, 3] from latents z [c, d, n]."""
        return self.decoder(z).mT

    def select(self, index: Sequence[int]) -> "Codecs":
        """The codecs of some of the cells."""
        return Codecs(
            tuple(self.cells[i] for i in index),
            self.encoder.select(index),
            self.decoder.select(index),
            self.signal_power[list(index)],
            self.noise_log_gain[list(index)],
        )


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
    )


def to_bytes(codecs: Sequence[Codecs]) -> bytes:
    """The codecs as safetensors; one metadata key says which cells each group of tensors holds."""
    tensors, groups = {}, {}
    for batch in codecs:
        group = f"{batch.cells[0].model}/d{batch.latent_dim}"
        groups[group] = [asdict(cell) for cell in batch.cells]
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
        groups = json.loads(header["__metadata__"][METADATA])
        return [_codecs(tensors, name, cells) for name, cells in groups.items()]
    except (safetensors.SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a model file of this pipeline ({error!r})") from None


def _codecs(tensors: dict[str, Tensor], group: str, cells: list[dict[str, object]]) -> Codecs:
    def net(part: str) -> Network:
        layers = sum(name.startswith(f"{group}/{part}/") for name in tensors) // 2
        names = [f"{group}/{part}/{layer}" for layer in range(layers)]
        return Network(
            tuple(tensors[f"{name}/weight"] for name in names),
            tuple(tensors[f"{name}/bias"] for name in names),
        )

    codecs = Codecs(
        tuple(Cell(**cell) for cell in cells),  # type: ignore[arg-type]
        net("encoder"),
        net("decoder"),
        tensors[f"{group}/signal_power"],
        tensors[f"{group}/noise_log_gain"],
    )
    _check(group, codecs)
    return codecs


def _check(group: str, codecs: Codecs) -> None:
    """Raise ValueError unless every tensor has the shape that the cells ask for and is finite."""
    encoder, decoder, count = codecs.encoder, codecs.decoder, len(codecs.cells)
    shapes = {f"signal_power {list(codecs.signal_power.shape)}": codecs.signal_power.shape == (count,)}
    shapes[f"noise_log_gain {list(codecs.noise_log_gain.shape)}"] = codecs.noise_log_gain.shape == (count,)
    for part, net, widths in (
        ("encoder", encoder, encoder_widths(codecs.noise, codecs.latent_dim, encoder.widths[1:-1])),
        ("decoder", decoder, decoder_widths(codecs.latent_dim, decoder.widths[1:-1])),
    ):
        for layer, (i, o) in enumerate(pairwise(widths)):
            found = list(net.weights[layer].shape), list(net.biases[layer].shape)
            shapes[f"{part} layer {layer} {found}"] = found == ([count, o, i], [count, o, 1])
    for what, right in shapes.items():
        if not right:
            raise ValueError(f"{group}: {what} does not fit its {count} cells")
    for tensor in (*encoder.weights, *encoder.biases, *decoder.weights, *decoder.biases):
        if tensor.dtype != torch.float32 or not torch.isfinite(tensor).all():
            raise ValueError(f"{group}: weights that are not finite float32")
