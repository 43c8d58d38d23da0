"""MMD² to the prior: the sum over pairs, without bias, and larger the farther latents are."""

import math

import pytest
import torch
from torch import Tensor

from snrvae.codecs.losses import mmd


def test_mmd_is_the_sum_over_pairs_of_different_points() -> None:
    generator = torch.Generator().manual_seed(0)
    z, prior = (torch.randn(5, 2, generator=generator) for _ in range(2))

    def mean_kernel(a: Tensor, b: Tensor) -> float:
        pairs = [(a[i], b[j]) for i in range(5) for j in range(5) if i != j]
        return sum(4 / (4 + float((one - other).square().sum())) for one, other in pairs) / 20

    expected = mean_kernel(z, z) + mean_kernel(prior, prior) - 2 * mean_kernel(z, prior)
    assert float(mmd(z, prior)) == pytest.approx(expected, abs=1e-6)


def test_mmd_of_the_prior_is_zero_on_average_and_grows_with_the_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    z, prior = (torch.randn(2000, 64, 2, generator=generator) for _ in range(2))
    each = torch.func.vmap(mmd)
    values = each(z, prior)
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(2000)
    assert 0.01 < float(each(1.5 * z, prior).mean()) < float(each(z + 2, prior).mean())


def test_a_points_own_noise_serves_as_the_prior() -> None:
    """Latents that are their own noise with its sign turned are as normal as the noise: no bias."""
    noise = torch.randn(2000, 64, 2, generator=torch.Generator().manual_seed(1))
    for z in (noise, -noise):
        values = torch.func.vmap(mmd)(z, noise)
        assert abs(float(values.mean())) <= 4 * float(values.std()) / math.sqrt(2000) + 1e-6
