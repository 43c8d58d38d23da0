"""The interactive page: tables and clouds → one HTML file that a browser opens without a network.

The content is first assembled as plain numbers and strings (`content`), then filled into the templates
(`html`). Only the page's script draws: clouds by itself, curves with Plotly, whose basic bundle is
part of the file.
"""

import base64
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from markupsafe import Markup
from numpy.typing import NDArray

from snrvae.reporting import drawing
from snrvae.reporting.figures import pages
from snrvae.reporting.figures.style import DIMS, Arrays, label_colours
from snrvae.reporting.lines import LIMITS, SURE, Lines, most_bits
from snrvae.reporting.report import significant, templates
from snrvae.settings import tables
from snrvae.settings.grid import Cell
from snrvae.settings.params import Params
from snrvae.sources.domain import Labels, Split
from snrvae.sources.source import Source

PLOTLY = Path(__file__).parent / "plotly" / "plotly-basic.min.js"  # docs/decisions.md, record 33
CLOUD = 1500  # points of a cloud
ALL_CLOUDS = 55 * CLOUD  # of all clouds together: a large grid gets smaller clouds, not a larger file
POINT = 7  # bytes of one
IMAGES = 6  # in a row of a page of them, at most
BINS = 60  # of a histogram
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "x")
GLYPHS = "●■◆▲▼✚★✖"  # the same, as characters
DASHES = {"certified": "solid", "99 %": "dash", "estimate": "dot"}  # of Shannon's limit
CODECS = {"none": "basic AE", "isotropic": "SNR-VAE, isotropic noise", "learned": "SNR-VAE, learned noise"}


def content(
    params: Params,
    cells: pd.DataFrame,
    metrics: Mapping[str, Any],
    lines: Lines,
    samples: Arrays,
    test: Split,
    source: Source,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """The content of the page, as values of JSON.

    cells    the table cells.csv;  metrics  the tree metrics.json;  lines  of the rate–distortion plane
    samples  clouds and latents of the selected cells, as samples.to_bytes names them
    test     the split whose first points were reconstructed
    """
    selected = cells[cells.selected == 1].sort_values(["noise", "latent_dim", "snr"], key=_order)
    records = selected.astype(object).where(selected.notna(), None).to_dict("records")
    every = [{str(name): value for name, value in row.items()} for row in records]
    rows = [row for row in every if not row["diverged"]]
    count = _count(source, 2 * len(rows) + 1)
    original = test.points[:count], test.label[:count]
    return {
        **_of_run(params, metrics, len(test.points), versions),
        **_of_source(source),
        **_of_grid(every),
        "noises": [{"noise": noise, "name": _noise(noise)} for noise in dict.fromkeys(selected.noise)],
        "original": _cloud(*original, source),
        "cells": [_cell(row, samples, test, source, count) for row in rows],
        "priced": any(row.get("network_db") is not None for row in rows),
        "start": _first_shown(rows) if rows else None,
        "csv": tables.to_csv(selected),
        **_lines(selected, lines),
    }


def _of_run(
    params: Params, metrics: Mapping[str, Any], test_points: int, versions: Mapping[str, str]
) -> dict[str, Any]:
    """The facts about the run that the page shows."""
    return {
        "summary": metrics["summary"],
        "conditional": params.conditional,
        "engine": params.train.engine,
        "settings": yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, default_flow_style=None),
        "test_points": test_points,
        "versions": dict(versions),
    }


def _of_source(source: Source) -> dict[str, Any]:
    """How the page shows the source: `images` [h, w] if points are images, or else `view` and its parts."""
    drawn, (heading, name) = drawing.of(source), drawing.called(source)
    return {
        "source": {"title": source.title, "heading": heading, "name": name, "unit": source.unit},
        "apart": source.distance is not None,
        "finite": source.domain.finite,
        "part": source.part,
        "directions": None if source.domain.labelled else drawing.directions(source),
        "components": source.coordinates > 3,
        "images": source.domain.shape if drawing.images(source) else None,
        "labels": [
            {"name": name, "colour": colour}
            for name, colour in zip(source.labels, label_colours(len(source.labels)), strict=True)
        ],
        "space": not drawing.flat(source),
        "frame": _frame(source),
        "view": drawn.view,
        "outline": drawn.outline,
    }


def _count(source: Source, clouds: int) -> int:
    """The number of points in each of `clouds` clouds; for images, a square number for as many bytes."""
    if drawing.images(source):
        side = sqrt(ALL_CLOUDS * POINT / (clouds * source.coordinates))
        return int(min(max(side, 2), IMAGES)) ** 2
    return min(CLOUD, ALL_CLOUDS // clouds)


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
    """The page as one file: the same content gives the same bytes, and it loads nothing from a network."""
    plotly = PLOTLY.read_text(encoding="utf-8")
    assert "</script" not in plotly.lower()
    return templates(autoescape=True).get_template("page.html").render(page=page, plotly=Markup(plotly))


def _order(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Noise in the order of the grid, numbers as they are; an autoencoder, without SNR, first."""
    return column.map(_noise_order) if column.name == "noise" else column.fillna(0)


def _codec(noise: str) -> str:
    """The page's name for a codec with a noise, which a user may have added."""
    return CODECS.get(noise, f"SNR-VAE, {noise} noise")


def _noise_order(noise: str) -> int:
    """The place of a noise in the grid: noises that a user added come last."""
    return list(CODECS).index(noise) if noise in CODECS else len(CODECS)


def _frame(source: Source) -> list[tuple[float, float]]:
    """The ends of each axis; points outside are counted, not drawn. A plane is at 0 in space."""
    view = drawing.of(source).view
    wide = [(low - (high - low) / 6, high + (high - low) / 6) for low, high in view]
    return [*wide, *[(-1.0, 1.0)] * (3 - len(wide))]


def _cell(
    row: Mapping[str, Any],
    samples: Arrays,
    test: Split,
    source: Source,
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
            "one_point_db": significant(row.get("one_point_db")),
            "network_db": significant(row.get("network_db")),
            "latent_kl_bits": significant(row["latent_kl_bits"]),
            "surface_distance": significant(row["generated_surface_distance"]),
            "nearest_distance": significant(row["generated_nearest_distance"]),
            "generation_ratio": significant(row["generation_ratio"]),
            "coverage": f"{row['coverage']:.1%}",
        },
        "reconstructed": _cloud(reconstructed, test.label[: len(reconstructed)], source),
        "generated": _cloud(generated, _label(samples, name, generated, source), source),
        "latents": _densities(samples[f"{name}/latents"]),
    }


def _label(samples: Arrays, name: str, generated: NDArray[np.floating], source: Source) -> Labels:
    """The labels [n] by which generated points are coloured: the requested labels, or else the nearest."""
    if f"{name}/requested" in samples:
        return samples[f"{name}/requested"][: len(generated)].argmax(1).astype(np.uint8)
    return source.nearest(generated)


def _which(row: Mapping[str, Any]) -> dict[str, str]:
    """The columns that identify the cell of a row."""
    snr = f"{row['snr']:g}" if row["snr"] else "–"
    return {"noise": _noise(row["noise"]), "latent_dim": str(row["latent_dim"]), "snr": snr}


def _cloud(points: NDArray[np.floating], label: Labels, source: Source) -> dict[str, Any]:
    """Points [n, k] inside the frame as uint16 (all x, y, z) and their labels as uint8, both in base64.

    Images as uint8, from black to white.
    """
    if drawing.images(source):
        steps, inside = np.rint(255 * pages.grey(points, source)).astype(np.uint8), np.ones(len(points), bool)
    else:
        places = drawing.of(source).place(points)
        places = np.pad(places, ((0, 0), (0, 3 - places.shape[1])))
        low, high = np.array(_frame(source)).T
        inside = ((places >= low) & (places <= high)).all(1)
        steps = np.rint(((places[inside] - low) / (high - low)).T * 65535).astype("<u2")
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


def _lines(selected: pd.DataFrame, lines: Lines) -> dict[str, Any]:
    """The lines of the rate–distortion plane, as figure 1 has them: lists of bits and mse."""
    most = most_bits(selected)
    isotropic = selected[(selected.noise == "isotropic") & (selected.diverged == 0)]
    return {
        "most_bits": most,
        "highest": float(1.44 * lines.normal[1][0]),
        "limits": [
            _line(*line) | {"sure": certainty in SURE, "name": LIMITS[certainty], "dash": DASHES[certainty]}
            for certainty, line in lines.limit.items()
        ],
        "normal": _line(*lines.normal),
        "linear": [
            _line(rows.capacity_bits, rows.linear_mse, rows.latent_dim.iloc[0])
            for _, rows in isotropic.groupby("latent_dim")
        ],
        "asymptotes": [_line(*line, latent_dim) for latent_dim, line in lines.by_point.items()],
    }


def _line(bits: Any, mse: Any, latent_dim: int | None = None) -> dict[str, Any]:
    colour = None if latent_dim is None else _colour(latent_dim - 1)
    return {"bits": _rounded(bits), "mse": _rounded(mse), "colour": colour}


def _first_shown(rows: list[Any]) -> int:
    """The best generator with isotropic noise; if there is none, with learned noise, or else of all."""
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
