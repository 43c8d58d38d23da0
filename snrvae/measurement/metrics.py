"""The numbers of a run: what each metric is, the table of cells, and the tree that `dvc metrics` compares.

METRICS states each metric once: the columns of cells.csv and their checks, the keys of metrics.json, the
report's headings and definitions and docs/metrics.md follow from it. A new metric is a field of a record
(records.py) that evaluation.py fills, and an entry here.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import pandas as pd

from snrvae.measurement.records import CodecMetrics, Estimate, Generation, Limit, Measured
from snrvae.settings import tables
from snrvae.settings.grid import Cell
from snrvae.sources.domain import Domain
from snrvae.sources.source import Source

EVERY: tuple[str, ...] = ("none", "isotropic", "learned")
NOISY: tuple[str, ...] = ("isotropic", "learned")
UNIFORM: tuple[str, ...] = ("none", "isotropic")
ISOTROPIC: tuple[str, ...] = ("isotropic",)


@dataclass(frozen=True)
class Metric:
    """One metric of a cell: a number, an Estimate or a truth value.

    name     column of cells.csv and key of metrics.json; an Estimate has a second column, NAME_stderr
    word     its name in the report
    unit     with {unit} for the source's unit of length
    of       path from Measured to the field that holds it
    noises   it applies only to cells with one of these noises
    meaning  a phrase, with {source} for the source's title
    needs    another condition under which alone it applies: see `applies`
    in_json  whether metrics.json has it
    """

    name: str
    word: str
    unit: str
    of: str
    noises: tuple[str, ...]
    meaning: str
    needs: str = ""
    in_json: bool = False

    @property
    def kind(self) -> type:
        """The type of the field: float, Estimate or bool."""
        found: type = Measured
        for field in self.of.split("."):
            hint = get_type_hints(found)[field]
            found, *_ = get_args(hint) or (hint,)  # X of X | None
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns of cells.csv."""
        return (self.name, f"{self.name}_stderr") if self.kind is Estimate else (self.name,)

    def entries(self, measured: Measured, factor: float) -> dict[str, Any]:
        """A row's entries in its columns, scaled by the length `factor` of x' = 1; None if not measured."""
        value: Any = measured
        for field in self.of.split("."):
            value = None if value is None else getattr(value, field)
        if isinstance(value, bool):
            value = str(value).lower()
        parts = (value.value, value.stderr) if isinstance(value, Estimate) else [value] * len(self.columns)
        scaled = [part * factor**self.power if self.power and part is not None else part for part in parts]
        return dict(zip(self.columns, scaled, strict=True))

    @property
    def power(self) -> int:
        """The power of the source's unit of length in this metric's unit."""
        return {"{unit}": 1, "{unit}²": 2}.get(self.unit, 0)

    @property
    def numeric(self) -> bool:
        """Whether it is a number, and not a truth value or a word."""
        return self.kind in (float, Estimate)

    def applies(self, source: Source, conditional: bool) -> bool:
        """Whether it applies to any cell of a run."""
        needs = {
            "": True,
            "surface": source.distance is not None,
            "set": source.domain.finite,
            "labels": source.domain.labelled,
            "law": source.exact,
            "conditional": conditional,
            "whole": not conditional,
            "faces": conditional and source.faces is not None,
            "classes": conditional and source.faces is None,
        }
        return needs[self.needs]


METRICS = (
    Metric("validation_mse", "validation mse", "{unit}²", "codec.validation_mse", EVERY,
        "mse on the validation points, by which a repeat is selected"),
    Metric("mse", "mse", "{unit}²", "codec.mse", EVERY,
        "mean of (x − x̂)² over test points and coordinates", in_json=True),
    Metric("kl_bits", "E KL", "bit", "codec.kl_bits", NOISY, in_json=True, meaning=
        "mean over points x of KL(q(z|x) ‖ N(0, I)); q(z|x) = N(μ, σ²I) is the distribution of z for x"),
    Metric("latent_kl_bits", "latent KL", "bit/dim", "codec.latent_kl_bits", EVERY, in_json=True, meaning=
        "KL of each dimension of z, over all points, from N(0, 1); mean over dimensions"),
    Metric("latent_shape_kl_bits", "KL of the shape", "bit/dim", "codec.latent_shape_kl_bits", EVERY,
        "latent KL after each dimension is shifted and scaled to mean 0 and variance 1"),
    Metric("linear_mse", "linear mse", "{unit}²", "codec.linear_mse", EVERY,
        "mse of the best linear codec with the same d and SNR (for learned noise: with isotropic noise)"),
    Metric("generated_surface_distance", "distance", "{unit}", "generated.surface_distance", EVERY,
        "mean distance of generated points to {source}", needs="surface", in_json=True),
    Metric("generated_surface_p95", "95 %", "{unit}", "generated.surface_p95", EVERY,
        "95th percentile of the distance of generated points to {source}", needs="surface"),
    Metric("generated_nearest_distance", "to the nearest", "{unit}", "generated.nearest_distance", EVERY,
        "mean distance of generated points to the nearest test point", needs="set", in_json=True),
    Metric("generated_face_error", "share error", "–", "generated.face_error", EVERY,
        "largest relative error of the shares of generated points, by nearest {part}", needs="labels"),
    Metric("generation_ratio", "generation ratio", "–", "generated.ratio", EVERY,
        "1 for a perfect generator on average, larger for a worse one: 1 plus the squared energy distance "
        "between generated points and {law}, scaled to 12,000 points", in_json=True),
    Metric("generation_p_value", "p", "–", "generated.p_value", EVERY,
        "share of 1,000 samples (999 of independent real points, and the generated one) that are at least as "
        "far from the exact distribution as the generated one; about 0.5 for a perfect generator, 0.001 if "
        "it is the farthest", needs="law"),
    Metric("coverage", "coverage", "–", "generated.coverage", EVERY,
        "share of test points that have a generated point nearer than their fifth-nearest other test point; "
        "about 1 − 2⁻⁵ for a perfect generator", in_json=True),
    Metric("requested_face_distance", "distance", "{unit}", "generated.conditional.distance", EVERY,
        "mean distance of generated points to the face asked for", needs="faces", in_json=True),
    Metric("requested_face_share", "share as asked", "–", "generated.conditional.share", EVERY,
        "share of generated points that are nearest to the {part} asked for",
        needs="conditional", in_json=True),
    Metric("real_face_share", "share of real points", "–", "generated.conditional.real_share", EVERY,
        "share of test points whose own label wins the vote of the five nearest training points",
        needs="classes"),
    Metric("requested_face_ratio", "ratio per {part}", "–", "generated.conditional.ratio", EVERY,
        "generation ratio of each {part}, scaled to its share of 12,000 points; mean over {part}s",
        needs="conditional", in_json=True),
    Metric("requested_face_worst_ratio", "worst {part}", "–", "generated.conditional.worst_ratio", EVERY,
        "largest generation ratio of the points of a {part}", needs="conditional"),
    Metric("fitted_surface_distance", "distance with the fit", "{unit}", "fitted.surface_distance", UNIFORM,
        "mean distance of points decoded from the fitted density to {source}", needs="surface"),
    Metric("fitted_ratio", "ratio with the fit", "–", "fitted.ratio", UNIFORM,
        "generation ratio of points decoded from the fitted density", in_json=True),
    Metric("fitted_p_value", "p with the fit", "–", "fitted.p_value", UNIFORM,
        "p of points decoded from the fitted density", needs="law"),
    Metric("capacity_bits", "capacity", "bit", "limit.capacity_bits", ISOTROPIC,
        "C = (d/2)·log2(1 + SNR): no code gets more information about x through the channel"),
    Metric("information_bits", "I(x; z) from below", "bit", "limit.information_bits", NOISY,
        "lower estimate of the information that z carries about x"),
    Metric("information_upper_bits", "from above", "bit", "limit.information_upper_bits", NOISY,
        "upper estimate of the information that z carries about x"),
    Metric("information_saturated", "saturated", "true or false", "limit.information_saturated", NOISY,
        "the estimates of I(x; z) are more than 0.1 bit apart: too few points for the rate"),
    Metric("gaussian_information_bits", "Σ ½·log2(1 + P_j/σ²)", "bit",
        "limit.gaussian_information_bits", ISOTROPIC,
        "what the channel would carry if each latent dimension j, of power P_j before noise, were normal "
        "and independent of the others"),
    Metric("shannon_mse", "least mse", "{unit}²", "limit.shannon_mse", NOISY,
        "Shannon's limit: the least mse that C bits (learned noise: the cell's own E KL) allow any code"),
    Metric("limit", "limit is", "certified, 99 % or estimate", "limit.certainty", NOISY,
        "how sure the least mse is: certified (a known distribution); 99 % (it holds with this confidence, "
        "from the training points); or an estimate"),
    Metric("limit_saturated", "too few points", "true or false", "limit.saturated", NOISY,
        "the training points are too few for the rate: the least mse may be far too small"),
    Metric("gaussian_mse", "normal mse", "{unit}²", "limit.gaussian_mse", NOISY,
        "least mse that the same bits allow for a normal distribution of the source's covariance"),
    Metric("gap_db", "gap", "dB", "limit.gap_db", NOISY,
        "10·log10(mse / least mse): 3 dB is twice the least mse", in_json=True),
    Metric("one_point_db", "price of one point at a time", "dB", "limit.one_point_db", ISOTROPIC,
        "10·log10(mse of the best known code for one point at a time / least mse); empty if "
        "reports/one_point.csv has no row for this d and SNR", needs="whole"),
    Metric("network_db", "price of the network", "dB", "limit.network_db", ISOTROPIC,
        "gap minus the price of one point at a time; below 0 if the network found a better code",
        needs="whole"),
)  # fmt: skip
NUMBERS = [column for metric in METRICS if metric.numeric for column in metric.columns]
SATURABLE = ("shannon_mse", "gap_db")  # empty where limit_saturated is true
TABLED = ("one_point_db", "network_db")  # empty where reports/one_point.csv has no row
SUMMARY: dict[str, tuple[str, str, str]] = {  # of selected cells with a noise: a column's min, mean, max
    "ae_best_mse": ("none", "mse", "min"),
    "snr_vae_best_mse": ("isotropic", "mse", "min"),
    "mean_gap_db": ("isotropic", "gap_db", "mean"),
    "worst_gap_db": ("isotropic", "gap_db", "max"),
    "generation_ratio": ("isotropic", "generation_ratio", "min"),
    "fitted_ratio": ("isotropic", "fitted_ratio", "min"),
}


def cells(
    results: Mapping[Cell, CodecMetrics | None],
    generations: Mapping[Cell, Generation],
    fitted: Mapping[Cell, Generation],
    limits: Mapping[Cell, Limit],
    source: Domain,
    conditional: bool = False,
) -> pd.DataFrame:
    """A row per cell and repeat; selected repeats also have metrics of generation and the limit.

    generations  with z ~ N(0, I);  fitted  with z from a fitted density

    A cell that diverged has no result and no numbers; if all repeats did, the first is selected.
    """
    first = {(cell.model, cell.key): cell for cell in reversed(list(results))}
    best = {(cell.model, cell.key): cell for cell in generations}
    selected = set((first | best).values())
    rows = []
    for cell, result in results.items():
        measured = Measured(result, generations.get(cell), fitted.get(cell), limits.get(cell))
        row = tables.cell_columns(cell) | {"source": source.name, "conditional": int(conditional)}
        row |= {"selected": int(cell in selected), "diverged": int(result is None)}
        for metric in METRICS:
            row |= metric.entries(measured, source.factor)
        rows.append(row)
    return pd.DataFrame(rows)


def from_csv(data: bytes, cells: Collection[Cell], source: Source, conditional: bool = False) -> pd.DataFrame:
    """The table `cells` of these cells from its CSV. Raises ValueError if `data` is anything else."""
    table = tables.of_cells(data, cells, ["conditional", "selected", "diverged", *NUMBERS])
    missing = [metric.name for metric in METRICS if metric.name not in table]
    if missing:
        raise ValueError(f"expected a column {missing[0]}")
    selected = table[table.selected == 1]
    keys = ["noise", "latent_dim", "snr"]
    name = source.domain.name
    if "source" not in table or not (table.source == name).all():
        raise ValueError(f"source: params.yaml has {name}, but a row has another")
    if not (table.conditional == conditional).all():
        raise ValueError(f"conditional: params.yaml has {str(conditional).lower()}, but a row has another")
    if not table.diverged.isin((0, 1)).all():
        raise ValueError("diverged: values that are neither 0 nor 1")
    if table[table.diverged == 1][NUMBERS].notna().to_numpy().any():
        raise ValueError("numbers in a row that diverged")
    if len(table) != len(cells) or len(selected) != len(table[keys].drop_duplicates()):
        raise ValueError("expected a row for each repeat, and one of them selected")
    if selected[keys].duplicated().any():
        raise ValueError("expected one repeat of each cell to be selected")
    all_diverged = table.groupby(keys, dropna=False).diverged.transform("min")
    if (selected.diverged > all_diverged[selected.index]).any():
        raise ValueError("a repeat that diverged is selected, but another did not diverge")
    selected = selected[selected.diverged == 0]
    for metric in METRICS:
        if metric.numeric:
            _check(metric, table, selected, metric.applies(source, conditional))
    if not (selected.mse > 0).all():
        raise ValueError("mse: values that are not above 0")
    return table


def _check(metric: Metric, table: pd.DataFrame, selected: pd.DataFrame, applies: bool) -> None:
    """Raise ValueError unless exactly the rows to which a metric applies have it."""
    rows = selected[selected.noise.isin(metric.noises)]
    if metric.name in SATURABLE:
        rows = rows[rows.limit_saturated.astype(str).str.lower() == "false"]
    for name in metric.columns:
        if not applies and table[name].notna().any():
            raise ValueError(f"{name}: numbers that have no meaning here")
        if applies and name not in TABLED and rows[name].isna().any():
            raise ValueError(f"{name}: missing in a row that is selected")
        if applies and name.endswith(("mse", "stderr")) and (rows[name] < 0).any():
            raise ValueError(f"{name}: values below 0")


def tree(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The tree for `dvc metrics`: the selected cells by model and key, and a summary of the grid."""
    selected = table[table.selected == 1]
    models: dict[str, dict[str, Any]] = {}
    for cell, row in zip(tables.cells_of(selected), selected.to_dict("records"), strict=True):
        models.setdefault(cell.model, {})[cell.key] = (
            {"diverged": 1}
            if row["diverged"]
            else {m.name: _rounded(row[m.name]) for m in METRICS if m.in_json and not pd.isna(row[m.name])}
        )
    return models | {"summary": _summary(table)}


def _summary(table: pd.DataFrame) -> dict[str, float]:
    """Numbers that can be compared between different grids, for the autoencoder and for isotropic noise.

    Repeats that diverged do not enter; their number is added.
    """
    selected = table[(table.selected == 1) & (table.diverged == 0)]
    summary = {
        name: _rounded(selected[selected.noise == noise][column].agg(how))
        for name, (noise, column, how) in SUMMARY.items()
        if selected[selected.noise == noise][column].notna().any()
    }
    diverged = int(table.diverged.sum())
    return summary | ({"diverged_cells": diverged} if diverged else {})


def to_json(tree: Mapping[str, Any]) -> str:
    """The tree as JSON, one number a line."""
    return json.dumps(tree, indent=2, allow_nan=False) + "\n"


def from_json(data: bytes, table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The tree of a table of cells from its JSON. Raises ValueError if `data` is anything else."""
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
