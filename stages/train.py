"""What train_ae and train_vae share: fit cells on the training points, write models and losses."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import RLock

from tqdm import tqdm

from snrvae.codecs import files as models
from snrvae.settings import tables
from snrvae.settings.grid import Cell
from snrvae.settings.params import Params
from snrvae.sources import dataset
from snrvae.sources.registry import SOURCES
from snrvae.training import config, engines, history
from stages import files

tqdm.set_lock(RLock())  # by itself it takes a semaphore of the system's, which an interrupt leaves behind


def train(
    params: Params, cells: Sequence[Cell], cube_path: Path, models_path: Path, losses_path: Path
) -> None:
    engines.check(params)
    settings, total = config.of_params(params), params.train.steps * len(cells)
    source, points = SOURCES[params.source], params.data.train_points
    inputs = partial(dataset.training_inputs, source, points, params.num_classes)
    with (
        # what is read has no name here, so that the trainer's copy is the only one
        engines.connect(files.stream(cube_path, inputs), settings) as trainer,
        tqdm(total=total, desc=f"{len(cells)} cells", unit="cell-step", unit_scale=True, disable=None) as bar,
    ):

        def progress(cell_steps: int, mse: float) -> None:
            bar.set_postfix(mse=f"{mse:.3g}", refresh=False)
            bar.update(cell_steps)

        trained = trainer.fit(cells, progress)
    for _, past in trained:
        if past.diverged is not None:
            print(
                f"warning: {settings.divergence(past.cell, past.diverged)}; it is left out", file=sys.stderr
            )
    codecs = {codec.architecture.cell.name: codec for codec, _ in trained}
    losses = history.to_table([past for _, past in trained])
    files.write(models_path, models.to_bytes(codecs))
    files.write(losses_path, tables.to_csv(losses))
