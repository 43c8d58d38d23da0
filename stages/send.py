"""Send your points through a codec: `python -m stages.send POINTS --latent-dim 2 --snr 100` → sent/.

The selected codec of data/codecs.safetensors transmits every point once. Points are in the source's own unit,
in a file of any format for data/raw/. The reconstructed points and a picture are written to sent/.
"""

import io
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from math import isnan
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from snrvae.codecs import files as models
from snrvae.codecs.codec import PASS, Codec
from snrvae.measurement.measures import estimate, squared_error
from snrvae.reporting import drawing, report
from snrvae.reporting.figures import clouds
from snrvae.reporting.figures.style import label_colours, style
from snrvae.settings import tables
from snrvae.settings.grid import Cell
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import dataset, reading, record
from snrvae.sources.domain import Labels, Points, Split
from snrvae.sources.reading import Mesh, PointSet
from snrvae.sources.source import TOLERANCE, Source
from stages import files

CODECS, SOURCE = Path("data/codecs.safetensors"), Path("data/source.npz")
CELLS = Path("reports/cells.csv")
FOLDER = Path("sent")
SPREAD, DOT = 8000.0, (1.6, 20.0)  # area of all points in a picture together, and bounds of one point's


def send(path: Path, cell: Cell) -> str:
    """Write the reconstructed points and a picture of them; return the lines to print."""
    codec, source = _codec(cell)
    given, frame, classes = _points(path, source), source.domain.frame, codec.architecture.num_classes
    x = frame.normalise(given.points)
    sent = Split(x, _labels(path, given, source) if classes else source.nearest(x))
    received = transmit(codec, sent)
    restored = frame.restore(received)
    found = estimate(squared_error(given.points, restored))
    array, picture = FOLDER / f"{path.stem}.npy", FOLDER / f"{path.stem}.png"
    files.write(array, _npy(restored.reshape(-1, *given.shape)))
    with style():
        files.write(picture, report.png(figure(source, sent, received, models.selected_name(cell))))
    return "\n".join(
        [
            f"{len(x):,} points through {models.selected_name(cell)}, a codec of {source.title}",
            _mse("mse", found.value, found.stderr, source),
            *_outside(x, source),
            *files.read(CELLS, lambda data: _reported(data, cell, source)),
            f"{array}, {picture}\n",
        ]
    )


@torch.no_grad()
def transmit(codec: Codec, sent: Split) -> Points:
    """Reconstructed points x' [n, k], each sent once with noise from a fixed seed."""
    cell, classes = codec.architecture.cell, codec.architecture.num_classes
    noise = numpy_stream(0, "send", cell.name).standard_normal(
        (len(sent.points), cell.latent_dim), np.float32
    )
    arrays = [sent.points, noise, *([dataset.one_hot(sent.label, classes)] if classes else [])]
    parts = zip(*(torch.from_numpy(array).split(PASS) for array in arrays), strict=True)
    return torch.cat([codec(*part).reconstruction for part in parts]).numpy()


def figure(source: Source, sent: Split, received: Points, name: str) -> Figure:
    """Points before and after the channel, in the colours of their labels."""
    drawn = Figure(figsize=(9, 4.5 * drawing.ratio(source) + 0.6), dpi=110, layout="constrained")
    colours = np.array(label_colours(len(source.labels)))[sent.label]
    rows = (sent.points, "sent"), (received, f"received, {name}")
    for axes, (points, title) in zip(clouds.panels(drawn, 1, 2, source)[0], rows, strict=True):
        clouds.cloud(axes, points, colours, source)
        axes.set_title(title)
        for dots in axes.collections:
            dots.set_sizes([float(np.clip(SPREAD / len(points), *DOT))])
    return drawn


def _codec(cell: Cell) -> tuple[Codec, Source]:
    """The selected codec of a cell, and its source."""
    codecs, source = files.read(CODECS, models.from_bytes), files.read(SOURCE, record.from_bytes)
    name = models.selected_name(cell)
    if name not in codecs:
        raise ValueError(f"{CODECS}: has no codec {name}; it has {', '.join(codecs)}")
    trained_on = codecs[name].architecture.source
    if trained_on != source.domain:
        raise ValueError(
            f"{CODECS}: of {trained_on.name}, but {SOURCE} is of {source.domain.name}; run `dvc repro`"
        )
    return codecs[name], source


def _points(path: Path, source: Source) -> PointSet:
    """The points of a file, if they have the source's coordinates."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    file, shape = path.resolve(), source.domain.shape
    given = reading.read(file, file.parent)
    if isinstance(given, Mesh):
        raise ValueError(f"{path}: holds a mesh; expected points [n, {source.coordinates}]")
    if given.shape not in (shape, (source.coordinates,)):
        found, expected = (" × ".join(map(str, each)) for each in (given.shape, shape))
        raise ValueError(f"{path}: a point has {found} numbers; expected {expected}, as {source.title} has")
    return given


def _labels(path: Path, given: PointSet, source: Source) -> Labels:
    """The label [n] of each point, which a conditional codec receives."""
    if given.label is None:
        raise ValueError(f"{path}: has no labels; this codec receives the {source.part} of each point")
    for name in given.names:
        if name not in source.labels:
            raise ValueError(f"{path}: label {name!r} is wrong; expected {', '.join(source.labels)}")
    return np.array([source.labels.index(name) for name in given.names], np.uint8)[given.label]


def _outside(x: Points, source: Source) -> list[str]:
    """A line if points x' [n, k] are outside the bounds of reconstructions."""
    if source.domain.bounds is None:
        return []
    low, high = np.array(source.domain.bounds)
    outside = int(((x < low - TOLERANCE) | (x > high + TOLERANCE)).any(1).sum())
    return [f"{outside:,} points lie outside the box around {source.title}"] if outside else []


def _reported(data: bytes, cell: Cell, source: Source) -> list[str]:
    """A line with the report's numbers: the codec's mse for test points, and Shannon's limit for these."""
    table = tables.from_csv(data)
    tables.numbers(table, ["selected", "latent_dim", "mse", "mse_stderr", "shannon_mse"])
    if not {"noise", "source", "snr"} <= set(table):
        raise ValueError("is not a table of cells")
    snr = table.snr.isna() if cell.snr is None else table.snr == cell.snr
    chosen = (table.noise == cell.noise) & (table.latent_dim == cell.latent_dim) & snr
    rows = table[chosen & (table.selected == 1) & (table.source == source.domain.name)]
    lines = []
    for row in rows.to_dict("records"):
        limit = "" if isnan(row["shannon_mse"]) else f"; Shannon's limit for these: {row['shannon_mse']:.3g}"
        lines.append(_mse("mse of the report's test points", row["mse"], row["mse_stderr"], source) + limit)
    return lines


def _mse(name: str, mse: float, stderr: float, source: Source) -> str:
    unit = "the file's unit" if source.unit == "unit" else source.unit
    return f"{name}: {mse:.3g} ± {stderr:.2g} ({unit} squared, per coordinate)"


def _npy(array: NDArray[np.float64]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def parsed(arguments: Sequence[str]) -> tuple[Path, Cell]:
    """The file and the cell that a command line names."""
    parser = ArgumentParser(prog="python -m stages.send", description="Send points through a trained codec.")
    parser.add_argument("points", type=Path, help="a file of points, in the source's unit")
    parser.add_argument("--latent-dim", type=int, required=True)
    parser.add_argument("--snr", type=float, help="a power ratio; without it the basic autoencoder is used")
    parser.add_argument("--noise", help="isotropic, unless you choose another of params.yaml")
    given = parser.parse_args(arguments)
    noise = given.noise or ("none" if given.snr is None else "isotropic")
    try:
        return given.points, Cell(noise, given.latent_dim, given.snr, 0)
    except ValueError:
        raise ValueError(
            f"no codec has noise {noise}, latent_dim {given.latent_dim} and snr {given.snr}; "
            "every noise but none needs an snr above 0"
        ) from None


if __name__ == "__main__":
    try:
        files.show(send(*parsed(sys.argv[1:])))
    except (ValueError, OSError) as error:
        files.fail("send", error)
