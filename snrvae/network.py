"""Multilayer perceptrons of many cells, one batched product per layer.

Activations are [c, features, b]: a layer is weight @ x + bias, and the long axis is contiguous.
The backward pass is written out, so that gradients land in the optimiser's buffer without a copy
and no activation is allocated twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from snrvae.params import ROW


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


def parameter_count(cells: int, widths: Sequence[int]) -> int:
    """Length of the flat tensor that `view` lays a network over."""
    return sum(_rows(cells * o * i) + _rows(cells * o) for i, o in pairwise(widths))


def view(flat: Tensor, cells: int, widths: Sequence[int]) -> Network:
    """A network whose parameters are views into `flat` [parameter_count], each on rows of its own."""
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    start = 0
    for i, o in pairwise(widths):
        for shape, into in (((cells, o, i), weights), ((cells, o, 1), biases)):
            size = math.prod(shape)
            into.append(flat[start : start + size].view(shape))
            start += _rows(size)
    return Network(tuple(weights), tuple(biases))


def initialise(network: Network, generators: Sequence[torch.Generator]) -> None:
    """Draw each cell's parameters from its own generator (He et al., ICCV 2015, eq. 10).

    Biases are uniform within ±1/√i, so that the kinks of the first layer lie all over the source.
    """
    for weight, bias in zip(network.weights, network.biases, strict=True):
        inputs = weight.shape[2]
        for cell, generator in enumerate(generators):
            weight[cell].normal_(0, math.sqrt(2 / inputs), generator=generator)
            bias[cell].uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)


class Backpropagation:
    """Forward and backward passes of a network over buffers that are made once.

    network   the parameters
    gradient  a network of the same shape that receives d loss / d parameters
    batch     the number of points b of every pass
    scratch   two tensors that hold d loss / d activations, turn by turn: what is hot stays in the cache
    """

    def __init__(self, network: Network, gradient: Network, batch: int, scratch: tuple[Tensor, Tensor]):
        self.network, self.gradient = network, gradient
        cells = network.weights[0].shape[0]
        self._outputs = [network.weights[0].new_empty(cells, o, batch) for o in network.widths[1:]]
        self._deltas = [
            [half[: cells * i * batch].view(cells, i, batch) for half in scratch] for i in network.widths[:-1]
        ]
        self._inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [c, o, b] for inputs [c, i, b]; the next pass overwrites them."""
        self._inputs = [x, *self._outputs[:-1]]
        for weight, bias, inputs, output in zip(
            self.network.weights, self.network.biases, self._inputs, self._outputs, strict=True
        ):
            torch.baddbmm(bias, weight, inputs, out=output)
            if output is not self._outputs[-1]:
                output.relu_()
        return self._outputs[-1]

    def backward(self, delta: Tensor) -> Tensor:
        """Gradients of the parameters, where d loss / d output is `delta` [c, o, b].

        Returns `delta` carried back to the first layer's output [c, h, b]; `input_gradient` takes
        it on to the input.
        """
        for layer in reversed(range(len(self._outputs))):
            self._parameters(layer, delta)
            if layer:
                delta = self._through(layer, delta)
                # the ReLU that made this layer's input, in place: one pass
                torch.ops.aten.threshold_backward.grad_input(delta, self._inputs[layer], 0, grad_input=delta)
        return delta

    def input_gradient(self, delta: Tensor) -> Tensor:
        """d loss / d input [c, i, b] from what `backward` returned."""
        return self._through(0, delta)

    def _parameters(self, layer: int, delta: Tensor) -> None:
        """Gradients of a layer's weights and biases."""
        weight, inputs = self.gradient.weights[layer], self._inputs[layer]
        if inputs.shape[1] == 1:
            # A product with a vector rounds differently for one cell than for many; a vector times a
            # matrix does not.
            torch.bmm(inputs, delta.mT, out=weight.mT)
        else:
            torch.bmm(delta, inputs.mT, out=weight)
        torch.sum(delta, 2, keepdim=True, out=self.gradient.biases[layer])

    def _through(self, layer: int, delta: Tensor) -> Tensor:
        """d loss / d input of a layer, in the half of the scratch that `delta` is not in."""
        first, second = self._deltas[layer]
        out = second if delta.data_ptr() == first.data_ptr() else first
        return torch.bmm(self.network.weights[layer].mT, delta, out=out)


def scratch(cells: int, widest: int, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Buffers for Backpropagation: one pair serves all networks that are passed back in turn."""
    return like.new_empty(cells * widest * batch), like.new_empty(cells * widest * batch)


def _rows(size: int) -> int:
    return -(-size // ROW) * ROW
