"""The common setting of all ways: the same cells, points, network, batch, steps and losses."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snrvae.settings import params
from snrvae.settings.grid import Cell
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import cube
from snrvae.training.config import TrainConfig, of_params

STEPS = 2000
LATENT_DIMS = (1, 2, 3)
SNRS = (1.0, 10.0, 100.0, 1000.0)

Mses = dict[Cell, float]  # each cell's mse at the end of its training


@dataclass(frozen=True)
class Setting:
    """The cells, the points [n, 3] on which they are trained, and the training's settings."""

    cells: tuple[Cell, ...]
    points: NDArray[np.float32]
    config: TrainConfig

    @property
    def few(self) -> tuple[Cell, ...]:
        """A cell of each latent_dim: enough if cells are trained one after the other."""
        return tuple(cell for cell in self.cells if cell.snr == max(SNRS) and cell.repeat == 0)


@dataclass(frozen=True)
class Way:
    """A way of training, `steps` steps of each cell that it returns."""

    name: str
    steps: int
    train: Callable[[], Mses]
    remark: str = ""
    penalty: bool = True  # whether the latent penalty is part of its loss


def grid(repeats: int) -> tuple[Cell, ...]:
    """Isotropic cells of every latent_dim and SNR."""
    return tuple(Cell("isotropic", d, snr, r) for d in LATENT_DIMS for snr in SNRS for r in range(repeats))


def standard(repeats: int = 3, steps: int | None = STEPS) -> Setting:
    """The settings of params.yaml, with `steps` steps; None keeps their number."""
    settings = params.from_yaml(Path("params.yaml").read_text("utf-8"))
    train = settings.train.model_copy(update={} if steps is None else {"steps": steps})
    points = cube.SOURCE.split(settings.data.train_points, numpy_stream(settings.seed, "benchmark")).points
    config = of_params(settings.model_copy(update={"train": train}), cube.SOURCE.domain)
    return Setting(grid(repeats), points, config)
