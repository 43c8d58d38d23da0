"""Measure every cell on held-out points and against the limit: cells.csv, metrics.json, evaluation.npz."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

from snrvae import codec, dataset, evaluation, generation, metrics, shannon, shown, tables
from snrvae.grid import Cell
from snrvae.params import Params
from snrvae.randomness import numpy_stream
from snrvae.sources.known import SOURCES
from stages import files

Result = TypeVar("Result")


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
            pool.map(lambda c: evaluation.fidelity(c, validation, test, params.seed), codecs.values())
        )
        selected = evaluation.select(results)
        reference = compared.result()
        uniform = [r.cell for r in reversed(selected) if r.cell.noise != "learned"]  # the longest fits first
        fitted = {
            cell: pool.submit(evaluation.generate_fitted, codecs[cell], train, reference, params.seed)
            for cell in uniform
        }
        generated = {
            r.cell: pool.submit(evaluation.generate, codecs[r.cell], reference, params.seed) for r in selected
        }
        limits = {
            r.cell: pool.submit(evaluation.limit, codecs[r.cell], r, test, lines, params.seed)
            for r in selected
            if r.kl_bits is not None
        }
    measured = {result.cell: result for result in results}
    generations, from_fitted = _results(generated), _results(fitted)
    table = metrics.cells(
        {cell: measured.get(cell) for cell in every},
        generations,
        from_fitted,
        _results(limits),
        params.source,
        params.conditional,
    )
    written: dict[Path, str | bytes] = {
        cells_path: tables.to_csv(table),
        metrics_path: metrics.to_json(metrics.tree(table)),
        evaluation_path: shown.to_bytes(selected, generations, from_fitted, kinds),
    }
    for path, content in written.items():  # nothing before all is there
        files.write(path, content)


def _results(futures: Mapping[Cell, Future[Result]]) -> dict[Cell, Result]:
    return {cell: future.result() for cell, future in futures.items()}


if __name__ == "__main__":
    files.run(evaluate)
