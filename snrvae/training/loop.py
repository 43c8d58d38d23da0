"""Training: cells, each by one compiled program."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from snrvae.codecs import codec
from snrvae.codecs.codec import Codecs
from snrvae.formats.records import LOSSES, History
from snrvae.settings.grid import Cell
from snrvae.settings.params import Train
from snrvae.settings.randomness import numpy_stream, stream_seed
from snrvae.sources.known import SOURCES
from snrvae.sources.source import DIMENSION, Points
from snrvae.training import folding, program, step
from snrvae.training.step import Floats

RECORDS = 60  # rows that a cell gets in the training table
DRAWN = 25_600  # points of several steps that are drawn at once
EARLY = 100  # times its last weight that the latent penalty has more of at the first step
PULLED = 0.25  # share of the steps in which latents that can fold are pulled to a folded surface

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
    at_work = program.build(cell, recipe.hidden, labels, train.batch_size, train.kl_weight, recipe.source)
    program.initialise(at_work, inputs, numpy_stream(recipe.seed, "weights", cell.name))
    draws, at_once = Draws(cell, len(inputs), recipe), max(1, DRAWN // train.batch_size)
    targets = Targets(cell, inputs, recipe)
    interval, lost = max(1, train.steps // RECORDS), list[int]()
    ends = np.append(np.arange(interval, train.steps, interval), train.steps)
    sums = np.zeros((len(ends), len(LOSSES)))
    for done in range(0, train.steps, at_once):
        steps = range(done, min(done + at_once, train.steps))
        losses = np.zeros((len(steps), len(LOSSES)), np.float32)
        choice, noise = draws.of(len(steps))
        schedule, pulled = _schedule(steps, train, labels), targets.of(steps, choice)
        step.train(at_work, inputs, choice, noise, *schedule, *pulled, done, losses)
        lost.extend(done + np.flatnonzero(~np.isfinite(losses).all(1)))
        _end_if_lost(cell, lost, train)
        np.add.at(sums, np.array(steps) // interval, losses)
        progress(len(steps), float(losses[:, 0].mean()))
    codecs = program.finish(at_work, cell, inputs, recipe.source)
    if not codecs.finite:
        lost.append(train.steps - 1)
        _end_if_lost(cell, lost, train)
    means = (sums / np.diff(ends, prepend=0)[:, None]).astype(np.float32)[:, None]
    if lost:
        codecs.give_up([0])
        means[ends > lost[0]] = np.nan
    rates = np.array([learning_rate(end - 1, train.steps, train.learning_rate) for end in ends])
    return codecs, History((cell,), ends, rates, means, {cell: int(lost[0])} if lost else {})


@lru_cache(128)  # cell after cell goes through the same steps
def _schedule(steps: range, train: Train, labels: int) -> tuple[NDArray[np.float64], Floats]:
    """Learning rate and weight of T, step by step."""
    rates = [learning_rate(n, train.steps, train.learning_rate) for n in steps]
    weights = [gaussianity_weight(n, train.steps, train.gaussianity_weight, labels) for n in steps]
    return np.array(rates), np.array(weights, np.float32)


def _end_if_lost(cell: Cell, lost: Sequence[int], train: Train) -> None:
    """Raise DivergedError for the first of the steps at which a cell diverged, if that ends training."""
    if lost and train.on_divergence == "fail":
        raise DivergedError(
            f"{divergence(cell, lost[0], train)}; lower train.learning_rate ({train.learning_rate:g})"
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


class Targets:
    """Where a cell's latent means are pulled to at first: a folded surface, where there is one to fold.

    That takes three latents, little noise, and a point alone: what a label leaves open of a surface is flat.
    """

    def __init__(self, cell: Cell, inputs: Points, recipe: Recipe):
        source, train = SOURCES[recipe.source], recipe.train
        snr = cell.snr if cell.latent_dim == inputs.shape[1] == DIMENSION else None
        folds = snr is not None and folding.folds(source, snr)
        self._steps = math.ceil(PULLED * train.steps) if folds else 0
        self._shape, self._inputs, self._source = (cell.latent_dim, train.batch_size), inputs, source

    def of(self, steps: range, choice: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Targets [k, d, b] and weights [k] of E|μ - target|² for the first k of steps that see these rows.

        The weight falls from 1 in a straight line.
        """
        first = [n for n in steps if n < self._steps]
        weights = 1 - np.array(first, np.float32) / np.float32(max(self._steps, 1))
        if not first:
            return np.zeros((0, *self._shape), np.float32), weights
        seen = self._inputs[choice[: len(first)].ravel()]
        target = folding.folded(seen, self._source).reshape(self._shape[0], len(first), self._shape[1])
        return np.ascontiguousarray(target.swapaxes(0, 1)), weights


def divergence(cell: Cell, step: int, train: Train) -> str:
    """What happened to a cell that diverged, as people are told."""
    rate = learning_rate(step, train.steps, train.learning_rate)
    return (
        f"{cell.name}: the loss is not finite at step {step} of {train.steps}, "
        f"where the learning rate is {rate:.3g}"
    )
