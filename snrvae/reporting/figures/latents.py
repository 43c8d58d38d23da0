"""Figures of latents: their distributions, and the codes."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from numpy.typing import NDArray

from snrvae.reporting import drawing
from snrvae.reporting.figures import pages
from snrvae.reporting.figures.clouds import NAMED, cloud, outline, panel
from snrvae.reporting.figures.style import (
    DIMS,
    INK,
    LINES,
    MARKERS,
    Array,
    Arrays,
    cell_of,
    label_colours,
    plain,
    reference,
    selected,
    write_diverged,
)
from snrvae.sources.domain import Labels, Split
from snrvae.sources.source import Source

LATENT = ("z₁", "z₂", "z₃")
ALONG = 10  # images in a row along z
SLICE = 0.15  # of a standard deviation, to both sides


def autoencoder_latents(cells: pd.DataFrame, samples: Arrays) -> Figure:
    """The distribution of each latent dimension of the basic autoencoders."""
    rows = selected(cells, "none")
    figure = Figure(figsize=(3.6 * len(rows) + 0.6, 3.6), layout="constrained")
    figure.suptitle("Basic autoencoder: nothing shapes its latents")
    for axes, row in zip(_row_of_axes(figure, len(rows)), rows, strict=True):
        if row["diverged"]:
            write_diverged(axes)
            axes.set_title(f"d = {row['latent_dim']}")
        else:
            _histograms(axes, samples[f"ae/d{row['latent_dim']}/latents"])
            axes.set_title(f"d = {row['latent_dim']}: KL {row['latent_kl_bits']:.2f} bit/dim")
        axes.set_xlabel("latent value z")
    figure.axes[0].set_ylabel("density")
    _legend_of_dimensions(figure, max(row["latent_dim"] for row in rows))
    return figure


def controlled_latents(cells: pd.DataFrame, samples: Arrays) -> Figure:
    """The distributions of the SNR-VAEs' latents, a row per latent_dim and a column per SNR."""
    noise, model = reference(cells)
    table = cells[(cells.noise == noise) & (cells.selected == 1)]
    dims, snrs = sorted(table.latent_dim.unique()), sorted(table.snr.unique())
    figure = Figure(figsize=(2.6 * len(snrs) + 1, 2.2 * len(dims) + 1.2), layout="constrained")
    figure.suptitle("SNR-VAE: latents z = μ + noise, held to N(0, 1)")
    grid = figure.subplots(len(dims), len(snrs), squeeze=False, sharey="row")
    for (i, latent_dim), (j, snr) in ((a, b) for a in enumerate(dims) for b in enumerate(snrs)):
        axes = grid[i, j]
        cell = cell_of(table, latent_dim, snr)
        if cell.diverged:
            write_diverged(axes)
        else:
            _histograms(axes, samples[f"{model}/d{latent_dim}-snr{snr:g}/latents"], limit=3.6)
            note = f"{cell.latent_kl_bits:.3f} bit"
            axes.text(0.98, 0.95, note, transform=axes.transAxes, ha="right", va="top", fontsize=9)
        if i == 0:
            axes.set_title(f"SNR {snr:g}")
        if i == len(dims) - 1:
            axes.set_xlabel("latent value z")
        if j == 0:
            axes.set_ylabel(f"d = {latent_dim}\ndensity")
    _legend_of_dimensions(figure, max(dims))
    return figure


def codes(cells: pd.DataFrame, samples: Arrays, test: Split, source: Source) -> Figure:
    """How one, two and three numbers describe a point, at the highest SNR; no panel for a d that was not run.

    d = 1: the curve that the decoder draws along z, or the images. d = 2: the labels in the plane of the
    latents. d = 3: the labels in two slices of the space of the latents.
    """
    noise, model = reference(cells)
    table = cells[(cells.noise == noise) & (cells.selected == 1)]
    panels = [(d, cut) for d, cut in ((1, 0), (2, 0), (3, 1), (3, 0)) if (table.latent_dim == d).any()]
    rows, columns = -(-len(panels) // 2), min(2, len(panels))
    figure = Figure(figsize=(5 * columns, 0.2 + 5 * rows), dpi=150, layout="constrained")
    figure.suptitle(f"What the codes look like, at SNR {table.snr.max():g}")
    for position, (latent_dim, cut) in enumerate(panels, 1):
        name = f"{model}/d{latent_dim}-snr{table.snr.max():g}"
        if f"{name}/reconstructed" not in samples:
            write_diverged(figure.add_subplot(rows, columns, position))
            continue
        reconstructed, latents = samples[f"{name}/reconstructed"], samples[f"{name}/latents"]
        if latent_dim == 1:
            axes = panel(figure, rows, columns, position, source)
            _along_z(axes, latents[: len(reconstructed), 0], reconstructed, source)
        elif latent_dim == 2:
            axes = figure.add_subplot(rows, columns, position)
            _map_of_labels(axes, latents[: len(reconstructed)], test, source)
        else:
            axes = figure.add_subplot(rows, columns, position)
            _slice_of_labels(axes, latents, cut, test, source)
    return figure


def _along_z(axes: Any, latents: Array, reconstructed: Array, source: Source) -> None:
    """Reconstructions [n, k] in the order of their latents z [n]: a curve with some z marked, or images."""
    order = np.argsort(latents)
    z, points = latents[order], reconstructed[order]
    if drawing.images(source):
        pages.show(axes, points[np.linspace(0, len(points) - 1, ALONG**2).astype(int)], ALONG, source)
        axes.set_title("d = 1: along z, line by line")
        return
    shown = drawing.of(source)
    cloud(axes, None, None, source)
    if source.coordinates == 1:
        axes.set(xlim=(z[0], z[-1]), ylim=shown.view[0], aspect="auto", xlabel="latent value z", ylabel="x̂")
        axes.set_axis_on()
        axes.plot(z, source.domain.frame.restore(points)[:, 0], color=INK)
        axes.set_title("d = 1: x̂ along z")
        return
    outline(axes, source)
    curve = shown.place(points)
    kind = Line3DCollection if shown.space else LineCollection
    pieces = kind(list(np.stack([curve[:-1], curve[1:]], 1)), cmap="viridis", lw=3)
    pieces.set_array((z[:-1] + z[1:]) / 2)
    axes.add_collection(pieces)
    for mark in MaxNLocator(6).tick_values(z[0], z[-1]):
        if z[0] <= mark <= z[-1]:
            point = curve[np.abs(z - mark).argmin()]
            axes.scatter(*point, color=INK, s=18, **({"depthshade": False} if shown.space else {"zorder": 3}))
            axes.text(*point, f"  {mark:g}".replace("-", "−"), fontsize=10, fontweight="bold")
    bar = axes.figure.colorbar(pieces, ax=axes, orientation="horizontal", shrink=0.7, pad=0)
    bar.set_label("latent value z (marked along the curve)")
    axes.set_title(f"d = 1: {plain(drawing.called(source)[1])} as one curve")


def _plane_of_labels(
    axes: Axes, latents: Array, label: Labels, names: tuple[str, str], source: Source
) -> None:
    """Latents [n, 2] coloured by label [n], over rings of N(0, I)."""
    for radius in (1, 2, 3):
        axes.add_patch(Circle((0, 0), radius, fill=False, ls=":", lw=1.2, color=INK))
    colours = label_colours(len(source.labels))
    for number in np.unique(label):
        on = latents[label == number]
        look = {"color": colours[number], "marker": MARKERS[number % len(MARKERS)]}
        axes.scatter(on[:, 0], on[:, 1], s=11, linewidth=0, **look)
    axes.set(xlabel=f"latent value {names[0]}", ylabel=f"latent value {names[1]}", aspect="equal")


def _slice_of_labels(axes: Axes, latents: Array, cut: int, test: Split, source: Source) -> None:
    """Those latents [n, 3] that are near the middle of one axis, coloured by label."""
    along = latents[:, cut]
    near = np.abs(along - np.median(along)) < SLICE * along.std()
    across = [axis for axis in range(3) if axis != cut]
    label = test.label[: len(latents)][near]
    names = LATENT[across[0]], LATENT[across[1]]
    _plane_of_labels(axes, latents[near][:, across], label, names, source)
    axes.set_title(f"d = 3: a slice, {LATENT[cut]} ≈ {round(np.median(along), 1) + 0.0:g}".replace("-", "−"))


def _map_of_labels(axes: Axes, latents: Array, test: Split, source: Source) -> None:
    """Latents [n, 2] coloured by label, with each label's name at its centre, over rings of N(0, I)."""
    label, points = test.label[: len(latents)], test.points[: len(latents)]
    _plane_of_labels(axes, latents, label, (LATENT[0], LATENT[1]), source)
    for number in np.unique(label) if len(source.labels) <= NAMED else ():
        from_centre = np.linalg.norm(points - points[label == number].mean(0), axis=1)
        place = latents[from_centre.argmin()]
        box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85}
        axes.text(
            place[0], place[1], plain(source.labels[number]), fontsize=9, ha="center", va="center", bbox=box
        )
    if source.dimension == 2:
        shape = "the six faces" if source.faces else plain(drawing.called(source)[1])
        axes.set_title(f"d = 2: {shape}, laid out flat")
    else:
        axes.set_title(f"d = 2: {source.part if source.part != 'half' else 'halve'}s in the plane")


def _row_of_axes(figure: Figure, count: int) -> list[Axes]:
    return list(figure.subplots(1, count, squeeze=False)[0])


def _histograms(axes: Axes, latents: NDArray[np.floating], limit: float | None = None) -> None:
    """Densities of latents [n, d], an outline per dimension, N(0, 1) over them."""
    low, high = (-limit, limit) if limit else (latents.min(), latents.max())
    if low == high:  # a bottleneck that sends the same for every point
        low, high = low - 0.5, high + 0.5
    bins = list(np.linspace(low, high, 61))
    weight = 1 / (len(latents) * (bins[1] - bins[0]))  # a density of all values, also beyond the ends
    for dimension, values in enumerate(latents.T):
        axes.hist(
            values,
            bins=bins,
            weights=np.full(len(values), weight),
            histtype="stepfilled" if latents.shape[1] == 1 else "step",
            color=DIMS[dimension % len(DIMS)],
            alpha=0.55 if latents.shape[1] == 1 else 1,
            lw=1.5,
            ls=LINES[dimension % len(LINES)],
        )
    z = np.linspace(min(low, -3.6), max(high, 3.6), 200)
    axes.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color=INK, lw=1.2, ls="--")
    axes.grid(False)


def _legend_of_dimensions(figure: Figure, dims: int) -> None:
    handles = [Line2D([], [], color=DIMS[d % len(DIMS)], lw=2, ls=LINES[d % len(LINES)]) for d in range(dims)]
    handles.append(Line2D([], [], color=INK, lw=1.2, ls="--"))
    labels = [*(f"dimension {d + 1}" for d in range(dims)), "N(0, 1)"]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(dims + 1, 6))
