"""Where the time of a step goes: a block of cells on one thread, its parts labelled for torch.profiler."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.setting import LATENT_DIMS, Setting
from snrvae import objective, training
from snrvae.grid import BLOCK, Cell
from snrvae.training import _Block, _draws

Penalty = Callable[..., tuple[Tensor, Tensor]]
LABELS = {
    "draws": "points and noise",
    "penalty": "latent penalty and its gradient",
    "channel": "channel, E KL and their gradient",
}
OPERATIONS = {
    "aten::baddbmm": "matrix products",
    "aten::bmm": "matrix products",
    "aten::clamp_min": "ReLU and its gradient",
    "aten::threshold_backward": "ReLU and its gradient",
    "aten::_fused_adam_": "Adam (fused)",
}
REST = "mse, its gradient, and the rest"
PYTHON = "Python between the operations"


def block_cells(latent_dim: int) -> tuple[Cell, ...]:
    """A whole block."""
    return tuple(Cell("isotropic", latent_dim, 1000.0, repeat) for repeat in range(BLOCK))


def penalty_share(setting: Setting, latent_dim: int, rounds: int) -> tuple[float, float]:
    """Milliseconds of a block's step, and the share of it that the call of the latent penalty takes."""
    cells = block_cells(latent_dim)
    nothing = torch.zeros(BLOCK), torch.zeros(BLOCK, latent_dim, setting.recipe.train.batch_size)
    penalty = objective.gaussianity
    ways: tuple[tuple[Penalty, list[float]], ...] = (penalty, []), (lambda *_: nothing, [])
    for round_number in range(rounds + 1):
        for way, taken in ways:
            block = _block(cells, setting)
            with mock.patch.object(objective, "gaussianity", way):
                seconds = _seconds(lambda block=block: _train(block, cells, setting))  # type: ignore[misc]
            if round_number:
                taken.append(seconds / setting.recipe.train.steps)
    (_, whole), (_, without) = ways
    shares = [1 - b / a for a, b in zip(whole, without, strict=True)]
    return 1e3 * statistics.median(whole), statistics.median(shares)


def profiled(setting: Setting) -> dict[str, float]:
    """Share of each part in a step, the mean over latent_dims; the largest first."""
    found = [_profiled(setting, block_cells(latent_dim)) for latent_dim in LATENT_DIMS]
    shares = {part: statistics.mean(shares[part] for shares in found) for part in found[0]}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _profiled(setting: Setting, cells: tuple[Cell, ...]) -> dict[str, float]:
    block = _block(cells, setting)
    _train(block, cells, setting)
    for name in ("forward", "kl_nats", "backward"):
        setattr(block._channel, name, _labelled("channel", getattr(block._channel, name)))
    penalty = _labelled("penalty", objective.gaussianity)
    with (
        mock.patch.object(objective, "gaussianity", penalty),
        profile(activities=[ProfilerActivity.CPU]) as profiler,
    ):
        seconds = _seconds(lambda: _train(block, cells, setting))
    parts: defaultdict[str, float] = defaultdict(float)
    for event in profiler.events() or []:
        if event.name.startswith("aten::"):
            parts[_part(event)] += event.self_cpu_time_total
    parts[PYTHON] = seconds * 1e6 - sum(parts.values())  # with what the profiler adds
    return {part: taken / (seconds * 1e6) for part, taken in parts.items()}


def _part(event: FunctionEvent) -> str:
    """The label that an operation was called under, or else the part that the outermost operation is."""
    above: FunctionEvent | None = event
    while above is not None:
        if above.name in LABELS:
            return LABELS[above.name]
        if above.name.startswith("aten::"):
            event = above
        above = above.cpu_parent
    return OPERATIONS.get(event.name, REST)


@torch.inference_mode()
def _block(cells: tuple[Cell, ...], setting: Setting) -> _Block:
    return _Block(cells, torch.from_numpy(setting.points), setting.recipe)


@torch.inference_mode()
def _train(block: _Block, cells: tuple[Cell, ...], setting: Setting) -> None:
    """Steps of a block as training.fit does them."""
    recipe, losses = setting.recipe, torch.zeros(3, len(cells))
    train = recipe.train
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    draws = _labelled_draws(_draws(cells, torch.from_numpy(setting.points), recipe))
    for step, (x, noise) in enumerate(draws):
        rate = training.learning_rate(step, train.steps, train.learning_rate)
        weight = training.gaussianity_weight(step, train.steps, train.gaussianity_weight)
        block.step(x, noise, rate, weight, losses)
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


def _labelled_draws(draws: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    draw = _labelled("draws", lambda: next(draws, None))
    while (drawn := draw()) is not None:
        yield drawn


def _labelled(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        with record_function(label):
            return function(*arguments)

    return call


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
