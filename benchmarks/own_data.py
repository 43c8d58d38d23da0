"""A user's own data against built-in sources: `python -m benchmarks.own_data` prints two tables.

1. The time of a step with 100,000 points of 16 columns, and with the cube's points.
2. The mse of each cell over five seeds, for the cube's surface built in, as a mesh and as points of a file.
"""

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch

from benchmarks import setting
from benchmarks.checks import cube_mesh
from snrvae.measurement import evaluation
from snrvae.settings.grid import Cell
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import cube, origin
from snrvae.training.compiled import engine
from snrvae.training.pool import Pool
from stages import files

COUNTS = {"train": 24_000, "validation": 6_000, "test": 12_000}
SEEDS = range(5)
CELLS = [Cell("isotropic", d, snr, 0) for d in (1, 2) for snr in (1.0, 10.0, 100.0)]


def write(folder: Path) -> None:
    """The cube as a mesh and as points, and points of 16 columns."""
    rng = np.random.default_rng(0)
    corners = (cube_mesh() + 0.5).reshape(-1, 3)
    faces = "\n".join(f"3 {i} {i + 1} {i + 2}" for i in range(0, len(corners), 3))
    rows = "\n".join(" ".join(map(repr, row)) for row in corners.tolist())
    (folder / "cube.off").write_text(f"OFF\n{len(corners)} {len(corners) // 3} 0\n{rows}\n{faces}\n")
    np.save(folder / "cube.npy", cube.sample(sum(COUNTS.values()), rng))
    np.save(folder / "wide.npy", rng.standard_normal((142_000, 16)) @ rng.standard_normal((16, 16)))


def seconds(name: str, counts: dict[str, int], folder: Path) -> float:
    """Seconds of a cell's training on one core, the best of three."""
    source, splits = origin.draw(name, counts, partial(numpy_stream, 0, "data"), folder)
    standard = setting.standard().config
    config = replace(standard, seed=0, source=source.domain)
    taken = []
    for _ in range(4):  # the first run compiles
        start = time.perf_counter()
        engine.fit(CELLS[-1], splits["train"].points, config, lambda *_: None)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def errors(name: str, seed: int, folder: Path) -> list[float]:
    """The mse of each cell, in the unit of the file."""
    source, splits = origin.draw(name, COUNTS, partial(numpy_stream, seed, "data"), folder)
    standard = setting.standard(steps=None).config
    config = replace(standard, seed=seed, source=source.domain)
    trained = Pool(splits["train"].points, config, torch.get_num_threads()).fit(CELLS, lambda *_: None)
    measured = (
        evaluation.measure(codec, source, splits["validation"], splits["test"], seed) for codec, _ in trained
    )
    return [result.mse.value * source.domain.factor**2 for result in measured]


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(folder)
        one, wide = seconds("cube", COUNTS, folder), seconds("wide.npy", COUNTS | {"train": 100_000}, folder)
        files.show(f"{setting.STEPS} steps of a cell: cube {one:.3f} s, 16 columns {wide:.3f} s\n")
        names = "cube", "cube.off", "cube.npy"
        of = {name: np.array([errors(name, seed, folder) for seed in SEEDS]) for name in names}
        files.show("cell, mse built in, standard deviation; mesh and points: mean, how many of these away\n")
        for place, cell in enumerate(CELLS):
            own = of["cube"][:, place].tolist()
            others = [of[n][:, place].mean() for n in ("cube.off", "cube.npy")]
            away = "  ".join(f"{other:.5f} ({(other - mean(own)) / stdev(own):+.1f})" for other in others)
            files.show(f"{cell.key}  {mean(own):.5f}  {stdev(own):.5f}  {away}\n")


if __name__ == "__main__":
    main()
