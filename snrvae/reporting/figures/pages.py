"""Figures of images: pages of them, as they are."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from snrvae.reporting.figures.style import Array, Arrays, plain, write_diverged
from snrvae.sources.domain import Split
from snrvae.sources.source import Source

FEW = 5  # images in a row of a small page
ROW = 14  # of a large one
LINES = 12  # of a large one, at most: one for each label if there are labels


def grey(points: Array, source: Source) -> NDArray[np.float64]:
    """Points [n, k] as images [n, h, w], 0 the darkest of real images and 1 the lightest."""
    bounds, known = source.domain.bounds, source.known
    ends = (known.points if known is not None else points) if bounds is None else np.array(bounds)
    restored = source.domain.frame.restore
    low, high = restored(ends).min(), restored(ends).max()
    levels = (restored(points) - low) / max(high - low, np.finfo(float).tiny)
    return np.clip(levels, 0, 1).reshape(-1, *source.domain.shape)


def mosaic(images: NDArray[np.float64], columns: int) -> NDArray[np.float64]:
    """Images [n, h, w] side by side in `columns` columns, a pixel apart; the last row may be short."""
    _, height, width = images.shape
    rows = -(-len(images) // columns)
    page = np.full((rows * columns, height + 1, width + 1), np.nan)
    page[: len(images), :height, :width] = images
    lines = page.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    return lines.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]


def show(axes: Axes, points: Array, columns: int, source: Source) -> None:
    """Points [n, k] as a page of images."""
    axes.set_axis_off()
    if len(points):
        axes.imshow(
            mosaic(grey(points, source), columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
        )


def data(split: Split, source: Source) -> Figure:
    """Some of the images, a row for each label if there are labels."""
    labels = range(min(len(source.labels), LINES)) if source.domain.labelled else []
    chosen = [split.points[split.label == label][:ROW] for label in labels] or np.array_split(
        split.points[: ROW * LINES], min(LINES, len(split.points))
    )
    figure = _of_rows({"": chosen}, source, [source.labels[label] for label in labels], 7.5)
    more = f", the first {LINES} labels" if labels and len(source.labels) > LINES else ""
    figure.suptitle(f"The data: {plain(source.title)}{more}", wrap=True)
    return figure


def requested(names: Mapping[int, str], samples: Arrays, source: Source, heading: str) -> Figure:
    """For each latent_dim, a row of generated images for each requested label."""
    labels = range(min(len(source.labels), LINES))
    blocks: dict[str, list[Array]] = {}
    for latent_dim, name in names.items():
        made, asked = samples.get(f"{name}/generated"), samples.get(f"{name}/requested")
        blocks[f"d = {latent_dim}"] = (
            []
            if made is None or asked is None
            else [made[asked.argmax(1) == label][: ROW // 2] for label in labels]
        )
    figure = _of_rows(blocks, source, [source.labels[label] for label in labels], 3.6 * len(blocks))
    figure.suptitle(heading)
    return figure


def _of_rows(blocks: Mapping[str, list[Array]], source: Source, names: list[str], width: float) -> Figure:
    """Blocks of rows of images, side by side; an empty block diverged. Rows are named at the left."""
    height, across = source.domain.shape
    columns = max((len(row) for rows in blocks.values() for row in rows), default=1)
    lines = max(map(len, blocks.values()))
    tall = width / len(blocks) * max(1, lines) * (height + 1) / (columns * (across + 1))
    figure = Figure(figsize=(width + 0.8, min(tall, 11) + 0.8), dpi=120, layout="constrained")
    for axes, (title, rows) in zip(
        figure.subplots(1, len(blocks), squeeze=False)[0], blocks.items(), strict=True
    ):
        axes.set_title(title)
        if not rows:
            axes.set_axis_off()
            write_diverged(axes)
            continue
        whole = [np.pad(row, ((0, columns - len(row)), (0, 0)), constant_values=np.nan) for row in rows]
        show(axes, np.concatenate(whole), columns, source)
        for line, name in enumerate(names):
            axes.text(-1.5, (line + 0.45) * (height + 1), plain(name), ha="right", va="center")
    return figure
