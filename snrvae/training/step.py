"""A training step of one cell, compiled: encoder, channel, decoder, losses, all their gradients, and Adam.

Numba compiles it at the first call, in seconds and without a C compiler, and keeps the result (`cache`).
It renews that when this file changes and looks at no other: hence all that is compiled stands here.

Arrays are [features, b], so that the long axis is contiguous. A factor is a float32 by name, since next to a
plain number or an integer Numba reckons in double precision.

The compiler is left no liberty (Numba's fastmath): every operation is rounded as it is written. So what a
cell comes out as does not depend on when, beside what and for which processor it was compiled. Long sums are
products by BLAS, whose order suits vector registers.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy.linalg.blas  # noqa: F401 - np.dot calls it, and a limit on threads holds for what is loaded
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from snrvae.training import cache

cache.use()

Floats = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., object])

NONE, ISOTROPIC, LEARNED = range(3)  # kinds of noise
PACKED = 1200  # entries of A·Bᵀ beyond which OpenBLAS copies both factors first: transposing B takes less
GROUP = 128  # points that are compared with each other, at most

COMPILER: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
}
ZERO, HALF, ONE, TWO, INFINITY = (np.float32(value) for value in (0, 0.5, 1, 2, math.inf))


def compiled(function: Function) -> Function:
    """Compiled code that lets other threads run."""
    return njit(function, **COMPILER)


def inlined(function: Function) -> Function:
    """As `compiled`, but as part of its only caller: what is compiled apart is so again in every caller."""
    return njit(function, inline="always", **COMPILER)


def instruction(function: Callable[..., Any]) -> Callable[..., Any]:
    """What becomes the LLVM instructions that `function` tells Numba."""
    return intrinsic(function)


@instruction
def fma(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    """a·b + c of float32, rounded once."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), build


@instruction
def power_of_two(_typing: Any, _power: Any) -> Any:
    """2^power as float32, of an int32 from -126 to 127: the bits of its exponent."""

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        (power,) = arguments
        bits = builder.shl(builder.add(power, power.type(127)), power.type(23))
        return builder.bitcast(bits, context.get_value_type(types.float32))

    return types.float32(types.int32), build


class Perceptron(NamedTuple):
    """A ReLU network in training: its parameters, and where a pass puts what it reckons.

    widths       features before, between and after the layers
    parameters   of each layer W [o, i], then b [o], flat; so is the gradient
    activations  the input [i, b] of each layer, then the output [o, b], flat
    delta        d loss / d output [o, b]
    ones         [b], whose product with a row is its sum
    space        three rows, each for the largest [features, b]: the deltas of other layers, turn by turn, so
                 that what is hot stays in the cache, and an input as [b, i], with which products are faster
    """

    widths: NDArray[np.int64]
    parameters: Floats
    gradient: Floats
    activations: Floats
    delta: Floats
    ones: Floats
    space: Floats


class Program(NamedTuple):
    """A cell in training.

    parameters ...  of both networks, flat: what Adam moves, by which gradient, and its two moments
    gradient_at_z   [d + l, b], l labels
    root            of learned noise's softmax [d, b]
    kernel          [m + 5, m]: of the m points that are compared with each other
    kind            of each point [b]: which of its l labels is 1
    noise           NONE, ISOTROPIC or LEARNED
    lower, upper    bounds of what a decoder answers
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
    labels: int
    noise: int
    snr: np.float32
    kl_weight: np.float32
    lower: np.float32
    upper: np.float32


@compiled
def view(flat: Floats, start: int, rows: int, columns: int) -> Floats:
    """[rows, columns] of a flat array, from `start` on."""
    return flat[start : start + rows * columns].reshape(rows, columns)


@compiled
def copy(x: Floats, into: Floats) -> None:
    """An array [m, b] into another. To assign it to a slice would compile error messages for seconds."""
    rows, columns = x.shape
    for row in range(rows):
        for column in range(columns):
            into[row, column] = x[row, column]


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
        _add(y, net.parameters[start - o : start], layer < last)
        x = y
    return x


@compiled
def backward(net: Perceptron) -> None:
    """Gradients of all parameters, and net.space[0] at the first layer's sum [o, b], from net.delta."""
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
            _through_relu(below.reshape(below.size), x.reshape(x.size))
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
            sums[feature, point] = least if value < least else value  # a NaN stays one


@compiled
def _through_relu(delta: Floats, output: Floats) -> None:
    for place in range(len(delta)):
        delta[place] = delta[place] if output[place] > ZERO else ZERO


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


# The SNR channel: P and σ² are of the batch, and gradients flow through both. All reckons with |μ|, the norm
# over a batch, where P = |μ|² / (d·b) and d|μ|/dμ = μ / |μ|.


@compiled
def norm(mean: Floats) -> np.float32:
    """|μ| of latent means [d, b]."""
    dims, batch = mean.shape
    total = ZERO
    for dim in range(dims):
        for point in range(batch):
            total += mean[dim, point] * mean[dim, point]
    return np.sqrt(total)


@compiled
def send(mean: Floats, noise: Floats, snr: np.float32, z: Floats) -> np.float32:
    """z = μ + σ·ε with σ² = P / s, all [d, b]; returns E KL(q(z|x) ‖ N(0, I)) in nats."""
    dims, batch = mean.shape
    length = norm(mean)
    sigma = length / np.sqrt(snr * np.float32(mean.size))
    for dim in range(dims):
        for point in range(batch):
            z[dim, point] = mean[dim, point] + sigma * noise[dim, point]
    return _kl_nats(length, snr, mean) - np.float32(dims) * np.log(sigma)


@compiled
def pull(
    mean: Floats, noise: Floats, snr: np.float32, kl_weight: np.float32, at_z: Floats, delta: Floats
) -> None:
    """Gradient at μ of f(z) + kl_weight·E KL, where df/dz is `at_z`, all [d, b].

    σ = |μ|·dσ/d|μ|, and E KL has -d·ln |μ|.
    """
    dims, batch = mean.shape
    length = norm(mean)
    by_sigma = ZERO
    for dim in range(dims):
        for point in range(batch):
            by_sigma += at_z[dim, point] * noise[dim, point]
    by_norm = by_sigma / np.sqrt(snr * np.float32(mean.size)) - kl_weight * np.float32(dims) / length
    factor = kl_weight * (ONE + ONE / snr) / np.float32(batch) + by_norm / length
    for dim in range(dims):
        for point in range(batch):
            delta[dim, point] = at_z[dim, point] + factor * mean[dim, point]


@compiled
def _kl_nats(length: np.float32, snr: np.float32, mean: Floats) -> np.float32:
    """E KL without its -Σ E ln σ: d/2·(P + P/s - 1)."""
    dims, batch = mean.shape
    received = length * length * (ONE + ONE / snr) / np.float32(batch)
    return HALF * (received - np.float32(dims))


@compiled
def send_learned(output: Floats, noise: Floats, snr: np.float32, z: Floats, root: Floats) -> np.float32:
    """As `send`, with σ² spread as the head v says: |μ|² / s times the softmax of v over [d, b].

    `output` is μ, then v [2·d, b]; `root` receives the root of the softmax.
    """
    dims, batch = z.shape
    mean, head = output[:dims], output[dims:]
    largest = head[0, 0]
    for value in head.flat:
        largest = value if value > largest else largest
    total = ZERO
    for dim in range(dims):
        for point in range(batch):
            root[dim, point] = np.exp(HALF * (head[dim, point] - largest))
            total += root[dim, point] * root[dim, point]
    length, share = norm(mean), ONE / np.sqrt(total)
    scale = length / np.sqrt(snr)
    logs = ZERO
    for dim in range(dims):
        for point in range(batch):
            logs += HALF * (head[dim, point] - largest)
            root[dim, point] *= share
            z[dim, point] = mean[dim, point] + scale * root[dim, point] * noise[dim, point]
    logs = logs / np.float32(batch) + np.float32(dims) * np.log(scale * share)
    return _kl_nats(length, snr, mean) - logs


@compiled
def pull_learned(
    output: Floats,
    noise: Floats,
    snr: np.float32,
    kl_weight: np.float32,
    root: Floats,
    at_z: Floats,
    delta: Floats,
) -> None:
    """As `pull`, for learned noise: gradient at μ, then v [2·d, b]."""
    dims, batch = noise.shape
    mean = output[:dims]
    length, weight = norm(mean), kl_weight / np.float32(batch)
    scale = length / np.sqrt(snr)
    total = ZERO
    for dim in range(dims):
        for point in range(batch):
            sigma = scale * root[dim, point]
            # at ln σ²: of the noise sent, of E KL's σ²/2, and of its -ln σ
            here = HALF * (sigma * (at_z[dim, point] * noise[dim, point] + weight * sigma) - weight)
            delta[dims + dim, point] = here
            total += here
    factor = weight + TWO * total / (length * length)
    for dim in range(dims):
        for point in range(batch):
            delta[dim, point] = at_z[dim, point] + factor * mean[dim, point]
            # the softmax takes out of each point's share what the head adds to the mean
            delta[dims + dim, point] -= root[dim, point] * root[dim, point] * total


# The latent penalty


@compiled
def gaussianity(
    z: Floats,
    kind: NDArray[np.int64],
    labels: int,
    weight: np.float32,
    gradient: Floats,
    kernel: Floats,
) -> np.float32:
    """Distance T of the law of latents z [d, b] from N(0, I); adds weight·dT/dz to `gradient`.

    T = ∫ |φ(t) - e^{-|t|²/2}|² N(t; 0, I) dt, φ the characteristic function of z (Baringhaus & Henze,
    Metrika 1988). With the kernel k(z, z′) = e^{-|z - z′|²/2} that is E k(z, z′) - 2·2^{-d/2}·E e^{-|z|²/4}
    + 3^{-d/2}. E k is the mean over pairs of different points, so that T is estimated without bias: with its
    bias of (1 - E k)/b a batch pulls the latents together.

    kind    where there are labels, each equally often: which of them a point [b] has. T is then the mean
            over labels of that of their points, for latents that are N(0, I) taken together need not be so
            for each label.
    kernel  space [m + 5, m]: pairs are as many as points squared, so a batch is compared in groups of m
    """
    size, batch = kernel.shape[1], z.shape[1]
    weight /= np.float32(batch // size)
    total = ZERO
    for start in range(0, batch, size):
        total += _of_group(start, z, kind, labels, weight, gradient, kernel[:size], kernel[size:])
    return total / np.float32(batch // size)


@inlined
def _of_group(
    start: int,
    z: Floats,
    kind: NDArray[np.int64],
    labels: int,
    weight: np.float32,
    gradient: Floats,
    kernel: Floats,
    space: Floats,
) -> np.float32:
    dims, size = len(z), len(kernel)
    others, near, pulled, to_normal, ones = space[0], space[1], space[2], space[3], space[4]
    _kernel(start, z, kind, labels, kernel, others)
    ones[:] = ONE
    np.dot(kernel, ones, near)
    to_normal[:] = ZERO
    for dim in range(dims):
        there = z[dim, start : start + size]
        for one in range(size):
            to_normal[one] += np.float32(0.25) * there[one] * there[one]
    _exp_of_minus(to_normal)
    spread, pairs = np.float32(2 ** (-dims / 2)), np.float32(size * (size - 1) / max(labels, 1))  # on average
    for one in range(size):
        to_normal[one] *= others[one] * spread
    weight /= pairs
    for dim in range(dims):
        there, into = z[dim, start : start + size], gradient[dim, start : start + size]
        np.dot(kernel, there, pulled)
        for one in range(size):
            into[one] += weight * (TWO * pulled[one] + (to_normal[one] - TWO * near[one]) * there[one])
    within, across = np.dot(near, ones) - np.float32(size), np.dot(to_normal, ones)
    return (within - TWO * across + np.dot(others, ones) * np.float32(3 ** (-dims / 2))) / pairs


@inlined
def _kernel(
    start: int, z: Floats, kind: NDArray[np.int64], labels: int, kernel: Floats, others: Floats
) -> None:
    """Fill `kernel` for the points from `start` on, and with how many others each of them makes pairs [m]."""
    dims, size = len(z), len(kernel)
    for one in range(size):
        row = kernel[one]
        row[:] = ZERO
        for dim in range(dims):
            here, there = z[dim, start + one], z[dim, start : start + size]
            for other in range(size):
                row[other] += HALF * (there[other] - here) * (there[other] - here)
    _exp_of_minus(kernel.reshape(size * size))
    for one in range(size):
        same = size
        if labels:
            for other in range(size):
                if kind[start + other] != kind[start + one]:
                    kernel[one, other] = ZERO
                    same -= 1
        others[one] = np.float32(same - 1)


# e^r on |r| ≤ ln 2 / 2 is within a unit in the last place of its Taylor polynomial of this degree
TAYLOR = tuple(np.float32(1 / math.factorial(power)) for power in (7, 6, 5, 4, 3, 2, 1, 0))
LOG2_E = np.float32(1 / math.log(2))
LN2_HIGH = np.float32(0.693359375)  # nine bits: its multiples are exact
LN2_LOW = np.float32(math.log(2) - 0.693359375)
LEAST = np.float32(-87)  # e to it is the last normal float32


@compiled
def _exp_of_minus(x: Floats) -> None:
    """x ≥ 0 becomes e^{-x}, at least 1e-38: in vector registers, as the C library's is not."""
    for place in range(len(x)):
        y = -x[place]
        y = LEAST if y < LEAST else y
        power = np.floor(fma(y, LOG2_E, HALF))
        r = fma(-power, LN2_LOW, fma(-power, LN2_HIGH, y))
        value = TAYLOR[0]
        for coefficient in TAYLOR[1:]:
            value = fma(value, r, coefficient)
        x[place] = value * power_of_two(np.int32(power))


@compiled
def adam(
    parameters: Floats, gradient: Floats, first: Floats, second: Floats, rate: float, count: int
) -> None:
    """Step number `count` of Adam (Kingma & Ba, ICLR 2015, algorithm 1), with the defaults given there."""
    factor = np.float32(rate / (1 - 0.9**count))
    root_factor = np.float32(1 / math.sqrt(1 - 0.999**count))
    for place in range(len(parameters)):
        g = gradient[place]
        m = first[place] + np.float32(0.1) * (g - first[place])
        v = second[place] + np.float32(0.001) * (g * g - second[place])
        first[place], second[place] = m, v
        parameters[place] -= factor * m / (np.sqrt(v) * root_factor + np.float32(1e-8))


@compiled
def train(
    cell: Program,
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

    inputs   [n, 3 + l], of which choice [step, b] says the batch
    noise    ε [step, d, b]
    rates    learning rate [step]
    weights  of the latent penalty [step]
    targets  where latent means are pulled to [step, d, b], for as many steps as anything pulls
    pulls    weight of |μ - target|², a mean over the points [step]
    done     steps before these
    losses   receives mse, E KL in nats and T [step, 3]
    """
    for step in range(len(choice)):
        _one_step(cell, inputs, choice[step], noise[step], weights[step], losses[step])
        if step < len(targets):
            _pull_to(targets[step], pulls[step], cell.encoder)
        backward(cell.encoder)
        adam(
            cell.parameters,
            cell.gradient,
            cell.first_moment,
            cell.second_moment,
            rates[step],
            done + step + 1,
        )


@inlined
def _look_up(
    inputs: Floats, choice: NDArray[np.int64], x: Floats, kind: NDArray[np.int64], labels: int
) -> None:
    """Put a batch into x [3 + l, b], and which label a point has into `kind`."""
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
    cell: Program,
    inputs: Floats,
    choice: NDArray[np.int64],
    noise: Floats,
    gaussianity_weight: np.float32,
    losses: Floats,
) -> None:
    """Losses [3] of a batch, and the gradient of the decoder's parameters and at the encoder's output."""
    encoder, decoder, snr, kl_weight = cell.encoder, cell.decoder, cell.snr, cell.kl_weight
    latent_dim, batch = noise.shape
    x = view(encoder.activations, 0, inputs.shape[1], batch)
    z = view(decoder.activations, 0, latent_dim, batch)
    _look_up(inputs, choice, x, cell.kind, cell.labels)
    copy(x[3:], view(decoder.activations, z.size, cell.labels, batch))
    output = forward(encoder)
    if cell.noise == ISOTROPIC:
        losses[1] = send(output, noise, snr, z)
    elif cell.noise == LEARNED:
        losses[1] = send_learned(output, noise, snr, z, cell.root)
    else:
        copy(output, z)
    losses[0] = _mse(forward(decoder), x, cell.lower, cell.upper, decoder.delta)
    backward(decoder)
    gradient_at_input(decoder, cell.gradient_at_z)
    at_z = cell.gradient_at_z[:latent_dim]
    if cell.noise == NONE:
        copy(at_z, encoder.delta)
    else:
        losses[2] = gaussianity(z, cell.kind, cell.labels, gaussianity_weight, at_z, cell.kernel)
        if cell.noise == ISOTROPIC:
            pull(output, noise, snr, kl_weight, at_z, encoder.delta)
        else:
            pull_learned(output, noise, snr, kl_weight, cell.root, at_z, encoder.delta)


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
def _mse(output: Floats, x: Floats, lower: np.float32, upper: np.float32, delta: Floats) -> np.float32:
    """Mean squared error of answers [3, b], moved to the nearest within bounds; `delta` gets its gradient.

    The gradient takes no notice of the move (straight-through, Bengio et al., arXiv:1308.3432): its own would
    be 0 for an output beyond the bounds, wherever x is.
    """
    features, batch = output.shape
    mean = ONE / np.float32(output.size)
    for feature in range(features):
        for point in range(batch):
            answer = output[feature, point]
            answer = lower if answer < lower else answer
            answer = upper if answer > upper else answer
            delta[feature, point] = TWO * mean * (answer - x[feature, point])
    flat = delta.reshape(delta.size)
    return np.dot(flat, flat) / (np.float32(4) * mean)


@compiled
def powers(cell: Program, inputs: Floats, neighbours: Floats, margin: np.float32) -> tuple[float, float]:
    """Signal power P, and with learned noise ln E exp(v), of what is sent for all inputs [n, 3 + l].

    That is the encoder's answer for a point or one of its neighbours [k, 3]: see `snrvae/codecs/search.py`.
    """
    dims, batch = cell.root.shape
    choice, sent = np.zeros(batch, np.int64), np.empty(cell.encoder.delta.shape, np.float32)
    power, gain = 0.0, 0.0
    for start in range(0, len(inputs), batch):
        size = min(batch, len(inputs) - start)
        for point in range(size):
            choice[point] = start + point
        _search(cell, inputs, choice, neighbours, margin, sent)
        for dim in range(dims):
            for point in range(size):
                mean = float(sent[dim, point])
                power += mean * mean
                if cell.noise == LEARNED:
                    gain += math.exp(float(sent[dims + dim, point]))
    count = len(inputs) * dims
    return power / count, math.log(gain / count) if cell.noise == LEARNED else 0.0


@inlined
def _search(
    cell: Program,
    inputs: Floats,
    choice: NDArray[np.int64],
    neighbours: Floats,
    margin: np.float32,
    sent: Floats,
) -> None:
    """Put what is sent for a batch into `sent` [o, b]."""
    dims, batch = cell.root.shape
    x = view(cell.encoder.activations, 0, inputs.shape[1], batch)
    z = view(cell.decoder.activations, 0, dims + cell.labels, batch)
    _look_up(inputs, choice, x, cell.kind, cell.labels)
    copy(x[3:], z[dims:])
    points, least = x[:3].copy(), np.empty(batch, np.float32)
    for turn in range(len(neighbours) + 1):
        if turn:
            for dim in range(3):
                for point in range(batch):
                    x[dim, point] = points[dim, point] + neighbours[turn - 1, dim]
        output = forward(cell.encoder)
        copy(output[:dims], z[:dims])
        answer, largest = forward(cell.decoder), ZERO
        for point in range(batch):
            error = ZERO
            for dim in range(3):
                value = min(max(answer[dim, point], cell.lower), cell.upper)
                error += (value - points[dim, point]) * (value - points[dim, point])
            if turn == 0 or error < least[point]:
                least[point] = error if turn else error - margin
                for dim in range(len(output)):
                    sent[dim, point] = output[dim, point]
            largest = max(largest, least[point])
        if largest == ZERO:
            return  # no error is less
