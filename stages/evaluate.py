"""Measure every cell on held-out points and against the limit: cells.csv, metrics.json, evaluation.npz."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from snrvae import codec, evaluation, generation, metrics, shannon, shown, tables
from snrvae.params import Params
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
    validation, test = splits["validation"].points, splits["test"]
    models = files.read(ae_path, codec.autoencoders_from_bytes) + files.read(
        vae_path, codec.snr_vaes_from_bytes
    )
    every = {batch.cells[0]: batch for batch in evaluation.single(models)}
    codecs = {cell: batch for cell, batch in every.items() if not batch.diverged}
    lines = files.read(limit_path, shannon.lines_from_csv)
    radius = generation.neighbour_radius(test.points)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a cell is measured on one core, whatever runs beside it
    with ThreadPoolExecutor(threads) as pool:
        results = list(
            pool.map(lambda c: evaluation.fidelity(c, validation, test.points, params.seed), codecs.values())
        )
        selected = evaluation.select(results)
        generated = dict(
            pool.map(
                lambda r: (r.cell, evaluation.generate(codecs[r.cell], test, radius, params.seed)), selected
            )
        )
        noisy = [result for result in selected if result.kl_bits is not None]
        limits = dict(
            pool.map(
                lambda r: (r.cell, evaluation.limit(codecs[r.cell], r, test.points, lines, params.seed)),
                noisy,
            )
        )
    measured = {result.cell: result for result in results}
    table = metrics.cells({cell: measured.get(cell) for cell in every}, generated, limits)
    written: dict[Path, str | bytes] = {
        cells_path: tables.to_csv(table),
        metrics_path: metrics.to_json(metrics.tree(table)),
        evaluation_path: shown.to_bytes(selected, generated),
    }
    for path, content in written.items():  # nothing before all is there
        files.write(path, content)


if __name__ == "__main__":
    files.run(evaluate)
