"""The one look of all figures: colours, markers, and the rows of the table that a figure draws.

Colour shows the latent dimension (or a point's label, or the SNR); marker and line style repeat it in grey.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from snrvae.settings.grid import Cell

Array = NDArray[np.floating]
Arrays = Mapping[str, Array]

INK, GRID, REFERENCE = "#1b1b1f", "#dcdce0", "#6b6b76"
# of labels; of the cube's faces a hue per axis, light at 1
LABELS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#117a55", "#7fd1ae", "#8c4a9e", "#cc79a7",
          "#7a5c3a", "#a8a83c", "#8f8f99", "#e3388f")  # fmt: skip
GOLDEN = (5**0.5 - 1) / 2  # of a turn
DIMS = sns.color_palette("colorblind", 10)
MARKERS = "osD^vP*X<>"
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), "-.", (0, (8, 2, 1, 2, 1, 2)))
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
    "svg.hashsalt": "SNR-VAE",  # so that names inside an SVG depend only on its content
}


@contextmanager
def style() -> Iterator[None]:
    """The one look of all figures, whatever a matplotlibrc says; drawing and saving happen within it."""
    with mpl.style.context(STYLE, after_reset=True):
        yield


def label_colours(count: int) -> list[str]:
    """A colour for each label: LABELS or, if they are too few, hues, far apart for neighbours."""
    if count <= len(LABELS):
        return list(LABELS[:count])
    place = np.argsort(np.argsort(np.arange(count) * GOLDEN % 1))
    hues = sns.color_palette("husl", count).as_hex()
    return [str(hues[hue]) for hue in place]


def plain(text: str) -> str:
    """A user's text, escaped: Matplotlib would read text between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def reference(cells: pd.DataFrame) -> tuple[str, str]:
    """The noise that the grid's figures show, and its model: isotropic if there, or else the first."""
    noises = noises_of(cells)
    noise = "isotropic" if "isotropic" in noises else noises[0]
    return noise, Cell(noise, 1, 1.0, 0).model


def noises_of(cells: pd.DataFrame) -> list[str]:
    """The noises of the grid's cells, in its order."""
    return [str(noise) for noise in cells.noise.unique() if noise != "none"]


def selected(cells: pd.DataFrame, noise: str) -> list[dict[str, Any]]:
    return records(cells[(cells.noise == noise) & (cells.selected == 1)].sort_values("latent_dim"))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def curve(cells: pd.DataFrame, noise: str, latent_dim: int) -> pd.DataFrame:
    """The selected cells of a noise and latent_dim that did not diverge, by SNR."""
    return drawable(cells[(cells.noise == noise) & (cells.latent_dim == latent_dim)]).sort_values("snr")


def drawable(cells: pd.DataFrame) -> pd.DataFrame:
    """The selected cells, without those that diverged."""
    return cells[(cells.selected == 1) & (cells.diverged == 0)]


def left_out(cells: pd.DataFrame) -> str:
    """A title's second line if a selected cell is not drawn; else nothing."""
    count = int(((cells.selected == 1) & (cells.diverged == 1)).sum())
    return f"\n{count} {DIVERGED} and not shown" if count else ""


def cell_of(table: pd.DataFrame, latent_dim: int, snr: float) -> Any:
    return table[(table.latent_dim == latent_dim) & (table.snr == snr)].iloc[0]


def look(latent_dim: int, noise: str) -> dict[str, Any]:
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


def snr_axis(axes: Axes, snrs: NDArray[np.floating]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(snrs, [f"{snr:g}" for snr in snrs])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("SNR (power ratio)")


def nothing(figure: Figure) -> Figure:
    """A figure in which every cell diverged."""
    for axes in figure.axes:
        write_diverged(axes)
    return figure


def write_diverged(axes: Axes) -> None:
    """The text in place of a cell that diverged."""
    axes.text(0.5, 0.5, DIVERGED, transform=axes.transAxes, **NOTE)
    axes.grid(False)
