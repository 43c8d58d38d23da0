"""Figures of points: the data, reconstructed and generated clouds, or pages of images."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from snrvae.reporting import drawing
from snrvae.reporting.figures import pages
from snrvae.reporting.figures.style import (
    DIVERGED,
    INK,
    LABELS,
    NOTE,
    REFERENCE,
    Array,
    Arrays,
    drawable,
    label_colours,
    plain,
    reference,
    write_diverged,
)
from snrvae.sources.domain import Labels, Split
from snrvae.sources.source import Source

LOW = 0.55  # least height of a row of small clouds, by its width: its name needs room
CLOUD = 1500  # points of a small cloud
WIDE = 1.45  # inches of a panel: six of them fill the width of GitHub's page
NAMED = len(LABELS)  # labels that a legend names
LETTERS = 90  # of all names in a row of it


def data(split: Split, source: Source) -> Figure:
    """The points, coloured by label, from two opposite corners; of faces, those visible from a corner.

    Points of a plane are seen from above, and images as they are.
    """
    if drawing.images(source):
        return pages.data(split, source)
    shown = drawing.of(source)
    corners = shown.corners if shown.space else shown.corners[:1]
    size = (5 * len(corners), 5.2) if shown.space else (6.5, 6 * drawing.ratio(source) + 1.6)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    figure.suptitle(_title(source), wrap=True)
    drawn = slice(CLOUD * min(len(source.labels), NAMED))
    points, labels = split.points[drawn], split.label[drawn]
    for position, (azimuth, elevation) in enumerate(corners, 1):
        axes = panel(figure, 1, len(corners), position, source)
        seen = _seen_from(azimuth, elevation, points, labels, source)
        colours = np.array(label_colours(len(source.labels)))[labels[seen]]
        _scatter(axes, points[seen], colours, source, s=5)
        _frame(axes, source)
        if isinstance(axes, Axes3D):
            axes.view_init(elev=elevation, azim=azimuth)
        if source.faces:
            axes.set_title(f"the faces at {2 - position}", y=(1, -0.04)[position - 1])
    sides = f"side of the mean in {drawing.directions(source)}"
    _legend_of_labels(figure, source, source.part if source.domain.labelled else sides)
    return figure


def _title(source: Source) -> str:
    drawn = source.title if source.domain.finite else f"points drawn from {source.title}"
    more = ["first three principal components"] * (source.coordinates > 3)
    more += ["from two opposite corners"] * drawing.of(source).space
    long = source.coordinates > 3 or len(drawn) > 60
    return f"The data: {plain(drawn)}{(chr(10) if long else ', ') if more else ''}{', '.join(more)}"


def _frame(axes: Any, source: Source) -> None:
    """Ticks and names of the axes, with room for long ones."""
    shown = drawing.of(source)
    texts = [*shown.names, *(f"{tick:g}" for ticks in shown.ticks for tick in ticks)]
    long = shown.space and max(map(len, texts)) > 4
    for axis, ticks, name in zip("xyz", shown.ticks, shown.names, strict=False):
        axes.set(**{f"{axis}ticks": ticks})
        getattr(axes, f"set_{axis}label")(
            name, labelpad=10 if long and (axis != "z" or len(name) > 1) else None
        )
    if long:
        axes.set_box_aspect(tuple(shown.widths), zoom=0.9 if source.coordinates <= 3 else 0.75)


def _seen_from(
    azimuth: float, elevation: float, points: Array, labels: Labels, source: Source
) -> NDArray[np.bool_]:
    """Which points [n, 3] are visible from a corner: on faces and closed surfaces, the side towards it."""
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
    high = max(drawing.ratio(source), LOW)
    figure = Figure(figsize=(WIDE * len(columns), 2 * WIDE * high * len(dims) + 0.6), dpi=120)
    kind_of = "images" if drawing.images(source) else "points"
    figure.suptitle(f"Original, reconstructed and generated {kind_of}", y=1 - 0.12 / figure.get_figheight())
    grid = panels(figure, 2 * len(dims), len(columns), source)
    top = 0.6 / figure.get_figheight()
    gap = 0.08 if drawing.flat(source) else 0
    figure.subplots_adjust(
        left=0.035 if high > 0.9 else 0.05, right=0.995, bottom=0.005, top=1 - top, wspace=gap, hspace=gap
    )
    colours = np.array(label_colours(len(source.labels)))[test.label[:CLOUD]]
    for row, axes_row in enumerate(grid):
        latent_dim, kind = dims[row // 2], ("reconstructed", "generated")[row % 2]
        names = [f"ae/d{latent_dim}", *(f"{model}/d{latent_dim}-snr{snr:g}" for snr in snrs)]
        cloud(axes_row[0], test.points[:CLOUD] if row % 2 == 0 else None, colours, source)
        for axes, name in zip(axes_row[1:], names, strict=True):
            points = samples.get(f"{name}/{kind}")
            cloud(axes, None if points is None else points[:CLOUD], colours if row % 2 == 0 else INK, source)
            if points is None:
                write(axes, 0.5, 0.5, DIVERGED, **NOTE)
        name = f"d = {latent_dim}, {kind}" if high > 0.9 else f"d = {latent_dim}\n{kind}"
        _name_row(figure, axes_row, 0.012 if high > 0.9 else 0.02, name)
    _name_columns(figure, grid, top, columns)
    return figure


def generated(cells: pd.DataFrame, samples: Arrays, test: Split, source: Source) -> Figure:
    """Real points beside generated ones, with z from N(0, I) and from a fitted density, for each latent_dim.

    Each latent_dim is shown by the cell that generates best.
    """
    table = drawable(cells[cells.noise == "isotropic"])
    if not len(table):
        figure = Figure(figsize=(9, 3.4))
        write_diverged(figure.add_subplot())
        return figure
    best = table.sort_values("fitted_ratio").drop_duplicates("latent_dim").sort_values("latent_dim")
    figure = Figure(figsize=(9, (2.7 * drawing.ratio(source) + 0.4) * len(best) + 0.7), dpi=110)
    grid = panels(figure, len(best), 3, source)
    top = 0.7 / figure.get_figheight()
    gap = 0.16 if drawing.flat(source) else 0.1
    figure.subplots_adjust(left=0.05, right=0.995, bottom=0.02, top=1 - top, wspace=gap - 0.06, hspace=gap)
    kind_of = "images" if drawing.images(source) else "points"
    figure.suptitle(f"Real and generated {kind_of}", y=1 - 0.12 / figure.get_figheight())
    for axes_row, row in zip(grid, best.to_dict("records"), strict=True):
        name = f"snr_vae/d{row['latent_dim']}-snr{row['snr']:g}"
        clouds = test.points, samples[f"{name}/generated"], samples[f"{name}/fitted"]
        ratios = None, row["generation_ratio"], row["fitted_ratio"]
        for axes, points, ratio in zip(axes_row, clouds, ratios, strict=True):
            label = source.nearest(points[:CLOUD])
            cloud(axes, points[:CLOUD], np.array(label_colours(len(source.labels)))[label], source)
            if ratio is not None:
                write(axes, 0.5, 0.0, f"generation ratio {ratio:.3g}", ha="center", va="top")
        _name_row(figure, axes_row, 0.02, f"d = {row['latent_dim']}, SNR {row['snr']:g}")
    _name_columns(figure, grid, top, ["real", "z from N(0, I)", "z from a fitted density"])
    return figure


def requested(cells: pd.DataFrame, samples: Arrays, source: Source) -> Figure:
    """Generated points of a conditional codec, coloured by the requested label, at the highest SNR."""
    noise, model = reference(cells)
    table = cells[(cells.noise == noise) & (cells.selected == 1)]
    dims, snr = sorted(table.latent_dim.unique()), table.snr.max()
    names = {latent_dim: f"{model}/d{latent_dim}-snr{snr:g}" for latent_dim in dims}
    heading = f"{'Six faces' if source.faces else 'Labels'}, asked for, at SNR {snr:g}"
    if drawing.images(source):
        return pages.requested(names, samples, source, heading)
    shown = drawing.of(source)
    corners = shown.corners if source.faces else shown.corners[:1]
    figure = Figure(figsize=(3.2 * len(dims) + 0.4, 3.1 * len(corners) + 0.8), dpi=120, layout="constrained")
    figure.suptitle(heading)
    for row, (azimuth, elevation) in enumerate(corners):
        for column, latent_dim in enumerate(dims):
            axes = panel(figure, len(corners), len(dims), row * len(dims) + column + 1, source)
            _ask(axes, names[latent_dim], samples, source, 1 - row)
            if isinstance(axes, Axes3D):
                axes.view_init(elev=elevation, azim=azimuth)
            faces = f", the faces at {1 - row}" if source.faces else ""
            axes.set_title(f"d = {latent_dim}{faces}")
    _legend_of_labels(figure, source, f"{source.part} asked for")
    return figure


def _ask(axes: Axes, name: str, samples: Arrays, source: Source, side: int) -> None:
    """Points that a cell generated, coloured by the requested label; of faces, those at one side."""
    if f"{name}/generated" not in samples:
        cloud(axes, None, None, source)
        write(axes, 0.5, 0.5, DIVERGED, **NOTE)
        return
    label = samples[f"{name}/requested"].argmax(1)
    seen = label % 2 == side if source.faces else np.ones(len(label), bool)
    colours = np.array(label_colours(len(source.labels)))[label[seen]]
    cloud(axes, samples[f"{name}/generated"][seen], colours, source)


def _name_row(figure: Figure, axes_row: Any, x: float, name: str) -> None:
    place = axes_row[0].get_subplotspec().get_position(figure)
    figure.text(x, (place.y0 + place.y1) / 2, name, rotation=90, va="center", ha="center")


def _name_columns(figure: Figure, grid: Any, top: float, names: list[str]) -> None:
    for axes, name in zip(grid[0], names, strict=True):
        place = axes.get_subplotspec().get_position(figure)
        figure.text(place.x0 + place.width / 2, 1 - top, name, ha="center")


def _legend_of_labels(figure: Figure, source: Source, heading: str) -> None:
    """The first twelve labels, in as many rows as their names need."""
    names = [plain(name if len(name) <= 24 else f"{name[:23]}…") for name in source.labels[:NAMED]]
    colours = label_colours(len(source.labels))
    handles = [Line2D([], [], marker="o", ls="", color=colour) for colour in colours[: len(names)]]
    if len(source.labels) > NAMED:
        handles.append(Line2D([], [], ls=""))
        names.append(f"… {len(source.labels)} in all")
    fit = max(1, int(LETTERS * figure.get_figwidth() / 10 // (max(map(len, names)) + 4)))
    rows = -(-len(names) // fit)
    place: dict[str, Any] = {
        "loc": "outside lower center",
        "ncols": -(-len(names) // rows),
        "markerscale": 1.3,
    }
    figure.legend(handles, names, title=heading, **place)


def write(axes: Any, x: float, y: float, text: str, **look: Any) -> None:
    """A text at a place of a panel, from 0 to 1."""
    getattr(axes, "text2D", axes.text)(x, y, text, transform=axes.transAxes, **look)


def panel(figure: Figure | SubFigure, rows: int, columns: int, position: int, source: Source) -> Axes:
    """A panel for points of a source, in space or in a plane, with one scale for all axes."""
    shown = drawing.of(source)
    if drawing.flat(source):
        axes = figure.add_subplot(rows, columns, position)
        axes.set_aspect("equal")
    else:
        axes = figure.add_subplot(rows, columns, position, projection="3d")
        axes.set_box_aspect(tuple(shown.widths))
    if not drawing.images(source):
        axes.set(**{f"{axis}lim": ends for axis, ends in zip("xyz", shown.view, strict=False)})
    return axes


def panels(figure: Figure, rows: int, columns: int, source: Source) -> NDArray[Any]:
    """A grid of such panels."""
    count = rows * columns
    axes = [panel(figure, rows, columns, position, source) for position in range(1, count + 1)]
    return np.array(axes, object).reshape(rows, columns)


def outline(axes: Axes, source: Source) -> None:
    for line in drawing.of(source).outline:
        axes.plot(*np.array(line).T[: len(drawing.of(source).view)], color=REFERENCE, lw=0.6)


def _scatter(axes: Any, points: Array, colours: Any, source: Source, s: float) -> None:
    shown = drawing.of(source)
    deep = {"depthshade": False} if shown.space else {}
    axes.scatter(*shown.place(points).T, s=s, c=colours, linewidth=0, **deep)


def cloud(axes: Axes, points: NDArray[np.floating] | None, colours: Any, source: Source) -> None:
    axes.set_axis_off()
    if drawing.images(source):
        if points is not None:
            pages.show(axes, points[: pages.FEW**2], pages.FEW, source)
        return
    if isinstance(axes, Axes3D):
        axes.view_init(elev=22, azim=35)
        zoom = 1.26 if drawing.of(source).outline else 1.35  # few shapes reach the corners of space
        axes.set_box_aspect(tuple(drawing.of(source).widths), zoom=zoom)
    if points is not None:
        outline(axes, source)
        _scatter(axes, points, colours, source, s=2)
