"""The report: reports/README.md, filled from tables and settings alone, and figures as PNG."""

import io
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from snrvae.measurement.metrics import Metric
from snrvae.reporting import drawing, gains, glossary
from snrvae.reporting.figures.style import reference
from snrvae.reporting.lines import Lines
from snrvae.settings import grid
from snrvae.settings.params import Params
from snrvae.sources.source import Source
from snrvae.training import folding

ACTIVATIONS = {"relu": "ReLU", "silu": "SiLU", "tanh": "tanh"}
DEFINED = (  # the METRICS in the glossary, in its order
    *("mse", "kl_bits", "latent_kl_bits", "latent_shape_kl_bits", "linear_mse", "capacity_bits"),
    *("shannon_mse", "gap_db", "one_point_db", "network_db", "gaussian_mse"),
    *("generated_surface_distance", "generated_surface_p95", "generated_nearest_distance"),
    *("generated_face_error", "generation_ratio", "generation_p_value", "fitted_ratio", "fitted_p_value"),
    *("coverage", "requested_face_distance", "requested_face_share", "real_face_share"),
    *("requested_face_ratio", "requested_face_worst_ratio"),
    *("information_bits", "information_upper_bits", "information_saturated", "gaussian_information_bits"),
)
COLOURS = 256  # of a figure's palette: a third of the bytes, no visible difference
PATHS = re.compile(r'(?<= d=")[^"]+')
SHOWN_VERSIONS = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "dvc",
    "pydantic",
    "safetensors",
    "matplotlib",
    "seaborn",
)


def image(figure: Figure, suffix: str) -> bytes:
    """The figure as .svg (lines: sharp at any size) or .png (clouds of points: small)."""
    return svg(figure) if suffix == ".svg" else png(figure)


def svg(figure: Figure) -> bytes:
    """The figure as an SVG with its glyphs in it; the same figure gives the same bytes."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return PATHS.sub(_rounded, drawn.getvalue()).encode()


def _rounded(path: re.Match[str]) -> str:
    """A path with its coordinates to a hundredth of a point: half the bytes, no visible difference."""
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), path[0])


def png(figure: Figure) -> bytes:
    """The figure as a PNG with a palette; the same figure gives the same bytes."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    image = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def locked_versions(data: bytes) -> dict[str, str]:
    """Versions by package from requirements.lock: what ran is what is locked, on every machine.

    Raises ValueError if a package that the report shows is not pinned to a version (by PEP 440).
    """
    pinned = re.findall(r"^([\w.-]+)==([\w.!+-]+)(?=[ ;]|$)", data.decode(), flags=re.MULTILINE | re.ASCII)
    missing = set(SHOWN_VERSIONS) - set(dict(pinned))
    if missing:
        raise ValueError(f"pins no version of {', '.join(sorted(missing))}")
    return dict(pinned)


def markdown(
    params: Params,
    source: Source,
    cells: pd.DataFrame,
    metrics: Mapping[str, Any],
    versions: Mapping[str, str],
    digests: Mapping[str, str],
    kernel: str,
    figures: Sequence[str],
    counts: Mapping[str, int],
    lines: Lines,
    closer: pd.DataFrame,
    current: str,
) -> str:
    """The report's Markdown page.

    cells    the table cells.csv;  metrics  the tree metrics.json
    digests  sha256 of data and models, by path
    kernel   of OpenBLAS, with which the models were trained
    figures  file names in figures/, in the order in which the page shows them
    counts   points of each split;  lines  of the rate–distortion plane
    closer   the table closer.csv;  current  the digest of the code that trains now
    """
    environment = templates(autoescape=False)
    environment.filters |= {"label": "{:g}".format, "entry": _entry}
    selected = cells[cells.selected == 1].astype(object).where(cells.notna(), None)
    rows = selected.sort_values(["latent_dim", "snr"]).to_dict("records")
    noise, model = reference(cells)
    columns = glossary.of_run(source, params.conditional)
    return environment.get_template("report.md").render(
        params=params,
        source=source,
        counts=counts,
        **_words(source),
        activation=ACTIVATIONS[params.network.activation],
        folded=params.encoder.folded_start
        and not params.conditional
        and any(folding.folds(source.domain, cell) for cell in grid.snr_vaes(params)),
        closer=None if params.conditional else _gains(closer, source.domain.name, current),
        column=columns,
        defined=DEFINED,
        table=partial(_table, columns),
        settings=yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, default_flow_style=None),
        metrics=metrics,
        restarts=len(cells),
        escape=_escape(metrics),
        **_tables(rows, noise, params.conditional),
        noise=noise,
        noisy=metrics[model],
        limits=lines.limit,
        by_point=lines.by_point,
        saturated=bool((cells.limit_saturated.astype(str).str.lower() == "true").any()),
        versions={name: versions[name] for name in SHOWN_VERSIONS},
        digests=digests,
        kernel=kernel,
        figures={Path(file).stem: {"file": file, "number": i} for i, file in enumerate(figures, 1)},
    )


def _words(source: Source) -> dict[str, Any]:
    """The report's words for the source, its parts and its unit."""
    heading, name = map(_plain, drawing.called(source))
    length = {"edge": "edge length", "unit": "unit of the file"}
    squared = {"edge": "edge lengths", "radius": "radii", "unit": "units of the file"}
    return {
        "heading": heading,
        "name": name,
        "title": _plain(source.title),
        "length": length.get(source.unit, source.unit),
        "squared": squared.get(source.unit, f"{source.unit}s"),
        "images": drawing.images(source),
        "directions": drawing.directions(source),
    }


def _plain(text: str) -> str:
    """A user's text, escaped so that Markdown shows it unchanged."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", text)


def _entry(text: str) -> str:
    """A text as an entry of a table."""
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _gains(table: pd.DataFrame, source: str, current: str) -> dict[str, Any] | None:
    """The gains of an encoder's ingredients for a source, in words; None if they were not measured."""
    rows = gains.of_source(table, source)
    if not (rows.setting == gains.PLAIN).any():
        return None
    changes, spread = gains.changes(rows)
    counts = ", ".join(map(str, sorted(rows.candidates[rows.setting == "candidates"].unique())))
    words = {gains.PLAIN: "plain gap", "candidates": f"{counts} candidates", "candidates and fold": "both"}
    head = ["d", "SNR", *(f"{words.get(str(name), name)} [dB]" for name in changes)]
    lines = [
        [f"{row['latent_dim']:g}", f"{row['snr']:g}", *(_decibel(name, row[name]) for name in changes)]
        for row in changes.reset_index().to_dict("records")
    ]
    return {
        "table": _markdown_table(head, lines),
        "seeds": rows.seed.nunique(),
        "spread": None if np.isnan(spread) else spread,
        "stale": bool((rows.code.astype(str) != current).any()),
    }


def _decibel(setting: Hashable, value: float) -> str:
    """A plain gap, or a change with its sign; – if there is none."""
    if np.isnan(value):
        return "–"
    return significant(value) if setting == gains.PLAIN else f"{value:+.2f}".replace("-", "−")


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    written = [f"| {' | '.join(line)} |" for line in [head, *lines]]
    return "\n".join([written[0], f"|{'---|' * len(head)}", *written[1:]])


def _table(
    columns: Mapping[str, Metric], rows: Sequence[Mapping[str, Any]], *names: str, **words: str
) -> str:
    """A table of those of these columns that apply to the run, with a row for each of the cells `rows`.

    words  other headings, by name
    """
    shown = [columns[name] for name in names if name in columns]
    noisy = any(row["snr"] is not None for row in rows)
    mixed = len({row["noise"] for row in rows}) > 1
    head = ["codec"] * mixed + ["d"] + ["SNR"] * noisy
    for metric in shown:
        unit = "" if metric.unit == "–" else f" [{metric.unit}]"
        head += [words.get(metric.name, metric.word + unit), *["± s.e."] * (len(metric.columns) > 1)]
    lines = []
    for row in rows:
        line = ["AE" if row["noise"] == "none" else "SNR-VAE"] * mixed + [str(row["latent_dim"])]
        line += ["–" if row["snr"] is None else f"{row['snr']:g}"] * noisy
        numbers = [text for metric in shown for text in _numbers(metric, row, columns)]
        lines.append(line + (["diverged", *numbers[1:]] if row["diverged"] else numbers))
    return _markdown_table(head, lines)


def _numbers(metric: Metric, row: Mapping[str, Any], columns: Mapping[str, Metric]) -> list[str]:
    """A cell's number, with its standard error if it has one; of information, whether it is saturated."""
    digits = 4 if metric.unit == "bit" else 2 if metric.name.endswith("p_value") else 3
    value = significant(row[metric.name], digits)
    if metric.name == "information_upper_bits" and row["information_saturated"]:
        value += f" ({columns['information_saturated'].word})"
    return [value, *(significant(row[error], 2) for error in metric.columns[1:])]


def _tables(rows: list[dict[Any, Any]], noise: str, conditional: bool) -> dict[str, list[dict[Any, Any]]]:
    """The rows of selected cells that each of the report's tables has; the reference is of `noise`."""
    by_noise = {noise: [row for row in rows if row["noise"] == noise] for noise in ("isotropic", "learned")}
    return {
        "autoencoders": [row for row in rows if row["noise"] == "none"],
        **by_noise,
        "reference": [row for row in rows if row["noise"] == noise],
        "conditional": [row for row in rows if row["noise"] != "learned"] if conditional else [],
    }


def templates(autoescape: bool) -> Environment:
    """The project's templates, with the filters that every page uses."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"g": significant, "number": "{:,}".format}
    return environment


def _escape(metrics: Mapping[str, Any]) -> str | None:
    """The key of the cell with the most bits of learned noise for each bit of isotropic noise."""
    isotropic, learned = metrics.get("snr_vae", {}), metrics.get("snr_vae_learned", {})
    shared = [key for key in learned if {"kl_bits"} <= {*learned[key]} & {*isotropic.get(key, {})}]
    return max(shared, key=lambda key: learned[key]["kl_bits"] / isotropic[key]["kl_bits"], default=None)


def significant(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits; – if there is none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".rstrip(".")
