"""Train the basic autoencoders, without noise: cube.npz → ae.safetensors, training_ae.csv."""

from pathlib import Path

from snrvae.settings import grid
from snrvae.settings.params import Params
from stages import files
from stages.train import train


def train_ae(
    params: Params, source_path: Path, cube_path: Path, models_path: Path, losses_path: Path
) -> None:
    train(params, grid.autoencoders(params), source_path, cube_path, models_path, losses_path)


if __name__ == "__main__":
    files.run(train_ae, stored=True)
