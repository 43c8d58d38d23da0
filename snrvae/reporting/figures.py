"""The report's figures: each takes tables and arrays and returns a matplotlib Figure. Nothing is saved here.

Colour says the latent dimension (or a point's label, or the SNR), marker and line style say it again in grey.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator, NullFormatter
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from snrvae.sources.source import Labels, Source, Split

Array = NDArray[np.floating]
Arrays = Mapping[str, Array]

INK, GRID, REFERENCE = "#1b1b1f", "#dcdce0", "#6b6b76"
# of labels; of the cube's faces a hue per axis, light at 1
LABELS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#117a55", "#7fd1ae", "#8c4a9e", "#cc79a7")
DIMS = sns.color_palette("colorblind", 10)
MARKERS = "osD^vP*X<>"
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), "-.", (0, (8, 2, 1, 2, 1, 2)))
LATENT = ("z₁", "z₂", "z₃")
SLICE = 0.15  # of a standard deviation, to both sides
CLOUD = 2000  # points of a small cloud
CORNERS = ((35, 25), (215, -25))  # azimuth and elevation of two opposite views
DIVERGED = "diverged"
NOTE: dict[str, Any] = {"color": REFERENCE, "style": "italic", "ha": "center", "va": "center"}

STYLE: dict[str, Any] = {
    **sns.axes_style("ticks", {"axes.grid": True, "grid.color": GRID, "axes.edgecolor": REFERENCE}),
    **sns.plotting_context("notebook", font_scale=0.85),
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
    "text.color": INK,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100,
    "figure.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.08,  # inches
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "SNR-VAE",  # names inside an SVG follow from what is drawn
}


@contextmanager
def style() -> Iterator[None]:
    """The one look of all figures; drawing and saving stand within it."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # its stubs want literal keys
        yield


def data(split: Split, source: Source) -> Figure:
    """The points, coloured by label, from two opposite corners; of faces those that a corner sees."""
    figure = Figure(figsize=(10, 5.2), dpi=150, layout="constrained")
    figure.suptitle(f"The data: points drawn from {source.title}, from two opposite corners")
    drawn = slice(CLOUD * len(source.labels))
    points, labels = split.points[drawn], split.label[drawn]
    for position, (azimuth, elevation) in enumerate(CORNERS, 1):
        axes: Axes3D = figure.add_subplot(1, 2, position, projection="3d")
        seen = _seen_from(azimuth, elevation, points, labels, source)
        colours = np.array(LABELS)[labels[seen]]
        axes.scatter(*points[seen].T, s=5, c=colours, linewidth=0, depthshade=False)
        axes.view_init(elev=elevation, azim=azimuth)
        ends = [round(end) for end in source.view]
        axes.set(xlabel="x", ylabel="y", zlabel="z", xticks=ends, yticks=ends, zticks=ends)
        axes.set(xlim=source.view, ylim=source.view, zlim=source.view)
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
    if source.dimension < source.components == 3:
        turn, tilt = np.radians(azimuth), np.radians(elevation)
        towards = [np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)]
        return (points - np.array(source.mean)) @ towards > 0
    return np.ones(len(points), bool)


def autoencoder_latents(cells: pd.DataFrame, shown: Arrays) -> Figure:
    """The distribution of each latent dimension of the basic autoencoders."""
    rows = _selected(cells, "none")
    figure = Figure(figsize=(3.6 * len(rows) + 0.6, 3.6), layout="constrained")
    figure.suptitle("Basic autoencoder: nothing shapes its latents")
    for axes, row in zip(_row_of_axes(figure, len(rows)), rows, strict=True):
        if row["diverged"]:
            _diverged(axes)
            axes.set_title(f"d = {row['latent_dim']}")
        else:
            _histograms(axes, shown[f"ae/d{row['latent_dim']}/latents"])
            axes.set_title(f"d = {row['latent_dim']}: KL {row['latent_kl_bits']:.2f} bit/dim")
        axes.set_xlabel("latent value z")
    figure.axes[0].set_ylabel("density")
    _legend_of_dimensions(figure, max(row["latent_dim"] for row in rows))
    return figure


def controlled_latents(cells: pd.DataFrame, shown: Arrays) -> Figure:
    """The same of the SNR-VAEs, a row per latent_dim and a column per SNR."""
    noise, model = _reference(cells)
    table = cells[(cells.noise == noise) & (cells.selected == 1)]
    dims, snrs = sorted(table.latent_dim.unique()), sorted(table.snr.unique())
    figure = Figure(figsize=(2.6 * len(snrs) + 1, 2.2 * len(dims) + 1.2), layout="constrained")
    figure.suptitle("SNR-VAE: latents z = μ + noise, held to N(0, 1)")
    grid = figure.subplots(len(dims), len(snrs), squeeze=False, sharey="row")
    for (i, latent_dim), (j, snr) in ((a, b) for a in enumerate(dims) for b in enumerate(snrs)):
        axes = grid[i, j]
        cell = _cell(table, latent_dim, snr)
        if cell.diverged:
            _diverged(axes)
        else:
            _histograms(axes, shown[f"{model}/d{latent_dim}-snr{snr:g}/latents"], limit=3.6)
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


def clouds(cells: pd.DataFrame, shown: Arrays, test: Split, source: Source) -> Figure:
    """Original against reconstructed and generated points over latent_dim × SNR."""
    noise, model = _reference(cells)
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
        _cloud(axes_row[0], test.points[:CLOUD] if row % 2 == 0 else None, colours, source)
        for axes, name in zip(axes_row[1:], names, strict=True):
            points = shown.get(f"{name}/{kind}")
            _cloud(axes, None if points is None else points[:CLOUD], colours if row % 2 == 0 else INK, source)
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


def generated(cells: pd.DataFrame, shown: Arrays, test: Split, source: Source) -> Figure:
    """Real points beside generated ones, with z from N(0, I) and from a fitted density, for each latent_dim.

    Of each latent_dim the cell that generates best.
    """
    table = _drawable(cells[cells.noise == "isotropic"])
    if not len(table):
        figure = Figure(figsize=(9, 3.4))
        _diverged(figure.add_subplot())
        return figure
    best = table.sort_values("fitted_ratio").drop_duplicates("latent_dim").sort_values("latent_dim")
    figure = Figure(figsize=(9, 3.1 * len(best) + 0.7), dpi=110)
    grid = figure.subplots(len(best), 3, squeeze=False, subplot_kw={"projection": "3d"})
    top = 0.7 / figure.get_figheight()
    figure.subplots_adjust(left=0.05, right=0.995, bottom=0.005, top=1 - top, wspace=0, hspace=0.06)
    figure.suptitle("Real and generated points", y=1 - 0.12 / figure.get_figheight())
    for axes_row, row in zip(grid, best.to_dict("records"), strict=True):
        name = f"snr_vae/d{row['latent_dim']}-snr{row['snr']:g}"
        clouds = test.points, shown[f"{name}/generated"], shown[f"{name}/fitted"]
        ratios = None, row["generation_ratio"], row["fitted_ratio"]
        for axes, points, ratio in zip(axes_row, clouds, ratios, strict=True):
            _cloud(axes, points[:CLOUD], np.array(LABELS)[source.nearest(points[:CLOUD])], source)
            if ratio is not None:
                axes.text2D(0.5, 0.0, f"generation ratio {ratio:.3g}", transform=axes.transAxes, ha="center")
        middle = axes_row[0].get_position()
        label = f"d = {row['latent_dim']}, SNR {row['snr']:g}"
        figure.text(0.02, (middle.y0 + middle.y1) / 2, label, rotation=90, va="center", ha="center")
    for axes, title in zip(grid[0], ("real", "z from N(0, I)", "z from a fitted density"), strict=True):
        place = axes.get_position()
        figure.text(place.x0 + place.width / 2, 1 - top, title, ha="center")
    return figure


def requested(cells: pd.DataFrame, shown: Arrays, source: Source) -> Figure:
    """Points coloured by the face that a conditional codec was asked for, at the highest SNR."""
    noise, model = _reference(cells)
    table = cells[(cells.noise == noise) & (cells.selected == 1)]
    dims = sorted(table.latent_dim.unique())
    figure = Figure(figsize=(3.2 * len(dims) + 0.4, 7.0), dpi=120, layout="constrained")
    figure.suptitle(f"Six faces, asked for, at SNR {table.snr.max():g}")
    colours = np.array(LABELS)
    for row, (azimuth, elevation) in enumerate(CORNERS):
        for column, latent_dim in enumerate(dims):
            axes: Axes3D = figure.add_subplot(2, len(dims), row * len(dims) + column + 1, projection="3d")
            name = f"{model}/d{latent_dim}-snr{table.snr.max():g}"
            if f"{name}/generated" in shown:
                face = shown[f"{name}/requested"].argmax(1)
                seen = face % 2 == 1 - row  # the three faces that this corner sees
                _cloud(axes, shown[f"{name}/generated"][seen], colours[face[seen]], source)
            else:
                _cloud(axes, None, None, source)
                axes.text2D(0.5, 0.5, DIVERGED, transform=axes.transAxes, **NOTE)
            axes.view_init(elev=elevation, azim=azimuth)
            axes.set_title(f"d = {latent_dim}, the faces at {1 - row}")
    _legend_of_labels(figure, source, "face asked for")
    return figure


def codes(cells: pd.DataFrame, shown: Arrays, test: Split, source: Source) -> Figure:
    """How one, two and three numbers describe a point, at the highest SNR; no panel for a d that was not run.

    d = 1: the curve that the decoder draws along z. d = 2: where each label lies in the plane of the latents.
    d = 3: what of it is seen where the space of the latents is cut, twice.
    """
    noise, model = _reference(cells)
    table = cells[(cells.noise == noise) & (cells.selected == 1)]
    panels = [(d, cut) for d, cut in ((1, 0), (2, 0), (3, 1), (3, 0)) if (table.latent_dim == d).any()]
    rows, columns = -(-len(panels) // 2), min(2, len(panels))
    figure = Figure(figsize=(5 * columns, 0.2 + 5 * rows), dpi=150, layout="constrained")
    figure.suptitle(f"What the codes look like, at SNR {table.snr.max():g}")
    for position, (latent_dim, cut) in enumerate(panels, 1):
        name = f"{model}/d{latent_dim}-snr{table.snr.max():g}"
        if f"{name}/reconstructed" not in shown:
            _diverged(figure.add_subplot(rows, columns, position))
            continue
        reconstructed, latents = shown[f"{name}/reconstructed"], shown[f"{name}/latents"]
        if latent_dim == 1:
            axes = figure.add_subplot(rows, columns, position, projection="3d")
            _curve_in_space(axes, latents[: len(reconstructed), 0], reconstructed, source)
        elif latent_dim == 2:
            axes = figure.add_subplot(rows, columns, position)
            _map_of_labels(axes, latents[: len(reconstructed)], test, source)
        else:
            _slice_of_labels(figure.add_subplot(rows, columns, position), latents, cut, test)
    return figure


def _curve_in_space(axes: Axes3D, latents: Array, reconstructed: Array, source: Source) -> None:
    """The decoder's curve: reconstructions [n, 3] in the order of their latents z [n], some z marked."""
    order = np.argsort(latents)
    z, curve = latents[order], reconstructed[order].astype(float)
    _cloud(axes, None, None, source)
    _outline(axes, source)
    pieces = Line3DCollection(np.stack([curve[:-1], curve[1:]], 1), cmap="viridis", lw=3)
    pieces.set_array((z[:-1] + z[1:]) / 2)
    axes.add_collection3d(pieces)
    for mark in MaxNLocator(6).tick_values(z[0], z[-1]):
        if z[0] <= mark <= z[-1]:
            point = curve[np.abs(z - mark).argmin()]
            axes.scatter(*point, color=INK, s=18, depthshade=False)
            axes.text(*point, f"  {mark:g}".replace("-", "−"), fontsize=10, fontweight="bold")
    bar = axes.figure.colorbar(pieces, ax=axes, orientation="horizontal", shrink=0.7, pad=0)
    bar.set_label("latent value z (marked along the curve)")
    axes.set_title(f"d = 1: the {source.noun} as one curve")


def _plane_of_labels(axes: Axes, latents: Array, label: Labels, names: tuple[str, str]) -> None:
    """Latents [n, 2] coloured by label [n], over rings of N(0, I)."""
    for radius in (1, 2, 3):
        axes.add_patch(Circle((0, 0), radius, fill=False, ls=":", lw=1.2, color=INK))
    for number in np.unique(label):
        on = latents[label == number]
        axes.scatter(on[:, 0], on[:, 1], s=11, color=LABELS[number], marker=MARKERS[number], linewidth=0)
    axes.set(xlabel=f"latent value {names[0]}", ylabel=f"latent value {names[1]}", aspect="equal")


def _slice_of_labels(axes: Axes, latents: Array, cut: int, test: Split) -> None:
    """Of latents [n, 3] those near the middle along one of their axes, coloured by label."""
    along = latents[:, cut]
    near = np.abs(along - np.median(along)) < SLICE * along.std()
    across = [axis for axis in range(3) if axis != cut]
    label = test.label[: len(latents)][near]
    _plane_of_labels(axes, latents[near][:, across], label, (LATENT[across[0]], LATENT[across[1]]))
    axes.set_title(f"d = 3: a slice, {LATENT[cut]} ≈ {round(np.median(along), 1) + 0.0:g}".replace("-", "−"))


def _map_of_labels(axes: Axes, latents: Array, test: Split, source: Source) -> None:
    """Latents [n, 2] coloured by label, each label named where its centre lies; rings of N(0, I)."""
    label, points = test.label[: len(latents)], test.points[: len(latents)]
    _plane_of_labels(axes, latents, label, (LATENT[0], LATENT[1]))
    for number in np.unique(label):
        from_centre = np.linalg.norm(points - points[label == number].mean(0), axis=1)
        place = latents[from_centre.argmin()]
        box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85}
        axes.text(place[0], place[1], source.labels[number], fontsize=9, ha="center", va="center", bbox=box)
    shape = "six faces" if source.faces else source.noun
    flat = source.dimension == 2
    axes.set_title(f"d = 2: the {shape}, laid out flat" if flat else "d = 2: octants in the plane")


def rate_distortion(
    cells: pd.DataFrame, limit: pd.DataFrame, asymptotes: Mapping[int, tuple[Array, Array]]
) -> Figure:
    """Every cell in the plane of bits and mse, with Shannon's limit.

    limit       the table rate_distortion.csv
    asymptotes  by latent_dim: bits and distortion of the best codes for one point at a time
    """
    figure = Figure(figsize=(9.5, 6.2), layout="constrained")
    axes = figure.subplots()
    rows = _drawable(cells[cells.noise != "none"])
    bits = rows.capacity_bits.fillna(rows.kl_bits)
    most = max(2.0, bits.max() * 1.06)  # 2 where there are none, of which the maximum is NaN
    shown = limit[limit.rate_lower_bits <= most + 1]
    least = shown.distortion / 3
    axes.fill_between(shown.rate_lower_bits, least, 1e-12, color=GRID, alpha=0.7, lw=0)
    axes.plot(shown.rate_lower_bits, least, color=INK, lw=2.2)
    axes.text(
        0.03,
        0.06,
        "no code can be here",
        transform=axes.transAxes,
        color=REFERENCE,
        style="italic",
        ha="left",
    )
    for latent_dim in sorted(rows.latent_dim.unique()):
        colour = DIMS[(latent_dim - 1) % len(DIMS)]
        isotropic = _curve(cells, "isotropic", latent_dim)
        axes.plot(isotropic.capacity_bits, isotropic.linear_mse, color=colour, ls="--", lw=1.1)
        if latent_dim in asymptotes:
            rate, distortion = asymptotes[latent_dim]
            axes.plot(rate, distortion / 3, color=colour, ls=":", lw=1.3)
    snrs = sorted(rows.snr.unique())
    for place, row in zip(bits, _records(rows), strict=True):
        colour = DIMS[(row["latent_dim"] - 1) % len(DIMS)]
        axes.plot(
            place,
            row["mse"],
            ls="",
            marker=MARKERS[snrs.index(row["snr"]) % len(MARKERS)],
            color=colour,
            markerfacecolor=colour if row["noise"] == "isotropic" else "white",
            markersize=11,
            zorder=3,
        )
        axes.text(
            place,
            row["mse"],
            str(row["latent_dim"]),
            color="white" if row["noise"] == "isotropic" else INK,
            fontsize=7,
            fontweight="bold",
            ha="center",
            va="center_baseline",
            clip_on=True,
            zorder=3,
        )
    axes.set(
        yscale="log",
        xlim=(0, most),
        ylim=(rows.mse.min() / 6 if len(rows) else 1e-3, 0.48 * limit.distortion.max()),
    )
    axes.set_xlabel("bits: capacity of the channel (learned noise: E KL)")
    axes.set_ylabel("mse (per coordinate)")
    axes.set_title("Every codec against Shannon's limit" + _left_out(cells))
    _legend_of_the_plane(axes, sorted(rows.latent_dim.unique()), snrs)
    return figure


def _legend_of_the_plane(axes: Axes, dims: list[int], snrs: list[float]) -> None:
    handles = [Line2D([], [], color=DIMS[(d - 1) % len(DIMS)], lw=5) for d in dims]
    handles += [
        Line2D([], [], ls="", marker=MARKERS[i % len(MARKERS)], color=REFERENCE, markersize=7)
        for i in range(len(snrs))
    ]
    handles += [
        Line2D([], [], ls="", marker="o", color=REFERENCE, markerfacecolor="white", markersize=7),
        Line2D([], [], color=INK, lw=2.2),
        Line2D([], [], color=REFERENCE, ls="--", lw=1.1),
        Line2D([], [], color=REFERENCE, ls=":", lw=1.3),
    ]
    labels = [f"d = {d}, as in the marker" for d in dims] + [f"SNR {snr:g}" for snr in snrs]
    labels += ["learned noise", "Shannon's limit", "best linear codec", "point by point, SNR → ∞"]
    axes.legend(handles, labels, loc="upper right", ncols=2, frameon=True, edgecolor="none", framealpha=0.9)


def grid(cells: pd.DataFrame) -> Figure:
    """MSE, its gap to Shannon's limit, E KL and the latents' KL over the grid."""
    figure = Figure(figsize=(10, 7.6), layout="constrained")
    figure.suptitle("The grid: what an SNR buys, and what it costs" + _left_out(cells))
    (axes_mse, axes_gap), (axes_kl, axes_latent) = figure.subplots(2, 2)
    if _drawable(cells[cells.noise != "none"]).empty:
        return _nothing(figure)
    snrs = np.array(sorted(cells.snr.dropna().unique()))
    dims = sorted(cells.latent_dim.unique())
    for latent_dim in dims:
        colour = DIMS[(latent_dim - 1) % len(DIMS)]
        axes_kl.plot(snrs, latent_dim / 2 * np.log2(1 + snrs), color=colour, ls=":", lw=1.2)
        for noise in ("isotropic", "learned"):
            rows, look = _curve(cells, noise, latent_dim), _look(latent_dim, noise)
            axes_mse.errorbar(rows.snr, rows.mse, 2 * rows.mse_stderr, **look)
            axes_gap.errorbar(rows.snr, rows.gap_db, 2 * rows.gap_db_stderr, **look)
            axes_kl.plot(rows.snr, rows.kl_bits, **look)
            axes_latent.plot(rows.snr, rows.latent_kl_bits.clip(lower=1e-4), **look)
        rows = _curve(cells, "isotropic", latent_dim)
        axes_mse.plot(rows.snr, rows.linear_mse, color=colour, ls=":", lw=1.2)
    axes_mse.set(yscale="log", ylabel="mse (per coordinate)", title="Distortion")
    axes_gap.axhline(0, color=INK, lw=1.2)
    axes_gap.set(ylabel="10·log10(mse / least mse of any code)  [dB]", title="Gap to Shannon's limit")
    axes_kl.set(ylabel="E KL(q(z|x) ‖ N(0, I))  [bit]", title="Rate")
    axes_latent.set(yscale="log", ylabel="KL(q(z) ‖ N(0, 1))  [bit per dim]", title="Latent distribution")
    for axes in figure.axes:
        _snr_axis(axes, snrs)
    handles = [Line2D([], [], **_look(d, "isotropic")) for d in dims]
    labels = [f"d = {d}" for d in dims]
    handles += [Line2D([], [], color=INK, ls=ls, lw=lw) for ls, lw in (("-", 1.8), ("--", 1.8), (":", 1.2))]
    labels += ["isotropic noise", "learned noise", "linear codec (mse), capacity (E KL)"]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def training(losses: pd.DataFrame) -> Figure:
    """Training curves, a panel per model and latent_dim."""
    panels = list(losses.groupby(["noise", "latent_dim"], sort=False))
    dims = losses.latent_dim.nunique()
    rows = -(-len(panels) // dims)
    figure = Figure(figsize=(3.6 * dims + 0.6, 2.4 * rows + 1), layout="constrained")
    figure.suptitle("Training: mse of the batches, a line per cell and repeat")
    axes_of = figure.subplots(rows, dims, squeeze=False, sharex=True, sharey="col").ravel()
    snrs = sorted(losses.snr.dropna().unique())
    colours = dict(zip(snrs, sns.color_palette("viridis", len(snrs) + 1), strict=False))
    styles = {snr: LINES[i % len(LINES)] for i, snr in enumerate(snrs)}
    for axes, ((noise, latent_dim), panel) in zip(axes_of, panels, strict=False):
        axes.set_yscale("log")
        for (snr, _), line in panel.groupby(["snr", "repeat"], dropna=False, sort=False):
            axes.plot(line.step, line.mse, lw=1.1, color=colours.get(snr, INK), ls=styles.get(snr, "-"))
        if lost := int(panel.mse.isna().sum()):
            axes.text(0.98, 0.95, f"{lost} {DIVERGED}", transform=axes.transAxes, ha="right", va="top")
        name = {"none": "AE", "isotropic": "SNR-VAE", "learned": "learned noise"}[str(noise)]
        axes.set_title(f"{name}, d = {latent_dim}")
    for axes in figure.axes:
        subplot = axes.get_subplotspec()
        if subplot is not None and subplot.is_last_row():
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(4))
        if subplot is not None and subplot.is_first_col():
            axes.set_ylabel("mse")
    handles = [
        Line2D([], [], color=INK),
        *(Line2D([], [], color=colours[snr], ls=styles[snr]) for snr in snrs),
    ]
    labels = ["AE (no noise)", *(f"SNR {snr:g}" for snr in snrs)]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def learned_noise(cells: pd.DataFrame, shown: Arrays) -> Figure:
    """Where the SNR is met only on average, the encoder puts the noise where it does no harm."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    figure.suptitle("Learned noise escapes the SNR" + _left_out(cells))
    axes_rate, axes_mse, axes_spread = figure.subplots(1, 3)
    if _drawable(cells[cells.noise != "none"]).empty:
        return _nothing(figure)
    snrs = np.array(sorted(cells.snr.dropna().unique()))
    dims = sorted(cells.latent_dim.unique())
    for latent_dim in dims:
        for noise in ("isotropic", "learned"):
            rows = _curve(cells, noise, latent_dim)
            if len(rows):
                look = _look(latent_dim, noise)
                axes_rate.plot(latent_dim / 2 * np.log2(1 + rows.snr), rows.kl_bits, **look)
                axes_mse.plot(rows.snr, rows.mse, **look)
    end = max(dims) / 2 * np.log2(1 + snrs.max())
    axes_rate.plot([0, end], [0, end], color=REFERENCE, lw=1, zorder=0)
    axes_rate.set(
        xlabel="capacity that the SNR names  [bit]", ylabel="E KL  [bit]", title="Rate above capacity"
    )
    axes_mse.set(yscale="log", ylabel="mse (per coordinate)", title="Distortion that hardly needs the SNR")
    _snr_axis(axes_mse, snrs)
    _noise_spread(axes_spread, cells, shown)
    handles = [Line2D([], [], **_look(d, "isotropic")) for d in dims]
    handles += [Line2D([], [], color=INK, ls="-"), Line2D([], [], color=INK, ls="--")]
    labels = [*(f"d = {d}" for d in dims), "isotropic noise", "learned noise"]
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels))
    return figure


def _noise_spread(axes: Axes, cells: pd.DataFrame, shown: Arrays) -> None:
    """How the noise power is spread over points and dimensions, for the latent_dim nearest to 2."""
    learned = _drawable(cells[cells.noise == "learned"])
    if learned.empty:
        _diverged(axes)
        return
    latent_dim = min(learned.latent_dim.unique(), key=lambda d: abs(d - 2))
    snrs = sorted(learned.snr.unique())
    palette = sns.color_palette("viridis", len(snrs) + 1)
    for index, (snr, colour) in enumerate(zip(snrs, palette, strict=False)):
        share = shown[f"snr_vae_learned/d{latent_dim}-snr{snr:g}/noise_share"]
        decibel = np.sort(10 * np.log10(np.maximum(share.ravel(), 1e-12)))
        axes.plot(
            decibel,
            np.linspace(0, 1, len(decibel)),
            color=colour,
            ls=LINES[index % len(LINES)],
            label=f"SNR {snr:g}",
        )
    axes.axvline(0, color=REFERENCE, lw=1)
    axes.set_xlim(-80, 20)
    axes.set(
        xlabel="noise power of a point's dimension\nover its mean, P / SNR  [dB]",
        ylabel="share of points and dimensions below",
        title=f"Where the noise goes, d = {latent_dim}",
    )
    axes.legend(loc="upper left")


def _reference(cells: pd.DataFrame) -> tuple[str, str]:
    """The noise that the grid's figures show, and its model: isotropic unless only learned was trained."""
    if (cells.noise == "isotropic").any():
        return "isotropic", "snr_vae"
    return "learned", "snr_vae_learned"


def _selected(cells: pd.DataFrame, noise: str) -> list[dict[str, Any]]:
    return _records(cells[(cells.noise == noise) & (cells.selected == 1)].sort_values("latent_dim"))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _curve(cells: pd.DataFrame, noise: str, latent_dim: int) -> pd.DataFrame:
    """The selected cells of a noise and latent_dim that did not diverge, by SNR."""
    return _drawable(cells[(cells.noise == noise) & (cells.latent_dim == latent_dim)]).sort_values("snr")


def _drawable(cells: pd.DataFrame) -> pd.DataFrame:
    """The selected cells, without those that diverged."""
    return cells[(cells.selected == 1) & (cells.diverged == 0)]


def _left_out(cells: pd.DataFrame) -> str:
    """A title's second line where a selected cell is not drawn."""
    count = int(((cells.selected == 1) & (cells.diverged == 1)).sum())
    return f"\n{count} {DIVERGED} and not shown" if count else ""


def _nothing(figure: Figure) -> Figure:
    """A figure of which every cell diverged."""
    for axes in figure.axes:
        _diverged(axes)
    return figure


def _diverged(axes: Axes) -> None:
    """What stands in the place of a cell that diverged."""
    axes.text(0.5, 0.5, DIVERGED, transform=axes.transAxes, **NOTE)
    axes.grid(False)


def _cell(table: pd.DataFrame, latent_dim: int, snr: float) -> Any:
    return table[(table.latent_dim == latent_dim) & (table.snr == snr)].iloc[0]


def _look(latent_dim: int, noise: str) -> dict[str, Any]:
    """Colour and marker of a latent_dim, line style of a noise."""
    index = (latent_dim - 1) % len(DIMS)
    solid = noise == "isotropic"
    return {
        "color": DIMS[index],
        "marker": MARKERS[index],
        "ls": "-" if solid else "--",
        "markerfacecolor": DIMS[index] if solid else "white",
        "markersize": 6,
    }


def _snr_axis(axes: Axes, snrs: NDArray[np.floating]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(snrs, [f"{snr:g}" for snr in snrs])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("SNR (power ratio)")


def _row_of_axes(figure: Figure, count: int) -> list[Axes]:
    return list(figure.subplots(1, count, squeeze=False)[0])


def _histograms(axes: Axes, latents: NDArray[np.floating], limit: float | None = None) -> None:
    """Densities of latents [n, d], an outline per dimension, N(0, 1) over them."""
    low, high = (-limit, limit) if limit else (latents.min(), latents.max())
    if low == high:  # a bottleneck that says the same of every point
        low, high = low - 0.5, high + 0.5
    bins = list(np.linspace(low, high, 61))
    weight = 1 / (len(latents) * (bins[1] - bins[0]))  # a density of all values, those beyond the ends too
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


def _legend_of_labels(figure: Figure, source: Source, title: str) -> None:
    handles = [Line2D([], [], marker="o", ls="", color=c) for c in LABELS[: len(source.labels)]]
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": len(handles), "markerscale": 1.3}
    figure.legend(handles, source.labels, title=title, **place)


def _outline(axes: Axes3D, source: Source) -> None:
    for line in source.outline:
        axes.plot(*np.array(line).T, color=REFERENCE, lw=0.6)


def _cloud(axes: Axes3D, points: NDArray[np.floating] | None, colours: Any, source: Source) -> None:
    axes.set_axis_off()
    axes.view_init(elev=22, azim=35)
    axes.set(xlim=source.view, ylim=source.view, zlim=source.view)
    axes.set_box_aspect((1, 1, 1), zoom=1.12)
    if points is not None:
        _outline(axes, source)
        axes.scatter(*points.T, s=1.6, c=colours, linewidth=0, depthshade=False)
