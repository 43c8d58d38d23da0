"""Train one codec in plain PyTorch, without DVC and files: `python -m examples.train_one`."""

import numpy as np
import torch

from snrvae.codecs.codec import Architecture, Codec
from snrvae.codecs.losses import Weights, loss
from snrvae.settings.grid import Cell
from snrvae.settings.params import Network
from snrvae.sources.cube import SOURCE


def train(cell: Cell, steps: int) -> Codec:
    """A codec of the cube, trained with Adam and a one-cycle schedule."""
    network = Network(kind="mlp", activation="relu", hidden_units=64, hidden_layers=3)
    codec = Codec(Architecture(cell, network, num_classes=0, source=SOURCE.domain, engine="torch"))
    points = torch.from_numpy(SOURCE.split(24_000, np.random.default_rng(1)).points)  # [n, 3]
    optimiser = torch.optim.Adam(codec.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.006, total_steps=steps)
    for _ in range(steps):
        x = points[torch.randint(len(points), (64,))]  # [b, 3]
        noise = torch.randn(len(x), cell.latent_dim)
        total, _ = loss(codec(x, noise), x, noise, Weights(kl=3e-4, gaussianity=1e-2))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        schedule.step()
    codec.measure_power(points)  # sets the noise for evaluation, after training
    return codec


@torch.no_grad()
def mse(codec: Codec, count: int = 12_000) -> float:
    """Mean squared error of points that training has not seen, per coordinate."""
    x = torch.from_numpy(SOURCE.split(count, np.random.default_rng(2)).points)
    sent = codec(x, torch.randn(count, codec.architecture.cell.latent_dim))
    return float((sent.reconstruction - x).square().mean())


if __name__ == "__main__":
    torch.manual_seed(0)
    print(f"mse {mse(train(Cell('isotropic', latent_dim=2, snr=100.0, repeat=0), steps=4000)):.4f}")
