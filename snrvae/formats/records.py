"""What training hands on: losses as plain arrays, free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snrvae.settings.grid import Cell

LOSSES = ("mse", "kl_nats", "gaussianity")


@dataclass(frozen=True)
class History:
    """What training went through: losses [record, c, 3] (LOSSES), each the mean since the last record.

    diverged  the cells that diverged, and at which step; their losses are NaN from that record on
    """

    cells: tuple[Cell, ...]
    step: NDArray[np.int64]  # [record]
    learning_rate: NDArray[np.float64]  # [record]
    losses: NDArray[np.float32]
    diverged: Mapping[Cell, int]
