"""The common part of train_ae and train_vae: fit cells on the training points, write models and losses."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import RLock

from tqdm import tqdm

from snrvae.codecs import files as models
from snrvae.settings import grid, tables
from snrvae.settings.grid import Cell
from snrvae.settings.params import Params
from snrvae.sources import dataset
from snrvae.sources.domain import Points
from snrvae.training import config, engines, history
from snrvae.training.config import TrainConfig
from snrvae.training.store import Kept
from snrvae.training.trainer import Trained
from stages import files
from stages.store import open_store

tqdm.set_lock(RLock())  # its own is a system semaphore, which an interrupt would leak


def train(
    params: Params,
    cells: Sequence[Cell],
    source_path: Path,
    cube_path: Path,
    models_path: Path,
    losses_path: Path,
) -> None:
    engines.check(params)
    source = files.read_domain(source_path, params)
    settings, classes = config.of_params(params, source), source.num_classes(params.conditional)
    points = partial(dataset.training_inputs, source, classes, params.data.train_points)
    inputs = files.stream(cube_path, points)
    trained = train_cells(cells, inputs, settings)
    for _, past in trained:
        if past.diverged is not None:
            print(
                f"warning: {settings.divergence(past.cell, past.diverged)}; it is left out", file=sys.stderr
            )
    codecs = {codec.architecture.cell.name: codec for codec, _ in trained}
    losses = history.to_table([past for _, past in trained])
    files.write(models_path, models.to_bytes(codecs))
    files.write(losses_path, tables.to_csv(losses))


def train_cells(cells: Sequence[Cell], inputs: Points, settings: TrainConfig) -> list[Trained]:
    """Trained cells, those of one shape together: from the store, or trained now and put into it."""
    with engines.connect(inputs, settings) as trainer:
        kept = Kept(open_store(), cells, inputs, settings, trainer.processors)
        found = kept.find()
        missing = [cell for cell in cells if cell not in found]
        if found:
            print(f"{len(found)} of {len(cells)} cells from the store", file=sys.stderr)
        total, name = settings.train.steps * len(missing), f"{len(missing)} cells"
        silent = None if missing else True  # None: silent unless stderr is a terminal
        with tqdm(total=total, desc=name, unit="cell-step", unit_scale=True, disable=silent) as bar:

            def progress(cell_steps: int, mse: float) -> None:
                bar.set_postfix(mse=f"{mse:.3g}", refresh=False)
                bar.update(cell_steps)

            trained = trainer.fit(missing, progress, kept.keep)
    found |= {one[0].architecture.cell: one for one in trained}
    return [found[cell] for group in grid.groups(cells) for cell in group]
