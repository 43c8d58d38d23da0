"""Measure every cell on held-out points and against the limit: cells.csv, metrics.json, evaluation.npz."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from snrvae.codecs import codec
from snrvae.formats import dataset, tables
from snrvae.limit import shannon
from snrvae.measurement import evaluation, generation, metrics, samples
from snrvae.settings.params import Params
from snrvae.settings.randomness import numpy_stream
from snrvae.sources.known import SOURCES
from stages import files


def evaluate(
    params: Params,
    cube_path: Path,
    ae_path: Path,
    vae_path: Path,
    limit_path: Path,
    cells_path: Path,
    metrics_path: Path,
    evaluation_path: Path,
) -> None:
    splits = files.read_cube(cube_path, params)
    source, kinds = SOURCES[params.source], params.kinds
    train, validation, test = (
        dataset.inputs(splits[name], kinds) for name in ("train", "validation", "test")
    )
    law = shannon.law(source.left_open(params.conditional))
    models = files.read(ae_path, lambda data: codec.autoencoders_from_bytes(data, params.source, kinds))
    models += files.read(vae_path, lambda data: codec.snr_vaes_from_bytes(data, params.source, kinds))
    every = {batch.cells[0]: batch for batch in evaluation.single(models)}
    codecs = {cell: batch for cell, batch in every.items() if not batch.diverged}
    lines = files.read(limit_path, lambda data: shannon.lines_from_csv(data, law))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a cell is measured on one core, whatever runs beside it
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        ideal = numpy_stream(params.seed, "ideal samples")
        compared = pool.submit(generation.reference, source, splits["test"].points, ideal)
        results = list(
            pool.map(lambda c: evaluation.measure(c, validation, test, params.seed), codecs.values())
        )
        selected = evaluation.select(results)
        reference = compared.result()
        uniform = [r.cell for r in reversed(selected) if r.cell.noise != "learned"]  # the longest fits first
        noisy = [result for result in selected if result.kl_bits is not None]
        seed = params.seed
        jobs: list[Callable[[], Any]] = [
            *(partial(evaluation.generate_fitted, codecs[c], train, reference, seed) for c in uniform),
            *(partial(evaluation.generate, codecs[r.cell], reference, seed) for r in selected),
            *(partial(evaluation.limit, codecs[r.cell], r, test, lines, seed) for r in noisy),
        ]
        done = pool.map(lambda job: job(), jobs)  # of which each of these takes its own in turn
        fitted = dict(zip(uniform, done, strict=False))
        generated = dict(zip((r.cell for r in selected), done, strict=False))
        limits = dict(zip((r.cell for r in noisy), done, strict=True))
    measured = {result.cell: result for result in results}
    table = metrics.cells(
        {cell: measured.get(cell) for cell in every},
        generated,
        fitted,
        limits,
        params.source,
        params.conditional,
    )
    written: dict[Path, str | bytes] = {
        cells_path: tables.to_csv(table),
        metrics_path: metrics.to_json(metrics.tree(table)),
        evaluation_path: samples.to_bytes(selected, generated, fitted, kinds),
    }
    for path, content in written.items():  # nothing before all is there
        files.write(path, content)


if __name__ == "__main__":
    files.run(evaluate)
