"""Small sources of every kind, and a run of each that no network made: random points, made-up numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from snrvae.limit.shannon import RateDistortionTable
from snrvae.measurement import metrics, samples
from snrvae.measurement.records import CodecMetrics, ConditionalGeneration, Estimate, Generation, Limit
from snrvae.reporting import lines
from snrvae.settings import params, tables
from snrvae.settings.grid import Cell
from snrvae.sources import origin
from snrvae.sources.domain import Split
from snrvae.sources.source import Source

ROOT = Path(__file__).parents[2]
COUNTS = {"train": 600, "validation": 600, "test": 600}
CELLS = [Cell("none", d, None, 0) for d in (1, 2, 3)] + [
    Cell(noise, d, snr, 0) for noise in ("isotropic", "learned") for d in (1, 2, 3) for snr in (1.0, 100.0)
]
TETRAHEDRON = "v 0 0 0\nv 9 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


def points(count: int, k: int) -> np.ndarray:
    spread = np.linspace(1, 5, k)
    return np.random.default_rng(0).normal(size=(count, k)) * spread + 100


def csv(path: Path, columns: str, labels: tuple[str, ...] = ()) -> None:
    table = pd.DataFrame(points(2000, len(columns)), columns=list(columns))
    if labels:
        table["label"] = np.random.default_rng(1).choice(labels, len(table))
    table.to_csv(path, index=False)


WORDS = ("$x$", "a|b", "<i>", "a name of more than twenty-four letters")
WRITERS: dict[str, Callable[[Path], object]] = {
    "line.npy": lambda path: np.save(path, points(2000, 1)),
    "plane.npy": lambda path: np.save(path, points(2000, 2) * [1, 0.1]),
    "space.npy": lambda path: np.save(path, points(2000, 3)),
    "five.csv": lambda path: csv(path, "abcde"),
    "a_b $1$ [*].csv": lambda path: csv(path, "abcd", WORDS),
    "many.npz": lambda path: np.savez(path, points=points(7650, 2), label=np.arange(7650) % 255),
    "grey.npy": lambda path: np.save(path, points(2000, 12).reshape(-1, 3, 4)),
    "spike.obj": lambda path: path.write_text(TETRAHEDRON),
}  # fmt: skip
NAMES = (*WRITERS, "cube", "sphere", "square", "circle", "gaussian", "digits")
LABELLED = ("a_b $1$ [*].csv", "many.npz", "cube", "digits")


@dataclass(frozen=True)
class Run:
    source: Source
    splits: dict[str, Split]
    conditional: bool
    cells: pd.DataFrame
    tree: dict[str, dict[str, Any]]
    samples: dict[str, np.ndarray]
    lines: lines.Lines
    settings: params.Params


def run(name: str, conditional: bool, folder: Path, saturated: bool = False) -> Run:
    """A run of a source, whose limit is known up to four bits unless its points are too few for any."""
    if name in WRITERS:
        WRITERS[name](folder / name)
    source, splits = origin.draw(name, COUNTS, lambda _: np.random.default_rng(0), folder)
    classes = source.domain.num_classes(conditional)
    measured = {cell: codec(cell, splits["test"]) for cell in CELLS}
    made = {cell: generation(source, splits["test"], conditional) for cell in CELLS}
    fitted = {cell: found for cell, found in made.items() if cell.noise != "learned"}
    limits = {cell: limit(cell, saturated) for cell in CELLS if cell.noise != "none"}
    rows = metrics.cells(measured, made, fitted, limits, source.domain, conditional)
    cells = metrics.from_csv(tables.to_csv(rows).encode(), CELLS, source, conditional)
    data = samples.to_bytes(list(measured.values()), made, fitted, classes)
    settings = params.from_yaml((ROOT / "params.yaml").read_text())
    update = {"conditional": conditional, "source": name, "snr": (1.0, 100.0)}
    return Run(
        source,
        splits,
        conditional,
        cells,
        metrics.tree(cells),
        samples.from_bytes(data, CELLS, splits["test"].points.shape, classes),
        lines.of(cells, table(source, saturated), source, conditional, (1, 2, 3)),
        settings.model_copy(update=update),
    )


def codec(cell: Cell, test: Split) -> CodecMetrics:
    count, rng = len(test.points), np.random.default_rng(cell.latent_dim)
    noisy, learned = cell.noise != "none", cell.noise == "learned"
    latents, mse = rng.normal(size=(count, cell.latent_dim)), 0.1 / (1 + (cell.snr or 1000))
    share = np.exp(latents) if learned else None
    kl = Estimate(4.0, 0.1) if noisy else None
    return CodecMetrics(
        cell, mse, Estimate(mse, mse / 99), 0.1, kl, 0.1, 0.1, latents, test.points.astype(np.float64), share
    )


def generation(source: Source, test: Split, conditional: bool) -> Generation:
    known, apart = Estimate(2.0, 0.1), source.distance is not None
    asked = ConditionalGeneration(
        0.1 if source.faces else None, 0.9, None if source.faces else 0.8, known, 3.0, test.label
    )
    return Generation(
        surface_distance=0.1 if apart else None,
        surface_p95=0.2 if apart else None,
        nearest_distance=0.3 if source.domain.finite else None,
        face_error=0.05 if source.domain.labelled else None,
        ratio=known,
        p_value=0.5 if source.exact else None,
        coverage=0.9,
        points=test.points[::-1].astype(np.float64),
        conditional=asked if conditional else None,
    )


def limit(cell: Cell, saturated: bool) -> Limit:
    isotropic = cell.noise == "isotropic"
    capacity = cell.latent_dim / 2 * np.log2(1 + (cell.snr or 0)) if isotropic else None
    least = None if saturated else 1e-4
    gap = None if saturated else Estimate(3.0, 0.1)
    bits = Estimate(1.0, 0.1)
    return Limit(capacity, bits, bits, False, capacity, least, "estimate", saturated, 1e-3, gap)


def table(source: Source, saturated: bool = False) -> RateDistortionTable:
    """Of a built-in law its own slopes would be needed; here a normal law's, in the source's unit."""
    k, spread = source.coordinates, sum(source.variances) * source.domain.factor**2
    rate = np.arange(6.0)
    distortion = spread * 2.0 ** (-2 * rate / k)
    slope = k / (2 * np.log(2) * distortion)
    intercept = rate + slope * distortion
    sure = ("certified", "certified", "99 %", "estimate", "estimate", "estimate")
    confident = np.where([name == "99 %" for name in sure], intercept - 0.1, np.nan)
    beyond = rate > (0 if saturated else 4)
    return RateDistortionTable(
        slope, intercept, distortion, rate, rate, ("plug-in",) * 6, sure, confident, beyond
    )
