"""What each ingredient of an encoder gains: reports/closer.csv in dB, as stages/closer.py measured it."""

import numpy as np
import pandas as pd

from snrvae.settings import tables

PLAIN = "plain"
SETTINGS = (PLAIN, "candidates", "fold", "candidates and fold")
CELL = ["latent_dim", "snr"]
NUMBERS = (*CELL, "seed", "candidates", "mse", "gap_db")


def from_csv(data: bytes) -> pd.DataFrame:
    """The table closer.csv, a row for each cell, setting and seed. Raises ValueError if `data` is another."""
    table = tables.from_csv(data)
    tables.numbers(table, NUMBERS)
    missing = [name for name in ("source", "noise", "setting", "code") if name not in table]
    if missing:
        raise ValueError(f"has no column {', '.join(missing)}")
    if not (table.mse > 0).all():
        raise ValueError("mse: values that are not above 0")
    if table.duplicated(["source", "noise", "setting", *CELL, "seed"]).any():
        raise ValueError("expected one row for each cell, setting and seed")
    return table


def of_source(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """The rows of closer.csv for SETTINGS, a source and isotropic noise."""
    return table[(table.source == source) & (table.noise == "isotropic") & table.setting.isin(SETTINGS)]


def changes(rows: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """The settings' effects on the gap [dB], by latent_dim and snr; and the largest standard deviation.

    The column `plain` has the plain gap, each other column the change with that setting, as a mean over
    seeds: negative is nearer to the limit. A setting is compared with the plain codec of the same seed.
    """
    keys = [*CELL, "seed"]
    decibel = rows.assign(mse=10 * np.log10(rows.mse)).pivot_table("mse", keys, "setting")
    found = decibel.sub(decibel[PLAIN], axis=0)
    found[PLAIN] = rows[rows.setting == PLAIN].set_index(keys).gap_db
    by_cell = found[[name for name in SETTINGS if name in found]].groupby(level=CELL)
    return by_cell.mean(), float(by_cell.std().max().max())
