"""What training minimises beside the squared error, against independent implementations."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from snrvae.codecs import channels, losses
from snrvae.codecs.channels import Latents
from snrvae.settings.grid import Cell
from snrvae.training.compiled import kernel, penalty
from tests import compiled

DIM, BATCH = 2, 64
SINGLE = 5e-7  # rounding of float32 sums of terms up to 1

snrs = st.floats(0.01, 1e4)
dims = st.integers(1, 6)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_kl(mean: Tensor, snr: float) -> float:
    """E KL in nats of latents [n, d] behind the SNR channel."""
    channel = channels.Isotropic(Cell("isotropic", 2, float(snr), 0)).double()
    channel.snr = torch.tensor(snr, dtype=mean.dtype)  # not rounded to float32
    return float(losses.kl_nats(channel(mean)).mean())


def of_power(power: float, dim: int, seed: int = 0) -> Tensor:
    """Latents [n, d] that have exactly this signal power."""
    mean = normal(50, dim, seed=seed) + 0.3
    return mean * (power / mean.square().mean()).sqrt()


@pytest.mark.parametrize("shape", [(1, 1), (BATCH, DIM)], ids=["isotropic", "learned"])
def test_kl_is_that_of_torch_distributions(shape: tuple[int, ...]) -> None:
    mean, log_noise_power = normal(BATCH, DIM), 2 * normal(*shape, seed=1)
    posterior = Normal(mean, (log_noise_power / 2).exp().expand_as(mean))
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    found = losses.kl_nats(Latents(mean, log_noise_power))
    assert found.shape == (BATCH,)
    assert torch.allclose(found, expected, rtol=1e-12, atol=0)


def test_kl_is_the_mean_log_ratio_of_the_densities() -> None:
    mean, log_noise_power = normal(4, DIM), normal(4, DIM, seed=1)
    posterior = Normal(mean, (log_noise_power / 2).exp())
    z = mean + posterior.scale * normal(100_000, 4, DIM, seed=2)
    ratio = (posterior.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(2)  # [n, b]
    error = ratio.std(0) / math.sqrt(len(ratio))
    found = losses.kl_nats(Latents(mean, log_noise_power))
    assert (abs(found - ratio.mean(0)) < 5 * error).all()


def test_kl_keeps_its_digits_where_the_noise_is_almost_standard() -> None:
    tiny = Latents(torch.zeros(1, 1), torch.tensor([[1e-4]]))
    assert float(losses.kl_nats(tiny)) == pytest.approx(1e-8 / 4, rel=1e-3)


@given(st.floats(1e-3, 1e3), snrs, dims)
def test_mean_kl_is_the_closed_form_in_signal_power_and_snr(power: float, snr: float, dim: int) -> None:
    expected = dim / 2 * (power * (1 + 1 / snr) - 1 - math.log(power / snr))
    assert mean_kl(of_power(power, dim), snr) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(st.floats(1e-3, 1e3), snrs, dims, st.integers(1, 1000))
def test_mean_kl_depends_on_the_encoder_only_through_the_signal_power(
    power: float, snr: float, dim: int, seed: int
) -> None:
    one, other = mean_kl(of_power(power, dim), snr), mean_kl(of_power(power, dim, seed), snr)
    assert one == pytest.approx(other, rel=1e-9, abs=1e-9)


@given(snrs, dims)
def test_mean_kl_is_smallest_where_the_received_power_is_one(snr: float, dim: int) -> None:
    best = snr / (1 + snr)
    assert best * (1 + 1 / snr) == pytest.approx(1)
    at_best = mean_kl(of_power(best, dim), snr)
    for factor in (0.5, 0.99, 1.01, 2):
        assert mean_kl(of_power(best * factor, dim), snr) > at_best


@given(snrs, dims)
def test_the_smallest_mean_kl_is_the_capacity_of_the_channel(snr: float, dim: int) -> None:
    capacity = dim / 2 * math.log(1 + snr)
    assert mean_kl(of_power(snr / (1 + snr), dim), snr) == pytest.approx(capacity, rel=1e-9)


# Gaussianity


def both(z: Tensor, label: Tensor | None = None) -> list[Tensor]:
    """T of latents z [n, d] by the definition, and as compiled."""
    return [losses.gaussianity(z, label), compiled.gaussianity(z, label)[0]]


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [64, 80, 160, 256, 272])
def test_compiled_value_and_gradient_are_those_of_the_definition_under_autograd(
    batch: int, dim: int, labelled: bool
) -> None:
    z = 1.5 * normal(batch, dim) + 0.4
    kind = torch.randint(2, (batch,), generator=torch.Generator().manual_seed(0))
    label = torch.nn.functional.one_hot(kind, 2).double() if labelled else None
    found, gradient = compiled.gaussianity(z, label)
    expected = losses.gaussianity(z.requires_grad_(), label)
    (autograd,) = torch.autograd.grad(expected, z)
    assert torch.allclose(found, expected, rtol=1e-5, atol=SINGLE)
    assert torch.allclose(gradient, autograd, rtol=1e-5, atol=SINGLE)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(("batch", "group"), [(256, 128), (80, 80), (160, 80), (272, 16)])
def test_a_large_batch_is_compared_in_groups(batch: int, group: int, labelled: bool) -> None:
    z = 1.5 * normal(batch, DIM) + 0.4
    kind = torch.randint(2, (batch,), generator=torch.Generator().manual_seed(0))
    kind[::group], kind[1::group] = 0, 1  # both in every group
    label = torch.nn.functional.one_hot(kind, 2).double() if labelled else None
    for place, found in enumerate(both(z, label)):
        parts = [
            both(z[k : k + group], None if label is None else label[k : k + group])[place]
            for k in range(0, batch, group)
        ]
        assert losses.group_size(batch) == group
        assert torch.allclose(found, torch.stack(parts).mean(), rtol=1e-5, atol=SINGLE)


@pytest.mark.parametrize(
    ("z", "characteristic"),
    [
        (torch.zeros(16, 1, dtype=torch.float64), lambda _: 1.0),
        (torch.full((16, 1), 2.0, dtype=torch.float64), lambda t: np.exp(2j * t)),
        (torch.sign(torch.randn(64_000, 1, generator=torch.Generator().manual_seed(0))).double(), np.cos),
    ],
    ids=["dead latents", "constant latents", "two values"],
)
def test_the_closed_form_is_the_integral_over_frequencies(
    z: Tensor, characteristic: Callable[[float], complex]
) -> None:
    def integrand(t: float) -> float:
        density = math.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
        return density * abs(characteristic(t) - math.exp(-(t**2) / 2)) ** 2

    exact, _ = integrate.quad(integrand, -40, 40)
    for found in both(z):
        assert float(found) == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_a_small_batch_estimates_the_distance_without_bias(scale: float) -> None:
    variance = scale**2  # of normal latents, all three means are those of normal densities
    expected = (1 + 2 * variance) ** -0.5 - 2 * (2 + variance) ** -0.5 + 3**-0.5
    each = [both(z) for z in scale * normal(4000, 16, 1, seed=3)]
    for values in zip(*each, strict=True):
        found = torch.stack(values)
        assert abs(float(found.mean()) - expected) < 4 * float(found.std()) / math.sqrt(len(found))


def test_the_value_is_near_zero_for_a_normal_law_alone() -> None:
    z = normal(12_800, DIM)
    uniform = (torch.rand(z.shape, generator=torch.Generator().manual_seed(0)).double() - 0.5) * 12**0.5
    at_normal = [abs(float(found)) for found in both(z)]
    assert max(at_normal) < 5e-4
    for other in (z + 1, z * 2, z / 2, z * 0, z.abs(), uniform):
        for found, least in zip(both(other), at_normal, strict=True):
            assert float(found) > 5 * least


def test_the_value_ignores_the_order_of_points_and_a_rotation() -> None:
    z = normal(BATCH, 3) + 0.5
    shuffled = z[torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))]
    rotation, _ = torch.linalg.qr(normal(3, 3, seed=5))
    for found, moved, turned in zip(both(z), both(shuffled), both(z @ rotation), strict=True):
        assert torch.allclose(moved, found, rtol=0, atol=SINGLE)
        assert torch.allclose(turned, found, rtol=0, atol=SINGLE)


def test_the_gradient_is_added_with_its_weight() -> None:
    z = normal(DIM, 32).float().numpy()
    space = np.empty((37, 32), np.float32)
    once, twice = np.zeros_like(z), np.ones_like(z)
    penalty.gaussianity(z, np.zeros(32, np.int64), 0, np.float32(1), once, space)
    penalty.gaussianity(z, np.zeros(32, np.int64), 0, np.float32(3), twice, space)
    assert twice == pytest.approx(1 + 3 * once, rel=1e-5)


@given(st.lists(st.floats(0, 80, width=32), min_size=1, max_size=40))
def test_the_exponential_has_the_digits_of_float32(values: list[float]) -> None:
    x = np.array(values, np.float32)
    expected = np.exp(-x.astype(np.float64))
    kernel.exp_of_minus(x)
    assert x == pytest.approx(expected, rel=3e-7)


def test_the_exponential_of_what_is_too_far_is_almost_nothing_and_a_nan_stays_one() -> None:
    x = np.array([1e3, np.inf, 0, np.nan], np.float32)
    kernel.exp_of_minus(x)
    assert (x[:2] < 1e-37).all()
    assert x[2] == 1
    assert np.isnan(x[3])


def test_a_batch_that_no_whole_rows_divide_is_compared_as_one_group() -> None:
    assert [losses.group_size(batch) for batch in (16, 48, 64, 256, 20, 50)] == [16, 48, 64, 128, 20, 50]
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    apart = (z[:, None] - z).square().sum(2)
    pairs = (torch.exp(-apart / 2).sum() - 50) / (50 * 49)
    expected = pairs - 2 / 2 * torch.exp(-z.square().sum(1) / 4).mean() + 1 / 3
    assert float(losses.gaussianity(z)) == pytest.approx(float(expected), abs=1e-12)
