"""The pool of threads: the same cells as without it, and an end as soon as one of them fails."""

import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from snrvae.codecs import codec
from snrvae.codecs.codec import Codecs
from snrvae.sources import dataset
from snrvae.training.history import History
from snrvae.settings import grid
from snrvae.settings.grid import Cell
from snrvae.sources import cube
from snrvae.sources.source import Split
from snrvae.training import loop
from snrvae.training.loop import DivergedError, Recipe
from snrvae.training.pool import Pool
from stages import files
from tests.repository import ROOT

MakeRecipe = Callable[..., Recipe]

CELLS = [
    *(Cell("isotropic", 2, snr, repeat) for snr in (1.0, 5.0, 20.0, 80.0, 300.0) for repeat in (0, 1)),
    Cell("isotropic", 1, 5.0, 0),
    Cell("isotropic", 2, 3.0, 7),
]
STEPS = 1000


@pytest.fixture(scope="module")
def pool(splits: dict[str, Split], recipe: MakeRecipe) -> Pool:
    return Pool(splits["train"].points, recipe(hidden=(16,), steps=STEPS), 2)


@pytest.fixture(scope="module")
def trained(pool: Pool) -> tuple[list[Codecs], list[History], int]:
    """CELLS as the pool trains them, their histories, and the cell-steps that it told of."""
    told: list[int] = []
    batches, histories = pool.fit(CELLS, lambda cell_steps, _: told.append(cell_steps))
    return batches, histories, sum(told)


def test_threads_give_the_bits_that_each_cell_has_alone(
    trained: tuple[list[Codecs], list[History], int], splits: dict[str, Split], recipe: MakeRecipe
) -> None:
    batches, histories, told = trained
    assert [batch.cells for batch in batches] == grid.groups(CELLS)
    assert [cell for history in histories for cell in history.cells] == [
        cell for batch in batches for cell in batch.cells
    ]
    assert told == STEPS * len(CELLS)
    points = splits["train"].points
    for batch in batches:
        for place in (0, len(batch.cells) - 1):
            alone, _ = loop.fit(
                batch.cells[place : place + 1], points, recipe(hidden=(16,), steps=STEPS), lambda *_: None
            )
            assert codec.to_bytes([batch.select([place])]) == codec.to_bytes([alone])


def test_one_thread_gives_the_same_bits(splits: dict[str, Split], recipe: MakeRecipe) -> None:
    points, settings = splits["train"].points, recipe(hidden=(16,), steps=60)
    one, histories = Pool(points, settings, 1).fit(CELLS, lambda *_: None)
    two, _ = Pool(points, settings, 2).fit(CELLS, lambda *_: None)
    assert len(histories) == len(CELLS)
    assert codec.to_bytes(one) == codec.to_bytes(two)


def test_a_cell_that_diverges_ends_training_at_once(splits: dict[str, Split], recipe: MakeRecipe) -> None:
    steps, told = 200_000, list[int]()  # seconds for a cell, so that no delay of a busy machine is as long
    bad = Cell("isotropic", 1, 1e39, 0)  # its noise power is below what float32 holds
    with pytest.raises(DivergedError, match=r"d1-snr1e\+39"):
        Pool(splits["train"].points, recipe(hidden=(16,), steps=steps), 2).fit(
            [bad, *CELLS[:8]], lambda done, _: told.append(done)
        )
    assert sum(told) < steps, "it waited for the cell beside it"


def test_what_progress_raises_ends_every_thread(pool: Pool) -> None:
    def interrupt(*_: float) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        pool.fit(CELLS, interrupt)
    assert threading.active_count() == before


def test_a_cell_that_diverges_may_be_kept_and_leaves_the_bits_of_the_others_alone(
    trained: tuple[list[Codecs], list[History], int], splits: dict[str, Split], recipe: MakeRecipe
) -> None:
    (expected, _, _), bad = trained, Cell("isotropic", 1, 1e39, 0)
    settings = recipe(hidden=(16,), steps=STEPS, on_divergence="keep")
    kept, histories = Pool(splits["train"].points, settings, 2).fit([bad, *CELLS], lambda *_: None)
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


RUN = """
import numpy as np, sys
from snrvae.settings.grid import Cell
from snrvae.settings.params import Train
from snrvae.training.pool import Pool
from snrvae.training.loop import Recipe

rest = dict(repeats=1, kl_weight=0, gaussianity_weight=0, on_divergence="fail")
train = Train(steps=10**9, batch_size=16, learning_rate=0.01, **rest)
pool = Pool(np.eye(3, dtype=np.float32), Recipe((16,), train, 0, "cube"), 2)
try:
    print("ready", flush=True)
    pool.fit([Cell("none", 1, None, 0), Cell("none", 2, None, 0)], lambda *_: None)
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 3.0])
def test_an_interrupt_ends_all_threads(wait: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout.readline() == b"ready\n"
        time.sleep(wait)
        run.send_signal(signal.SIGINT)
        assert run.communicate(timeout=60)[1] == b"interrupted\n"
