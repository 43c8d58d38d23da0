"""The losses that training records for each cell, and their table, which the stages pass on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snrvae.settings import tables
from snrvae.settings.grid import Cell
from snrvae.settings.params import Train
from snrvae.training.schedule import learning_rate

RECORDS = 60  # rows that a cell gets in the training table
LOSSES = ("mse", "kl_nats", "gaussianity")


@dataclass(frozen=True)
class History:
    """The course of a cell's training: losses [record, 3] (LOSSES), each the mean since the last record.

    diverged  the step at which the cell diverged, if it did; losses are NaN from that record on
    """

    cell: Cell
    step: NDArray[np.int64]  # [record]
    learning_rate: NDArray[np.float64]  # [record]
    losses: NDArray[np.float32]
    diverged: int | None = None


class Recorder:
    """Collects a cell's losses step by step, and the steps at which one is not finite."""

    def __init__(self, cell: Cell, train: Train):
        self._cell, self._train = cell, train
        self._interval = max(1, train.steps // RECORDS)
        self._ends = np.append(np.arange(self._interval, train.steps, self._interval), train.steps)
        self._sums = np.zeros((len(self._ends), len(LOSSES)))
        self.lost: list[int] = []

    def add(self, steps: range, losses: NDArray[np.float32]) -> None:
        """Add the losses [steps, 3] of these steps."""
        self.lost.extend(int(n) for n in steps.start + np.flatnonzero(~np.isfinite(losses).all(1)))
        np.add.at(self._sums, np.array(steps) // self._interval, losses)

    def history(self) -> History:
        """The history of all steps."""
        train, ends = self._train, self._ends
        means = (self._sums / np.diff(ends, prepend=0)[:, None]).astype(np.float32)
        if self.lost:
            means[ends > self.lost[0]] = np.nan
        rates = np.array([learning_rate(end - 1, train.steps, train.learning_rate) for end in ends])
        return History(self._cell, ends, rates, means, self.lost[0] if self.lost else None)


def to_table(histories: Sequence[History]) -> pd.DataFrame:
    """A row per cell and record: losses are means over the steps since the last record.

    If a loss is not finite, a row without losses is the cell's last.
    """
    rows = []
    for history in histories:
        cell = history.cell
        for step, rate, (mse, kl_nats, gaussianity) in zip(
            history.step, history.learning_rate, history.losses, strict=True
        ):
            row = tables.cell_columns(cell) | {"step": step, "learning_rate": rate, "mse": mse}
            if cell.noise != "none":
                row |= {"kl_bits": kl_nats / np.log(2), "gaussianity": gaussianity}
            rows.append(row)
            if np.isnan(mse):
                break
    return pd.DataFrame(rows)


def from_csv(data: bytes, cells: Collection[Cell], diverged: Collection[Cell] = ()) -> pd.DataFrame:
    """The training table of these cells from its CSV. Raises ValueError if `data` is anything else.

    diverged  the cells that may lack losses
    """
    table = tables.of_cells(data, cells, ["step", "learning_rate", "mse"])
    lost = {tables.row_name(tables.cell_columns(cell)) for cell in diverged}
    if table.step.isna().any() or not tables.row_names(table[table.mse.isna()]) <= lost:
        raise ValueError("rows without step or mse")
    return table
