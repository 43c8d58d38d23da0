"""Each gap in two parts: the price of coding one point at a time, and the price of the network."""

from collections.abc import Mapping
from dataclasses import replace
from math import log10

from snrvae.measurement.records import Limit
from snrvae.settings import tables
from snrvae.settings.grid import Cell

OnePoint = Mapping[tuple[int, float], float]  # (d, SNR) → mse of the best code that is known


def from_csv(data: bytes, source: str) -> OnePoint:
    """The rows of reports/one_point.csv for a source. Raises ValueError if `data` is another table."""
    table = tables.from_csv(data)
    tables.numbers(table, ["latent_dim", "snr", "mse"])
    if "source" not in table:
        raise ValueError("has no column source")
    if table.isna().to_numpy().any() or not (table[["latent_dim", "snr", "mse"]] > 0).to_numpy().all():
        raise ValueError("values that are missing, or not above 0")
    own = table[table.source == source]
    if own.duplicated(["latent_dim", "snr"]).any():
        raise ValueError(f"two rows of {source} with the same latent_dim and snr")
    rows = zip(own.latent_dim, own.snr, own.mse, strict=True)
    return {(int(d), float(snr)): float(mse) for d, snr, mse in rows}


def priced(limits: Mapping[Cell, Limit], known: OnePoint) -> dict[Cell, Limit]:
    """Limits with both prices in dB, which add up to the gap, for cells with isotropic noise in `known`."""
    found = dict(limits)
    for cell, limit in limits.items():
        mse = known.get((cell.latent_dim, cell.snr or 0))
        if cell.noise == "isotropic" and mse and limit.shannon_mse and limit.gap_db:
            price = 10 * log10(mse / limit.shannon_mse)
            found[cell] = replace(limit, one_point_db=price, network_db=limit.gap_db.value - price)
    return found
