"""Where the time of a step goes: its compiled parts, each called again and again on one thread."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.setting import LATENT_DIMS, Setting
from snrvae.settings.grid import Cell
from snrvae.training import batches
from snrvae.training.batches import BatchSampler
from snrvae.training.compiled import state, step
from snrvae.training.compiled.adam import adam
from snrvae.training.compiled.kernel import Floats, view
from snrvae.training.compiled.network import Perceptron, gradient_at_input
from snrvae.training.compiled.penalty import gaussianity
from snrvae.training.compiled.step import TrainState

CALLS = 200  # of a part between two readings of the clock

WHOLE, PRODUCTS, PENALTY = "a step", "matrix products", "latent penalty and its gradient"
REST = "biases, ReLU, transposing, channel, mse, looking up"


def measure(setting: Setting, rounds: int) -> dict[int, dict[str, float]]:
    """Microseconds of a step and of its parts by latent_dim: the least of `rounds`, taken in turn."""
    torch.set_flush_denormal(True)
    with threadpool_limits(1):
        found = {dim: _measure(setting, dim, rounds) for dim in LATENT_DIMS}
    torch.set_flush_denormal(False)
    return found


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Share of each part in a step, the largest first; the remaining time is the rest."""
    share = {part: taken / parts[WHOLE] for part, taken in parts.items() if part != WHOLE}
    share[REST] = 1 - sum(share.values())
    return dict(sorted(share.items(), key=lambda item: -item[1]))


def _measure(setting: Setting, latent_dim: int, rounds: int) -> dict[str, float]:
    config, cell = setting.config, Cell("isotropic", latent_dim, 1000.0, 0)
    train, count = config.train, len(setting.points)
    begun = batches.start(cell, setting.points, config)
    made = state.build(begun, train.batch_size, train.kl_weight)
    choice, noise = (drawn.numpy() for drawn in BatchSampler(cell, count, config).draw(CALLS))
    rates, weights = np.full(CALLS, 1e-3), np.full(CALLS, train.gaussianity_weight, np.float32)
    losses, nowhere = np.zeros((CALLS, 3), np.float32), np.zeros((0, *noise.shape[1:]), np.float32)
    parts: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
        WHOLE: (
            step.train,
            (made, setting.points, choice, noise, rates, weights, nowhere, weights, 0, losses),
        ),
        PRODUCTS: (_products, (made.encoder, made.decoder, made.gradient_at_z, CALLS)),
        PENALTY: (_penalty, (made, noise)),
        "Adam": (_adam, (made, rates)),
    }
    least = dict.fromkeys(parts, np.inf)
    for _ in range(rounds + 1):
        for part, (function, arguments) in parts.items():
            start = time.perf_counter()
            function(*arguments)
            least[part] = min(least[part], (time.perf_counter() - start) / CALLS * 1e6)
    start = time.perf_counter()
    BatchSampler(cell, count, config).draw(CALLS)
    least["points and noise"] = (time.perf_counter() - start) / CALLS * 1e6
    least[WHOLE] += least["points and noise"]
    return {part: float(taken) for part, taken in least.items()}


@njit(nogil=True)
def _products(encoder: Perceptron, decoder: Perceptron, gradient_at_z: Floats, calls: int) -> None:
    for _ in range(calls):
        _of_network(encoder)
        _of_network(decoder)
        gradient_at_input(decoder, gradient_at_z)


@njit(nogil=True)
def _of_network(net: Perceptron) -> None:
    """The products of a forward and a backward pass, with nothing between them."""
    batch, start, place = net.delta.shape[1], 0, 0
    for layer in range(len(net.widths) - 1):
        i, o = net.widths[layer], net.widths[layer + 1]
        weight, slope = view(net.parameters, start, o, i), view(net.gradient, start, o, i)
        x = view(net.activations, place, i, batch)
        np.dot(weight, x, view(net.space[0], 0, o, batch))
        np.dot(view(net.space[0], 0, o, batch), view(net.space[2], 0, batch, i), slope)
        if layer:
            np.dot(weight.T, view(net.space[0], 0, o, batch), view(net.space[1], 0, i, batch))
        start += o * (i + 1)
        place += i * batch


@njit(nogil=True)
def _penalty(cell: TrainState, noise: Floats) -> None:
    for one in range(len(noise)):
        gaussianity(noise[one], cell.kind, 0, cell.rarity, np.float32(0.01), cell.root, cell.kernel)


@njit(nogil=True)
def _adam(cell: TrainState, rates: NDArray[np.float64]) -> None:
    for one in range(len(rates)):
        adam(cell.parameters, cell.gradient, cell.first_moment, cell.second_moment, rates[one], one + 1)
