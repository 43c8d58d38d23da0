"""A cell is a cell: what it comes out as does not depend on what is trained beside it, nor on where."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snrvae import codec, grid, network, training
from snrvae.codec import Codecs
from snrvae.grid import Cell
from snrvae.pool import Alone, Pool, Trainer
from snrvae.records import History
from snrvae.sources.source import Split
from snrvae.training import Recipe

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


@pytest.fixture(scope="module")
def short(recipe: MakeRecipe) -> Recipe:
    return recipe(hidden=(16,), steps=300, batch_size=16)


@pytest.fixture(scope="module")
def pools(splits: dict[str, Split], short: Recipe) -> Iterator[list[Trainer]]:
    """This process, and two others."""
    points = splits["train"].points
    with Pool(points, short, 2) as apart:
        yield [Alone(points, short), apart]


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
    points = torch.from_numpy(splits["train"].points)

    @cache
    def train(cell: Cell) -> bytes:
        batch, _ = training.fit((cell,), points, short, lambda *_: None)
        return codec.to_bytes([batch])

    return train


@settings(max_examples=10)
@given(
    cells=st.lists(st.sampled_from(CELLS), min_size=2, max_size=8, unique=True),
    largest=st.integers(1, 8),
    place=st.sampled_from([0, 1]),
    threads=st.sampled_from([1, 2]),
)
def test_a_cell_has_the_bits_that_it_has_alone(
    pools: list[Trainer],
    alone: Callable[[Cell], bytes],
    cells: list[Cell],
    largest: int,
    place: int,
    threads: int,
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "BLOCK", largest)
        batches, _ = pools[place].fit(cells, lambda *_: None)
    torch.set_num_threads(before)
    assert codec_bits(batches) == {cell: alone(cell) for cell in cells}


TOGETHER = tuple(cell for cell in CELLS if (cell.noise, cell.latent_dim) == ("learned", 2))


@pytest.mark.parametrize(("row", "same"), [(network.ROW, True), (1, False)])
def test_that_takes_parameters_on_rows_of_their_own(
    row: int, same: bool, splits: dict[str, Split], short: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "ROW", row)
    points = torch.from_numpy(splits["train"].points)
    batch, _ = training.fit(TOGETHER, points, short, lambda *_: None)
    one, _ = training.fit(TOGETHER[:1], points, short, lambda *_: None)
    assert (codec_bits([batch])[TOGETHER[0]] == codec.to_bytes([one])) is same


def test_a_cell_has_the_losses_that_it_has_alone(splits: dict[str, Split], short: Recipe) -> None:
    points = torch.from_numpy(splits["train"].points)
    _, history = training.fit(TOGETHER[:2], points, short, lambda *_: None)
    _, one = training.fit(TOGETHER[:1], points, short, lambda *_: None)
    assert loss_bits([history])[TOGETHER[0]] == loss_bits([one])[TOGETHER[0]]
