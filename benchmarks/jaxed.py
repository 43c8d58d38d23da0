"""JAX: vmap over cells, lax.scan over steps, one compiled program for each latent_dim.

XLA uses the cores in two ways: many threads inside a product, or a device for each core, over which the cells
are spread. Both are timed.
"""

import os
import time
from functools import partial
from itertools import count, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax, nn, random
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from benchmarks.setting import Mses, Setting, Way
from snrvae.settings import grid
from snrvae.settings.params import Train
from snrvae.training.schedule import gaussianity_weight

DEVICES = os.cpu_count() or 1
jax.config.update("jax_num_cpu_devices", DEVICES)  # must come before JAX is used

Layers = list[tuple[Array, Array]]  # weight [i, o] and bias [o]


def initial(key: Array, widths: tuple[int, ...]) -> Layers:
    """A multilayer perceptron's parameters, as torch.nn.Linear draws them."""
    layers = []
    for layer_key, (i, o) in zip(random.split(key, len(widths) - 1), pairwise(widths), strict=True):
        weight, bias = random.split(layer_key)
        bound = i**-0.5
        layers.append(
            tuple(random.uniform(k, s, float, -bound, bound) for k, s in ((weight, (i, o)), (bias, (o,))))
        )
    return layers


def mlp(layers: Layers, x: Array) -> Array:
    """Outputs [b, o] for inputs [b, i]."""
    *hidden, (weight, bias) = layers
    for hidden_weight, hidden_bias in hidden:
        x = nn.relu(x @ hidden_weight + hidden_bias)
    return x @ weight + bias


def gaussianity(z: Array) -> Array:
    """The latent penalty of latents [b, d]."""
    count, dims = z.shape
    square = jnp.square(z).sum(1)
    kernel = jnp.exp(z @ z.T - (square[:, None] + square) / 2)
    pairs = (kernel.sum() - count) / (count * (count - 1))
    return pairs - 2 * 2 ** (-dims / 2) * jnp.exp(-square / 4).mean() + 3 ** (-dims / 2)


def losses(
    codec: tuple[Layers, Layers], x: Array, snr: Array, key: Array, kl_weight: float, weight: Array
) -> tuple[Array, Array]:
    """The loss on points x [b, 3], with this weight of the latent penalty, and its mse."""
    encoder, decoder = codec
    mean = mlp(encoder, x)
    power = jnp.square(mean).mean()
    noise_power = power / snr
    z = mean + jnp.sqrt(noise_power) * random.normal(key, mean.shape)
    kl = mean.shape[1] / 2 * (power + noise_power - 1 - jnp.log(noise_power))
    mse = jnp.square(mlp(decoder, z) - x).mean()
    return mse + kl_weight * kl + weight * gaussianity(z), mse


def train_cell(
    key: Array, snr: Array, points: Array, latent_dim: int, hidden: tuple[int, ...], train: Train
) -> Array:
    """Train one cell on points [n, 3]; the mse of its last step."""
    schedule = optax.cosine_onecycle_schedule(
        train.steps, train.learning_rate, pct_start=0.3, div_factor=25, final_div_factor=1e4
    )
    optimiser = optax.adam(schedule)

    weights = jnp.array(
        [gaussianity_weight(k, train.steps, train.gaussianity_weight) for k in range(train.steps)]
    )

    def step(state: tuple[Any, Any], of_step: tuple[Array, Array]) -> tuple[tuple[Any, Any], Array]:
        codec, moments = state
        key, weight = of_step
        points_key, losses_key = random.split(key)
        x = points[random.randint(points_key, (train.batch_size,), 0, len(points))]
        gradient, mse = jax.grad(losses, has_aux=True)(codec, x, snr, losses_key, train.kl_weight, weight)
        updates, moments = optimiser.update(gradient, moments)
        return (optax.apply_updates(codec, updates), moments), mse

    encoder_key, decoder_key, steps_key = random.split(key, 3)
    codec = (initial(encoder_key, (3, *hidden, latent_dim)), initial(decoder_key, (latent_dim, *hidden, 3)))
    of_steps = random.split(steps_key, train.steps), weights
    _, mses = lax.scan(step, (codec, optimiser.init(codec)), of_steps)
    return mses[-1]


def prepare(setting: Setting, devices: int) -> Way:
    """All cells, one latent_dim after the other, spread over this number of CPU devices; compiles them."""
    network, settings = setting.config.network, setting.config.train
    hidden = (network.hidden_units,) * network.hidden_layers
    mesh = jax.make_mesh((devices,), ("cells",), (AxisType.Auto,), devices=jax.devices()[:devices])
    spread, everywhere = NamedSharding(mesh, PartitionSpec("cells")), NamedSharding(mesh, PartitionSpec())
    points = jax.device_put(setting.points, everywhere)

    def draw_keys(latent_dim: int, cells: int, round_number: int) -> Array:
        key = random.fold_in(random.key(latent_dim), round_number)
        return jax.device_put(random.split(key, cells), spread)

    start = time.perf_counter()
    programs = []
    for cells in grid.groups(setting.cells):
        latent_dim = cells[0].latent_dim
        fit = partial(train_cell, latent_dim=latent_dim, hidden=hidden, train=settings)
        snrs = jax.device_put(np.array([cell.snr for cell in cells], np.float32), spread)
        keys = draw_keys(latent_dim, len(cells), 0)
        program = jax.jit(jax.vmap(fit, (0, 0, None))).lower(keys, snrs, points).compile()
        programs.append((cells, program, snrs))
    compiling = time.perf_counter() - start
    rounds = count()

    def train() -> Mses:
        mses: Mses = {}
        number = next(rounds)
        for cells, program, snrs in programs:
            found = program(draw_keys(cells[0].latent_dim, len(cells), number), snrs, points)
            mses |= zip(cells, found.tolist(), strict=True)
        return mses

    name = (
        f"JAX, jit of vmap over cells of scan over steps, optax.adam, {devices} device{'s' * (devices > 1)}"
    )
    return Way(name, settings.steps, train, f"compiled in {compiling:.0f} s before")
