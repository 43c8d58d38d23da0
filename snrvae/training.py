"""Training: the cells of a block as one batched program."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snrvae import codec, network, objective
from snrvae.channel import Channel, IsotropicChannel, LearnedChannel
from snrvae.codec import Codecs
from snrvae.grid import Cell, Noise
from snrvae.network import Backpropagation
from snrvae.params import Train
from snrvae.randomness import stream_seed
from snrvae.records import LOSSES, History
from snrvae.sources.known import SOURCES
from snrvae.sources.source import DIMENSION

RECORDS = 60  # rows that a cell gets in the training table
SEEN = 256  # points that a cell is initialised for
MEASURED = 2048  # points that a trained block is measured on at once
CHUNK = 50  # steps whose points and noise are drawn at once
EARLY = 100  # times its last weight that the latent penalty has more of at the first step

Progress = Callable[[int, float], None]  # (cell-steps done since the last call, their mean mse)


@dataclass(frozen=True)
class Recipe:
    """How cells are trained: hidden units by layer, settings, seed, name of the source."""

    hidden: tuple[int, ...]
    train: Train
    seed: int
    source: str


class DivergedError(ValueError):
    """A loss that is not finite."""


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One-cycle schedule (Smith & Topin, arXiv:1708.07120): up for 30 % of the steps, down for the rest."""
    warm, start, end = 0.3 * steps, peak / 25, peak / 250_000
    if step < warm:
        return start + (peak - start) * _ease(step / warm)
    return peak + (end - peak) * _ease((step - warm) / (steps - warm))


def gaussianity_weight(step: int, steps: int, last: float, labels: int = 0) -> float:
    """Weight of T: strong at first, falling in a straight line to `last` at half of the steps.

    So latents spread over all of their space while the codec is still soft, and the mse arranges them there.
    A codec that is told labels has `last` throughout: what they leave open is flat, and T is of fewer pairs.
    """
    early = 0 if labels else EARLY
    return last * (1 + early * max(0.0, 1 - 2 * step / steps))


def _ease(share: float) -> float:
    """From 0 to 1 along half a cosine."""
    return (1 - math.cos(math.pi * share)) / 2


@torch.inference_mode()
def fit(
    cells: tuple[Cell, ...], inputs: Tensor, recipe: Recipe, progress: Progress
) -> tuple[Codecs, History]:
    """Train cells of one shape on `inputs` [n, 3 + l] as one batched program, on one core.

    An input is a point and, for conditional codecs, its one-hot label behind it.

    What a cell comes out as does not depend on the cells beside it.
    A cell diverges where a loss or its codec is not finite. As train.on_divergence says, that raises
    DivergedError, naming the cell, or the cell comes out marked in codecs and history, and the others as
    without it. What `progress` raises ends it too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # Adam's moments of a dead unit decay for ever
    try:
        return _fit(cells, inputs, recipe, progress)
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def _fit(
    cells: tuple[Cell, ...], inputs: Tensor, recipe: Recipe, progress: Progress
) -> tuple[Codecs, History]:
    train = recipe.train
    block = _Block(cells, inputs, recipe)
    labels, diverged = inputs.shape[1] - DIMENSION, dict[Cell, int]()
    interval = max(1, train.steps // RECORDS)
    recent = torch.zeros(interval, len(LOSSES), len(cells))  # a row for each step since the last record
    steps, losses = [], []
    for step, (x, noise) in enumerate(_draws(cells, inputs, recipe)):
        row = step % interval
        rate = learning_rate(step, train.steps, train.learning_rate)
        weight = gaussianity_weight(step, train.steps, train.gaussianity_weight, labels)
        block.step(x, noise, rate, weight, recent[row])
        if row + 1 == interval or step + 1 == train.steps:
            seen = recent[: row + 1]
            _note(diverged, cells, seen.isfinite().all(1), step - row, train)
            steps.append(step + 1)
            # each cell's losses in a row of their own: a mean across rows rounds as their number bids
            means = seen.permute(2, 1, 0).contiguous().mean(2).numpy()
            means[[cell in diverged for cell in cells]] = np.nan
            losses.append(means)
            progress((row + 1) * len(cells), float(seen[:, 0].nanmean()))
    rates = [learning_rate(step, train.steps, train.learning_rate) for step in steps]
    codecs = block.codecs(inputs)
    _note(diverged, cells, codecs.finite.unsqueeze(0), train.steps - 1, train)
    codecs.give_up([place for place, cell in enumerate(cells) if cell in diverged])
    return codecs, History(cells, np.array(steps), np.array(rates), np.stack(losses), diverged)


def _draws(cells: tuple[Cell, ...], inputs: Tensor, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """For each step: inputs [c, 3 + l, b] and noise [c, d, b].

    Cells of one repeat share their points, and those of one repeat and latent_dim their noise.
    """
    train, seed = recipe.train, recipe.seed
    latent_dim, batch = cells[0].latent_dim, train.batch_size
    repeats = sorted({cell.repeat for cell in cells})
    row = torch.tensor([repeats.index(cell.repeat) for cell in cells])
    choice = [_generator(seed, "points", repeat) for repeat in repeats]
    noise = [_generator(seed, "noise", latent_dim, repeat) for repeat in repeats]
    for start in range(0, train.steps, CHUNK):
        size = min(CHUNK, train.steps - start)
        picked = [torch.randint(len(inputs), (size, batch), generator=g) for g in choice]
        x = torch.stack([inputs[index].mT for index in picked], 1)  # [size, r, 3 + l, b]
        epsilon = torch.stack([torch.randn(size, latent_dim, batch, generator=g) for g in noise], 1)
        yield from zip(x[:, row], epsilon[:, row], strict=True)


def _generator(seed: int, *name: object) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed(seed, *name))


def _note(
    diverged: dict[Cell, int], cells: tuple[Cell, ...], finite: Tensor, first: int, train: Train
) -> None:
    """Enter the first step of each cell that is not `finite` [step, c], from step `first` on."""
    for row, place in (~finite).nonzero().tolist():
        cell, step = cells[place], first + row
        if train.on_divergence == "fail":
            raise DivergedError(
                f"{divergence(cell, step, train)}; lower train.learning_rate ({train.learning_rate:g})"
            )
        diverged.setdefault(cell, step)


def divergence(cell: Cell, step: int, train: Train) -> str:
    """What happened to a cell that diverged, as people are told."""
    rate = learning_rate(step, train.steps, train.learning_rate)
    return (
        f"{cell.name}: the loss is not finite at step {step} of {train.steps}, "
        f"where the learning rate is {rate:.3g}"
    )


class Adam:
    """Adam (Kingma & Ba, ICLR 2015) on one flat tensor, by PyTorch's fused kernel.

    torch.optim.Adam calls the same kernel; importing it takes a second, which every process would pay.
    """

    def __init__(self, parameters: Tensor, gradient: Tensor):
        self._count = torch.zeros(())
        first, second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        largest: list[Tensor] = []  # of AMSGrad, which this is not
        self._state = [parameters], [gradient], [first], [second], largest, [self._count]

    def step(self, rate: float) -> None:
        """Move the parameters by the gradient as it is now."""
        self._count += 1
        torch._fused_adam_(
            *self._state,
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


class _Block:
    """Cells of one shape in training: their parameters, gradients and Adam's moments, each flat."""

    def __init__(self, cells: tuple[Cell, ...], inputs: Tensor, recipe: Recipe):
        self.cells, self.train, self.source = cells, recipe.train, recipe.source
        self._bounds = SOURCES[recipe.source].bounds
        self.noise: Noise = cells[0].noise
        self.latent_dim, count = cells[0].latent_dim, len(cells)
        labels = inputs.shape[1] - DIMENSION
        widths = (
            codec.encoder_widths(self.noise, self.latent_dim, recipe.hidden, labels),
            codec.decoder_widths(self.latent_dim, recipe.hidden, labels),
        )
        sizes = [network.parameter_count(count, w) for w in widths]
        flat, gradient = torch.zeros(sum(sizes)), torch.zeros(sum(sizes))
        encoder, decoder = (
            network.pack(part, count, w) for part, w in zip(flat.split(sizes), widths, strict=True)
        )
        into = (network.pack(part, count, w) for part, w in zip(gradient.split(sizes), widths, strict=True))
        self.encoder, self.decoder = encoder.network, decoder.network
        generators = [_generator(recipe.seed, "weights", cell.name) for cell in cells]
        seen = [inputs[torch.randint(len(inputs), (SEEN,), generator=g)].T for g in generators]
        latents = [torch.randn(self.latent_dim, SEEN, generator=g) for g in generators]
        network.initialise(self.encoder, seen, generators)
        received = [codec.with_label(z, codec.label_of(x)) for z, x in zip(latents, seen, strict=True)]
        network.initialise(self.decoder, received, generators)
        batch = recipe.train.batch_size
        scratch = network.scratch(count, max(*widths[0], *widths[1]), batch, flat)
        self._encoder = Backpropagation(encoder, next(into), batch, scratch)
        self._decoder = Backpropagation(decoder, next(into), batch, scratch, labels)
        self._adam = Adam(flat, gradient)
        self._mean = flat.new_tensor(1 / (DIMENSION * batch))
        self._twice_mean = 2 * self._mean
        if self.noise == "none":
            return
        kind = IsotropicChannel if self.noise == "isotropic" else LearnedChannel
        self._pairs = objective.pairs(count, batch, flat)
        self._channel: Channel = kind(codec.snrs(cells), self.latent_dim, batch, recipe.train.kl_weight)

    def step(
        self, inputs: Tensor, noise: Tensor, rate: float, gaussianity_weight: float, losses: Tensor
    ) -> None:
        """One step of every cell on inputs [c, 3 + l, b]; writes its losses [3, c] (LOSSES)."""
        label = codec.label_of(inputs)
        x = inputs if label is None else inputs[:, :DIMENSION]
        output = self._encoder.forward(inputs)
        noisy = self.noise != "none"
        z = self._channel.forward(output, noise) if noisy else output
        # The gradient takes no notice of the projection (straight-through, Bengio et al., arXiv:1308.3432):
        # its own would be 0 for an output beyond the bounds, wherever x is.
        error = codec.project(self._decoder.forward(z, label), self._bounds).sub_(x)
        torch.mul((error * error).sum((1, 2)), self._mean, out=losses[0])
        gradient = self._decoder.input_gradient(self._decoder.backward(error.mul_(self._twice_mean)))
        if noisy:
            losses[1] = self._channel.kl_nats()
            losses[2], pull = objective.gaussianity(z, label, self._pairs)
            gradient.add_(pull, alpha=gaussianity_weight)
            gradient = self._channel.backward(gradient)
        self._encoder.backward(gradient)
        self._adam.step(rate)

    def codecs(self, inputs: Tensor) -> Codecs:
        """The codecs as they are, with signal power and noise gain measured on `inputs` [n, 3 + l]."""
        count = len(self.cells)
        power, gain = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
        for start in range(0, len(inputs), MEASURED):
            output = self.encoder(inputs[start : start + MEASURED].T.expand(count, -1, -1))
            mean, head = codec.heads(self.noise, self.latent_dim, output)
            power += mean.double().square().sum((1, 2))
            if head is not None:
                gain += head.double().exp().sum((1, 2))
        values = len(inputs) * self.latent_dim
        gain = (gain / values).log() if self.noise == "learned" else gain
        power, gain = (power / values).float(), gain.float()
        return Codecs(self.cells, self.encoder, self.decoder, power, gain, self.source)
