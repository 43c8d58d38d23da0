"""The speed of a training step's products, as a share of the machine's fastest batched product."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.synchronize import Barrier

import torch

from snrvae.codecs.channels import CHANNELS
from snrvae.codecs.networks.mlp import widths
from snrvae.settings.grid import Cell
from snrvae.training.config import TrainConfig

# c products of [o, i] with [i, b]: two from our step, then larger ones
SHAPES = (
    (8, 64, 64, 128),
    (8, 64, 128, 64),
    (8, 128, 128, 128),
    (8, 256, 256, 256),
    (8, 512, 512, 512),
    (4, 1024, 1024, 1024),
)
Shape = tuple[int, int, int, int]


def step_flops(cell: Cell, config: TrainConfig) -> int:
    """Floating-point operations of a cell's products in a step: two for each multiply-add.

    Forward, weight gradients and input gradients; the gradient at the points is not needed.
    """
    outputs = CHANNELS[cell.noise].outputs * cell.latent_dim
    coordinates = config.source.coordinates
    encoder = widths(coordinates, outputs, config.network)
    decoder = widths(cell.latent_dim, coordinates, config.network)
    products = 3 * sum(i * o for network in (encoder, decoder) for i, o in pairwise(network))
    return 2 * config.train.batch_size * (products - encoder[0] * encoder[1])


@dataclass(frozen=True)
class Peak:
    """GFLOP/s of float32 products on all cores: a process for each, or one with as many threads."""

    shape: Shape
    processes: float
    threads: float

    @property
    def best(self) -> float:
        return max(self.processes, self.threads)


def gflops(shape: Shape, seconds: float) -> float:
    """GFLOP/s of this process."""
    c, o, i, b = shape
    left, right, out = torch.randn(c, o, i), torch.randn(c, i, b), torch.empty(c, o, b)
    torch.bmm(left, right, out=out)
    count, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        torch.bmm(left, right, out=out)
        count += 1
    return 2e-9 * c * o * i * b * count / taken


def measure(rounds: int, seconds: float = 0.2, shapes: Sequence[Shape] = SHAPES) -> list[Peak]:
    """The best of `rounds` for each shape."""
    cores, context = os.cpu_count() or 1, multiprocessing.get_context("spawn")
    apart: dict[Shape, list[float]] = {shape: [] for shape in shapes}
    together: dict[Shape, list[float]] = {shape: [] for shape in shapes}
    with ProcessPoolExecutor(cores, context, _start, (context.Barrier(cores),)) as executor:
        for _ in range(rounds):
            for shape in shapes:
                apart[shape].append(sum(executor.map(_at_once, [(shape, seconds)] * cores)))
                together[shape].append(gflops(shape, seconds))
    return [Peak(shape, max(apart[shape]), max(together[shape])) for shape in shapes]


_barrier: list[Barrier] = []


def _start(barrier: Barrier) -> None:
    torch.set_num_threads(1)
    _barrier.append(barrier)


def _at_once(task: tuple[Shape, float]) -> float:
    _barrier[0].wait()
    return gflops(*task)
