"""The tables that stages hand on: plain numbers, six significant digits, empty where nothing applies."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from snrvae import measures
from snrvae.evaluation import Fidelity, Generation
from snrvae.grid import Cell
from snrvae.params import snr_db
from snrvae.training import History, learning_rate

METRICS = (
    "mse",
    "kl_bits",
    "latent_kl_bits",
    "generated_surface_distance",
    "generation_ratio",
    "coverage",
)


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


def training(histories: Sequence[History], steps: int, peak: float) -> pd.DataFrame:
    """A row per cell and record: losses are means over the steps since the last record."""
    rows = []
    for history in histories:
        for column, cell in enumerate(history.cells):
            for step, (mse, kl_nats, gaussianity) in zip(
                history.step, history.losses[:, column], strict=True
            ):
                row = cell_columns(cell) | {
                    "step": step,
                    "learning_rate": learning_rate(step, steps, peak),
                    "mse": mse,
                }
                if cell.snr is not None:
                    row |= {"kl_bits": kl_nats / np.log(2), "gaussianity": gaussianity}
                rows.append(row)
    return pd.DataFrame(rows)


def cells(results: Sequence[Fidelity], generations: Mapping[Cell, Generation]) -> pd.DataFrame:
    """A row per cell and repeat; what was generated stands at the selected repeats."""
    return pd.DataFrame([_cell(result, generations.get(result.cell)) for result in results])


def _cell(result: Fidelity, generated: Generation | None) -> dict[str, Any]:
    cell, kl = result.cell, result.kl_bits
    row = cell_columns(cell) | {
        "selected": int(generated is not None),
        "validation_mse": result.validation_mse,
        "mse": result.mse.value,
        "mse_stderr": result.mse.stderr,
        "kl_bits": kl and kl.value,
        "kl_bits_stderr": kl and kl.stderr,
        "latent_kl_bits": result.latent_kl_bits,
        "latent_shape_kl_bits": result.latent_shape_kl_bits,
        "linear_mse": measures.linear_mse(cell.latent_dim, cell.snr),
    }
    if generated is None:
        return row
    return row | {
        "generated_surface_distance": generated.surface_distance,
        "generated_surface_p95": generated.surface_p95,
        "generated_face_error": generated.face_error,
        "generation_ratio": generated.ratio.value,
        "generation_ratio_stderr": generated.ratio.stderr,
        "coverage": generated.coverage,
    }


def metrics(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What `dvc metrics` compares: the selected cells by model and key, and a summary of the grid."""
    selected = table[table.selected == 1]
    tree: dict[str, dict[str, Any]] = {}
    for row in selected.to_dict("records"):
        cell = Cell(
            row["noise"], row["latent_dim"], None if pd.isna(row["snr"]) else row["snr"], row["repeat"]
        )
        tree.setdefault(cell.model, {})[cell.key] = {
            name: _rounded(row[name]) for name in METRICS if not pd.isna(row[name])
        }
    return tree | {"summary": _summary(selected)}


def _summary(selected: pd.DataFrame) -> dict[str, float]:
    """Numbers that compare whatever the grids: the best of the reference channel, isotropic noise."""
    autoencoders = selected[selected.noise == "none"]
    reference = selected[selected.noise == "isotropic"]
    summary = {"ae_best_mse": autoencoders.mse.min()}
    if len(reference):
        summary |= {
            "snr_vae_best_mse": reference.mse.min(),
            "generation_ratio": reference.generation_ratio.min(),
        }
    return {name: _rounded(value) for name, value in summary.items()}


def to_csv(table: pd.DataFrame) -> str:
    """The table as CSV."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def to_json(tree: Mapping[str, Any]) -> str:
    """The tree as JSON, one number a line."""
    return json.dumps(tree, indent=2, allow_nan=False) + "\n"


def from_csv(data: bytes) -> pd.DataFrame:
    """Inverse of to_csv. Raises ValueError where `data` is no table."""
    try:
        return pd.read_csv(io.BytesIO(data))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"not a CSV table ({error})") from None


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
