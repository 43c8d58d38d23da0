"""docs/theory.md says what is so: the tests it names exist, and what no other test checks is checked here."""

import ast
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from snrvae.codecs.channels import Latents
from snrvae.codecs.losses import kl_nats
from snrvae.limit import shannon

ROOT = Path(__file__).parents[2]
THEORY = (ROOT / "docs" / "theory.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[^`]*)`", THEORY)))


def test_theory_names_a_test_for_its_claims() -> None:
    claims = re.findall(r"^- .+: `tests/\S+::\S+`$", THEORY, flags=re.MULTILINE)
    assert len(claims) > 30
    sections = re.split(r"^## ", THEORY, flags=re.MULTILINE)[1:]
    assert all("`tests/" in section for section in sections)


@pytest.mark.parametrize("named", NAMED)
def test_every_test_that_is_named_exists(named: str) -> None:
    path, _, name = named.partition("::")
    body = ast.parse((ROOT / path).read_text()).body
    assert name in {part.name for part in body if isinstance(part, ast.FunctionDef)}
    assert name.startswith("test_")


def test_the_squared_error_is_a_gaussian_likelihood() -> None:
    """-ln N(x; x̂, τ²I) is |x - x̂|²/(2τ²) plus a constant, and 3·mse/(2τ²) on average over points."""
    rng = np.random.default_rng(0)
    x, tau = rng.random((500, 3)), 0.3
    surprise, error = [], []
    for spread in (0.01, 0.1, 0.5):
        decoded = x + spread * rng.standard_normal(x.shape)
        surprise.append(-stats.norm(decoded, tau).logpdf(x).sum(1).mean())
        error.append(np.mean((x - decoded) ** 2))
    assert np.diff(surprise) * 2 * tau**2 / 3 == pytest.approx(np.diff(error), rel=1e-9)


@pytest.mark.parametrize("snr", [1.0, 100.0])
def test_noise_of_the_same_mean_that_is_spread_unevenly_raises_the_kl_without_bound(snr: float) -> None:
    """Nine of ten points get a small share of the noise, the tenth the rest; P and the mean stay."""
    power, points = snr / (1 + snr), 1000
    mean = torch.full((points, 1), math.sqrt(power), dtype=torch.float64)
    found = []
    for share in (1.0, 0.1, 1e-3, 1e-6):
        shares = torch.full((points,), share, dtype=torch.float64)
        shares[:100] = 10 - 9 * share
        assert float(shares.mean()) == pytest.approx(1)
        nats = kl_nats(Latents(mean, (shares * power / snr).log().view(-1, 1))).mean()
        found.append(float(nats))
        assert found[-1] - found[0] == pytest.approx(-float(shares.log().mean()) / 2, abs=1e-9)
    assert found[0] / math.log(2) == pytest.approx(shannon.capacity_bits(1, snr))
    assert found == sorted(found)
    assert found[-1] > found[0] + 5


def test_the_limits_of_the_default_grid_are_those_of_the_committed_table() -> None:
    lines = shannon.tangents_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes())
    header, *rows = re.findall(r"^\| (?:d \| s = 1 |[123] \| 0\.).*\|$", THEORY, flags=re.MULTILINE)
    snrs = [float(snr) for snr in re.findall(r"s = (\d+)", header)]
    assert len(snrs) == 4
    assert len(rows) == 3
    for row in rows:
        latent_dim, *limits = row.strip("| ").split(" | ")
        for snr, limit in zip(snrs, limits, strict=True):
            capacity = shannon.capacity_bits(int(latent_dim), snr)
            assert float(limit) == pytest.approx(float(shannon.distortion_at_rate(lines, capacity)), rel=3e-4)
