"""Draw the source's points: params → data/cube.npz."""

from pathlib import Path

from snrvae.formats import dataset
from snrvae.settings.params import Params
from snrvae.sources.known import SOURCES
from stages import files


def generate(params: Params, cube_path: Path) -> None:
    splits = dataset.generate(SOURCES[params.source], params.data.counts, params.seed)
    files.write(cube_path, dataset.to_bytes(splits))


if __name__ == "__main__":
    files.run(generate)
