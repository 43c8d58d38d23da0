"""The grid's cells: which there are, what they are called, how they are put together."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snrvae.settings import grid, params
from snrvae.settings.grid import Cell
from snrvae.settings.params import Params

COMMITTED = (Path(__file__).parents[2] / "params.yaml").read_text()

a_cell = st.builds(
    Cell,
    st.sampled_from(["isotropic", "learned"]),
    st.integers(1, 4),
    st.sampled_from([1.0, 10.0, 1e3]),
    st.integers(0, 3),
)


def small() -> Params:
    settings = params.from_yaml(COMMITTED)
    return settings.model_copy(update={"latent_dim": (2, 5), "snr": (1.0, 30.0), "noise": ("learned",)})


def test_there_is_an_autoencoder_for_each_dimension_and_repeat() -> None:
    repeats = small().train.repeats
    cells = grid.autoencoders(small())
    assert {(cell.latent_dim, cell.repeat) for cell in cells} == {
        (d, r) for d in (2, 5) for r in range(repeats)
    }
    assert len(set(cells)) == len(cells) == 2 * repeats
    assert {(cell.noise, cell.snr) for cell in cells} == {("none", None)}


def test_there_is_an_snr_vae_for_each_noise_dimension_snr_and_repeat() -> None:
    repeats = small().train.repeats
    cells = grid.snr_vaes(small())
    assert set(cells) == {
        Cell("learned", d, snr, repeat) for d in (2, 5) for snr in (1.0, 30.0) for repeat in range(repeats)
    }
    assert len(cells) == 4 * repeats


@pytest.mark.parametrize(
    "columns",
    [
        ("none", 2, 10.0, 0),
        ("isotropic", 2, None, 0),
        ("free", 2, 10.0, 0),
        ("pink", 2, None, 0),
        ("pink noise", 2, 10.0, 0),
        ("", 2, 10.0, 0),
        (None, 2, 10.0, 0),
        ("learned", 0, 10.0, 0),
        ("learned", 2.0, 10.0, 0),
        ("learned", "2", 10.0, 0),
        ("isotropic", 2, 0.0, 0),
        ("isotropic", 2, math.nan, 0),
        ("isotropic", 2, "10", 0),
        ("isotropic", 2, 10.0, -1),
        ("isotropic", 2, 10.0, None),
    ],
)
def test_a_cell_that_no_grid_has_is_refused(columns: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError):
        Cell(*columns)


def test_cells_have_the_names_that_the_metrics_show() -> None:
    assert Cell("none", 2, None, 0).name == "ae/d2/0"
    assert Cell("isotropic", 1, 10.0, 1).name == "snr_vae/d1-snr10/1"
    assert Cell("learned", 3, 0.5, 0).name == "snr_vae_learned/d3-snr0.5/0"
    assert Cell("free", 2, None, 1).name == "snr_vae_free/d2/1"
    assert Cell("isotropic", 3, 1e6, 0).key == "d3-snr1e+06"


@given(st.lists(a_cell, unique=True))
def test_groups_hold_every_cell_once_with_others_of_its_shape(cells: list[Cell]) -> None:
    groups = grid.groups(cells)
    assert sorted(map(str, (cell for group in groups for cell in group))) == sorted(map(str, cells))
    shapes = [{(cell.noise, cell.latent_dim) for cell in group} for group in groups]
    assert all(len(shape) == 1 for shape in shapes)
    assert len({next(iter(shape)) for shape in shapes}) == len(groups)
