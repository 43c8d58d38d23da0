"""What train_ae and train_vae share: fit cells on the training points, write models and losses."""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from snrvae.codecs import codec
from snrvae.formats import dataset, tables
from snrvae.settings.grid import Cell
from snrvae.settings.params import Params
from snrvae.sources.known import SOURCES
from snrvae.sources.source import Points
from snrvae.training import loop
from snrvae.training.loop import Recipe
from snrvae.training.pool import Pool, Trainer
from stages import files

CLUSTER = "DASK_SCHEDULER_ADDRESS"  # the name that Dask itself gives it


def train(
    params: Params, cells: Sequence[Cell], cube_path: Path, models_path: Path, losses_path: Path
) -> None:
    settings = params.train
    hidden = (params.network.hidden_units,) * params.network.hidden_layers
    recipe = Recipe(hidden, settings, params.seed, params.source)
    total = settings.steps * len(cells)
    inputs = partial(dataset.training_inputs, SOURCES[params.source], params.data.train_points, params.kinds)
    with (
        # what is read has no name here, so that the trainer's copy is the only one
        _trainer(files.stream(cube_path, inputs), recipe) as trainer,
        tqdm(total=total, desc=f"{len(cells)} cells", unit="cell-step", unit_scale=True, disable=None) as bar,
    ):

        def progress(cell_steps: int, mse: float) -> None:
            bar.set_postfix(mse=f"{mse:.3g}", refresh=False)
            bar.update(cell_steps)

        codecs, histories = trainer.fit(cells, progress)
    for history in histories:
        for cell, step in history.diverged.items():
            line = loop.divergence(cell, step, settings)
            print(f"warning: {line}; it is left out", file=sys.stderr)
    losses = tables.training(histories)
    files.write(models_path, codec.to_bytes(codecs))
    files.write(losses_path, tables.to_csv(losses))


def _trainer(inputs: Points, recipe: Recipe) -> AbstractContextManager[Trainer]:
    """A cluster where the environment names its scheduler, and this machine's cores where it does not."""
    address = os.environ.get(CLUSTER)
    if not address:
        return nullcontext(Pool(inputs, recipe, torch.get_num_threads()))
    try:
        from snrvae.training import cluster  # noqa: PLC0415 - Dask is an extra
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{CLUSTER} is set, but there is no package {error.name}; "
            "install it: python -m pip install -r requirements-dev.lock"
        ) from None
    return cluster.connect(address, inputs, recipe)
