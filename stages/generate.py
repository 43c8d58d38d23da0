"""Draw the cube's points: params → data/cube.npz."""

from pathlib import Path

from snrvae import cube
from snrvae.params import Params
from stages import files


def generate(params: Params, cube_path: Path) -> None:
    files.write(cube_path, cube.to_bytes(cube.generate(params.data.counts, params.seed)))


if __name__ == "__main__":
    files.run(generate)
