"""Cell-steps per second of training the grid: the batched program against a plain loop over cells.

The same cells, network, batch, losses and number of steps on both sides, rounds interleaved in one process.
The plain loop is what one writes first: a torch.nn.Module per cell, autograd, torch.optim.Adam, one cell
after the other.
"""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from snrvae import cube, params, training
from snrvae.grid import Cell
from snrvae.params import Train
from snrvae.pool import Pool
from snrvae.randomness import numpy_stream

STEPS = 300
ROUNDS = 5
CELLS = [
    Cell("isotropic", d, snr, r) for d in (1, 2, 3) for snr in (1.0, 10.0, 100.0, 1000.0) for r in range(3)
]


class PlainCodec(nn.Module):
    """One cell as a module of its own."""

    def __init__(self, cell: Cell, hidden: tuple[int, ...]):
        super().__init__()
        self.snr = cell.snr
        self.encoder = _mlp((3, *hidden, cell.latent_dim))
        self.decoder = _mlp((cell.latent_dim, *hidden, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructions [b, 3], latents [b, d] and E KL in nats."""
        mean = self.encoder(x)
        power = mean.square().mean()
        noise_power = power / self.snr
        z = mean + noise_power.sqrt() * torch.randn_like(mean)
        kl = mean.shape[1] / 2 * (power + noise_power - 1 - noise_power.log())
        return self.decoder(z), z, kl


def _mlp(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def gaussianity(z: Tensor) -> Tensor:
    """The latent penalty as one would write it with autograd."""
    count = min(2, z.shape[1])
    directions = nn.functional.normalize(torch.randn(count, z.shape[1]), dim=1)
    t = torch.arange(0.3, 4, 0.6)
    angle = (z @ directions.T).unsqueeze(2) * t
    target = torch.exp(-(t**2) / 2)
    distance = (angle.cos().mean(0) - target) ** 2 + angle.sin().mean(0) ** 2
    return (distance * target * 0.6).sum() / count


def train_plainly(points: Tensor, hidden: tuple[int, ...], train: Train) -> None:
    """A loop over cells, each trained for itself."""
    for cell in CELLS:
        codec = PlainCodec(cell, hidden)
        optimiser = torch.optim.Adam(codec.parameters(), lr=train.learning_rate)
        for step in range(train.steps):
            x = points[torch.randint(len(points), (train.batch_size,))]
            reconstructed, z, kl = codec(x)
            loss = nn.functional.mse_loss(reconstructed, x)
            loss = loss + train.kl_weight * kl + train.gaussianity_weight * gaussianity(z)
            optimiser.param_groups[0]["lr"] = training.learning_rate(step, train.steps, train.learning_rate)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock time of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    settings = params.from_yaml(Path("params.yaml").read_text())
    hidden = (settings.network.hidden_units,) * settings.network.hidden_layers
    train = settings.train.model_copy(update={"steps": STEPS})
    points = cube.sample(settings.data.train_points, numpy_stream(settings.seed, "benchmark")).points
    recipe = training.Recipe(hidden, train, settings.seed)

    pool = Pool(points, recipe, torch.get_num_threads())
    ways: dict[str, Callable[[], object]] = {
        "batched program": lambda: pool.fit(CELLS, lambda *_: None),
        "plain loop, torch.optim.Adam": lambda: train_plainly(torch.from_numpy(points), hidden, train),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with pool:
        for round_number in range(ROUNDS + 1):  # the first is for warming up
            for name, way in ways.items():
                taken = seconds(way)
                if round_number:
                    times[name].append(taken)

    ours = times["batched program"]
    print(f"{len(CELLS)} cells, {hidden} hidden units, batch {train.batch_size}, {STEPS} steps, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {ROUNDS}\n")
    print("| way | cell-steps/s | batched program is faster by | from – to |\n|---|---|---|---|")
    for name, taken in times.items():
        ratios = [theirs / mine for theirs, mine in zip(taken, ours, strict=True)]
        rate = STEPS * len(CELLS) / statistics.median(taken)
        middle = statistics.median(ratios)
        print(f"| {name} | {rate:,.0f} | {middle:.1f} × | {min(ratios):.1f} – {max(ratios):.1f} |")


if __name__ == "__main__":
    main()
