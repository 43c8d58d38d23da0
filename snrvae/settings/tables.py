"""Tables whose rows are about cells, as CSV: six significant digits, empty if nothing applies."""

import io
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from snrvae.settings.grid import Cell
from snrvae.settings.params import snr_db

LARGEST = 1e100  # more than the square of any float32


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


def to_csv(table: pd.DataFrame) -> str:
    """The table as CSV."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def from_csv(data: bytes) -> pd.DataFrame:
    """Inverse of to_csv. Raises ValueError if `data` is no table."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header
            return pd.read_csv(io.BytesIO(data), index_col=False, on_bad_lines="error")
    except (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(f"not a CSV table ({' '.join(str(error).split())})") from None


def numbers(table: pd.DataFrame, names: Collection[str]) -> None:
    """Raise ValueError unless the table has these columns, and finite numbers or nothing in them."""
    missing = [name for name in names if name not in table]
    if missing:
        raise ValueError(f"has no column {', '.join(missing[:6])}{' …' if missing[6:] else ''}")
    for name in names:
        column = table[name]
        if column.dtype.kind not in "if":
            raise ValueError(f"{name}: values that are not numbers")
        if (column.abs() > LARGEST).any():
            raise ValueError(f"{name}: values that are not finite")


def of_cells(data: bytes, cells: Collection[Cell], names: Collection[str]) -> pd.DataFrame:
    """A table whose rows are about cells, with numbers in the columns `names`.

    Raises ValueError if `data` is no such table, or is about other cells than these.
    """
    table = from_csv(data)
    numbers(table, ["latent_dim", "snr", "repeat", *names])
    if not {"model", "noise"} <= set(table):
        raise ValueError("has no column model or noise")
    expected, found = {row_name(cell_columns(cell)) for cell in cells}, row_names(table)
    if found != expected:
        one = min(found ^ expected)
        row = f"{'no' if one in expected else 'a'} row of {' '.join(one)!r:.90}"
        raise ValueError(f"is not about the cells of params.yaml: it has {row}")
    return table


def cells_of(table: pd.DataFrame) -> list[Cell]:
    """The cells that a table is about, one per row."""
    return [
        Cell(noise, latent_dim, None if pd.isna(snr) else snr, repeat)
        for noise, latent_dim, snr, repeat in zip(
            table.noise, table.latent_dim.tolist(), table.snr.tolist(), table.repeat.tolist(), strict=True
        )
    ]


def row_names(table: pd.DataFrame) -> set[tuple[str, ...]]:
    """Which cells a table is about, as text."""
    return {
        row_name(row) for row in table[["model", "noise", "latent_dim", "snr", "repeat"]].to_dict("records")
    }


def row_name(columns: Mapping[Any, Any]) -> tuple[str, ...]:
    """Which cell a row is about, as text."""
    label = "" if pd.isna(columns["snr"]) else f"{columns['snr']:g}"
    return (
        str(columns["model"]),
        str(columns["noise"]),
        f"d{columns['latent_dim']}",
        f"snr{label}",
        f"repeat {columns['repeat']}",
    )
