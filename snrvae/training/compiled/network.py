"""Multilayer perceptrons: the forward pass, and the backward pass for all gradients."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snrvae.training.compiled.kernel import (
    INFINITY,
    ONE,
    TWO,
    ZERO,
    Floats,
    compiled,
    exp_of_minus,
    view,
)

RELU, SILU, TANH = range(3)
PACKED = 1200  # entries of A·Bᵀ beyond which OpenBLAS copies both factors first: transposing B takes less


class Perceptron(NamedTuple):
    """A network in training: its parameters, and the arrays that a pass fills.

    widths       features before, between and after the layers
    activation   RELU, SILU or TANH
    parameters   W [o, i], then b [o], of each layer, flat; the gradient has the same layout
    activations  the input [i, b] of each layer, then the output [o, b], flat
    slopes       f′ at the sum of each hidden unit, laid out as activations; empty for RELU
    delta        d loss / d output [o, b]
    ones         [b]: a row's product with it is the row's sum
    space        three rows, each as large as the largest [features, b]: two take turns with the layers'
                 deltas, so that these stay in the cache; the third is for an input transposed to [b, i],
                 with which products are faster
    """

    widths: NDArray[np.int64]
    activation: int
    parameters: Floats
    gradient: Floats
    activations: Floats
    slopes: Floats
    delta: Floats
    ones: Floats
    space: Floats


@compiled
def forward(net: Perceptron) -> Floats:
    """The output [o, b], from the input in net.activations."""
    widths, last = net.widths, len(net.widths) - 2
    batch, start, place = net.delta.shape[1], 0, 0
    x = view(net.activations, place, widths[0], batch)
    for layer in range(last + 1):
        i, o = widths[layer], widths[layer + 1]
        place += i * batch
        y = view(net.activations, place, o, batch)
        np.dot(view(net.parameters, start, o, i), x, y)
        start += o * (i + 1)
        hidden = layer < last
        _add(y, net.parameters[start - o : start], hidden and net.activation == RELU)
        if hidden and net.activation != RELU:
            _activate(y.reshape(y.size), net.slopes[place : place + y.size], net.activation)
        x = y
    return x


@compiled
def backward(net: Perceptron) -> None:
    """Compute all parameters' gradients from net.delta; net.space[0] gets the first layer's delta [o, b]."""
    widths, last = net.widths, len(net.widths) - 2
    batch, start, place = net.delta.shape[1], len(net.parameters), len(net.activations) - net.delta.size
    delta = net.delta
    for layer in range(last, -1, -1):
        i, o = widths[layer], widths[layer + 1]
        start -= o * (i + 1)
        place -= i * batch
        x, slope = view(net.activations, place, i, batch), view(net.gradient, start, o, i)
        if o * i > PACKED:
            transposed = view(net.space[2], 0, batch, i)
            _transpose(x, transposed)
            np.dot(delta, transposed, slope)
        else:
            np.dot(delta, x.T, slope)
        np.dot(delta, net.ones, net.gradient[start + o * i : start + o * (i + 1)])
        if layer:
            below = view(net.space[(layer - 1) % 2], 0, i, batch)
            np.dot(view(net.parameters, start, o, i).T, delta, below)
            if net.activation == RELU:
                _through_relu(below.reshape(below.size), x.reshape(x.size))
            else:
                _times(below.reshape(below.size), net.slopes[place : place + x.size])
            delta = below


@compiled
def gradient_at_input(net: Perceptron, gradient: Floats) -> None:
    """d loss / d input [i, b], after `backward`."""
    weight = view(net.parameters, 0, net.widths[1], net.widths[0])
    delta = net.delta if len(net.widths) == 2 else view(net.space[0], 0, len(weight), net.delta.shape[1])
    np.dot(weight.T, delta, gradient)


@compiled
def _add(sums: Floats, biases: Floats, rectify: bool) -> None:
    features, batch = sums.shape
    for feature in range(features):
        bias, least = biases[feature], ZERO if rectify else -INFINITY
        for point in range(batch):
            value = sums[feature, point] + bias
            sums[feature, point] = least if value < least else value  # a NaN stays a NaN


@compiled
def _through_relu(delta: Floats, output: Floats) -> None:
    for place in range(len(delta)):
        delta[place] = delta[place] if output[place] > ZERO else ZERO


@compiled
def _activate(values: Floats, slopes: Floats, activation: int) -> None:
    """Sums a become f(a) in place; `slopes` receives f′(a). Both follow from e^{-|a|} or e^{-2|a|}."""
    factor = TWO if activation == TANH else ONE
    for place in range(len(values)):
        slopes[place] = factor * np.abs(values[place])
    exp_of_minus(slopes)
    for place in range(len(values)):
        a, power = values[place], slopes[place]
        if activation == TANH:
            size = (ONE - power) / (ONE + power)
            values[place] = size if a > ZERO else -size
            slopes[place] = ONE - size * size
        else:
            share = (ONE if a > ZERO else power) / (ONE + power)  # the logistic function of a
            values[place] = a * share
            slopes[place] = share * (ONE + a * (ONE - share))


@compiled
def _times(delta: Floats, slopes: Floats) -> None:
    for place in range(len(delta)):
        delta[place] *= slopes[place]


@compiled
def _transpose(x: Floats, transposed: Floats) -> None:
    features, batch = x.shape
    whole = features - features % 8
    for start in range(0, whole, 8):
        for point in range(batch):
            for feature in range(start, start + 8):
                transposed[point, feature] = x[feature, point]
    for feature in range(whole, features):
        for point in range(batch):
            transposed[point, feature] = x[feature, point]
