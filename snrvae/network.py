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


@dataclass(frozen=True)
class Packed:
    """A network's parameters as they are trained: a product with inputs above a row of ones adds the bias.

    hidden        Wᵀ above bᵀ [c, i + 1, o], for each layer before a ReLU
    weight, bias  of the last layer, [c, o, i] and [c, o, 1]: o is small there, and no row would be whole
    """

    hidden: tuple[Tensor, ...]
    weight: Tensor
    bias: Tensor

    @property
    def network(self) -> Network:
        """Views of the parameters."""
        return Network(
            (*(packed[:, :-1].mT for packed in self.hidden), self.weight),
            (*(packed[:, -1:].mT for packed in self.hidden), self.bias),
        )


def parameter_count(cells: int, widths: Sequence[int]) -> int:
    """Length of the flat tensor that `pack` lays a network over."""
    return sum(_rows(math.prod(shape)) for shape in _shapes(cells, widths))


def pack(flat: Tensor, cells: int, widths: Sequence[int]) -> Packed:
    """Parameters that are views into `flat` [parameter_count], each on rows of its own."""
    shapes = _shapes(cells, widths)
    spaces = flat.split([_rows(math.prod(shape)) for shape in shapes])
    *hidden, weight, bias = (
        space[: math.prod(shape)].view(shape) for space, shape in zip(spaces, shapes, strict=True)
    )
    return Packed(tuple(hidden), weight, bias)


def view(flat: Tensor, cells: int, widths: Sequence[int]) -> Network:
    """A network whose parameters are views into `flat` [parameter_count]."""
    return pack(flat, cells, widths).network


def _shapes(cells: int, widths: Sequence[int]) -> list[tuple[int, int, int]]:
    """Shapes of what `Packed` holds."""
    *hidden, (i, o) = pairwise(widths)
    return [(cells, i + 1, o) for i, o in hidden] + [(cells, o, i), (cells, o, 1)]


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
            drawn = torch.empty(weight.shape, dtype=weight.dtype)  # in rows, as no view is
            weight.copy_(drawn.normal_(0, math.sqrt(gain / len(x)), generator=generator))
            x = weight @ x
            through = torch.randint(x.shape[1], (len(x), 1), generator=generator)
            biases[cell] = -x.mean(1, keepdim=True) if layer == last else -x.gather(1, through)
            x = (x + biases[cell]).relu_()


@dataclass(frozen=True)
class _Layer:
    """Buffers of a hidden layer, and the views that every step would make anew."""

    packed_t: Tensor  # [c, o, i + 1]
    gradient: Tensor  # d loss / d packed [c, i + 1, o]
    input: Tensor  # [c, i + 1, b]: the last row is ones
    sum: Tensor  # [c, o, b]
    output: Tensor  # the rows of the next layer's input that are not ones [c, o, b]
    above_t: Tensor  # the next layer's Wᵀ
    delta: Tensor  # d loss / d output [c, o, b], then d loss / d sum
    delta_t: Tensor


class Backpropagation:
    """Forward and backward passes of a network over buffers that are made once.

    parameters  of the network
    gradient    receives d loss / d parameters
    batch       the number of points b of every pass
    scratch     two tensors for what no activation is, turn by turn: what is hot stays in the cache
    labels      how many of the inputs are labels: the last ones, given apart, to which no gradient goes
    """

    def __init__(
        self,
        parameters: Packed,
        gradient: Packed,
        batch: int,
        scratch: tuple[Tensor, Tensor],
        labels: int = 0,
    ):
        self.gradient = gradient.network
        self._weight, self._bias, self._into = parameters.weight, parameters.bias, gradient
        cells, outputs, _ = self._weight.shape
        widths = self.gradient.widths[:-1]
        inputs = [self._weight.new_ones(cells, width + 1, batch) for width in widths]
        without_ones = [x[:, :-1] for x in inputs]
        weights_t = [*(packed[:, :-1] for packed in parameters.hidden), self._weight.mT]
        self._layers = []
        for number, (packed, into) in enumerate(zip(parameters.hidden, gradient.hidden, strict=True)):
            output = without_ones[number + 1]
            space = scratch[number % 2][: output.numel()].view(output.shape)
            places = inputs[number], space, output, weights_t[number + 1], space, space.mT
            self._layers.append(_Layer(packed.mT, into, *places))
        free = widths[0] - labels
        self._input, self._label = without_ones[0].split((free, labels), 1)
        self._last_input = without_ones[-1]
        self._last_input_t = self._last_input.mT
        self._output = self._weight.new_empty(cells, outputs, batch)
        self._first_t = weights_t[0][:, :free]
        self._input_gradient = self._input.new_empty(self._input.shape)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Outputs [c, o, b] for inputs [c, i, b] and labels [c, l, b]; the next pass overwrites them."""
        self._input.copy_(x)
        if label is not None:
            self._label.copy_(label)
        for layer in self._layers:
            torch.bmm(layer.packed_t, layer.input, out=layer.sum)
            torch.clamp_min(layer.sum, 0, out=layer.output)
        return torch.baddbmm(self._bias, self._weight, self._last_input, out=self._output)

    def backward(self, delta: Tensor) -> Tensor:
        """Gradients of the parameters, where d loss / d output is `delta` [c, o, b].

        Returns `delta` carried back to the first layer's sum [c, h, b]; `input_gradient` takes it on to
        the input.
        """
        torch.bmm(delta, self._last_input_t, out=self._into.weight)
        torch.sum(delta, 2, keepdim=True, out=self._into.bias)
        for layer in reversed(self._layers):
            torch.bmm(layer.above_t, delta, out=layer.delta)
            delta = _through_relu(layer.delta, layer.output, 0, grad_input=layer.delta)
            torch.bmm(layer.input, layer.delta_t, out=layer.gradient)
        return delta

    def input_gradient(self, delta: Tensor) -> Tensor:
        """d loss / d input [c, i, b], without labels, from what `backward` returned."""
        return torch.bmm(self._first_t, delta, out=self._input_gradient)


_through_relu = torch.ops.aten.threshold_backward.grad_input


def scratch(cells: int, widest: int, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Buffers for Backpropagation: one pair serves all networks that are passed back in turn."""
    return like.new_empty(cells * widest * batch), like.new_empty(cells * widest * batch)


def _rows(size: int) -> int:
    return -(-size // ROW) * ROW
