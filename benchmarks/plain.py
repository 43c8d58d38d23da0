"""The simplest program in PyTorch: autograd and Adam, one cell after the other."""

import torch
from torch import Tensor

from benchmarks.setting import Mses, Setting, Way
from snrvae.codecs.codec import Codec
from snrvae.codecs.losses import Weights, loss
from snrvae.settings.grid import Cell
from snrvae.training.config import TrainConfig
from snrvae.training.schedule import gaussianity_weight, learning_rate


def train_cell(cell: Cell, points: Tensor, config: TrainConfig, fused: bool) -> float:
    """Train one cell on points [n, 3]; the mse of its last step."""
    codec, train = Codec(config.architecture(cell, 0)), config.train
    optimiser = torch.optim.Adam(codec.parameters(), fused=fused)
    for step in range(train.steps):
        x = points[torch.randint(len(points), (train.batch_size,))]
        noise = torch.randn(train.batch_size, cell.latent_dim)
        total, found = loss(codec(x, noise), x, noise, weights(step, config))
        optimiser.param_groups[0]["lr"] = learning_rate(step, train.steps, train.learning_rate)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    return float(found.mse.detach())


def weights(step: int, config: TrainConfig) -> Weights:
    """Weights of the loss at a step."""
    train = config.train
    return Weights(train.kl_weight, gaussianity_weight(step, train.steps, train.gaussianity_weight))


def prepare(setting: Setting, fused: bool) -> Way:
    """A loop over a few of the cells."""
    points, config = torch.from_numpy(setting.points), setting.config

    def train() -> Mses:
        return {cell: train_cell(cell, points, config, fused) for cell in setting.few}

    return Way(f"PyTorch, loop over cells, {'fused ' if fused else ''}Adam", config.train.steps, train)
