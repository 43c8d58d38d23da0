"""What the tests of compiled code share: tensors in, tensors out, cell by cell."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from snrvae.training.loop import Recipe
from snrvae.training.step import Program
from torch import Tensor

from snrvae.settings.grid import Cell
from snrvae.settings.randomness import numpy_stream
from snrvae.sources.source import DIMENSION
from snrvae.training import program, step


def signal_power(mean: Tensor) -> Tensor:
    """P = E|μ|² / d of latent means [c, d, b], as [c, 1, 1]."""
    return mean.square().mean((1, 2), keepdim=True)


def gaussianity(z: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """T [c] of latents z [c, d, b] with one-hot labels [c, l, b], and dT/dz."""
    values, gradients = [], []
    for cell, latents in enumerate(z.detach()):
        kind = torch.zeros(z.shape[2]).long() if label is None else label[cell].argmax(0)
        size = program._group(z.shape[2])
        gradient = np.zeros(latents.shape, np.float32)
        values.append(
            step.gaussianity(
                np.ascontiguousarray(latents.float().numpy()),
                kind.numpy(),
                0 if label is None else label.shape[1],
                np.float32(1),
                gradient,
                np.empty((size + 5, size), np.float32),
            )
        )
        gradients.append(torch.from_numpy(gradient))
    return torch.tensor(values).to(z.dtype), torch.stack(gradients).to(z.dtype)


def begun(cell: Cell, inputs: NDArray[np.float32], recipe: Recipe) -> Program:
    """A cell before its first step."""
    train, labels = recipe.train, inputs.shape[1] - DIMENSION
    made = program.build(cell, recipe.hidden, labels, train.batch_size, train.kl_weight, recipe.source)
    program.initialise(made, inputs, numpy_stream(recipe.seed, "weights", cell.name))
    return made


def off_the_points(made: Program) -> Program:
    """The same cell, its parameters moved a little.

    The kink of a unit starts at a point, where rounding would say whether that point moves the unit.
    """
    made.parameters[:] += 1e-3 * np.random.default_rng(0).standard_normal(len(made.parameters), np.float32)
    return made


def without_moving(
    made: Program,
    inputs: NDArray[np.float32],
    noise: Tensor,
    gaussianity_weight: float,
    pull: tuple[Tensor, float] | None = None,
) -> list[float]:
    """The losses of a step on these inputs [b, 3 + l] with ε [d, b]; its gradients stand in `made` then.

    pull  target [d, b] and weight
    """
    losses = np.zeros((1, 3), np.float32)
    choice, rates = np.arange(len(inputs))[None], np.zeros(1)
    weights = np.array([gaussianity_weight], np.float32)
    target, pulls = (noise, ()) if pull is None else (pull[0], (pull[1],))
    targets, pulls = target.numpy()[None][: len(pulls)], np.array(pulls, np.float32)
    inputs = np.ascontiguousarray(inputs)
    step.train(made, inputs, choice, noise.numpy()[None], rates, weights, targets, pulls, 0, losses)
    return losses[0].tolist()


def gradients(made: Program) -> list[Tensor]:
    """Of encoder and decoder: weight and bias of each layer."""
    return [
        torch.from_numpy(tensor)
        for net in (made.encoder, made.decoder)
        for pair in zip(*program.layers(net.gradient, net.widths), strict=True)
        for tensor in pair
    ]


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))
