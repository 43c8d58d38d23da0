"""A training step of one cell: encoder, channel, decoder, losses, all their gradients, and Adam.

The mathematics is that of the definition (snrvae/codecs/codec.py, losses.py); tests hold values and gradients
to it under autograd.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snrvae.training.compiled.adam import adam
from snrvae.training.compiled.channel import (
    ISOTROPIC,
    LEARNED,
    NONE,
    isotropic_backward,
    isotropic_forward,
    learned_backward,
    learned_forward,
)
from snrvae.training.compiled.kernel import ONE, TWO, ZERO, Floats, compiled, copy, inlined, view
from snrvae.training.compiled.network import Perceptron, backward, forward, gradient_at_input
from snrvae.training.compiled.penalty import gaussianity


class TrainState(NamedTuple):
    """A cell in training.

    parameters ...  of both networks, flat: what Adam moves, by which gradient, and its two moments
    gradient_at_z   [d + l, b], l labels
    root            of learned noise's softmax [d, b]
    kernel          [m + 5, m]: of the m points that are compared with each other
    kind            of each point [b]: which of its l labels is 1
    rarity          of each label [l], or [1] without labels: 1/(l·share)
    noise           NONE, ISOTROPIC or LEARNED
    lower, upper    bounds [k] of what a decoder answers
    """

    encoder: Perceptron
    decoder: Perceptron
    parameters: Floats
    gradient: Floats
    first_moment: Floats
    second_moment: Floats
    gradient_at_z: Floats
    root: Floats
    kernel: Floats
    kind: NDArray[np.int64]
    rarity: Floats
    labels: int
    noise: int
    snr: np.float32
    kl_weight: np.float32
    lower: Floats
    upper: Floats


@compiled
def train(
    state: TrainState,
    inputs: Floats,
    choice: NDArray[np.int64],
    noise: Floats,
    rates: NDArray[np.float64],
    weights: Floats,
    targets: Floats,
    pulls: Floats,
    done: int,
    losses: Floats,
) -> None:
    """As many steps as there are rows of `choice`.

    inputs   [n, k + l], of which choice [step, b] says the batch
    noise    ε [step, d, b]
    rates    learning rate [step]
    weights  of the latent penalty [step]
    targets  where latent means are pulled to [step, d, b], for as many steps as anything pulls
    pulls    weight of |μ - target|², a mean over the points [step]
    done     steps before these
    losses   receives mse, E KL in nats and T [step, 3]
    """
    for step in range(len(choice)):
        _one_step(state, inputs, choice[step], noise[step], weights[step], losses[step])
        if step < len(targets):
            _pull_to(targets[step], pulls[step], state.encoder)
        backward(state.encoder)
        adam(
            state.parameters,
            state.gradient,
            state.first_moment,
            state.second_moment,
            rates[step],
            done + step + 1,
        )


@inlined
def _look_up(
    inputs: Floats, choice: NDArray[np.int64], x: Floats, kind: NDArray[np.int64], labels: int
) -> None:
    """Put a batch into x [k + l, b], and which label a point has into `kind`."""
    features, batch = x.shape
    for feature in range(features):
        for point in range(batch):
            x[feature, point] = inputs[choice[point], feature]
    for label in range(labels):
        row = x[features - labels + label]
        for point in range(batch):
            kind[point] = label if row[point] > ZERO else kind[point]


@inlined
def _one_step(
    state: TrainState,
    inputs: Floats,
    choice: NDArray[np.int64],
    noise: Floats,
    gaussianity_weight: np.float32,
    losses: Floats,
) -> None:
    """Losses [3] of a batch, and the gradient of the decoder's parameters and at the encoder's output."""
    encoder, decoder, snr, kl_weight = state.encoder, state.decoder, state.snr, state.kl_weight
    latent_dim, batch = noise.shape
    x = view(encoder.activations, 0, inputs.shape[1], batch)
    z = view(decoder.activations, 0, latent_dim, batch)
    _look_up(inputs, choice, x, state.kind, state.labels)
    copy(x[len(x) - state.labels :], view(decoder.activations, z.size, state.labels, batch))
    output = forward(encoder)
    if state.noise == ISOTROPIC:
        losses[1] = isotropic_forward(output, noise, snr, z)
    elif state.noise == LEARNED:
        losses[1] = learned_forward(output, noise, snr, z, state.root)
    else:
        copy(output, z)
    losses[0] = _mse(forward(decoder), x, state.lower, state.upper, decoder.delta)
    backward(decoder)
    gradient_at_input(decoder, state.gradient_at_z)
    at_z = state.gradient_at_z[:latent_dim]
    if state.noise == NONE:
        copy(at_z, encoder.delta)
    else:
        losses[2] = gaussianity(
            z, state.kind, state.labels, state.rarity, gaussianity_weight, at_z, state.kernel
        )
        if state.noise == ISOTROPIC:
            isotropic_backward(output, noise, snr, kl_weight, at_z, encoder.delta)
        else:
            learned_backward(output, noise, snr, kl_weight, state.root, at_z, encoder.delta)


@inlined
def _pull_to(target: Floats, weight: np.float32, encoder: Perceptron) -> None:
    """Add the gradient of weight·E|μ - target|² at latent means [d, b]."""
    dims, batch = target.shape
    mean = view(encoder.activations, len(encoder.activations) - encoder.delta.size, dims, batch)
    factor = TWO * weight / np.float32(batch)
    for dim in range(dims):
        for point in range(batch):
            encoder.delta[dim, point] += factor * (mean[dim, point] - target[dim, point])


@inlined
def _mse(output: Floats, x: Floats, lower: Floats, upper: Floats, delta: Floats) -> np.float32:
    """Mean squared error of answers [k, b], moved to the nearest within bounds; `delta` gets its gradient.

    The gradient takes no notice of the move (straight-through, Bengio et al., arXiv:1308.3432): its own would
    be 0 for an output beyond the bounds, wherever x is.
    """
    features, batch = output.shape
    mean = ONE / np.float32(output.size)
    for feature in range(features):
        least, most = lower[feature], upper[feature]
        for point in range(batch):
            answer = output[feature, point]
            answer = least if answer < least else answer
            answer = most if answer > most else answer
            delta[feature, point] = TWO * mean * (answer - x[feature, point])
    flat = delta.reshape(delta.size)
    return np.dot(flat, flat) / (np.float32(4) * mean)


@compiled
def measure_power(
    state: TrainState, inputs: Floats, neighbours: Floats, margin: np.float32
) -> tuple[float, float]:
    """Signal power P, and with learned noise ln E exp(v), of what is sent for all inputs [n, k + l].

    That is the encoder's answer for a point or one of its neighbours [m, k]: see `snrvae/codecs/search.py`.
    """
    dims, batch = state.root.shape
    choice, sent = np.zeros(batch, np.int64), np.empty(state.encoder.delta.shape, np.float32)
    power, gain = 0.0, 0.0
    for start in range(0, len(inputs), batch):
        size = min(batch, len(inputs) - start)
        for point in range(size):
            choice[point] = start + point
        _search(state, inputs, choice, neighbours, margin, sent)
        for dim in range(dims):
            for point in range(size):
                mean = float(sent[dim, point])
                power += mean * mean
                if state.noise == LEARNED:
                    gain += math.exp(float(sent[dims + dim, point]))
    count = len(inputs) * dims
    return power / count, math.log(gain / count) if state.noise == LEARNED else 0.0


@inlined
def _search(
    state: TrainState,
    inputs: Floats,
    choice: NDArray[np.int64],
    neighbours: Floats,
    margin: np.float32,
    sent: Floats,
) -> None:
    """Put what is sent for a batch into `sent` [o, b]."""
    dims, batch = state.root.shape
    coordinates = inputs.shape[1] - state.labels
    x = view(state.encoder.activations, 0, inputs.shape[1], batch)
    z = view(state.decoder.activations, 0, dims + state.labels, batch)
    _look_up(inputs, choice, x, state.kind, state.labels)
    copy(x[coordinates:], z[dims:])
    points, least = x[:coordinates].copy(), np.empty(batch, np.float32)
    for turn in range(len(neighbours) + 1):
        if turn:
            for dim in range(coordinates):
                for point in range(batch):
                    x[dim, point] = points[dim, point] + neighbours[turn - 1, dim]
        output = forward(state.encoder)
        copy(output[:dims], z[:dims])
        answer, largest = forward(state.decoder), ZERO
        for point in range(batch):
            error = ZERO
            for dim in range(coordinates):
                value = min(max(answer[dim, point], state.lower[dim]), state.upper[dim])
                error += (value - points[dim, point]) * (value - points[dim, point])
            if turn == 0 or error < least[point]:
                least[point] = error if turn else error - margin
                for dim in range(len(output)):
                    sent[dim, point] = output[dim, point]
            largest = max(largest, least[point])
        if largest == ZERO:
            return  # no error is less
