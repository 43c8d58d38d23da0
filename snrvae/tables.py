"""The tables that stages hand on: plain numbers, six significant digits, empty where nothing applies."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from snrvae.grid import Cell
from snrvae.params import snr_db
from snrvae.records import History


def cell_columns(cell: Cell) -> dict[str, Any]:
    """The columns that say which cell a row is about."""
    return {
        "model": "ae" if cell.snr is None else "snr_vae",
        "noise": cell.noise,
        "latent_dim": cell.latent_dim,
        "snr": cell.snr,
        "snr_db": None if cell.snr is None else snr_db(cell.snr),
        "repeat": cell.repeat,
    }


def training(histories: Sequence[History]) -> pd.DataFrame:
    """A row per cell and record: losses are means over the steps since the last record."""
    rows = []
    for history in histories:
        for column, cell in enumerate(history.cells):
            for step, rate, (mse, kl_nats, gaussianity) in zip(
                history.step, history.learning_rate, history.losses[:, column], strict=True
            ):
                row = cell_columns(cell) | {
                    "step": step,
                    "learning_rate": rate,
                    "mse": mse,
                }
                if cell.snr is not None:
                    row |= {"kl_bits": kl_nats / np.log(2), "gaussianity": gaussianity}
                rows.append(row)
    return pd.DataFrame(rows)


def to_csv(table: pd.DataFrame) -> str:
    """The table as CSV."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def from_csv(data: bytes) -> pd.DataFrame:
    """Inverse of to_csv. Raises ValueError where `data` is no table."""
    try:
        return pd.read_csv(io.BytesIO(data), index_col=False, on_bad_lines="error")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"not a CSV table ({' '.join(str(error).split())})") from None
