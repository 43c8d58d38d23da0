"""Draw the figures and write the report: tables and clouds → reports/figures/, README.md, report.html."""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snrvae.limit import of_source, shannon
from snrvae.measurement import metrics, samples
from snrvae.reporting import gains, lines, page, report
from snrvae.reporting.figures.report import draw
from snrvae.reporting.figures.style import style
from snrvae.settings import grid, tables
from snrvae.settings.params import Params
from snrvae.sources.source import Source
from snrvae.training import digest, history
from stages import files, sources


def render(
    params: Params,
    source_path: Path,
    cube_path: Path,
    ae_path: Path,
    vae_path: Path,
    evaluation_path: Path,
    cells_path: Path,
    metrics_path: Path,
    limit_path: Path,
    ae_losses_path: Path,
    vae_losses_path: Path,
    closer_path: Path,
    lock_path: Path,
    figures_path: Path,
    report_path: Path,
    page_path: Path,
) -> None:
    source = sources.read_source(source_path, params)
    splits = sources.read_cube(cube_path, source, params)
    shape = splits["test"].points.shape
    law = of_source.law(source, params.conditional)
    cells, tree, clouds = _measured(params, source, shape, cells_path, metrics_path, evaluation_path)
    table = files.read(limit_path, lambda data: shannon.table_from_csv(data, law))
    references = lines.of(cells, table, source, params.conditional, params.latent_dim)
    losses = _losses(params, cells, ae_losses_path, vae_losses_path)
    closer = files.read(closer_path, gains.from_csv)
    versions = files.read(lock_path, report.locked_versions)
    kernel = files.stream(vae_path, _kernel)
    digests = {path.as_posix(): files.stream(path, _sha256) for path in (cube_path, ae_path, vae_path)}
    with style():
        drawn = draw(cells, references, clouds, losses, splits, source, params.conditional)
        images = {name: report.image(figure, Path(name).suffix) for name, figure in drawn.items()}
    counts = {name: len(split.points) for name, split in splits.items()}
    text = report.markdown(
        params,
        source,
        cells,
        tree,
        versions,
        digests,
        kernel,
        list(images),
        counts,
        references,
        closer,
        digest.CODE,
    )
    content = page.content(params, cells, tree, references, clouds, splits["test"], source, versions)
    for name, image in images.items():
        files.write(figures_path / name, image)
    files.write(report_path, text)
    files.write(page_path, page.html(content))


def _measured(
    params: Params,
    source: Source,
    test: tuple[int, int],
    cells_path: Path,
    metrics_path: Path,
    evaluation_path: Path,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, NDArray[np.float64]]]:
    """The table of cells, the tree of metrics and the figure samples."""
    every = grid.autoencoders(params) + grid.snr_vaes(params)
    conditional = params.conditional
    classes = source.domain.num_classes(conditional)
    cells = files.read(cells_path, lambda data: metrics.from_csv(data, every, source, conditional))
    tree = files.read(metrics_path, lambda data: metrics.from_json(data, cells))
    drawable = tables.cells_of(cells[(cells.selected == 1) & (cells.diverged == 0)])
    clouds = files.read(evaluation_path, lambda data: samples.from_bytes(data, drawable, test, classes))
    return cells, tree, clouds


def _losses(params: Params, cells: pd.DataFrame, ae_path: Path, vae_path: Path) -> pd.DataFrame:
    """The training tables of all cells; those that diverged may lack losses."""
    diverged = tables.cells_of(cells[cells.diverged == 1])
    autoencoders, snr_vaes = grid.autoencoders(params), grid.snr_vaes(params)
    return pd.concat(
        [
            files.read(ae_path, lambda data: history.from_csv(data, autoencoders, diverged)),
            files.read(vae_path, lambda data: history.from_csv(data, snr_vaes, diverged)),
        ]
    )


def _kernel(model: BinaryIO) -> str:
    """The kernel of OpenBLAS that a model file names. Raises ValueError if it names none."""
    try:
        header = json.loads(model.read(int.from_bytes(model.read(8), "little")))
        codecs = json.loads(header["__metadata__"]["model"])["codecs"]
        return ", ".join(sorted({codec["kernel"] for codec in codecs.values()}))
    except (LookupError, TypeError, AttributeError, OverflowError, MemoryError, RecursionError, ValueError):
        raise ValueError("does not say how it was trained: not a model file of this pipeline") from None


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: file.read(2**20), b""):
        digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    files.run(render)
