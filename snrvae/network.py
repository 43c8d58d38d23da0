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


def initialise(network: Network, inputs: Sequence[Tensor], generators: Sequence[torch.Generator]) -> None:
    """Draw each cell's parameters from its own generator, for inputs like its `inputs` [i, n].

    Weights are normal with variance 2/i after a ReLU (He et al., ICCV 2015, eq. 10) and 1/i where none
    came before. The kink of every hidden unit goes through one of the inputs, so that none is dead or
    linear on what it will see; outputs have mean zero.
    """
    last = len(network.weights) - 1
    for cell, (activations, generator) in enumerate(zip(inputs, generators, strict=True)):
        x = activations
        for layer, (weights, biases) in enumerate(zip(network.weights, network.biases, strict=True)):
            weight, gain = weights[cell], 2 if layer else 1
            weight.normal_(0, math.sqrt(gain / len(x)), generator=generator)
            x = weight @ x
            through = torch.randint(x.shape[1], (len(x), 1), generator=generator)
            biases[cell] = -x.mean(1, keepdim=True) if layer == last else -x.gather(1, through)
            x = (x + biases[cell]).relu_()


@dataclass(frozen=True)
class _Layer:
    """A layer's parameters, its buffers, and their transposes: views that every step would make anew."""

    weight: Tensor  # [c, o, i]
    weight_t: Tensor
    bias: Tensor  # [c, o, 1]
    weight_gradient: Tensor
    bias_gradient: Tensor
    output: Tensor  # [c, o, b]
    output_t: Tensor
    delta: Tensor  # d loss / d input [c, i, b]


class Backpropagation:
    """Forward and backward passes of a network over buffers that are made once.

    network   the parameters
    gradient  a network of the same shape that receives d loss / d parameters
    batch     the number of points b of every pass
    scratch   two tensors that hold d loss / d activations, turn by turn: what is hot stays in the cache
    """

    def __init__(self, network: Network, gradient: Network, batch: int, scratch: tuple[Tensor, Tensor]):
        self.gradient = gradient
        parts = zip(network.weights, network.biases, gradient.weights, gradient.biases, strict=True)
        self._layers = []
        for number, (weight, bias, weight_gradient, bias_gradient) in enumerate(parts):
            cells, outputs, inputs = weight.shape
            output = weight.new_empty(cells, outputs, batch)
            # the first layer's has a place of its own: it outlives the pass
            space = scratch[number % 2] if number else weight.new_empty(cells * inputs * batch)
            delta = space[: cells * inputs * batch].view(cells, inputs, batch)
            views = weight, weight.mT, bias, weight_gradient, bias_gradient, output, output.mT, delta
            self._layers.append(_Layer(*views))
        self._hidden, self._last = self._layers[:-1], self._layers[-1]
        self._backward = list(zip(reversed(self._layers[1:]), reversed(self._hidden), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [c, o, b] for inputs [c, i, b]; the next pass overwrites them."""
        self._inputs = x
        for layer in self._hidden:
            x = torch.baddbmm(layer.bias, layer.weight, x, out=layer.output).relu_()
        return torch.baddbmm(self._last.bias, self._last.weight, x, out=self._last.output)

    def backward(self, delta: Tensor) -> Tensor:
        """Gradients of the parameters, where d loss / d output is `delta` [c, o, b].

        Returns `delta` carried back to the first layer's output [c, h, b]; `input_gradient` takes
        it on to the input.
        """
        for layer, below in self._backward:
            torch.bmm(delta, below.output_t, out=layer.weight_gradient)
            torch.sum(delta, 2, keepdim=True, out=layer.bias_gradient)
            torch.bmm(layer.weight_t, delta, out=layer.delta)
            delta = _through_relu(layer.delta, below.output, 0, grad_input=layer.delta)
        first = self._layers[0]
        if self._inputs.shape[1] == 1:
            # A product with a vector rounds differently for one cell than for many; a vector times a
            # matrix does not.
            torch.bmm(self._inputs, delta.mT, out=first.weight_gradient.mT)
        else:
            torch.bmm(delta, self._inputs.mT, out=first.weight_gradient)
        torch.sum(delta, 2, keepdim=True, out=first.bias_gradient)
        return delta

    def input_gradient(self, delta: Tensor) -> Tensor:
        """d loss / d input [c, i, b] from what `backward` returned."""
        return torch.bmm(self._layers[0].weight_t, delta, out=self._layers[0].delta)


_through_relu = torch.ops.aten.threshold_backward.grad_input


def scratch(cells: int, widest: int, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Buffers for Backpropagation: one pair serves all networks that are passed back in turn."""
    return like.new_empty(cells * widest * batch), like.new_empty(cells * widest * batch)


def _rows(size: int) -> int:
    return -(-size // ROW) * ROW
