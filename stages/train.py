"""What train_ae and train_vae share: fit cells on the training points, write models and losses."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from snrvae import codec, tables
from snrvae.grid import Cell
from snrvae.params import Params
from snrvae.pool import Pool
from snrvae.training import Recipe
from stages import files


def train(
    params: Params, cells: Sequence[Cell], cube_path: Path, models_path: Path, losses_path: Path
) -> None:
    points = files.read_cube(cube_path, params)["train"].points
    settings = params.train
    hidden = (params.network.hidden_units,) * params.network.hidden_layers
    recipe = Recipe(hidden, settings, params.seed)
    total = settings.steps * len(cells)
    with tqdm(
        total=total, desc=f"{len(cells)} cells", unit="cell-step", unit_scale=True, disable=None
    ) as bar:

        def progress(cell_steps: int, mse: float) -> None:
            bar.set_postfix(mse=f"{mse:.3g}", refresh=False)
            bar.update(cell_steps)

        with Pool(points, recipe, torch.get_num_threads()) as pool:
            codecs, histories = pool.fit(cells, progress)
    losses = tables.training(histories)
    files.write(models_path, codec.to_bytes(codecs))
    files.write(losses_path, tables.to_csv(losses))
