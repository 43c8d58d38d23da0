"""A cell is a cell: what it comes out as does not depend on what is trained beside it, nor on where."""

import itertools
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from snrvae.codecs import codec
from snrvae.codecs.codec import Codecs
from snrvae.training.history import History
from snrvae.settings.grid import Cell
from snrvae.sources.source import Split
from snrvae.training import loop
from snrvae.training.loop import Recipe
from snrvae.training.pool import Pool

ROOT = Path(__file__).parents[2]

MakeRecipe = Callable[..., Recipe]
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
def short(recipe: MakeRecipe) -> Recipe:
    return recipe(hidden=(16,), steps=300, batch_size=16)


def codec_bits(batches: Sequence[Codecs]) -> Bits:
    return {
        cell: codec.to_bytes([batch.select([place])])
        for batch in batches
        for place, cell in enumerate(batch.cells)
    }


def loss_bits(histories: Sequence[History]) -> Bits:
    return {
        cell: history.losses[:, place].tobytes()
        for history in histories
        for place, cell in enumerate(history.cells)
    }


@pytest.fixture(scope="module")
def alone(splits: dict[str, Split], short: Recipe) -> Callable[[Cell], bytes]:
    """The bits of a cell that is trained by itself."""
    points = splits["train"].points

    @cache
    def train(cell: Cell) -> bytes:
        batch, _ = loop.fit((cell,), points, short, lambda *_: None)
        return codec.to_bytes([batch])

    return train


@settings(max_examples=10)
@given(
    cells=st.lists(st.sampled_from(CELLS), min_size=2, max_size=8, unique=True),
    threads=st.integers(1, 3),
    blas=st.sampled_from([1, 2]),
)
def test_a_cell_has_the_bits_that_it_has_alone(
    splits: dict[str, Split],
    short: Recipe,
    alone: Callable[[Cell], bytes],
    cells: list[Cell],
    threads: int,
    blas: int,
) -> None:
    with threadpool_limits(blas):
        batches, _ = Pool(splits["train"].points, short, threads).fit(cells, lambda *_: None)
    assert codec_bits(batches) == {cell: alone(cell) for cell in cells}


TOGETHER = tuple(cell for cell in CELLS if (cell.noise, cell.latent_dim) == ("learned", 2))


def test_that_takes_streams_that_are_a_cells_own(
    splits: dict[str, Split], short: Recipe, alone: Callable[[Cell], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the order of cells to say what they draw, the test above would fail."""
    turn = itertools.count()
    monkeypatch.setattr(loop, "numpy_stream", lambda *_: np.random.default_rng(next(turn)))
    batches, _ = Pool(splits["train"].points, short, 1).fit(TOGETHER, lambda *_: None)
    bits = codec_bits(batches)
    assert all(bits[cell] != alone(cell) for cell in TOGETHER)


def test_a_cell_has_the_losses_that_it_has_alone(splits: dict[str, Split], short: Recipe) -> None:
    points = splits["train"].points
    _, history = loop.fit(TOGETHER[:2], points, short, lambda *_: None)
    _, one = loop.fit(TOGETHER[:1], points, short, lambda *_: None)
    assert loss_bits([history])[TOGETHER[0]] == loss_bits([one])[TOGETHER[0]]


ELSEWHERE = """
import pickle, sys
from snrvae.codecs import codec
from snrvae.training import loop
groups, points, recipe = pickle.load(sys.stdin.buffer)
trained = [loop.fit(cells, points, recipe, lambda *_: None) for cells in groups]
sys.stdout.buffer.write(pickle.dumps([(codec.to_bytes([codecs]), history) for codecs, history in trained]))
"""


def test_a_cell_has_the_bits_of_a_step_compiled_anew_for_a_processor_with_other_instructions(
    splits: dict[str, Split], short: Recipe, tmp_path: Path
) -> None:
    points = splits["train"].points
    groups = [CELLS[:1], *(tuple(c for c in CELLS if (c.noise, c.latent_dim) == kind) for kind in KINDS)]
    compiled = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=ROOT,
        env=os.environ | compiled,
        input=pickle.dumps((groups, points, short)),
        stdout=subprocess.PIPE,
        check=True,
    )
    for cells, (bits, history) in zip(groups, pickle.loads(done.stdout), strict=True):
        expected, its_history = loop.fit(cells, points, short, lambda *_: None)
        assert bits == codec.to_bytes([expected])
        assert loss_bits([history]) == loss_bits([its_history])
