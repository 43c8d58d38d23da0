"""What the tests of compiled code share: tensors in, tensors out."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrvae.codecs import losses
from snrvae.settings.grid import Cell
from snrvae.training import batches
from snrvae.training.compiled import penalty, state, step
from snrvae.training.compiled.step import TrainState
from snrvae.training.config import TrainConfig


def gaussianity(
    z: Tensor, label: Tensor | None = None, shares: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """T of latents z [n, d] with one-hot labels [n, l] of these shares, and dT/dz, both compiled."""
    kind = torch.zeros(len(z)).long() if label is None else label.argmax(1)
    size, classes = losses.group_size(len(z)), 1 if label is None else label.shape[1]
    rarity = torch.ones(classes) if shares is None else 1 / (classes * shares)
    gradient = np.zeros(z.T.shape, np.float32)
    value = penalty.gaussianity(
        np.ascontiguousarray(z.detach().float().numpy().T),
        kind.numpy(),
        0 if label is None else classes,
        rarity.float().numpy(),
        np.float32(1),
        gradient,
        np.empty((size + 5, size), np.float32),
    )
    return torch.tensor(value).to(z.dtype), torch.from_numpy(gradient).T.to(z.dtype)


def begun(cell: Cell, inputs: NDArray[np.float32], config: TrainConfig) -> TrainState:
    """A cell before its first step."""
    codec = batches.start(cell, inputs, config)
    return state.build(codec, config.train.batch_size, config.train.kl_weight)


def off_the_points(made: TrainState) -> TrainState:
    """The same cell, its parameters moved a little.

    The kink of a unit starts at a point. There, rounding would decide whether that point moves the unit.
    """
    made.parameters[:] += 1e-3 * np.random.default_rng(0).standard_normal(len(made.parameters), np.float32)
    return made


def without_moving(
    made: TrainState,
    inputs: NDArray[np.float32],
    noise: Tensor,
    gaussianity_weight: float,
    pull: tuple[Tensor, float] | None = None,
    settling: int = 0,
) -> list[float]:
    """The losses of a step on these inputs [b, k + l] with ε [d, b]; `made` then has its gradients.

    pull      target [d, b] and weight
    settling  steps in which the first candidate is sent
    """
    found = np.zeros((1, 3), np.float32)
    choice, rates = np.arange(len(inputs))[None], np.zeros(1)
    weights = np.array([gaussianity_weight], np.float32)
    target, pulls = (noise, ()) if pull is None else (pull[0], (pull[1],))
    targets, pulls = target.numpy()[None][: len(pulls)], np.array(pulls, np.float32)
    inputs = np.ascontiguousarray(inputs)
    step.train(made, inputs, choice, noise.numpy()[None], rates, weights, targets, pulls, 0, settling, found)
    return found[0].tolist()


def parameters(made: TrainState) -> list[Tensor]:
    """Of encoder and decoder: weight and bias of each layer."""
    return [
        torch.from_numpy(tensor)
        for net in (made.encoder, made.decoder)
        for tensor in state.tensors(net.parameters, net.widths)
    ]


def gradients(made: TrainState) -> list[Tensor]:
    """Of encoder and decoder: weight and bias of each layer."""
    return [
        torch.from_numpy(tensor)
        for net in (made.encoder, made.decoder)
        for tensor in state.tensors(net.gradient, net.widths)
    ]


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))
