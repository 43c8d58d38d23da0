"""The state of a cell in training: a codec's parameters as flat memory, and back."""

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snrvae.codecs import losses
from snrvae.codecs.codec import MEASURED, Codec
from snrvae.codecs.networks import mlp
from snrvae.sources.domain import Domain, Points
from snrvae.training.compiled import channel, network, step
from snrvae.training.compiled.kernel import Floats
from snrvae.training.compiled.network import Perceptron
from snrvae.training.compiled.step import TrainState

NOISES = {"none": channel.NONE, "isotropic": channel.ISOTROPIC, "learned": channel.LEARNED}
ACTIVATIONS = {"relu": network.RELU, "silu": network.SILU, "tanh": network.TANH}


def build(codec: Codec, batch: int, kl_weight: float) -> TrainState:
    """The state of a codec before its first step, for batches of `batch` points."""
    made = codec.architecture
    labels, latent_dim = made.num_classes, made.cell.latent_dim
    sizes = [
        sum(parameter.numel() for parameter in net.parameters()) for net in (codec.encoder, codec.decoder)
    ]
    whole = _rows(sizes[0]) + sizes[1]
    parameters, gradient = _aligned(whole), _aligned(whole)
    encoder, decoder = _networks(codec, batch, parameters, gradient)
    count = made.candidates
    group = losses.group_size(batch)
    return TrainState(
        encoder=encoder,
        decoder=decoder,
        chooser=_widened(decoder, count * batch if count > 1 else 0),
        sent=_aligned(codec.outputs, batch),
        gradient_at_sent=_aligned(codec.outputs, batch),
        cost=_aligned(count, batch),
        chosen=np.zeros(batch, np.int64),
        price=np.float32(codec.price),
        parameters=parameters,
        gradient=gradient,
        first_moment=_aligned(whole),
        second_moment=_aligned(whole),
        gradient_at_z=_aligned(latent_dim + labels, batch),
        root=_aligned(latent_dim, batch),
        kernel=_aligned(group + 5, group),
        kind=np.zeros(batch, np.int64),
        rarity=_rarity(made.source, labels),
        labels=labels,
        noise=NOISES[made.cell.noise],
        snr=np.float32(codec.channel.snr.item()),
        kl_weight=np.float32(kl_weight),
        lower=codec.lower.numpy(),
        upper=codec.upper.numpy(),
    )


def _rarity(source: Domain, labels: int) -> Floats:
    """The weight of a pair of points of each label [l]: 1/(l·share); [1] without labels."""
    if not labels or not source.shares:
        return np.ones(max(labels, 1), np.float32)
    return (1 / (labels * np.array(source.shares))).astype(np.float32)


def _networks(codec: Codec, batch: int, parameters: Floats, gradient: Floats) -> list[Perceptron]:
    """Encoder and decoder in flat memory, each starting on a cache line, and work space for their passes."""
    made, activation = codec.architecture, codec.architecture.network.activation
    latent_dim, labels = made.cell.latent_dim, made.num_classes
    widths = [
        mlp.widths(made.dimension + labels, made.candidates * codec.outputs, made.network),
        mlp.widths(latent_dim + labels, made.dimension, made.network),
    ]
    space, ones = _aligned(3, max(widths[0] + widths[1]) * batch), _aligned(batch)
    ones[:] = 1
    networks, start = [], 0
    for module, features in zip((codec.encoder, codec.decoder), widths, strict=True):
        count, size = sum(o * (i + 1) for i, o in pairwise(features)), sum(features) * batch
        net = Perceptron(
            widths=np.array(features),
            activation=ACTIVATIONS[activation],
            parameters=parameters[start : start + count],
            gradient=gradient[start : start + count],
            activations=_aligned(size),
            slopes=_aligned(0 if activation == "relu" else size),
            delta=_aligned(features[-1], batch),
            ones=ones,
            space=space,
        )
        for flat, parameter in zip(tensors(net.parameters, net.widths), module.parameters(), strict=True):
            flat[:] = parameter.detach().numpy()
        networks.append(net)
        start += _rows(count)
    return networks


def _widened(net: Perceptron, batch: int) -> Perceptron:
    """A network with the same parameters, and arrays for a forward pass of `batch` points."""
    size = int(net.widths.sum()) * batch
    return net._replace(
        activations=_aligned(size),
        slopes=_aligned(size if len(net.slopes) else 0),
        delta=_aligned(int(net.widths[-1]), batch),
    )


def finish(state: TrainState, codec: Codec, inputs: Points) -> Codec:
    """The codec with the state's parameters, and its signal power measured on inputs [n, k + l]."""
    for net, module in ((state.encoder, codec.encoder), (state.decoder, codec.decoder)):
        assert isinstance(module, nn.Module)
        for flat, parameter in zip(tensors(net.parameters, net.widths), module.parameters(), strict=True):
            parameter.data = torch.from_numpy(flat.copy())
    power, gain = step.measure_power(state, inputs[:MEASURED])
    codec.channel.signal_power = torch.tensor(power, dtype=torch.float32)
    codec.channel.noise_log_gain = torch.tensor(gain, dtype=torch.float32)
    return codec.eval().requires_grad_(False)


def tensors(flat: Floats, widths: Iterable[int]) -> list[Floats]:
    """Weight [o, i] and bias [o] of every layer: views of flat parameters, or of their gradient."""
    views, start = [], 0
    for i, o in pairwise(map(int, widths)):
        views += [flat[start : start + o * i].reshape(o, i), flat[start + o * i : start + o * (i + 1)]]
        start += o * (i + 1)
    return views


def _aligned(*shape: int) -> Floats:
    """Zeros that start on a cache line."""
    size = math.prod(shape)
    memory: NDArray[np.float32] = np.zeros(size + losses.ROW, np.float32)
    start = -(memory.ctypes.data // memory.itemsize) % losses.ROW
    return memory[start : start + size].reshape(shape)


def _rows(size: int) -> int:
    return -(-size // losses.ROW) * losses.ROW
