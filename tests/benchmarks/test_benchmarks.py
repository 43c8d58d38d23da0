"""The benchmarks' peers train what this project trains, and its products are counted right."""

import importlib
import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from conftest import MakeConfig
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import ours, peak, plain, vmapped
from benchmarks.peers import Timing, rows_against_ours
from benchmarks.setting import Mses, Setting, Way, grid
from snrvae.codecs.codec import Codec
from snrvae.settings.grid import Cell
from snrvae.sources.domain import Split
from snrvae.training.pool import Pool


@pytest.fixture(scope="module")
def setting(splits: dict[str, Split], config: MakeConfig) -> Setting:
    torch.manual_seed(0)  # peers draw from it
    cells = tuple(cell for cell in grid(repeats=4) if cell.latent_dim == 3)  # fewer dimensions have to fold
    return Setting(cells, splits["train"].points, config(hidden_units=64, hidden_layers=2, steps=400))


@pytest.fixture(scope="module")
def mses(setting: Setting) -> Mses:
    return ours.prepare(setting, Pool(setting.points, setting.config, 1)).train()


@pytest.mark.slow
def test_without_the_latent_penalty_a_step_reckons_all_but_that(setting: Setting, mses: Mses) -> None:
    """And everything is as it was afterwards."""
    pool = Pool(setting.points, setting.config, 1)
    weightless = replace(
        setting.config, train=setting.config.train.model_copy(update={"gaussianity_weight": 0})
    )
    expected = ours.prepare(setting, Pool(setting.points, weightless, 1)).train()
    found = ours.without_penalty(setting, pool).train()
    assert found == expected != mses
    assert ours.prepare(setting, Pool(setting.points, weightless, 1)).train() == expected


def loop_over_cells(setting: Setting) -> Way:
    return plain.prepare(setting, fused=True)


def vmap(setting: Setting) -> Way:
    return vmapped.prepare(setting)


def jax(setting: Setting) -> Way:
    pytest.importorskip("optax")
    way: Way = importlib.import_module("benchmarks.jaxed").prepare(setting, devices=1)
    return way


def torch_engine(setting: Setting) -> Way:
    return ours.autograd(setting)


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [loop_over_cells, vmap, jax, torch_engine])
def test_a_peer_reaches_our_mse(prepare: Callable[[Setting], Way], setting: Setting, mses: Mses) -> None:
    found = prepare(setting).train()
    for snr in {cell.snr for cell in found}:
        assert _median(mses, snr) / 2 < _median(found, snr) < _median(mses, snr) * 2


@pytest.mark.slow
def test_pythae_comes_near_with_its_own_loss_and_schedule(setting: Setting, mses: Mses) -> None:
    pytest.importorskip("pythae")
    found = importlib.import_module("benchmarks.pythaed").prepare(setting).train()
    assert _median(found, 1000.0) < _median(mses, 1000.0) * 5


def test_a_way_is_held_against_ours_that_has_the_penalty_or_has_it_not_as_it_does() -> None:
    def timing(rates: list[float], penalty: bool) -> Timing:
        return Timing(Way("", 1, dict, penalty=penalty), rates, [1.0])

    with_it, without = timing([10, 12], True), timing([20, 30], False)
    rows = rows_against_ours([with_it, without, timing([5, 6], True), timing([5, 6], False)])
    assert [row[2:4] for row in rows] == [
        ["1.00", "1.00 – 1.00"],
        ["1.00", "1.00 – 1.00"],
        ["2.00", "2.00 – 2.00"],
        ["4.50", "4.00 – 5.00"],
    ]


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_products_of_a_step_are_those_of_autograd(latent_dim: int, config: MakeConfig) -> None:
    cell = Cell("isotropic", latent_dim, 10.0, 0)
    settings = config(hidden_units=32)
    codec = Codec(settings.architecture(cell, 0))
    batch = settings.train.batch_size
    with FlopCounterMode(display=False) as counter:
        sent = codec(torch.zeros(batch, 3), torch.zeros(batch, latent_dim))
        sent.reconstruction.sum().backward()
    assert peak.step_flops(cell, settings) == counter.get_total_flops()


def _median(mses: Mses, snr: float | None) -> float:
    return statistics.median(mse for cell, mse in mses.items() if cell.snr == snr)
