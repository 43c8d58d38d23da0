"""Figures of points in space: the data, reconstructed and generated clouds."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from snrvae.reporting import drawing
from snrvae.reporting.figures.style import (
    DIVERGED,
    INK,
    LABELS,
    NOTE,
    REFERENCE,
    Array,
    Arrays,
    drawable,
    reference,
    write_diverged,
)
from snrvae.sources.domain import Labels, Split
from snrvae.sources.source import Source

CLOUD = 2000  # points of a small cloud


def data(split: Split, source: Source) -> Figure:
    """The points, coloured by label, from two opposite corners; of faces those that a corner sees.

    Points of a plane are seen from above.
    """
    shown = drawing.of(source)
    figure = Figure(figsize=(5 * len(shown.corners), 5.2), dpi=150, layout="constrained")
    opposite = ", from two opposite corners" if len(shown.corners) > 1 else ""
    figure.suptitle(f"The data: points drawn from {source.title}{opposite}")
    drawn = slice(CLOUD * len(source.labels))
    points, labels = split.points[drawn], split.label[drawn]
    for position, (azimuth, elevation) in enumerate(shown.corners, 1):
        axes: Axes3D = figure.add_subplot(1, len(shown.corners), position, projection="3d")
        seen = _seen_from(azimuth, elevation, points, labels, source)
        colours = np.array(LABELS)[labels[seen]]
        axes.scatter(*drawing.in_space(points[seen]).T, s=5, c=colours, linewidth=0, depthshade=False)
        _look_from(axes, azimuth, elevation, source)
        ends = [round(end) for end in shown.view]
        labels_of_axes = dict(zip(("xlabel", "ylabel", "zlabel"), "xyz"[: source.coordinates], strict=False))
        axes.set(xticks=ends, yticks=ends, zticks=ends if source.coordinates == 3 else [], **labels_of_axes)
        axes.set(xlim=shown.view, ylim=shown.view, zlim=shown.view)
        if source.faces:
            axes.set_title(f"the faces at {2 - position}", y=(1, -0.04)[position - 1])
        axes.set_box_aspect((1, 1, 1))
    sides = f"side of the mean in {', '.join('xyz'[: source.components])}"
    _legend_of_labels(figure, source, "face" if source.faces else sides)
    return figure


def _seen_from(
    azimuth: float, elevation: float, points: Array, labels: Labels, source: Source
) -> NDArray[np.bool_]:
    """Which of points [n, 3] a corner sees: of faces and of a closed surface, the side towards it."""
    if source.faces:
        return labels % 2 == (azimuth < 180)
    if source.domain.closed:
        turn, tilt = np.radians(azimuth), np.radians(elevation)
        towards = [np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)]
        return (points - np.array(source.domain.mean)) @ towards > 0
    return np.ones(len(points), bool)


def clouds(cells: pd.DataFrame, samples: Arrays, test: Split, source: Source) -> Figure:
    """Original against reconstructed and generated points over latent_dim × SNR."""
    noise, model = reference(cells)
    table = cells[(cells.noise == noise) & (cells.selected == 1)]
    dims, snrs = sorted(table.latent_dim.unique()), sorted(table.snr.unique())
    columns = ["original", "AE", *(f"SNR {snr:g}" for snr in snrs)]
    figure = Figure(figsize=(1.75 * len(columns), 3.6 * len(dims) + 0.6))
    figure.suptitle("Original, reconstructed and generated points", y=1 - 0.12 / figure.get_figheight())
    grid = figure.subplots(2 * len(dims), len(columns), squeeze=False, subplot_kw={"projection": "3d"})
    top = 0.6 / figure.get_figheight()
    figure.subplots_adjust(left=0.035, right=0.995, bottom=0.005, top=1 - top, wspace=0, hspace=0)
    colours = np.array(LABELS)[test.label[:CLOUD]]
    for row, axes_row in enumerate(grid):
        latent_dim, kind = dims[row // 2], ("reconstructed", "generated")[row % 2]
        names = [f"ae/d{latent_dim}", *(f"{model}/d{latent_dim}-snr{snr:g}" for snr in snrs)]
        cloud(axes_row[0], test.points[:CLOUD] if row % 2 == 0 else None, colours, source)
        for axes, name in zip(axes_row[1:], names, strict=True):
            points = samples.get(f"{name}/{kind}")
            cloud(axes, None if points is None else points[:CLOUD], colours if row % 2 == 0 else INK, source)
            if points is None:
                axes.text2D(0.5, 0.5, DIVERGED, transform=axes.transAxes, **NOTE)
        middle = axes_row[0].get_position()
        figure.text(
            0.012,
            (middle.y0 + middle.y1) / 2,
            f"d = {latent_dim}, {kind}",
            rotation=90,
            va="center",
            ha="center",
        )
    for axes, title in zip(grid[0], columns, strict=True):
        figure.text(axes.get_position().x0 + axes.get_position().width / 2, 1 - top, title, ha="center")
    return figure


def generated(cells: pd.DataFrame, samples: Arrays, test: Split, source: Source) -> Figure:
    """Real points beside generated ones, with z from N(0, I) and from a fitted density, for each latent_dim.

    Of each latent_dim the cell that generates best.
    """
    table = drawable(cells[cells.noise == "isotropic"])
    if not len(table):
        figure = Figure(figsize=(9, 3.4))
        write_diverged(figure.add_subplot())
        return figure
    best = table.sort_values("fitted_ratio").drop_duplicates("latent_dim").sort_values("latent_dim")
    figure = Figure(figsize=(9, 3.1 * len(best) + 0.7), dpi=110)
    grid = figure.subplots(len(best), 3, squeeze=False, subplot_kw={"projection": "3d"})
    top = 0.7 / figure.get_figheight()
    figure.subplots_adjust(left=0.05, right=0.995, bottom=0.005, top=1 - top, wspace=0, hspace=0.06)
    figure.suptitle("Real and generated points", y=1 - 0.12 / figure.get_figheight())
    for axes_row, row in zip(grid, best.to_dict("records"), strict=True):
        name = f"snr_vae/d{row['latent_dim']}-snr{row['snr']:g}"
        clouds = test.points, samples[f"{name}/generated"], samples[f"{name}/fitted"]
        ratios = None, row["generation_ratio"], row["fitted_ratio"]
        for axes, points, ratio in zip(axes_row, clouds, ratios, strict=True):
            cloud(axes, points[:CLOUD], np.array(LABELS)[source.nearest(points[:CLOUD])], source)
            if ratio is not None:
                axes.text2D(0.5, 0.0, f"generation ratio {ratio:.3g}", transform=axes.transAxes, ha="center")
        middle = axes_row[0].get_position()
        label = f"d = {row['latent_dim']}, SNR {row['snr']:g}"
        figure.text(0.02, (middle.y0 + middle.y1) / 2, label, rotation=90, va="center", ha="center")
    for axes, title in zip(grid[0], ("real", "z from N(0, I)", "z from a fitted density"), strict=True):
        place = axes.get_position()
        figure.text(place.x0 + place.width / 2, 1 - top, title, ha="center")
    return figure


def requested(cells: pd.DataFrame, samples: Arrays, source: Source) -> Figure:
    """Points coloured by the face that a conditional codec was asked for, at the highest SNR."""
    noise, model = reference(cells)
    table = cells[(cells.noise == noise) & (cells.selected == 1)]
    dims = sorted(table.latent_dim.unique())
    figure = Figure(figsize=(3.2 * len(dims) + 0.4, 7.0), dpi=120, layout="constrained")
    figure.suptitle(f"Six faces, asked for, at SNR {table.snr.max():g}")
    colours = np.array(LABELS)
    for row, (azimuth, elevation) in enumerate(drawing.of(source).corners):
        for column, latent_dim in enumerate(dims):
            axes: Axes3D = figure.add_subplot(2, len(dims), row * len(dims) + column + 1, projection="3d")
            name = f"{model}/d{latent_dim}-snr{table.snr.max():g}"
            if f"{name}/generated" in samples:
                face = samples[f"{name}/requested"].argmax(1)
                seen = face % 2 == 1 - row  # the three faces that this corner sees
                cloud(axes, samples[f"{name}/generated"][seen], colours[face[seen]], source)
            else:
                cloud(axes, None, None, source)
                axes.text2D(0.5, 0.5, DIVERGED, transform=axes.transAxes, **NOTE)
            axes.view_init(elev=elevation, azim=azimuth)
            axes.set_title(f"d = {latent_dim}, the faces at {1 - row}")
    _legend_of_labels(figure, source, "face asked for")
    return figure


def _look_from(axes: Axes3D, azimuth: float, elevation: float, source: Source) -> None:
    """Space in perspective, a plane without."""
    axes.set_proj_type("persp" if source.coordinates == 3 else "ortho")
    axes.view_init(elev=elevation, azim=azimuth)


def _legend_of_labels(figure: Figure, source: Source, title: str) -> None:
    handles = [Line2D([], [], marker="o", ls="", color=c) for c in LABELS[: len(source.labels)]]
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": len(handles), "markerscale": 1.3}
    figure.legend(handles, source.labels, title=title, **place)


def outline(axes: Axes3D, source: Source) -> None:
    for line in drawing.of(source).outline:
        axes.plot(*np.array(line).T, color=REFERENCE, lw=0.6)


def cloud(axes: Axes3D, points: NDArray[np.floating] | None, colours: Any, source: Source) -> None:
    axes.set_axis_off()
    azimuth, elevation = (35, 22) if source.coordinates == 3 else drawing.of(source).corners[0]
    _look_from(axes, azimuth, elevation, source)
    axes.set(xlim=drawing.of(source).view, ylim=drawing.of(source).view, zlim=drawing.of(source).view)
    axes.set_box_aspect((1, 1, 1), zoom=1.12)
    if points is not None:
        outline(axes, source)
        axes.scatter(*drawing.in_space(points).T, s=1.6, c=colours, linewidth=0, depthshade=False)
