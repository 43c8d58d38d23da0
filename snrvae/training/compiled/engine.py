"""The compiled engine: a cell in one thread, bit-identical alone, in any grid and on any number of cores."""

import numpy as np
import torch

from snrvae.settings.grid import Cell
from snrvae.sources.domain import Points
from snrvae.training import batches
from snrvae.training.batches import DRAWN, BatchSampler, FoldedTargets
from snrvae.training.compiled import state, step
from snrvae.training.config import TrainConfig
from snrvae.training.history import LOSSES, Recorder
from snrvae.training.schedule import schedule, settling_steps
from snrvae.training.trainer import Progress, Trained


def fit(cell: Cell, inputs: Points, config: TrainConfig, progress: Progress) -> Trained:
    """Train a cell on `inputs` [n, k + l]: points, for conditional codecs followed by one-hot labels.

    A cell diverges if a loss or its codec is not finite. Depending on train.on_divergence, this raises
    DivergedError, naming the cell, or codec and history are marked as diverged. An error that `progress`
    raises ends training too.
    """
    torch.set_flush_denormal(True)  # a dead unit's Adam moments decay into denormals, which are slow
    try:
        return _fit(cell, inputs, config, progress)
    finally:
        torch.set_flush_denormal(False)


def _fit(cell: Cell, inputs: Points, config: TrainConfig, progress: Progress) -> Trained:
    train, codec = config.train, batches.start(cell, inputs, config)
    conditional = codec.architecture.num_classes > 0
    begun = state.build(codec, train.batch_size, train.kl_weight)
    settling = settling_steps(train)
    sampler, targets = BatchSampler(cell, len(inputs), config), FoldedTargets(cell, inputs, config)
    recorder, at_once = Recorder(cell, train), max(1, DRAWN // train.batch_size)
    for done in range(0, train.steps, at_once):
        steps = range(done, min(done + at_once, train.steps))
        losses = np.zeros((len(steps), len(LOSSES)), np.float32)
        choice, noise = (drawn.numpy() for drawn in sampler.draw(len(steps)))
        rates, weights, pulls = schedule(steps, train, conditional)
        target = targets.draw(steps, choice)
        step.train(begun, inputs, choice, noise, rates, weights, target, pulls, done, settling, losses)
        recorder.add(steps, losses)
        config.check_divergence(cell, recorder.lost)
        progress(len(steps), float(losses[:, 0].mean()))
    state.finish(begun, codec, inputs)
    if not codec.finite:
        recorder.lost.append(train.steps - 1)
        config.check_divergence(cell, recorder.lost)
    if recorder.lost:
        codec.mark_diverged()
    return codec, recorder.history()
