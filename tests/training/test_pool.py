"""The pool of threads: the same cells as without it, and an end as soon as one of them fails."""

import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeConfig

from snrvae.codecs import files as models
from snrvae.codecs.codec import Codec
from snrvae.settings import grid, params
from snrvae.settings.grid import Cell
from snrvae.sources import cube, dataset
from snrvae.sources.domain import Split
from snrvae.training.compiled import engine
from snrvae.training.config import DivergedError
from snrvae.training.pool import Pool
from snrvae.training.trainer import StoppedError, Trained
from stages import files
from tests.repository import ROOT

CELLS = [
    *(Cell("isotropic", 2, snr, repeat) for snr in (1.0, 5.0, 20.0, 80.0, 300.0) for repeat in (0, 1)),
    Cell("isotropic", 1, 5.0, 0),
    Cell("isotropic", 2, 3.0, 7),
]
STEPS = 1000


def bits(codecs: Iterable[Codec]) -> list[bytes]:
    return [models.to_bytes({codec.architecture.cell.name: codec}) for codec in codecs]


@pytest.fixture(scope="module")
def pool(splits: dict[str, Split], config: MakeConfig) -> Pool:
    return Pool(splits["train"].points, config(hidden_layers=1, steps=STEPS), 2)


@pytest.fixture(scope="module")
def trained(pool: Pool) -> tuple[list[Trained], int]:
    """CELLS as the pool trains them, and the cell-steps that it reports."""
    reported: list[int] = []
    trained = pool.fit(CELLS, lambda cell_steps, _: reported.append(cell_steps))
    return trained, sum(reported)


def test_threads_give_the_bits_that_each_cell_has_alone(
    trained: tuple[list[Trained], int], splits: dict[str, Split], config: MakeConfig
) -> None:
    found, reported = trained
    in_order = [cell for group in grid.groups(CELLS) for cell in group]
    assert [codec.architecture.cell for codec, _ in found] == in_order
    assert [history.cell for _, history in found] == in_order
    assert reported == STEPS * len(CELLS)
    points, settings = splits["train"].points, config(hidden_layers=1, steps=STEPS)
    for group in grid.groups(CELLS):
        for cell in (group[0], group[-1]):
            codec, history = found[in_order.index(cell)]
            alone, its_history = engine.fit(cell, points, settings, lambda *_: None)
            assert bits([codec]) == bits([alone])
            assert history.losses.tobytes() == its_history.losses.tobytes()


def test_one_thread_gives_the_same_bits(splits: dict[str, Split], config: MakeConfig) -> None:
    points, settings = splits["train"].points, config(hidden_layers=1, steps=60)
    one = Pool(points, settings, 1).fit(CELLS, lambda *_: None)
    two = Pool(points, settings, 2).fit(CELLS, lambda *_: None)
    assert len(one) == len(CELLS)
    assert bits(codec for codec, _ in one) == bits(codec for codec, _ in two)


def test_a_cell_that_diverges_ends_training_at_once(splits: dict[str, Split], config: MakeConfig) -> None:
    """The cells beside it have hours to go: they end because it does."""
    reported, many = 0, 2 * 10**6

    def progress(steps: int, _: float) -> None:
        nonlocal reported
        reported += steps
        if reported > many:
            raise StoppedError

    bad = Cell("isotropic", 1, 1e39, 0)  # its noise power is below what float32 holds
    endless = config(hidden_layers=1, steps=10**9)
    with pytest.raises(DivergedError, match=r"d1-snr1e\+39"):
        Pool(splits["train"].points, endless, 2).fit([bad, *CELLS[:8]], progress)
    assert reported < many, "it waited for the cells beside it"


def test_what_progress_raises_ends_every_thread(pool: Pool) -> None:
    def interrupt(*_: float) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        pool.fit(CELLS, interrupt)
    assert threading.active_count() == before


def test_a_cell_that_diverges_may_be_kept_and_leaves_the_bits_of_the_others_alone(
    trained: tuple[list[Trained], int], splits: dict[str, Split], config: MakeConfig
) -> None:
    (expected, _), bad = trained, Cell("isotropic", 1, 1e39, 0)
    settings = config(hidden_layers=1, steps=STEPS, on_divergence="keep")
    kept = Pool(splits["train"].points, settings, 2).fit([bad, *CELLS], lambda *_: None)
    assert [codec.architecture.cell for codec, _ in kept if codec.diverged] == [bad]
    assert {past.cell: past.diverged for _, past in kept if past.diverged is not None} == {bad: 0}
    others = {codec.architecture.cell: codec for codec, _ in kept}
    assert bits(others[codec.architecture.cell] for codec, _ in expected) == bits(c for c, _ in expected)


POINTS = 2_000_000
SIZE = POINTS * 3 * 4  # bytes


def test_the_training_points_are_read_into_memory_once(tmp_path: Path) -> None:
    points, face = np.full((POINTS, 3), [0, 0.5, 0.5], np.float32), np.zeros(POINTS, np.uint8)
    files.write(tmp_path / "cube.npz", dataset.to_bytes(dict.fromkeys(params.SPLITS, Split(points, face))))
    tracemalloc.start()
    read = files.stream(
        tmp_path / "cube.npz", partial(dataset.training_inputs, cube.SOURCE.domain, 0, POINTS)
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(read, points)
    assert SIZE < peak < 1.5 * SIZE


RUN = """
import numpy as np
import sys
from snrvae.settings.grid import Cell
from snrvae.settings.params import Network, Train
from snrvae.sources import cube
from snrvae.training.config import TrainConfig
from snrvae.training.pool import Pool

weights = dict(kl_weight=0, gaussianity_weight=0, mmd_weight=0)
rest = dict(repeats=1, engine="compiled", on_divergence="fail")
train = Train(steps=10**9, batch_size=16, learning_rate=0.01, **weights, **rest)
network = Network(kind="mlp", activation="relu", hidden_units=16, hidden_layers=1)
pool = Pool(np.eye(3, dtype=np.float32), TrainConfig(network, train, 0, cube.SOURCE.domain), 2)
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
        try:
            assert run.stdout.readline() == b"ready\n"
            time.sleep(wait)
            run.send_signal(signal.SIGINT)
            assert run.communicate(timeout=60)[1] == b"interrupted\n"
        finally:
            run.kill()
