"""Training: cells, each by one compiled program."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from snrvae import codec, program, step
from snrvae.codec import Codecs
from snrvae.grid import Cell
from snrvae.params import Train
from snrvae.randomness import numpy_stream, stream_seed
from snrvae.records import LOSSES, History, Points
from snrvae.sources.source import DIMENSION
from snrvae.step import Floats

RECORDS = 60  # rows that a cell gets in the training table
CHUNK = 100  # steps whose points and noise are drawn at once
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


def fit(cells: Sequence[Cell], inputs: Points, recipe: Recipe, progress: Progress) -> tuple[Codecs, History]:
    """Train cells of one shape on `inputs` [n, 3 + l], one after the other, in this thread.

    An input is a point and, for conditional codecs, its one-hot label behind it.

    A cell diverges where a loss or its codec is not finite. As train.on_divergence says, that raises
    DivergedError, naming the cell, or the cell comes out marked in codecs and history. What `progress` raises
    ends it too.
    """
    torch.set_flush_denormal(True)  # Adam's moments of a dead unit decay for ever
    try:
        trained = [_fit(cell, inputs, recipe, progress) for cell in cells]
    finally:
        torch.set_flush_denormal(False)
    return codec.concatenate([one for one, _ in trained]), _side_by_side([past for _, past in trained])


def _fit(cell: Cell, inputs: Points, recipe: Recipe, progress: Progress) -> tuple[Codecs, History]:
    train, labels = recipe.train, inputs.shape[1] - DIMENSION
    draws = Draws(cell, len(inputs), recipe)
    at_work = program.build(cell, recipe.hidden, labels, train.batch_size, train.kl_weight, recipe.source)
    program.initialise(at_work, inputs, numpy_stream(recipe.seed, "weights", cell.name))
    interval = max(1, train.steps // RECORDS)
    ends = [*range(interval, train.steps, interval), train.steps]
    means, done = np.full((len(ends), 1, len(LOSSES)), np.nan, np.float32), 0
    first_lost: int | None = None
    for record, end in enumerate(ends):
        losses = np.zeros((end - done, len(LOSSES)), np.float32)
        for chunk in np.split(losses, range(CHUNK, len(losses), CHUNK)):
            steps = range(done, done + len(chunk))
            rates = np.array([learning_rate(n, train.steps, train.learning_rate) for n in steps])
            weights = np.array(
                [gaussianity_weight(n, train.steps, train.gaussianity_weight, labels) for n in steps]
            )
            step.train(at_work, inputs, *draws.of(len(steps)), rates, weights.astype("f4"), done, chunk)
            done = steps.stop
            progress(len(steps), float(chunk[:, 0].mean()))
        lost = ~np.isfinite(losses).all(1)
        if lost.any() and first_lost is None:
            first_lost = _lost(cell, end - len(losses) + int(lost.argmax()), train)
        if first_lost is None:
            means[record, 0] = losses.mean(0)
    codecs = program.finish(at_work, cell, inputs, recipe.source)
    if first_lost is None and not codecs.finite:
        first_lost = _lost(cell, train.steps - 1, train)
    if first_lost is not None:
        codecs.give_up([0])
    rates = np.array([learning_rate(n - 1, train.steps, train.learning_rate) for n in ends])
    return codecs, History(
        (cell,), np.array(ends), rates, means, {} if first_lost is None else {cell: first_lost}
    )


def _side_by_side(histories: Sequence[History]) -> History:
    """The history of all cells of several histories."""
    first = histories[0]
    return History(
        tuple(cell for one in histories for cell in one.cells),
        first.step,
        first.learning_rate,
        np.concatenate([one.losses for one in histories], 1),
        {cell: step for one in histories for cell, step in one.diverged.items()},
    )


class Draws:
    """What a cell draws for its steps: which of `count` points, and noise.

    Cells of one repeat draw the same points, and those of one repeat and latent_dim the same noise.
    """

    def __init__(self, cell: Cell, count: int, recipe: Recipe):
        self._count, self._shape = count, (cell.latent_dim, recipe.train.batch_size)
        names = ("points", cell.repeat), ("noise", cell.latent_dim, cell.repeat)
        # torch draws normal values by vectors, five times as fast as NumPy
        self._points, self._noise = (
            torch.Generator().manual_seed(stream_seed(recipe.seed, *name)) for name in names
        )

    def of(self, steps: int) -> tuple[NDArray[np.int64], Floats]:
        """The next batches [steps, b] as rows of the inputs, and ε [steps, d, b]."""
        choice = torch.randint(self._count, (steps, self._shape[1]), generator=self._points)
        return choice.numpy(), torch.randn(steps, *self._shape, generator=self._noise).numpy()


def _lost(cell: Cell, step: int, train: Train) -> int:
    """The step at which a cell diverged; raises DivergedError if that ends training."""
    if train.on_divergence == "fail":
        raise DivergedError(
            f"{divergence(cell, step, train)}; lower train.learning_rate ({train.learning_rate:g})"
        )
    return step


def divergence(cell: Cell, step: int, train: Train) -> str:
    """What happened to a cell that diverged, as people are told."""
    rate = learning_rate(step, train.steps, train.learning_rate)
    return (
        f"{cell.name}: the loss is not finite at step {step} of {train.steps}, "
        f"where the learning rate is {rate:.3g}"
    )
