"""Multilayer perceptrons of many cells, one batched product per layer, and how one starts.

Activations are [c, features, b]: a layer is weight @ x + bias, and the long axis is contiguous.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """ReLU networks of `c` cells: weights [c, o, i] and biases [c, o, 1], a pair per layer."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs [c, o, b] for inputs [c, i, b]."""
        *hidden, last = zip(self.biases, self.weights, strict=True)
        for bias, weight in hidden:
            x = torch.baddbmm(bias, weight, x).relu_()
        return torch.baddbmm(*last, x)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features before, between and after the layers."""
        return (self.weights[0].shape[2], *(weight.shape[1] for weight in self.weights))

    def select(self, cells: Sequence[int]) -> "Network":
        """The networks of some of the cells."""
        index = list(cells)
        return Network(tuple(w[index] for w in self.weights), tuple(b[index] for b in self.biases))


def concatenate(networks: Sequence[Network]) -> Network:
    """The networks of all cells of several networks with the same widths."""
    return Network(
        tuple(torch.cat(weights) for weights in zip(*(n.weights for n in networks), strict=True)),
        tuple(torch.cat(biases) for biases in zip(*(n.biases for n in networks), strict=True)),
    )


def initialise(
    weights: Sequence[Floats], biases: Sequence[Floats], inputs: Floats, generator: np.random.Generator
) -> None:
    """Draw one network's weights [o, i] and biases [o], for inputs like `inputs` [i, n].

    Weights are normal with variance 2/i after a ReLU (He et al., ICCV 2015, eq. 10) and 1/i where none
    came before. The kink of every hidden unit goes through one of the inputs, so that none is dead or
    linear on what it will see; outputs have mean zero.
    """
    x, last = inputs, len(weights) - 1
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        gain = 2 if layer else 1
        weight[:] = generator.standard_normal(weight.shape, np.float32) * math.sqrt(gain / len(x))
        x = weight @ x
        through = generator.integers(x.shape[1], size=(len(x), 1))
        kink = x.mean(1) if layer == last else np.take_along_axis(x, through, 1)[:, 0]
        bias[:] = -kink
        x = np.maximum(x + bias[:, None], 0)
