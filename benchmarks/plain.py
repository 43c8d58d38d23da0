"""What one writes first in PyTorch: a module per cell, autograd, Adam, one cell after the other."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.setting import Mses, Setting, Way
from snrvae.settings.grid import Cell
from snrvae.settings.params import Train
from snrvae.training import loop


class PlainCodec(nn.Module):
    """One cell as a module of its own."""

    snr: Tensor

    def __init__(self, cell: Cell, hidden: tuple[int, ...]):
        super().__init__()
        self.register_buffer("snr", torch.tensor(cell.snr))
        self.encoder = mlp((3, *hidden, cell.latent_dim))
        self.decoder = mlp((cell.latent_dim, *hidden, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructions [b, 3], latents [b, d] and E KL in nats."""
        mean = self.encoder(x)
        power = mean.square().mean()
        noise_power = power / self.snr
        z = mean + noise_power.sqrt() * torch.randn_like(mean)
        kl = mean.shape[1] / 2 * (power + noise_power - 1 - noise_power.log())
        return self.decoder(z), z, kl


def mlp(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of these widths with a ReLU between two of them."""
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def gaussianity(z: Tensor) -> Tensor:
    """The latent penalty as one would write it with autograd."""
    count, dims = z.shape
    square = z.square().sum(1)
    kernel = torch.exp(z @ z.T - (square[:, None] + square) / 2)
    pairs = (kernel.sum() - count) / (count * (count - 1))
    return pairs - 2 * 2 ** (-dims / 2) * torch.exp(-square / 4).mean() + 3 ** (-dims / 2)


def losses(
    codec_output: tuple[Tensor, Tensor, Tensor], x: Tensor, kl_weight: float, weight: float
) -> tuple[Tensor, Tensor]:
    """What is minimised, the latent penalty having this weight, and the mse in it."""
    reconstructed, z, kl = codec_output
    mse = nn.functional.mse_loss(reconstructed, x)
    return mse + kl_weight * kl + weight * gaussianity(z), mse


def train_cell(cell: Cell, points: Tensor, hidden: tuple[int, ...], train: Train, fused: bool) -> float:
    """Train one cell on points [n, 3]; the mse of its last step."""
    codec = PlainCodec(cell, hidden)
    optimiser = torch.optim.Adam(codec.parameters(), fused=fused)
    for step in range(train.steps):
        x = points[torch.randint(len(points), (train.batch_size,))]
        weight = loop.gaussianity_weight(step, train.steps, train.gaussianity_weight)
        loss, mse = losses(codec(x), x, train.kl_weight, weight)
        optimiser.param_groups[0]["lr"] = loop.learning_rate(step, train.steps, train.learning_rate)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(mse.detach())


def prepare(setting: Setting, fused: bool) -> Way:
    """A loop over a few of the cells."""
    points, recipe = torch.from_numpy(setting.points), setting.recipe

    def train() -> Mses:
        return {cell: train_cell(cell, points, recipe.hidden, recipe.train, fused) for cell in setting.few}

    return Way(f"PyTorch, loop over cells, {'fused ' if fused else ''}Adam", recipe.train.steps, train)
