"""reports/closer.csv: how much nearer to Shannon's limit each ingredient of an encoder brings a codec."""

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
    unknown = set(table.setting) - {*SETTINGS}
    if unknown:
        raise ValueError(f"setting: {min(map(str, unknown))!r:.90} is none of {', '.join(SETTINGS)}")
    if not (table.mse > 0).all():
        raise ValueError("mse: values that are not above 0")
    if table.duplicated(["source", "noise", "setting", *CELL, "seed"]).any():
        raise ValueError("expected one row for each cell, setting and seed")
    keys = pd.MultiIndex.from_frame(table[["source", "noise", *CELL, "seed"]])
    if not keys.isin(keys[table.setting == PLAIN]).all():
        raise ValueError("expected a plain row beside each other one")
    return table


def changes(rows: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """What the settings do to the gap [dB], by latent_dim and snr; and the largest standard deviation.

    The column `plain` has the plain gap, each other column the change with that setting, as a mean over
    seeds: negative is nearer to the limit. A setting is compared with the plain codec of the same seed.
    """
    keys = [*CELL, "seed"]
    decibel = 10 * np.log10(rows.pivot_table("mse", keys, "setting"))
    found = decibel.sub(decibel[PLAIN], axis=0)
    found[PLAIN] = rows[rows.setting == PLAIN].set_index(keys).gap_db
    by_cell = found[[name for name in SETTINGS if name in found]].groupby(level=CELL)
    return by_cell.mean(), float(by_cell.std().max(axis=None))
