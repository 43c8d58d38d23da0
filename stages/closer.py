"""Measure how each ingredient brings codecs closer to the limit: params.yaml → closer.csv.

It runs the sources that come with the project, three seeds and the settings below, on the grid of params.yaml
with isotropic noise. `make closer` runs this stage; it is frozen, so that `dvc repro` does not.
"""

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from snrvae.codecs.codec import Codec
from snrvae.limit import of_source, shannon
from snrvae.limit.shannon import RateDistortionTable
from snrvae.measurement import evaluation, generation
from snrvae.measurement.records import HeldOut
from snrvae.settings import grid, tables
from snrvae.settings.params import Params
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import origin
from snrvae.sources.domain import Split
from snrvae.sources.source import Source
from snrvae.training import config, digest
from stages import files
from stages.train import train_cells

SEEDS = (0, 1, 2)
EVERY = {"candidates": 4, "folded_start": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"candidates": 1, "folded_start": False},
    "candidates": EVERY | {"folded_start": False},
    "fold": EVERY | {"candidates": 1},
    "candidates and fold": EVERY,
}
SOURCES = {"cube": [*SETTINGS], "sphere": [*SETTINGS], "digits": [*SETTINGS][:2], "terrain": [*SETTINGS][:2]}
WEIGHTS = (0.0, 0.001, 0.1)  # of T, with every ingredient and two latents: they trade generation for the gap


def closer(params: Params, table_path: Path) -> None:
    plain = params.model_copy(update={"noise": ("isotropic",), "conditional": False})
    rows = [row for name in SOURCES for row in _of_source(plain, name)]
    files.write(table_path, tables.to_csv(pd.DataFrame(rows)))


def _of_source(params: Params, name: str) -> Iterator[dict[str, Any]]:
    """A row for each cell of each run on a source."""
    settings = {setting: _with(params, SETTINGS[setting], {}, {}) for setting in SOURCES[name]}
    if name == "cube":
        two = {"latent_dim": (2,)}
        settings |= {f"T weight {w:g}": _with(params, EVERY, {"gaussianity_weight": w}, two) for w in WEIGHTS}
    limit: RateDistortionTable | None = None
    for seed in SEEDS:
        source, splits = origin.draw(name, params.data.counts, partial(numpy_stream, seed, "data"), Path())
        if limit is None and of_source.law(source, False) is not None:
            limit = of_source.table(source, False)
        reference = _reference(source, splits["test"], seed) if name == "cube" else None
        for setting, chosen in settings.items():
            print(f"{name}, seed {seed}: {setting}", file=sys.stderr)
            run = chosen.model_copy(update={"source": name, "seed": seed})
            for codec, found in _selected(run, source, splits):
                cell = found.cell
                yield {
                    "source": name,
                    "noise": cell.noise,
                    "setting": setting,
                    **run.encoder.model_dump(),
                    "gaussianity_weight": run.train.gaussianity_weight,
                    "latent_dim": cell.latent_dim,
                    "snr": cell.snr,
                    "seed": seed,
                    "validation_mse": found.validation_mse,
                    "mse": found.mse.value,
                    "gap_db": None if limit is None else _gap_db(found, source, limit),
                    "generation_ratio": None
                    if reference is None or cell.latent_dim != 2
                    else evaluation.generate(codec, reference, seed).ratio.value,
                    "code": digest.CODE,
                }


def _with(params: Params, encoder: dict[str, Any], train: dict[str, Any], more: dict[str, Any]) -> Params:
    changed = {
        "encoder": params.encoder.model_copy(update=encoder),
        "train": params.train.model_copy(update=train),
    }
    return params.model_copy(update=changed | more)


def _selected(run: Params, source: Source, splits: Mapping[str, Split]) -> list[tuple[Codec, HeldOut]]:
    """The best restart of each cell of a run, with its errors."""
    made = train_cells(grid.snr_vaes(run), splits["train"].points, config.of_params(run, source.domain))
    codecs = {codec.architecture.cell: codec for codec, _ in made if not codec.diverged}
    errors = partial(evaluation.errors, validation=splits["validation"], test=splits["test"], seed=run.seed)
    with threadpool_limits(1), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        best = evaluation.select(pool.map(errors, codecs.values()))
    return [(codecs[found.cell], found) for found in best]


def _reference(source: Source, test: Split, seed: int) -> generation.Reference:
    """The reference that generated points are compared with."""
    compared = generation.compared(source, test, numpy_stream(seed, "ideal samples"))
    return generation.reference(source, test, *compared)


def _gap_db(found: HeldOut, source: Source, limit: RateDistortionTable) -> float:
    """The gap of an mse to the limit at the capacity, in dB."""
    assert found.cell.snr is not None
    rate = shannon.capacity_bits(found.cell.latent_dim, found.cell.snr)
    return evaluation.gap_db(found.mse, evaluation.least_mse(rate, source, limit, False)).value


if __name__ == "__main__":
    files.run(closer, stored=True)
