"""PyTorch's own way to train many modules at once: torch.func.vmap over the stacked cells of a latent_dim."""

import copy

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks import plain
from benchmarks.setting import Mses, Setting, Way
from snrvae.codecs.codec import Codec
from snrvae.codecs.losses import Losses, Weights, loss
from snrvae.settings import grid
from snrvae.settings.grid import Cell
from snrvae.training.config import TrainConfig
from snrvae.training.schedule import learning_rate

State = dict[str, Tensor]


def train_cells(cells: tuple[Cell, ...], points: Tensor, config: TrainConfig) -> list[float]:
    """Train cells of one latent_dim on points [n, 3]; the mse of each one's last step."""
    codecs, train = [Codec(config.architecture(cell, 0)) for cell in cells], config.train
    parameters, buffers = stack_module_state(codecs)
    skeleton = copy.deepcopy(codecs[0]).to("meta")  # the module's code, without its parameters

    def losses(parameters: State, buffers: State, x: Tensor, weights: Weights) -> tuple[Tensor, Losses]:
        noise = torch.randn(train.batch_size, cells[0].latent_dim)
        sent = functional_call(skeleton, (parameters, buffers), (x, noise))
        return loss(sent, x, noise, weights)

    gradients = vmap(grad(losses, has_aux=True), (0, 0, 0, None), randomness="different")
    optimiser = torch.optim.Adam(parameters.values(), fused=True)
    for step in range(train.steps):
        x = points[torch.randint(len(points), (len(cells), train.batch_size))]
        gradient, found = gradients(parameters, buffers, x, plain.weights(step, config))
        for name, parameter in parameters.items():
            parameter.grad = gradient[name]
        optimiser.param_groups[0]["lr"] = learning_rate(step, train.steps, train.learning_rate)
        optimiser.step()
    last: list[float] = found.mse.tolist()
    return last


def prepare(setting: Setting) -> Way:
    """All cells, one latent_dim after the other."""
    points, config = torch.from_numpy(setting.points), setting.config

    def train() -> Mses:
        mses: Mses = {}
        for cells in grid.groups(setting.cells):
            mses |= zip(cells, train_cells(cells, points, config), strict=True)
        return mses

    return Way("PyTorch, torch.func.vmap over cells, fused Adam", config.train.steps, train)
