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

from snrvae import channel, objective
from snrvae.objective import Gaussianity

CELLS, DIM, BATCH = 3, 2, 64

snrs = st.floats(0.01, 1e4)
dims = st.integers(1, 6)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_kl(mean: Tensor, snr: float) -> float:
    """E KL in nats of latents [1, d, b] behind the SNR channel."""
    log_noise_power = channel.isotropic(channel.signal_power(mean), torch.tensor(snr, dtype=mean.dtype))
    return float(objective.kl_nats(mean, log_noise_power).mean())


def of_power(power: float, dim: int, seed: int = 0) -> Tensor:
    """Latents [1, d, b] that have exactly this signal power."""
    mean = normal(1, dim, 50, seed=seed) + 0.3
    return mean * (power / channel.signal_power(mean)).sqrt()


@pytest.mark.parametrize("shape", [(CELLS, 1, 1), (CELLS, DIM, BATCH)], ids=["isotropic", "learned"])
def test_kl_is_that_of_torch_distributions(shape: tuple[int, ...]) -> None:
    mean, log_noise_power = normal(CELLS, DIM, BATCH), 2 * normal(*shape, seed=1)
    posterior = Normal(mean, (log_noise_power / 2).exp().expand_as(mean))
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    found = objective.kl_nats(mean, log_noise_power)
    assert found.shape == (CELLS, BATCH)
    assert torch.allclose(found, expected, rtol=1e-12, atol=0)


def test_kl_is_the_mean_log_ratio_of_the_densities() -> None:
    mean, log_noise_power = normal(1, DIM, 4), normal(1, DIM, 4, seed=1)
    posterior = Normal(mean, (log_noise_power / 2).exp())
    z = mean + posterior.scale * normal(100_000, DIM, 4, seed=2)
    ratio = (posterior.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(1)  # [n, b]
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert (abs(objective.kl_nats(mean, log_noise_power)[0] - ratio.mean(0)) < 5 * error).all()


def test_kl_keeps_its_digits_where_the_noise_is_almost_standard() -> None:
    tiny = torch.tensor([[[1e-4]]])
    assert float(objective.kl_nats(torch.zeros(1, 1, 1), tiny)) == pytest.approx(1e-8 / 4, rel=1e-3)


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

FREQUENCIES = [0.3 + 0.6 * k for k in range(7)]


def statistic(z: Tensor, directions: Tensor) -> Tensor:
    """The statistic of latents z [d, b] along directions [m, d], by complex exponentials and sums."""
    total = torch.zeros((), dtype=z.dtype)
    for direction in directions:
        projection = direction @ z
        for t in FREQUENCIES:
            points = torch.exp(1j * t * projection)
            pairs = (points[:, None] * points.conj()[None, :]).real
            apart = (pairs.sum() - pairs.diagonal().sum()) / (len(points) * (len(points) - 1))
            target = math.exp(-(t**2) / 2)
            total = total + target * (apart - 2 * target * points.real.mean() + target**2) * 0.6
    return total / len(directions)


def unit(directions: int, dim: int, seed: int = 7) -> Tensor:
    drawn = normal(directions, dim, seed=seed)
    return drawn / drawn.norm(dim=1, keepdim=True)


def value(z: Tensor, directions: Tensor) -> Tensor:
    found, _ = Gaussianity(len(z), len(directions), z.shape[2], z)(z, directions)
    return found


@pytest.mark.parametrize(("dim", "count"), [(1, 1), (2, 2), (3, 2), (2, 5)])
def test_value_and_gradient_are_those_of_complex_exponentials_under_autograd(dim: int, count: int) -> None:
    measure = Gaussianity(CELLS, count, BATCH, torch.empty(0, dtype=torch.float64))
    for seed in (1, 2):  # buffers are used again
        z, directions = 1.5 * normal(CELLS, dim, BATCH, seed=seed) + 0.4, unit(count, dim, seed)
        found, gradient = measure(z, directions)
        z.requires_grad_()
        expected = torch.stack([statistic(cell, directions) for cell in z])
        (autograd,) = torch.autograd.grad(expected.sum(), z)
        assert torch.allclose(found, expected, rtol=1e-6, atol=0)
        assert torch.allclose(gradient, autograd, rtol=1e-6, atol=1e-6 * float(autograd.abs().max()))


def test_single_precision_gives_the_same_to_single_precision() -> None:
    z, directions = normal(CELLS, DIM, BATCH), unit(2, DIM)
    single, gradient = Gaussianity(CELLS, 2, BATCH, torch.empty(0))(z.float(), directions.float())
    double, expected = Gaussianity(CELLS, 2, BATCH, z)(z, directions)
    assert single.dtype == gradient.dtype == torch.float32
    assert torch.allclose(single.double(), double, rtol=1e-4, atol=0)
    assert torch.allclose(gradient.double(), expected, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize(
    ("z", "characteristic"),
    [
        (torch.zeros(1, 1, 8, dtype=torch.float64), lambda _: 1.0),
        (torch.full((1, 1, 8), 2.0, dtype=torch.float64), lambda t: np.exp(2j * t)),
        (torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(2000).view(1, 1, -1), np.cos),
    ],
    ids=["dead latents", "constant latents", "two values"],
)
def test_seven_frequencies_are_as_good_as_the_integral(
    z: Tensor, characteristic: Callable[[float], complex]
) -> None:
    def integrand(t: float) -> float:
        return math.exp(-(t**2) / 2) * abs(characteristic(t) - math.exp(-(t**2) / 2)) ** 2

    exact, _ = integrate.quad(integrand, 0, 40)
    assert float(value(z, torch.ones(1, 1, dtype=torch.float64))) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_a_small_batch_estimates_the_distance_without_bias(scale: float) -> None:
    z = scale * normal(4000, 1, 16, seed=3)
    found = value(z, torch.ones(1, 1, dtype=torch.float64))
    normals = ((math.exp(-(t**2) / 2), math.exp(-((scale * t) ** 2) / 2)) for t in FREQUENCIES)
    expected = sum(0.6 * weight * (actual - weight) ** 2 for weight, actual in normals)
    assert abs(float(found.mean()) - expected) < 4 * float(found.std()) / math.sqrt(len(z))


def test_the_value_is_near_zero_for_a_normal_law_alone() -> None:
    z, directions = normal(1, DIM, 4000), unit(2, DIM)
    uniform = (torch.rand(1, DIM, 4000, generator=torch.Generator().manual_seed(0)).double() - 0.5) * 12**0.5
    at_normal = abs(float(value(z, directions)))
    assert at_normal < 1e-3
    for other in (z + 1, z * 2, z / 2, z * 0, z.abs(), uniform):
        assert float(value(other, directions)) > 5 * at_normal


def test_the_value_ignores_the_order_of_points_and_the_sign_of_directions() -> None:
    z, directions = normal(CELLS, DIM, BATCH) + 0.5, unit(2, DIM)
    shuffled = z[:, :, torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))]
    assert torch.allclose(value(shuffled, directions), value(z, directions), rtol=1e-12, atol=0)
    assert torch.allclose(value(z, -directions), value(z, directions), rtol=1e-12, atol=0)


def test_the_value_ignores_a_rotation_of_latents_and_directions_together() -> None:
    z, directions = normal(CELLS, 3, BATCH) + 0.5, unit(4, 3)
    rotation, _ = torch.linalg.qr(normal(3, 3, seed=5))
    assert torch.allclose(
        value(rotation @ z, directions @ rotation.T), value(z, directions), rtol=1e-12, atol=0
    )


def test_cells_do_not_see_each_other() -> None:
    z, directions = normal(CELLS, DIM, BATCH), unit(2, DIM)
    alone = torch.cat([value(cell.unsqueeze(0), directions) for cell in z])
    assert torch.allclose(value(z, directions), alone, rtol=1e-12, atol=0)
