"""The pool of processes: the same cells as without it, and an end as soon as one of them fails."""

from collections.abc import Callable, Iterator

import pytest
import torch

from snrvae import codec, grid, training
from snrvae.cube import Split
from snrvae.grid import Cell
from snrvae.pool import Pool
from snrvae.training import DivergedError, Recipe

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


def test_processes_give_the_bits_that_each_cell_has_alone(
    pool: Pool, splits: dict[str, Split], recipe: MakeRecipe
) -> None:
    told: list[int] = []
    batches, histories = pool.fit(CELLS, lambda cell_steps, _: told.append(cell_steps))
    assert [batch.cells for batch in batches] == grid.groups(CELLS)
    assert [cell for history in histories for cell in history.cells] == [
        cell for batch in batches for cell in batch.cells
    ]
    assert sum(told) == STEPS * len(CELLS)
    points = torch.from_numpy(splits["train"].points)
    for batch in batches:
        for place in (0, len(batch.cells) - 1):
            alone, _ = training.fit(
                batch.cells[place : place + 1], points, recipe(hidden=(16,), steps=STEPS), lambda *_: None
            )
            assert codec.to_bytes([batch.select([place])]) == codec.to_bytes([alone])


def test_a_pool_that_trains_again_counts_from_the_start(pool: Pool) -> None:
    told: list[int] = []
    for time in range(3):
        batches, _ = pool.fit(CELLS[:1], lambda cell_steps, _: told.append(cell_steps))
        assert [batch.cells for batch in batches] == [tuple(CELLS[:1])]
        assert sum(told) == STEPS * (time + 1)


def test_a_pool_of_one_process_gives_the_same_bits_in_its_own(
    splits: dict[str, Split], recipe: MakeRecipe
) -> None:
    told: list[int] = []
    points, settings = splits["train"].points, recipe(hidden=(16,), steps=60)
    with Pool(points, settings, 1) as one, Pool(points, settings, 2) as two:
        here, histories = one.fit(CELLS, lambda cell_steps, _: told.append(cell_steps))
        apart, _ = two.fit(CELLS, lambda *_: None)
    assert sum(told) == 60 * len(CELLS)
    assert len(histories) == sum(len(grid.blocks(group)) for group in grid.groups(CELLS))
    assert codec.to_bytes(here) == codec.to_bytes(apart)


def test_a_cell_that_diverges_ends_training_at_once(pool: Pool) -> None:
    before, _ = pool._task.board.read()
    bad = Cell("isotropic", 1, 1e39, 0)  # its noise power is below what float32 holds
    with pytest.raises(DivergedError, match=r"d1-snr1e\+39"):
        pool.fit([*CELLS[:8], bad], lambda *_: None)
    after, _ = pool._task.board.read()
    assert after - before < STEPS * 8, "it waited for the block beside it"
