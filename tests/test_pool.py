"""The pool of processes: the same cells as without it, and an end as soon as one of them fails."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from snrvae import codec, dataset, grid, training
from snrvae.codec import Codecs
from snrvae.grid import Cell
from snrvae.pool import Alone, Pool
from snrvae.records import History
from snrvae.sources import cube
from snrvae.sources.source import Split
from snrvae.training import DivergedError, Recipe
from stages import files

MakeRecipe = Callable[..., Recipe]

CELLS = [
    *(Cell("isotropic", 2, snr, repeat) for snr in (1.0, 5.0, 20.0, 80.0, 300.0) for repeat in (0, 1)),
    Cell("isotropic", 1, 5.0, 0),
    Cell("isotropic", 2, 3.0, 7),
]
STEPS = 1000


@pytest.fixture(scope="module")
def pool(splits: dict[str, Split], recipe: MakeRecipe) -> Iterator[Pool]:
    with Pool(splits["train"].points, recipe(hidden=(16,), steps=STEPS), 2) as pool:
        yield pool


@pytest.fixture(scope="module")
def trained(pool: Pool) -> tuple[list[Codecs], list[History], int]:
    """CELLS as the pool trains them, their histories, and the cell-steps that it told of."""
    told: list[int] = []
    batches, histories = pool.fit(CELLS, lambda cell_steps, _: told.append(cell_steps))
    return batches, histories, sum(told)


def test_processes_give_the_bits_that_each_cell_has_alone(
    trained: tuple[list[Codecs], list[History], int], splits: dict[str, Split], recipe: MakeRecipe
) -> None:
    batches, histories, told = trained
    assert [batch.cells for batch in batches] == grid.groups(CELLS)
    assert [cell for history in histories for cell in history.cells] == [
        cell for batch in batches for cell in batch.cells
    ]
    assert told == STEPS * len(CELLS)
    points = torch.from_numpy(splits["train"].points)
    for batch in batches:
        for place in (0, len(batch.cells) - 1):
            alone, _ = training.fit(
                batch.cells[place : place + 1], points, recipe(hidden=(16,), steps=STEPS), lambda *_: None
            )
            assert codec.to_bytes([batch.select([place])]) == codec.to_bytes([alone])


def test_a_pool_that_trains_again_counts_from_the_start(pool: Pool) -> None:
    told: list[int] = []
    for round_number in range(3):
        batches, _ = pool.fit(CELLS[:1], lambda cell_steps, _: told.append(cell_steps))
        assert [batch.cells for batch in batches] == [tuple(CELLS[:1])]
        assert sum(told) == STEPS * (round_number + 1)


def test_one_process_alone_gives_the_same_bits(splits: dict[str, Split], recipe: MakeRecipe) -> None:
    told: list[int] = []
    points, settings = splits["train"].points, recipe(hidden=(16,), steps=60)
    alone = Alone(points, settings)
    here, histories = alone.fit(CELLS, lambda cell_steps, _: told.append(cell_steps))
    with Pool(points, settings, 2) as pool:
        apart, _ = pool.fit(CELLS, lambda *_: None)
    assert sum(told) == 60 * len(CELLS)
    assert len(histories) == sum(len(grid.blocks(group, grid.BLOCK)) for group in grid.groups(CELLS))
    assert codec.to_bytes(here) == codec.to_bytes(apart)


def test_a_cell_that_diverges_ends_training_at_once(pool: Pool) -> None:
    before, _ = pool._task.board.read()
    bad = Cell("isotropic", 1, 1e39, 0)  # its noise power is below what float32 holds
    with pytest.raises(DivergedError, match=r"d1-snr1e\+39"):
        pool.fit([*CELLS[:8], bad], lambda *_: None)
    after, _ = pool._task.board.read()
    assert after - before < STEPS * 8, "it waited for the block beside it"


def test_a_cell_that_diverges_may_be_kept_and_leaves_the_bits_of_the_others_alone(
    trained: tuple[list[Codecs], list[History], int], splits: dict[str, Split], recipe: MakeRecipe
) -> None:
    (expected, _, _), bad = trained, Cell("isotropic", 1, 1e39, 0)
    with Pool(splits["train"].points, recipe(hidden=(16,), steps=STEPS, on_divergence="keep"), 2) as pool:
        kept, histories = pool.fit([bad, *CELLS], lambda *_: None)
    assert [batch.diverged for batch in kept] == [(bad,), ()]
    assert {cell: step for history in histories for cell, step in history.diverged.items()} == {bad: 0}
    (other,) = (batch for batch in expected if batch.latent_dim == 1)
    assert codec.to_bytes([kept[0].select([1])]) == codec.to_bytes([other])
    (others,) = (batch for batch in expected if batch.latent_dim == 2)
    assert codec.to_bytes([kept[1]]) == codec.to_bytes([others])


POINTS = 2_000_000
SIZE = POINTS * 3 * 4  # bytes


def test_the_training_points_are_read_into_memory_once(tmp_path: Path) -> None:
    points, face = np.full((POINTS, 3), [0, 0.5, 0.5], np.float32), np.zeros(POINTS, np.uint8)
    files.write(tmp_path / "cube.npz", dataset.to_bytes(dict.fromkeys(dataset.SPLITS, Split(points, face))))
    tracemalloc.start()
    read = files.stream(tmp_path / "cube.npz", partial(dataset.training_inputs, cube.SOURCE, POINTS, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(read, points)
    assert SIZE < peak < 1.5 * SIZE


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_share_one_copy_of_the_points(recipe: MakeRecipe) -> None:
    settings = recipe(hidden=(16,), steps=20, batch_size=4096)

    def own_memory(count: int) -> int:
        """The most bytes that any of a pool's processes has for itself."""
        seen = []

        def look(*_: float) -> None:
            for process in multiprocessing.active_children():
                rollup = Path("/proc", str(process.pid), "smaps_rollup").read_text()
                seen.append(int(re.search(r"^Anonymous: +(\d+) kB", rollup, re.MULTILINE)[1]) * 1024)

        points = np.zeros((count, 3), np.float32)
        points[::2] = 1
        with Pool(points, settings, 2) as pool:
            pool.fit([CELLS[0], CELLS[-2]], look)
            look()
        return max(seen)

    assert own_memory(POINTS) - own_memory(6000) < SIZE / 2


RUN = """
import numpy as np, sys
from snrvae.grid import Cell
from snrvae.params import Train
from snrvae.pool import Pool
from snrvae.training import Recipe

if __name__ == "__main__":
    rest = dict(repeats=1, kl_weight=0, gaussianity_weight=0, on_divergence="fail")
    train = Train(steps=10**5, batch_size=16, learning_rate=0.01, **rest)
    try:
        with Pool(np.eye(3, dtype=np.float32), Recipe((16,), train, 0, "cube"), 2) as pool:
            print("ready", flush=True)
            pool.fit([Cell("none", 1, None, 0), Cell("none", 2, None, 0)], lambda *_: None)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
"""


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A pool at work for a while, in a process group of its own; it is about to start its processes."""
    (folder / "run.py").write_text(RUN)
    with subprocess.Popen(
        [sys.executable, "run.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as run:
        assert run.stdout.readline() == b"ready\n"
        yield run


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.3, 2.5])
def test_an_interrupt_of_the_whole_terminal_leaves_its_processes_silent(wait: float, tmp_path: Path) -> None:
    """Ctrl-C reaches every process, those that are still starting too."""
    with running(tmp_path) as run:
        time.sleep(wait)
        os.killpg(run.pid, signal.SIGINT)
        assert run.communicate(timeout=60)[1] == b"interrupted\n"


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        time.sleep(2.5)
        processes = psutil.Process(run.pid).children(recursive=True)
        assert len(processes) >= 2
        run.kill()
        _, left = psutil.wait_procs(processes, timeout=10)
        assert left == []
