"""Draw the source's points: params → data/cube.npz."""

from pathlib import Path

from snrvae import dataset
from snrvae.params import Params
from snrvae.sources.known import SOURCES
from stages import files


def generate(params: Params, cube_path: Path) -> None:
    splits = dataset.generate(SOURCES[params.source], params.data.counts, params.seed)
    files.write(cube_path, dataset.to_bytes(splits))


if __name__ == "__main__":
    files.run(generate)
