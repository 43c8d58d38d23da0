"""Draw the source's points: params → data/cube.npz."""

from functools import partial
from pathlib import Path

from snrvae.settings.params import Params
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import dataset
from snrvae.sources.registry import SOURCES
from stages import files


def generate(params: Params, cube_path: Path) -> None:
    stream = partial(numpy_stream, params.seed, "data")
    splits = dataset.draw(SOURCES[params.source], params.data.counts, stream)
    files.write(cube_path, dataset.to_bytes(splits))


if __name__ == "__main__":
    files.run(generate)
