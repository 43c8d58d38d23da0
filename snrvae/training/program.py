"""A cell in training: where its numbers stand in memory, what it starts from, and the codec it becomes."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from snrvae.codecs import codec, network, search
from snrvae.codecs.codec import Codecs
from snrvae.codecs.network import Network
from snrvae.settings.grid import Cell, Noise
from snrvae.settings.params import ROW
from snrvae.sources.known import SOURCES
from snrvae.sources.source import DIMENSION, Points
from snrvae.training import step
from snrvae.training.step import Floats, Perceptron, Program

SEEN = 256  # points that a cell is initialised for
MEASURED = 120_000  # points that signal power is measured on, at most: to within half a percent
KINDS: dict[Noise, int] = {"none": step.NONE, "isotropic": step.ISOTROPIC, "learned": step.LEARNED}


def build(
    cell: Cell, hidden: Sequence[int], labels: int, batch: int, kl_weight: float, source: str
) -> Program:
    """A cell whose numbers are all 0, for batches of b points with one of l labels each (or l = 0)."""
    widths = (
        codec.encoder_widths(cell.noise, cell.latent_dim, hidden, labels),
        codec.decoder_widths(cell.latent_dim, hidden, labels),
    )
    first, second = (sum(o * (i + 1) for i, o in pairwise(w)) for w in widths)
    parameters, gradient, first_moment, second_moment = (_aligned(_rows(first) + second) for _ in range(4))
    space, ones = _aligned(3, max(*widths[0], *widths[1]) * batch), _aligned(batch)
    ones[:] = 1
    encoder, decoder = (
        Perceptron(
            widths=np.array(w),
            parameters=parameters[part],
            gradient=gradient[part],
            activations=_aligned(sum(w) * batch),
            delta=_aligned(w[-1], batch),
            ones=ones,
            space=space,
        )
        for w, part in zip(widths, (slice(first), slice(_rows(first), None)), strict=True)
    )
    group = _group(batch)
    with np.errstate(over="ignore"):  # infinity, with which training diverges as it should
        snr = np.float32(cell.snr or math.inf)
    return Program(
        encoder=encoder,
        decoder=decoder,
        parameters=parameters,
        gradient=gradient,
        first_moment=first_moment,
        second_moment=second_moment,
        gradient_at_z=_aligned(cell.latent_dim + labels, batch),
        root=_aligned(cell.latent_dim, batch),
        kernel=_aligned(group + 5, group),
        kind=np.zeros(batch, np.int64),
        labels=labels,
        noise=KINDS[cell.noise],
        snr=snr,
        kl_weight=np.float32(kl_weight),
        lower=np.float32(SOURCES[source].bounds[0]),
        upper=np.float32(SOURCES[source].bounds[1]),
    )


def initialise(program: Program, inputs: Points, generator: np.random.Generator) -> None:
    """Draw all parameters, for inputs like `inputs` [n, 3 + l] and latents like N(0, I)."""
    x = inputs[generator.integers(len(inputs), size=SEEN)].T
    z = generator.standard_normal((len(program.root), SEEN), np.float32)
    received = np.concatenate([z, x[DIMENSION:]])
    for net, seen in ((program.encoder, x), (program.decoder, received)):
        network.initialise(*layers(net.parameters, net.widths), seen, generator)


def finish(program: Program, cell: Cell, inputs: Points, source: str) -> Codecs:
    """The codec as it is, with signal power and noise gain measured on the first of `inputs` [n, 3 + l]."""
    law = SOURCES[source].left_open(program.labels > 0)
    least = np.float32(search.margin(law, cell.snr))
    found = step.powers(program, inputs[:MEASURED], search.NEIGHBOURS, least)
    power, gain = (torch.tensor([value], dtype=torch.float32) for value in found)
    encoder, decoder = (_network(net) for net in (program.encoder, program.decoder))
    return Codecs((cell,), encoder, decoder, power, gain, source)


def layers(flat: Floats, widths: Iterable[int]) -> tuple[list[Floats], list[Floats]]:
    """Weights [o, i] and biases [o] of every layer: views of flat parameters, or of their gradient."""
    weights, biases, start = [], [], 0
    for i, o in pairwise(map(int, widths)):
        weights.append(flat[start : start + o * i].reshape(o, i))
        start += o * (i + 1)
        biases.append(flat[start - o : start])
    return weights, biases


def _network(net: Perceptron) -> Network:
    """A copy of the parameters, for one cell."""
    weights, biases = layers(net.parameters.copy(), net.widths)
    return Network(
        tuple(torch.from_numpy(weight).unsqueeze(0) for weight in weights),
        tuple(torch.from_numpy(bias).view(1, -1, 1) for bias in biases),
    )


def _aligned(*shape: int) -> Floats:
    """Zeros that start on a cache line."""
    size = math.prod(shape)
    memory: NDArray[np.float32] = np.zeros(size + ROW, np.float32)
    start = -(memory.ctypes.data // memory.itemsize) % ROW
    return memory[start : start + size].reshape(shape)


def _rows(size: int) -> int:
    return -(-size // ROW) * ROW


def _group(batch: int) -> int:
    """How many points are compared with each other: the most that divide a batch."""
    return max(size for size in range(ROW, step.GROUP + 1, ROW) if batch % size == 0)
