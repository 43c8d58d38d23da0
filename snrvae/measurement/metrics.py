"""The numbers of a run: the table of cells, and the tree that `dvc metrics` compares."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from snrvae.measurement.records import CodecMetrics, ConditionalGeneration, Generation, Limit
from snrvae.settings import tables
from snrvae.settings.grid import Cell
from snrvae.sources.registry import SOURCES
from snrvae.sources.source import Source

FIDELITY = ("validation_mse", "mse", "mse_stderr", "latent_kl_bits", "latent_shape_kl_bits", "linear_mse")
RATE = ("kl_bits", "kl_bits_stderr")
DISTANCE = ("generated_surface_distance", "generated_surface_p95")  # where there is a surface
SHARES = ("generated_face_error",)  # where it has faces
GENERATION = ("generation_ratio", "generation_ratio_stderr", "generation_p_value", "coverage")
ON_DEMAND = (
    "requested_face_distance",
    "requested_face_share",
    "requested_face_ratio",
    "requested_face_ratio_stderr",
    "requested_face_worst_ratio",
)
FITTED_DISTANCE = ("fitted_surface_distance",)
FITTED = ("fitted_ratio", "fitted_ratio_stderr", "fitted_p_value")
LIMIT = (
    "information_bits",
    "information_bits_stderr",
    "information_upper_bits",
    "information_upper_bits_stderr",
    "shannon_mse",
    "gap_db",
    "gap_db_stderr",
)
CAPACITY = ("capacity_bits", "gaussian_information_bits")
NUMBERS = [
    *(*FIDELITY, *RATE, *DISTANCE, *SHARES, *GENERATION, *ON_DEMAND),
    *(*FITTED_DISTANCE, *FITTED, *LIMIT, *CAPACITY),
]
METRICS = (
    "mse",
    "kl_bits",
    "latent_kl_bits",
    "generated_surface_distance",
    "generation_ratio",
    "coverage",
    "requested_face_distance",
    "requested_face_share",
    "requested_face_ratio",
    "fitted_ratio",
    "gap_db",
)


def cells(
    results: Mapping[Cell, CodecMetrics | None],
    generations: Mapping[Cell, Generation],
    fitted: Mapping[Cell, Generation],
    limits: Mapping[Cell, Limit],
    source: str = "cube",
    conditional: bool = False,
) -> pd.DataFrame:
    """A row per cell and repeat; what was generated, and the limit, stand at the selected repeats.

    generations  with z ~ N(0, I);  fitted  with z from a fitted density

    A cell that diverged has no result and no numbers; it is selected as the first of repeats that all did.
    """
    first = {(cell.model, cell.key): cell for cell in reversed(list(results))}
    best = {(cell.model, cell.key): cell for cell in generations}
    selected = set((first | best).values())
    rows = [
        tables.cell_columns(cell)
        | {"source": source, "conditional": int(conditional)}
        | {"selected": int(cell in selected), "diverged": int(result is None)}
        | _fidelity(result)
        | _generation(generations.get(cell))
        | _fitted(fitted.get(cell))
        | _limit(limits.get(cell))
        for cell, result in results.items()
    ]
    table = pd.DataFrame(rows)
    missing = [name for name in (*NUMBERS, "information_saturated") if name not in table]
    return table.reindex(columns=[*table, *missing])  # where all diverged, nothing was measured


def from_csv(
    data: bytes, cells: Collection[Cell], source: str = "cube", conditional: bool = False
) -> pd.DataFrame:
    """The table `cells` of these cells from its CSV. Raises ValueError where `data` is anything else."""
    table = tables.of_cells(data, cells, ["conditional", "selected", "diverged", *NUMBERS])
    selected = table[table.selected == 1]
    keys = ["noise", "latent_dim", "snr"]
    if "source" not in table or not (table.source == source).all():
        raise ValueError(f"source: params.yaml says {source}, and a row another")
    if not (table.conditional == conditional).all():
        raise ValueError(f"conditional: params.yaml says {str(conditional).lower()}, and a row another")
    if not table.diverged.isin((0, 1)).all():
        raise ValueError("diverged: values that are neither 0 nor 1")
    if table[table.diverged == 1][NUMBERS].notna().to_numpy().any():
        raise ValueError("numbers in a row that diverged")
    if len(table) != len(cells) or len(selected) != len(table[keys].drop_duplicates()):
        raise ValueError("expected a row for each repeat, and one of them selected")
    if selected[keys].duplicated().any():
        raise ValueError("expected one repeat of each cell to be selected")
    if (
        selected.diverged > table.groupby(keys, dropna=False).diverged.transform("min")[selected.index]
    ).any():
        raise ValueError("a repeat that diverged is selected, and another did not")
    selected = selected[selected.diverged == 0]
    _check_columns(table, selected, SOURCES[source], conditional)
    if not (selected.mse > 0).all():
        raise ValueError("mse: values that are not above 0")
    return table


def _check_columns(table: pd.DataFrame, selected: pd.DataFrame, source: Source, conditional: bool) -> None:
    """Raise ValueError unless selected rows have every number that has a meaning, and no row any other."""
    noisy, isotropic = selected[selected.noise != "none"], selected[selected.noise == "isotropic"]
    uniform = selected[selected.noise != "learned"]
    surface, faces = source.distance is not None, source.faces is not None
    columns = (
        (True, selected, FIDELITY + GENERATION),
        (surface, selected, DISTANCE),
        (faces, selected, SHARES),
        (conditional, selected, ON_DEMAND),
        (surface, uniform, FITTED_DISTANCE),
        (True, uniform, FITTED),
        (True, noisy, RATE + LIMIT),
        (True, isotropic, CAPACITY),
    )
    for meant, rows, names in columns:
        for name in names:
            if not meant and table[name].notna().any():
                raise ValueError(f"{name}: numbers that have no meaning here")
            if meant and rows[name].isna().any():
                raise ValueError(f"{name}: missing in a row that is selected")
            if name.endswith(("mse", "stderr")) and (rows[name] < 0).any():
                raise ValueError(f"{name}: values below 0")


def _fidelity(result: CodecMetrics | None) -> dict[str, Any]:
    if result is None:
        return {}
    kl = result.kl_bits
    return {
        "validation_mse": result.validation_mse,
        "mse": result.mse.value,
        "mse_stderr": result.mse.stderr,
        "kl_bits": kl and kl.value,
        "kl_bits_stderr": kl and kl.stderr,
        "latent_kl_bits": result.latent_kl_bits,
        "latent_shape_kl_bits": result.latent_shape_kl_bits,
        "linear_mse": result.linear_mse,
    }


def _generation(generated: Generation | None) -> dict[str, Any]:
    if generated is None:
        return {}
    return {
        "generated_surface_distance": generated.surface_distance,
        "generated_surface_p95": generated.surface_p95,
        "generated_face_error": generated.face_error,
        "generation_ratio": generated.ratio.value,
        "generation_ratio_stderr": generated.ratio.stderr,
        "generation_p_value": generated.p_value,
        "coverage": generated.coverage,
    } | _on_demand(generated.conditional)


def _on_demand(asked: ConditionalGeneration | None) -> dict[str, Any]:
    if asked is None:
        return dict.fromkeys(ON_DEMAND)
    return {
        "requested_face_distance": asked.distance,
        "requested_face_share": asked.share,
        "requested_face_ratio": asked.ratio.value,
        "requested_face_ratio_stderr": asked.ratio.stderr,
        "requested_face_worst_ratio": asked.worst_ratio,
    }


def _fitted(generated: Generation | None) -> dict[str, Any]:
    if generated is None:
        return {}
    return {
        "fitted_surface_distance": generated.surface_distance,
        "fitted_ratio": generated.ratio.value,
        "fitted_ratio_stderr": generated.ratio.stderr,
        "fitted_p_value": generated.p_value,
    }


def _limit(limit: Limit | None) -> dict[str, Any]:
    if limit is None:
        return {}
    return {
        "capacity_bits": limit.capacity_bits,
        "information_bits": limit.information_bits.value,
        "information_bits_stderr": limit.information_bits.stderr,
        "information_upper_bits": limit.information_upper_bits.value,
        "information_upper_bits_stderr": limit.information_upper_bits.stderr,
        "information_saturated": str(limit.information_saturated).lower(),
        "gaussian_information_bits": limit.gaussian_information_bits,
        "shannon_mse": limit.shannon_mse,
        "gap_db": limit.gap_db.value,
        "gap_db_stderr": limit.gap_db.stderr,
    }


def tree(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What `dvc metrics` compares: the selected cells by model and key, and a summary of the grid."""
    selected = table[table.selected == 1]
    models: dict[str, dict[str, Any]] = {}
    for cell, row in zip(tables.cells_of(selected), selected.to_dict("records"), strict=True):
        models.setdefault(cell.model, {})[cell.key] = (
            {"diverged": 1}
            if row["diverged"]
            else {name: _rounded(row[name]) for name in METRICS if not pd.isna(row[name])}
        )
    return models | {"summary": _summary(table)}


def _summary(table: pd.DataFrame) -> dict[str, float]:
    """Numbers that compare whatever the grids: the best of the reference channel, isotropic noise.

    What diverged does not enter, and is counted: a row for each repeat.
    """
    selected = table[(table.selected == 1) & (table.diverged == 0)]
    autoencoders = selected[selected.noise == "none"]
    reference = selected[selected.noise == "isotropic"]
    summary: dict[str, float] = {}
    if len(autoencoders):
        summary["ae_best_mse"] = autoencoders.mse.min()
    if len(reference):
        summary |= {
            "snr_vae_best_mse": reference.mse.min(),
            "mean_gap_db": reference.gap_db.mean(),
            "worst_gap_db": reference.gap_db.max(),
            "generation_ratio": reference.generation_ratio.min(),
            "fitted_ratio": reference.fitted_ratio.min(),
        }
    diverged = int(table.diverged.sum())
    counted = {"diverged_cells": diverged} if diverged else {}
    return {name: _rounded(value) for name, value in summary.items()} | counted


def to_json(tree: Mapping[str, Any]) -> str:
    """The tree as JSON, one number a line."""
    return json.dumps(tree, indent=2, allow_nan=False) + "\n"


def from_json(data: bytes, table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The tree of a table of cells from its JSON. Raises ValueError where `data` is anything else."""
    try:
        tree = json.loads(data)
    except RecursionError:
        raise ValueError("not JSON of metrics: lists in lists without end") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    summary = tree.get("summary") if isinstance(tree, dict) else None
    expected = _summary(table)
    if not isinstance(summary, dict) or set(summary) != set(expected):
        raise ValueError(f"expected a summary with {', '.join(expected)}")
    for name, value in summary.items():
        if type(value) not in (int, float) or not abs(value) <= tables.LARGEST:
            raise ValueError(f"summary.{name}: not a finite number")
    return tree


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
