"""Codes for one point at a time without networks: limit cases, what arrives, and the committed table."""

from math import log10
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import one_point
from benchmarks.one_point import Run
from snrvae.limit import shannon
from snrvae.measurement import measures, prices
from snrvae.settings.grid import Cell
from snrvae.sources import cube

ROOT = Path(__file__).parents[2]
KNOWN = prices.from_csv((ROOT / "reports" / "one_point.csv").read_bytes(), "cube")
LIMIT = shannon.tangents_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes())


def normal(count: int, shift: float = 0.5) -> np.ndarray:
    """Quantiles of the normal law, scaled to its variance, as points [n, 1]."""
    x = norm.ppf((np.arange(count) + shift) / count)[:, None]
    return x / x.std()


def test_for_one_normal_variable_it_ends_at_the_linear_code_which_reaches_the_limit() -> None:
    x, run = normal(3000), Run(1, 0.5, 10, 1 / 8, 1 / 16, 0.4)
    codes = dict(one_point.annealed(x, one_point.start(x, run), run))
    assert [*codes] == [1, 3, 10]
    for snr, code in codes.items():
        gap = 10 * log10(one_point.error(code, normal(2000, 0.4), snr) * (1 + snr))
        assert -0.005 < gap < 0.02


@pytest.mark.parametrize("snr", [0.5, 1.0, 10.0])
def test_the_price_of_power_is_the_slope_of_the_linear_codes_error(snr: float) -> None:
    step = 1 / 32
    mu = step * np.rint(normal(20_000) * snr**0.5 / step)
    assert one_point.decoder(normal(20_000), mu, step).price == pytest.approx(1 / (1 + snr) ** 2, rel=0.01)


def test_the_error_is_what_arrives_over_a_noisy_channel() -> None:
    """Decoded by the mean of points given z itself, without a grid."""
    step, rng = 1 / 8, np.random.default_rng(0)
    x, fresh = one_point.surface(12, 0.5), one_point.surface(15, 0.3)
    mu = step * np.rint(3 * np.c_[x[:, 0] + 2 * x[:, 1], x[:, 2]] / step)
    code = one_point.decoder(x, mu, step)
    sent, error = one_point.encode(fresh, code)
    z = sent + rng.standard_normal((8, *sent.shape))
    weight = np.exp(-0.5 * ((z[:, :, None] - mu) ** 2).sum(-1))
    received = weight @ x / weight.sum(-1, keepdims=True)
    arrived = measures.estimate(((received - fresh) ** 2).sum(-1).ravel())
    assert abs(arrived.value - error) < 4 * arrived.stderr


def test_no_other_latent_of_the_grid_is_better_for_any_point() -> None:
    x = one_point.surface(6, 0.5)
    mu = np.rint(4 * x[:, :2]) / 4
    code = one_point.decoder(x, mu, 0.25)
    sent, _ = one_point.encode(x, code)
    far = ((x[:, None] - code.mean) ** 2).sum(-1) + code.spread
    cost = far + code.price * (code.nodes**2).sum(1)
    at = (np.abs(sent[:, None] - code.nodes).sum(-1)).argmin(1)
    assert cost[np.arange(len(x)), at] == pytest.approx(cost.min(1), rel=1e-9)


def test_a_code_of_another_power_is_refused() -> None:
    code = one_point.decoder(normal(500), np.rint(8 * normal(500)) / 8, 1 / 8)
    with pytest.raises(ValueError, match=r"at SNR 0\.01 the code has not settled"):
        one_point.error(code, normal(400), 0.01)


def test_the_surface_is_the_cubes_around_its_mean() -> None:
    x = one_point.surface(20, 0.3)
    assert cube.surface_distance(x + 0.5).max() < 1e-12
    assert x.var(0) == pytest.approx(np.full(3, cube.VARIANCE), rel=0.02)


def test_the_committed_table_has_every_snr_for_one_and_two_latents() -> None:
    assert {(d, snr) for d in (1, 2) for snr in one_point.SNRS} <= {*KNOWN}
    assert {d for d, _ in KNOWN} <= {1, 2, 3}


@pytest.mark.parametrize(("latent_dim", "snr"), KNOWN)
def test_the_committed_table_lies_between_the_limit_and_the_linear_code(latent_dim: int, snr: float) -> None:
    mse = KNOWN[latent_dim, snr]
    least = float(shannon.distortion_at_rate(LIMIT, shannon.capacity_bits(latent_dim, snr))) / 3
    linear = measures.linear_mse(Cell("isotropic", latent_dim, snr, 0), cube.SOURCE, False)
    assert least < mse < linear


def test_the_page_has_the_committed_tables_gaps() -> None:
    page = (ROOT / "docs" / "theory.md").read_text()
    head = f"| gap in dB | {' | '.join(f's = {snr}' for snr in one_point.SNRS)} |"
    rows = page.split(head)[1].splitlines()[2:5]
    for latent_dim, row in enumerate(rows, start=1):
        found = []
        for snr in one_point.SNRS:
            least = float(shannon.distortion_at_rate(LIMIT, shannon.capacity_bits(latent_dim, snr))) / 3
            mse = KNOWN.get((latent_dim, snr))
            found.append(f"{10 * log10(mse / least):.2f}" if mse else "–")
        assert row == f"| d = {latent_dim} | {' | '.join(found)} |"
