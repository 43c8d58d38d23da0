"""Figures of curves: the rate–distortion plane, the grid, learned noise, training."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snrvae.reporting.figures.style import (
    DIMS,
    DIVERGED,
    GRID,
    INK,
    LINES,
    MARKERS,
    NOTE,
    REFERENCE,
    Arrays,
    curve,
    drawable,
    left_out,
    look,
    noises_of,
    nothing,
    records,
    snr_axis,
    write_diverged,
)
from snrvae.reporting.lines import LIMITS, SURE, Lines, bits, most_bits

SURENESS = {"certified": "-", "99 %": "--", "estimate": ":"}  # of Shannon's limit, as a line


def rate_distortion(cells: pd.DataFrame, lines: Lines) -> Figure:
    """Every cell in the plane of bits and mse, with Shannon's limit as far as it is known."""
    figure = Figure(figsize=(8.5, 6.6), layout="constrained")
    axes = figure.subplots()
    rows = drawable(cells[cells.noise != "none"])
    _draw_limit(axes, lines)
    _draw_references(axes, cells, lines)
    _draw_markers(axes, rows)
    highest = 1.44 * lines.normal[1][0]  # of the mean alone
    axes.set(
        yscale="log",
        xlim=(0, most_bits(cells)),
        ylim=(rows.mse.min() / (3 if lines.limit else 2) if len(rows) else highest / 600, highest),
    )
    axes.set_xlabel("bits: capacity of the channel (learned noise: E KL)")
    axes.set_ylabel("mse (per coordinate)")
    against = "against Shannon's limit" if lines.limit else "by bits and error"
    axes.set_title(f"Every codec {against}{left_out(cells)}")
    _legend_of_the_plane(figure, sorted(rows.latent_dim.unique()), sorted(rows.snr.unique()), lines)
    return figure


def _draw_limit(axes: Axes, lines: Lines) -> None:
    """Shannon's limit, and the region below it in which no code can be; an estimate excludes no code."""
    for certainty, (rate, least) in lines.limit.items():
        if certainty in SURE:
            axes.fill_between(rate, least, 1e-300, color=GRID, alpha=0.7, lw=0)
        axes.plot(rate, least, color=INK, lw=2.2, ls=SURENESS[certainty])
    if set(SURE) & set(lines.limit):
        note: dict[str, Any] = {"color": REFERENCE, "style": "italic", "ha": "left"}
        axes.text(0.03, 0.06, "no code can be here", transform=axes.transAxes, **note)


def _draw_references(axes: Axes, cells: pd.DataFrame, lines: Lines) -> None:
    """A normal distribution's limit; by latent_dim the best linear codec, and codes of single points."""
    axes.plot(*lines.normal, color=REFERENCE, lw=0.8, alpha=0.7, zorder=1)
    for latent_dim in sorted(drawable(cells[cells.noise != "none"]).latent_dim.unique()):
        colour = DIMS[(latent_dim - 1) % len(DIMS)]
        isotropic = curve(cells, "isotropic", latent_dim)
        axes.plot(isotropic.capacity_bits, isotropic.linear_mse, color=colour, ls="--", lw=1.1)
        if latent_dim in lines.one_point:
            axes.plot(*lines.one_point[latent_dim], color=colour, ls="", marker="_", markersize=22)
        if latent_dim in lines.by_point:
            axes.plot(*lines.by_point[latent_dim], color=colour, ls=":", lw=1.3)


def _draw_markers(axes: Axes, rows: pd.DataFrame) -> None:
    """A marker for each cell with its latent_dim: full with isotropic noise, an outline with another.

    An outline is transparent and has its number above it, so that neither hides the other.
    """
    snrs = sorted(rows.snr.unique())
    for place, row in zip(bits(rows), records(rows), strict=True):
        colour, full = DIMS[(row["latent_dim"] - 1) % len(DIMS)], row["noise"] == "isotropic"
        marker = MARKERS[snrs.index(row["snr"]) % len(MARKERS)]
        shape: dict[str, Any] = {"marker": marker, "markersize": 12 if marker in "^v<>" else 10, "ls": ""}
        shape["markerfacecolor"] = colour if full else "none"
        shape |= {"markeredgecolor": "white" if full else colour, "markeredgewidth": 0.7 if full else 1.3}
        axes.plot(place, row["mse"], zorder=3 if full else 4, **shape)
        text: dict[str, Any] = {
            "fontsize": 6.5,
            "fontweight": "bold",
            "ha": "center",
            "va": "center_baseline",
        }
        text |= {"color": "white" if full else colour, "clip_on": True, "zorder": 4}
        above = (0, 0) if full else (0, 9)  # points above
        axes.annotate(str(row["latent_dim"]), (place, row["mse"]), above, textcoords="offset points", **text)


def _legend_of_the_plane(figure: Figure, dims: list[int], snrs: list[float], lines: Lines) -> None:
    """The legend, below the plane."""
    grey: dict[str, Any] = {"color": REFERENCE}
    shape: dict[str, Any] = {"ls": "", "markersize": 7, **grey}
    named = [(f"d = {d}", Line2D([], [], color=DIMS[(d - 1) % len(DIMS)], lw=5)) for d in dims]
    named += [
        (f"SNR {snr:g}", Line2D([], [], marker=MARKERS[i % len(MARKERS)], **shape))
        for i, snr in enumerate(snrs)
    ]
    named.append(("learned noise", Line2D([], [], marker="o", markerfacecolor="none", **shape)))
    named += [
        (LIMITS[certainty], Line2D([], [], color=INK, lw=2.2, ls=SURENESS[certainty]))
        for certainty in lines.limit
    ]
    named.append(("limit of a normal distribution", Line2D([], [], lw=0.8, alpha=0.7, **grey)))
    named.append(("best linear codec", Line2D([], [], ls="--", lw=1.1, **grey)))
    if lines.by_point:
        named.append(("point by point, SNR → ∞", Line2D([], [], ls=":", lw=1.3, **grey)))
    if lines.one_point:
        named.append(("point by point, best known", Line2D([], [], marker="_", **shape | {"markersize": 14})))
    labels, handles = zip(*named, strict=True)
    figure.legend(handles, labels, loc="outside lower center", ncols=4)


def grid(cells: pd.DataFrame) -> Figure:
    """MSE, its gap to Shannon's limit, E KL and the latents' KL over the grid."""
    figure = Figure(figsize=(10, 7.6), layout="constrained")
    figure.suptitle("The grid: what an SNR buys, and what it costs" + left_out(cells))
    (axes_mse, axes_gap), (axes_kl, axes_latent) = figure.subplots(2, 2)
    if drawable(cells[cells.noise != "none"]).empty:
        return nothing(figure)
    snrs = np.array(sorted(cells.snr.dropna().unique()))
    dims = sorted(cells.latent_dim.unique())
    for latent_dim in dims:
        colour = DIMS[(latent_dim - 1) % len(DIMS)]
        axes_kl.plot(snrs, latent_dim / 2 * np.log2(1 + snrs), color=colour, ls=":", lw=1.2)
        for noise in noises_of(cells):
            rows, style = curve(cells, noise, latent_dim), look(latent_dim, noise)
            axes_mse.errorbar(rows.snr, rows.mse, 2 * rows.mse_stderr, **style)
            axes_gap.errorbar(rows.snr, rows.gap_db, 2 * rows.gap_db_stderr, **style)
            axes_kl.plot(rows.snr, rows.kl_bits, **style)
            axes_latent.plot(rows.snr, rows.latent_kl_bits.clip(lower=1e-4), **style)
        rows = curve(cells, "isotropic", latent_dim)
        axes_mse.plot(rows.snr, rows.linear_mse, color=colour, ls=":", lw=1.2)
    axes_mse.set(yscale="log", ylabel="mse (per coordinate)", title="Distortion")
    axes_gap.axhline(0, color=INK, lw=1.2)
    if cells.gap_db.isna().all():
        axes_gap.text(0.5, 0.6, "too few points for a limit", transform=axes_gap.transAxes, **NOTE)
        axes_gap.set_yticks([])
    axes_gap.set(ylabel="10·log10(mse / limit)  [dB]", title="Gap to Shannon's limit")
    axes_kl.set(ylabel="E KL(q(z|x) ‖ N(0, I))  [bit]", title="Rate")
    axes_latent.set(yscale="log", ylabel="KL(q(z) ‖ N(0, 1))  [bit per dim]", title="Latent distribution")
    for axes in figure.axes:
        snr_axis(axes, snrs)
    axes_gap.set_xlim(axes_mse.get_xlim())  # gaps may be missing
    handles = [Line2D([], [], **look(d, "isotropic")) for d in dims]
    labels = [f"d = {d}" for d in dims]
    handles += [Line2D([], [], color=INK, ls=ls, lw=lw) for ls, lw in (("-", 1.8), ("--", 1.8), (":", 1.2))]
    others = [noise for noise in noises_of(cells) if noise != "isotropic"] or ["learned"]
    labels += ["isotropic noise", f"{' or '.join(others)} noise", "linear codec (mse), capacity (E KL)"]
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
        name = {"none": "AE", "isotropic": "SNR-VAE"}.get(str(noise), f"{noise} noise")
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


def learned_noise(cells: pd.DataFrame, samples: Arrays) -> Figure:
    """Learned noise: the SNR holds only on average, and the encoder puts noise where it does little harm."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    figure.suptitle("Learned noise escapes the SNR" + left_out(cells))
    axes_rate, axes_mse, axes_spread = figure.subplots(1, 3)
    if drawable(cells[cells.noise != "none"]).empty:
        return nothing(figure)
    snrs = np.array(sorted(cells.snr.dropna().unique()))
    dims = sorted(cells.latent_dim.unique())
    for latent_dim in dims:
        for noise in ("isotropic", "learned"):
            rows = curve(cells, noise, latent_dim)
            if len(rows):
                style = look(latent_dim, noise)
                axes_rate.plot(latent_dim / 2 * np.log2(1 + rows.snr), rows.kl_bits, **style)
                axes_mse.plot(rows.snr, rows.mse, **style)
    end = max(dims) / 2 * np.log2(1 + snrs.max())
    axes_rate.plot([0, end], [0, end], color=REFERENCE, lw=1, zorder=0)
    axes_rate.set(
        xlabel="capacity that the SNR names  [bit]", ylabel="E KL  [bit]", title="Rate above capacity"
    )
    axes_mse.set(yscale="log", ylabel="mse (per coordinate)", title="Distortion that hardly needs the SNR")
    snr_axis(axes_mse, snrs)
    _noise_spread(axes_spread, cells, samples)
    handles = [Line2D([], [], **look(d, "isotropic")) for d in dims]
    handles += [Line2D([], [], color=INK, ls="-"), Line2D([], [], color=INK, ls="--")]
    labels = [*(f"d = {d}" for d in dims), "isotropic noise", "learned noise"]
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels))
    return figure


def _noise_spread(axes: Axes, cells: pd.DataFrame, samples: Arrays) -> None:
    """How the noise power is spread over points and dimensions, for the latent_dim nearest to 2."""
    learned = drawable(cells[cells.noise == "learned"])
    if learned.empty:
        write_diverged(axes)
        return
    latent_dim = min(learned.latent_dim.unique(), key=lambda d: abs(d - 2))
    snrs = sorted(learned.snr.unique())
    palette = sns.color_palette("viridis", len(snrs) + 1)
    for index, (snr, colour) in enumerate(zip(snrs, palette, strict=False)):
        share = samples[f"snr_vae_learned/d{latent_dim}-snr{snr:g}/noise_share"]
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
