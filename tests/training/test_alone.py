"""A cell is a cell: what it comes out as does not depend on what is trained beside it, nor on where."""

import itertools
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from snrvae.codecs import files
from snrvae.codecs.codec import Codec
from snrvae.settings.grid import Cell
from snrvae.sources.domain import Split
from snrvae.training import batches
from snrvae.training.compiled import engine
from snrvae.training.config import TrainConfig
from snrvae.training.history import History
from snrvae.training.pool import Pool
from snrvae.training.trainer import Trained

ROOT = Path(__file__).parents[2]

Bits = dict[Cell, bytes]

CELLS = [
    *(Cell("none", d, None, repeat) for d in (1, 2, 3, 4) for repeat in (0, 1)),
    *(
        Cell(noise, d, snr, repeat)
        for noise in ("isotropic", "learned")
        for d in (1, 2, 3, 4)
        for snr, repeat in ((1.0, 0), (30.0, 0), (30.0, 1))
    ),
]
KINDS = (("isotropic", 1), ("isotropic", 3), ("learned", 2))


@pytest.fixture(scope="module")
def short(config: MakeConfig) -> TrainConfig:
    return config(hidden_layers=1, steps=300, batch_size=16)


def bits(codec: Codec) -> bytes:
    return files.to_bytes({codec.architecture.cell.name: codec})


def codec_bits(trained: Iterable[Trained]) -> Bits:
    return {codec.architecture.cell: bits(codec) for codec, _ in trained}


def loss_bits(histories: Iterable[History]) -> Bits:
    return {history.cell: history.losses.tobytes() for history in histories}


@pytest.fixture(scope="module")
def alone(splits: dict[str, Split], short: TrainConfig) -> Callable[[Cell], bytes]:
    """The bits of a cell that is trained by itself."""
    points = splits["train"].points

    @cache
    def train(cell: Cell) -> bytes:
        codec, _ = engine.fit(cell, points, short, lambda *_: None)
        return bits(codec)

    return train


@settings(max_examples=10)
@given(
    cells=st.lists(st.sampled_from(CELLS), min_size=2, max_size=8, unique=True),
    threads=st.integers(1, 3),
    blas=st.sampled_from([1, 2]),
)
def test_a_cell_has_the_bits_that_it_has_alone(
    splits: dict[str, Split],
    short: TrainConfig,
    alone: Callable[[Cell], bytes],
    cells: list[Cell],
    threads: int,
    blas: int,
) -> None:
    with threadpool_limits(blas):
        trained = Pool(splits["train"].points, short, threads).fit(cells, lambda *_: None)
    assert codec_bits(trained) == {cell: alone(cell) for cell in cells}


TOGETHER = tuple(cell for cell in CELLS if (cell.noise, cell.latent_dim) == ("learned", 2))


def test_that_takes_streams_that_are_a_cells_own(
    splits: dict[str, Split],
    short: TrainConfig,
    alone: Callable[[Cell], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were the order of cells to say what they draw, the test above would fail."""
    turn, expected = itertools.count(), {cell: alone(cell) for cell in TOGETHER}
    monkeypatch.setattr(batches, "numpy_stream", lambda *_: np.random.default_rng(next(turn)))
    found = codec_bits(Pool(splits["train"].points, short, 1).fit(TOGETHER, lambda *_: None))
    assert all(found[cell] != expected[cell] for cell in TOGETHER)


def test_a_cell_has_the_losses_that_it_has_alone(splits: dict[str, Split], short: TrainConfig) -> None:
    points = splits["train"].points
    together = Pool(points, short, 2).fit(TOGETHER, lambda *_: None)
    alone = [engine.fit(cell, points, short, lambda *_: None) for cell in TOGETHER]
    assert loss_bits(past for _, past in together) == loss_bits(past for _, past in alone)


ELSEWHERE = """
import pickle, sys
from snrvae.codecs import files
from snrvae.training.compiled import engine
cells, points, config = pickle.load(sys.stdin.buffer)
trained = [engine.fit(cell, points, config, lambda *_: None) for cell in cells]
found = [(files.to_bytes({codec.architecture.cell.name: codec}), history) for codec, history in trained]
sys.stdout.buffer.write(pickle.dumps(found))
"""


@pytest.mark.slow
def test_a_cell_has_the_bits_of_a_step_compiled_for_a_processor_with_other_instructions(
    splits: dict[str, Split], short: TrainConfig
) -> None:
    points = splits["train"].points
    cells = [*CELLS[:1], *(cell for cell in CELLS if (cell.noise, cell.latent_dim) in KINDS)]
    compiled = {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""}  # as in test_processors.py
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=ROOT,
        env=os.environ | compiled,
        input=pickle.dumps((cells, points, short)),
        stdout=subprocess.PIPE,
        check=True,
    )
    for cell, (found, history) in zip(cells, pickle.loads(done.stdout), strict=True):
        codec, its_history = engine.fit(cell, points, short, lambda *_: None)
        assert found == bits(codec)
        assert loss_bits([history]) == loss_bits([its_history])
