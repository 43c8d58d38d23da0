"""PyTorch's own way to train many modules at once: torch.func.vmap over the stacked cells of a latent_dim."""

import copy

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks import plain
from benchmarks.plain import PlainCodec
from benchmarks.setting import Mses, Setting, Way
from snrvae.settings import grid
from snrvae.settings.grid import Cell
from snrvae.settings.params import Train
from snrvae.training import loop

State = dict[str, Tensor]


def train_cells(
    cells: tuple[Cell, ...], points: Tensor, hidden: tuple[int, ...], train: Train
) -> list[float]:
    """Train cells of one latent_dim on points [n, 3]; the mse of each one's last step."""
    codecs = [PlainCodec(cell, hidden) for cell in cells]
    parameters, buffers = stack_module_state(codecs)
    skeleton = copy.deepcopy(codecs[0]).to("meta")  # the module's code, without its parameters

    def losses(parameters: State, buffers: State, x: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        output = functional_call(skeleton, (parameters, buffers), (x,))
        return plain.losses(output, x, train.kl_weight, weight)

    gradients = vmap(grad(losses, has_aux=True), (0, 0, 0, None), randomness="different")
    optimiser = torch.optim.Adam(parameters.values(), fused=True)
    for step in range(train.steps):
        x = points[torch.randint(len(points), (len(cells), train.batch_size))]
        weight = loop.gaussianity_weight(step, train.steps, train.gaussianity_weight)
        gradient, mse = gradients(parameters, buffers, x, weight)
        for name, parameter in parameters.items():
            parameter.grad = gradient[name]
        optimiser.param_groups[0]["lr"] = loop.learning_rate(step, train.steps, train.learning_rate)
        optimiser.step()
    last: list[float] = mse.tolist()
    return last


def prepare(setting: Setting) -> Way:
    """All cells, one latent_dim after the other."""
    points, recipe = torch.from_numpy(setting.points), setting.recipe

    def train() -> Mses:
        mses: Mses = {}
        for cells in grid.groups(setting.cells):
            found = train_cells(cells, points, recipe.hidden, recipe.train)
            mses |= zip(cells, found, strict=True)
        return mses

    return Way("PyTorch, torch.func.vmap over cells, fused Adam", recipe.train.steps, train)
