"""The start of a cell's training, its batches and noise: the same for every engine that runs on a CPU."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrvae.codecs.codec import Codec
from snrvae.settings.grid import Cell
from snrvae.settings.randomness import numpy_stream, stream_seed
from snrvae.sources.domain import Points
from snrvae.training import folding, schedule
from snrvae.training.config import TrainConfig

Floats = NDArray[np.float32]

SEEN = 256  # points on which a network is initialised
DRAWN = 25_600  # points of several steps that are drawn at once


def start(cell: Cell, inputs: Points, config: TrainConfig) -> Codec:
    """The codec before its first step, initialised for `inputs` [n, k + l] and latents from N(0, I).

    A network with a method `initialise` draws its parameters from a stream of the cell. PyTorch's modules
    initialise any other, with PyTorch's global generator seeded from that stream and restored afterwards.
    """
    coordinates = config.source.coordinates
    labels = inputs.shape[1] - coordinates
    generator = numpy_stream(config.seed, "weights", cell.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "weights", cell.name))
        codec = Codec(config.architecture(cell, labels)).train()
    if not hasattr(codec.encoder, "initialise"):
        return codec
    x = inputs[generator.integers(len(inputs), size=SEEN)]
    z = generator.standard_normal((cell.latent_dim, SEEN), np.float32)
    received = np.concatenate([z, x.T[coordinates:]])
    codec.encoder.initialise(torch.from_numpy(x), generator)
    codec.decoder.initialise(torch.from_numpy(received).T, generator)
    return codec


class BatchSampler:
    """Draws a cell's batches from `count` points, and the channel's noise.

    Cells of one repeat draw the same points, and those of one repeat and latent_dim the same noise.
    """

    def __init__(self, cell: Cell, count: int, config: TrainConfig, device: str = "cpu"):
        self._count, self._shape = count, (cell.latent_dim, config.train.batch_size)
        names = ("points", cell.repeat), ("noise", cell.latent_dim, cell.repeat)
        # torch draws normal values by vectors, five times as fast as NumPy
        self._points, self._noise = (
            torch.Generator(device).manual_seed(stream_seed(config.seed, *name)) for name in names
        )

    def draw(self, steps: int) -> tuple[Tensor, Tensor]:
        """The next batches [steps, b] as rows of the inputs, and ε [steps, d, b], on the device."""
        device = self._points.device
        choice = torch.randint(self._count, (steps, self._shape[1]), generator=self._points, device=device)
        return choice, torch.randn(steps, *self._shape, generator=self._noise, device=device)


def folds(cell: Cell, labels: int, config: TrainConfig) -> bool:
    """Whether a cell starts folded: encoder.folded_start is true, and it codes a surface without labels.

    A conditional codec does not: a face of the cube, all that its label leaves open, is flat already.
    """
    return config.encoder.folded_start and not labels and folding.folds(config.source, cell)


class FoldedTargets:
    """The folded surface to which a cell's latent means are pulled at first, if it `folds`."""

    def __init__(self, cell: Cell, inputs: Points, config: TrainConfig):
        source, labels = config.source, inputs.shape[1] - config.source.coordinates
        self.steps = schedule.settling_steps(config.train) if folds(cell, labels, config) else 0
        self._shape, self._inputs, self._source = (cell.latent_dim, config.train.batch_size), inputs, source

    def draw(self, steps: range, choice: NDArray[np.int64]) -> Floats:
        """Targets [j, d, b] for those first j of `steps` that pull, with the batches `choice` [steps, b]."""
        first = len([n for n in steps if n < self.steps])
        if not first:
            return np.zeros((0, *self._shape), np.float32)
        seen = self._inputs[choice[:first].ravel()]
        target = folding.folded(seen, self._source).reshape(self._shape[0], first, self._shape[1])
        return np.ascontiguousarray(target.swapaxes(0, 1))
