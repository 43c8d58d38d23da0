"""A training step of one cell: encoder, channel, decoder, losses, all their gradients, and Adam.

The step computes the codec and loss that snrvae/codecs/codec.py and losses.py define; tests compare its
values and gradients with those of autograd.
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

    chooser         the decoder, with arrays for all candidates of a batch: it decides which are best
    sent            the candidates that are sent [o, b];  gradient_at_sent  the same shape
    cost            cost of each candidate [K, b];  chosen  the place of the cheapest [b]
    price           squared error that a candidate's power |μ|² costs
    parameters ...  parameters of both networks, their gradient and Adam's two moments, all flat
    gradient_at_z   gradient at the decoder's input [d + l, b]
    root            square root of learned noise's softmax [d, b]
    kernel          work space [m + 5, m] for the m points that are compared with each other
    kind            label of each point [b]
    rarity          weight of a pair of points of each label [l], 1/(l·share); [1] without labels
    noise           NONE, ISOTROPIC or LEARNED
    lower, upper    bounds [k] of reconstructions
    """

    encoder: Perceptron
    decoder: Perceptron
    chooser: Perceptron
    sent: Floats
    gradient_at_sent: Floats
    cost: Floats
    chosen: NDArray[np.int64]
    price: np.float32
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
    settling: int,
    losses: Floats,
) -> None:
    """Run a step for each row of `choice`.

    inputs    [n, k + l]
    choice    rows of the inputs in each batch [step, b]
    noise     ε [step, d, b]
    rates     learning rate [step]
    weights   weight of T [step]
    targets   latents to which the means are pulled [step, d, b], for the first steps only
    pulls     weight of E|μ - target|² [step]
    done      number of steps before these
    settling  number of steps, from the very first, in which the first candidate is sent
    losses    receives mse, E KL in nats and T [step, 3]
    """
    for step in range(len(choice)):
        choosing = done + step >= settling
        _one_step(state, inputs, choice[step], noise[step], weights[step], choosing, losses[step])
        if step < len(targets):
            _pull_to(targets[step], pulls[step], state)
        _spread(state)
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
    """Put a batch into x [k + l, b], and the label of each point into `kind` [b]."""
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
    choosing: bool,
    losses: Floats,
) -> None:
    """Fill in a batch's `losses` [3], and the gradients of the decoder and at the candidates sent."""
    encoder, decoder, snr, kl_weight = state.encoder, state.decoder, state.snr, state.kl_weight
    latent_dim, batch = noise.shape
    x = view(encoder.activations, 0, inputs.shape[1], batch)
    z = view(decoder.activations, 0, latent_dim, batch)
    _look_up(inputs, choice, x, state.kind, state.labels)
    copy(x[len(x) - state.labels :], view(decoder.activations, z.size, state.labels, batch))
    output = _sent(state, x, choosing)
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
        copy(at_z, state.gradient_at_sent)
    else:
        losses[2] = gaussianity(
            z, state.kind, state.labels, state.rarity, gaussianity_weight, at_z, state.kernel
        )
        if state.noise == ISOTROPIC:
            isotropic_backward(output, noise, snr, kl_weight, at_z, state.gradient_at_sent)
        else:
            learned_backward(output, noise, snr, kl_weight, state.root, at_z, state.gradient_at_sent)


@compiled
def _sent(state: TrainState, x: Floats, choosing: bool) -> Floats:
    """The best candidates [o, b] of points x [k + l, b], which are in the encoder's activations."""
    offers, sent, chosen = forward(state.encoder), state.sent, state.chosen
    outputs, batch = sent.shape
    choosing = choosing and len(state.cost) > 1
    if choosing:
        _weigh(state, offers, x)
    for point in range(batch):
        chosen[point] = 0
        for candidate in range(1, len(state.cost) if choosing else 1):
            if state.cost[candidate, point] < state.cost[chosen[point], point]:
                chosen[point] = candidate
        for row in range(outputs):
            sent[row, point] = offers[chosen[point] * outputs + row, point]
    return sent


@inlined
def _weigh(state: TrainState, offers: Floats, x: Floats) -> None:
    """Put the cost of each candidate into state.cost [K, b]; see `snrvae/codecs/candidates.py`."""
    dims, (outputs, batch) = state.root.shape[0], state.sent.shape
    coordinates, cost = len(x) - state.labels, state.cost
    z = view(state.chooser.activations, 0, dims + state.labels, cost.size)
    for candidate in range(len(cost)):
        start = candidate * batch
        for point in range(batch):
            cost[candidate, point] = ZERO
        for dim in range(dims):
            for point in range(batch):
                mean = offers[candidate * outputs + dim, point]
                z[dim, start + point] = mean
                cost[candidate, point] += state.price * mean * mean
        for label in range(state.labels):
            for point in range(batch):
                z[dims + label, start + point] = x[coordinates + label, point]
    answer = forward(state.chooser)
    for candidate in range(len(cost)):
        start = candidate * batch
        for dim in range(coordinates):
            least, most = state.lower[dim], state.upper[dim]
            for point in range(batch):
                away = min(max(answer[dim, start + point], least), most) - x[dim, point]
                cost[candidate, point] += away * away


@inlined
def _spread(state: TrainState) -> None:
    """Fill in the gradient at the encoder's output [K·o, b]: it is 0 at candidates that were not sent."""
    at_sent, delta = state.gradient_at_sent, state.encoder.delta
    outputs, batch = at_sent.shape
    for candidate in range(len(state.cost)):
        for row in range(outputs):
            into = delta[candidate * outputs + row]
            for point in range(batch):
                into[point] = at_sent[row, point] if state.chosen[point] == candidate else ZERO


@inlined
def _pull_to(target: Floats, weight: np.float32, state: TrainState) -> None:
    """Add the gradient of weight·E|μ - target|² at latent means [d, b]."""
    dims, batch = target.shape
    factor = TWO * weight / np.float32(batch)
    for dim in range(dims):
        for point in range(batch):
            state.gradient_at_sent[dim, point] += factor * (state.sent[dim, point] - target[dim, point])


@inlined
def _mse(output: Floats, x: Floats, lower: Floats, upper: Floats, delta: Floats) -> np.float32:
    """Mean squared error of outputs [k, b], clipped to the bounds; `delta` receives its gradient.

    The gradient ignores the clipping (straight-through, Bengio et al., arXiv:1308.3432), whose own gradient
    would be 0 outside the bounds, wherever x is.
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
def measure_power(state: TrainState, inputs: Floats) -> tuple[float, float]:
    """Signal power P, and with learned noise ln E exp(v), of the candidates sent for inputs [n, k + l]."""
    dims, batch = state.root.shape
    choice = np.zeros(batch, np.int64)
    x = view(state.encoder.activations, 0, inputs.shape[1], batch)
    power, gain = 0.0, 0.0
    for start in range(0, len(inputs), batch):
        size = min(batch, len(inputs) - start)
        for point in range(size):
            choice[point] = start + point
        _look_up(inputs, choice, x, state.kind, state.labels)
        sent = _sent(state, x, True)
        for dim in range(dims):
            for point in range(size):
                mean = float(sent[dim, point])
                power += mean * mean
                if state.noise == LEARNED:
                    gain += math.exp(float(sent[dims + dim, point]))
    count = len(inputs) * dims
    return power / count, math.log(gain / count) if state.noise == LEARNED else 0.0
