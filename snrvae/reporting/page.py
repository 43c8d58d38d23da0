"""The interactive page: tables and clouds → one HTML file that a browser opens without a network.

What the page shows is first put together as plain numbers and strings (`content`), then filled into the
templates (`html`). Only the page's script draws: clouds by itself, curves with Plotly, which stands in
the file.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import yaml
from markupsafe import Markup
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from snrvae.reporting import drawing
from snrvae.reporting.figures.style import DIMS, LABELS, Array, Arrays
from snrvae.reporting.report import significant, templates
from snrvae.settings.grid import Cell
from snrvae.settings.params import Params
from snrvae.sources.domain import Labels, Split
from snrvae.sources.source import Source

CLOUD = 1500  # points of a cloud
ALL_CLOUDS = 55 * CLOUD  # of all clouds together: a large grid gets smaller clouds, not a larger file
BINS = 60  # of a histogram
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "x")
GLYPHS = "●■◆▲▼✚★✖"  # the same, as characters
CODECS = {"none": "basic AE", "isotropic": "SNR-VAE, isotropic noise", "learned": "SNR-VAE, learned noise"}


def content(
    params: Params,
    cells: pd.DataFrame,
    metrics: Mapping[str, Any],
    limit: pd.DataFrame,
    asymptotes: Mapping[int, tuple[Array, Array]],
    samples: Arrays,
    test: Split,
    source: Source,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """All that the page shows, as JSON has it.

    cells       the table cells.csv;  metrics  the tree metrics.json;  limit  the table rate_distortion.csv
    asymptotes  by latent_dim: bits and distortion of the best codes for one point at a time
    samples       clouds and latents of the selected cells, as samples.to_bytes names them
    test        the split whose first points were reconstructed
    """
    selected = cells[cells.selected == 1].sort_values(["noise", "latent_dim", "snr"], key=_order)
    records = selected.astype(object).where(selected.notna(), None).to_dict("records")
    every = [{str(name): value for name, value in row.items()} for row in records]
    rows = [row for row in every if not row["diverged"]]
    count = min(CLOUD, ALL_CLOUDS // (2 * len(rows) + 1))
    frame = _frame(source)
    return {
        **_of_run(params, metrics, versions),
        **_of_source(source, frame),
        **_of_grid(every),
        "noises": [{"noise": noise, "name": _noise(noise)} for noise in dict.fromkeys(selected.noise)],
        "original": _cloud(test.points[:count], test.label[:count], frame),
        "cells": [_cell(row, samples, test, source, frame, count) for row in rows],
        "start": _first_shown(rows) if rows else None,
        **_lines(selected, limit, asymptotes),
    }


def _of_run(params: Params, metrics: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
    """What the page says about the run."""
    return {
        "summary": metrics["summary"],
        "conditional": params.conditional,
        "settings": yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, default_flow_style=None),
        "test_points": params.data.test_points,
        "versions": dict(versions),
    }


def _of_source(source: Source, frame: tuple[float, float]) -> dict[str, Any]:
    """How the page shows the source."""
    drawn = drawing.of(source)
    return {
        "source": {"title": source.title, "noun": source.noun, "unit": source.unit},
        "apart": source.distance is not None,
        "faces": source.faces is not None,
        "part": source.part,
        "labels": [
            {"name": name, "colour": colour}
            for name, colour in zip(source.labels, LABELS[: len(source.labels)], strict=True)
        ],
        "frame": frame,
        "view": drawn.view,
        "outline": drawn.outline,
    }


def _of_grid(every: list[dict[str, Any]]) -> dict[str, Any]:
    """The grid's axes, and its cells that diverged."""
    dims, snrs = sorted({row["latent_dim"] for row in every}), sorted({row["snr"] for row in every} - {None})
    return {
        "dims": [{"latent_dim": d, "colour": _colour(d - 1)} for d in dims],
        "dimension_colours": [_colour(i) for i in range(max(dims))],
        "snrs": [
            {"snr": snr, "label": f"{snr:g}", "symbol": _cycled(SYMBOLS, i), "glyph": _cycled(GLYPHS, i)}
            for i, snr in enumerate(snrs)
        ],
        "diverged": [_which(row) for row in every if row["diverged"]],
    }


def html(page: Mapping[str, Any]) -> str:
    """The page as one file: the same content gives the same bytes, and it asks no address for anything."""
    plotly = get_plotlyjs()
    assert "</script" not in plotly.lower()
    return templates(autoescape=True).get_template("page.html").render(page=page, plotly=Markup(plotly))


def _order(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Noise in the order of the grid, numbers as they are; an autoencoder, without SNR, first."""
    return column.map(_noise_order) if column.name == "noise" else column.fillna(0)


def _codec(noise: str) -> str:
    """What the page calls a codec of a noise, also of one that a user added."""
    return CODECS.get(noise, f"SNR-VAE, {noise} noise")


def _noise_order(noise: str) -> int:
    """The place of a noise in the grid: noises that a user added come last."""
    return list(CODECS).index(noise) if noise in CODECS else len(CODECS)


def _frame(source: Source) -> tuple[float, float]:
    """Of each coordinate; points outside it are counted, not drawn."""
    low, high = drawing.of(source).view
    return low - (high - low) / 6, high + (high - low) / 6


def _cell(
    row: Mapping[str, Any],
    samples: Arrays,
    test: Split,
    source: Source,
    frame: tuple[float, float],
    count: int,
) -> dict[str, Any]:
    cell = Cell(row["noise"], row["latent_dim"], row["snr"], row["repeat"])
    name = f"{cell.model}/{cell.key}"
    reconstructed, generated = (samples[f"{name}/{kind}"][:count] for kind in ("reconstructed", "generated"))
    isotropic = cell.noise == "isotropic"
    bits = row["capacity_bits"] if isotropic else row["kl_bits"]
    return {
        "name": name,
        "noise": cell.noise,
        "latent_dim": cell.latent_dim,
        "snr": cell.snr,
        "title": f"{_codec(cell.noise)}, d = {cell.latent_dim}" + (f", SNR {cell.snr:g}" if cell.snr else ""),
        "colour": _colour(cell.latent_dim - 1),
        "bits": bits,
        "bits_are": "capacity" if isotropic else "E KL",
        "mse": row["mse"],
        "text": {
            **_which(row),
            "mse": significant(row["mse"]),
            "mse_stderr": significant(row["mse_stderr"], 2),
            "bits": significant(bits),
            "gap_db": significant(row["gap_db"]),
            "latent_kl_bits": significant(row["latent_kl_bits"]),
            "surface_distance": significant(row["generated_surface_distance"]),
            "generation_ratio": significant(row["generation_ratio"]),
            "coverage": f"{row['coverage']:.1%}",
        },
        "reconstructed": _cloud(reconstructed, test.label[: len(reconstructed)], frame),
        "generated": _cloud(generated, _label(samples, name, generated, source), frame),
        "latents": _densities(samples[f"{name}/latents"]),
    }


def _label(samples: Arrays, name: str, generated: NDArray[np.floating], source: Source) -> Labels:
    """The labels [n] that generated points are coloured by: those asked for, or else their own."""
    if f"{name}/requested" in samples:
        return samples[f"{name}/requested"][: len(generated)].argmax(1).astype(np.uint8)
    return source.nearest(generated)


def _which(row: Mapping[str, Any]) -> dict[str, str]:
    """Which cell a row is about, as the table has it."""
    snr = f"{row['snr']:g}" if row["snr"] else "–"
    return {"noise": _noise(row["noise"]), "latent_dim": str(row["latent_dim"]), "snr": snr}


def _cloud(points: NDArray[np.floating], label: Labels, frame: tuple[float, float]) -> dict[str, Any]:
    """Points [n, k] inside the frame as uint16 (all x, y, z) and their labels as uint8, both in base64."""
    low, high = frame
    inside = ((points >= low) & (points <= high)).all(1)
    steps = np.rint((drawing.in_space(points[inside]).T - low) / (high - low) * 65535).astype("<u2")
    return {
        "points": base64.b64encode(steps.tobytes()).decode(),
        "label": base64.b64encode(label[inside].tobytes()).decode(),
        "outside": f"{1 - inside.mean():.1%}" if not inside.all() else None,
    }


def _densities(latents: NDArray[np.floating]) -> dict[str, Any]:
    """Histograms of latents [n, d], the last 0.1 % of the tails aside: centres [bin], density [d, bin]."""
    low, high = np.quantile(latents, (0.0005, 0.9995))
    edges = np.linspace(min(low, -3.6), max(high, 3.6), BINS + 1)
    width = edges[1] - edges[0]
    counts = [np.histogram(values, edges)[0] for values in latents.T]
    return {
        "centre": _rounded((edges[:-1] + edges[1:]) / 2),
        "density": [_rounded(count / (len(latents) * width)) for count in counts],
    }


def _lines(
    selected: pd.DataFrame, limit: pd.DataFrame, asymptotes: Mapping[int, tuple[Array, Array]]
) -> dict[str, Any]:
    """The lines of the rate–distortion plane, as figure 5 has them: lists of bits and mse."""
    bits = selected.capacity_bits.fillna(selected.kl_bits)
    most = max(2.0, bits.max() * 1.06)  # 2 where there are none, of which the maximum is NaN
    reached = limit[limit.rate_lower_bits <= most + 1]
    isotropic = selected[(selected.noise == "isotropic") & (selected.diverged == 0)]
    return {
        "most_bits": float(most),
        "limit": _line(reached.rate_lower_bits, reached.distortion / 3),
        "linear": [
            _line(rows.capacity_bits, rows.linear_mse, rows.latent_dim.iloc[0])
            for _, rows in isotropic.groupby("latent_dim")
        ],
        "asymptotes": [
            _line(rate, distortion / 3, latent_dim) for latent_dim, (rate, distortion) in asymptotes.items()
        ],
    }


def _line(bits: Any, mse: Any, latent_dim: int | None = None) -> dict[str, Any]:
    colour = None if latent_dim is None else _colour(latent_dim - 1)
    return {"bits": _rounded(bits), "mse": _rounded(mse), "colour": colour}


def _first_shown(rows: list[Any]) -> int:
    """The best generator with isotropic noise; without such, with learned noise, and without such, of all."""
    noisy = (
        [row for row in rows if row["noise"] == "isotropic"] or [row for row in rows if row["snr"]] or rows
    )
    return rows.index(min(noisy, key=lambda row: row["generation_ratio"]))


def _noise(noise: str) -> str:
    return "none (AE)" if noise == "none" else noise


def _colour(index: int) -> str:
    return str(_cycled(DIMS.as_hex(), index))


def _cycled(values: Any, index: int) -> Any:
    return values[index % len(values)]


def _rounded(values: Any) -> list[float]:
    """Six significant digits, as the tables have."""
    return [float(f"{value:.6g}") for value in values]
