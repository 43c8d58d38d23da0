"""What training minimises beside the squared error, against independent implementations."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
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


def both(z: Tensor, label: Tensor | None = None, shares: Tensor | None = None) -> list[Tensor]:
    """T of latents z [n, d] by the definition, and as compiled."""
    return [losses.gaussianity(z, label, shares), compiled.gaussianity(z, label, shares)[0]]


def labels(count: int, num_classes: int, shares: Tensor | None = None) -> Tensor | None:
    """One-hot labels [n, l] drawn at random, by shares [l] if they differ; None for no classes."""
    if num_classes == 0:
        return None
    generator = torch.Generator().manual_seed(1)
    if shares is None:
        kind = torch.randint(num_classes, (count,), generator=generator)
    else:
        kind = torch.multinomial(shares, count, replacement=True, generator=generator)
    return torch.nn.functional.one_hot(kind, num_classes).double()


def unequal(num_classes: int) -> Tensor:
    """Shares of labels, each twice the one before."""
    weight = 2.0 ** torch.arange(num_classes, dtype=torch.float64)
    return weight / weight.sum()


def pair_by_pair(z: Tensor, label: Tensor | None, shares: Tensor | None = None) -> float:
    """T of latents z [n, d], a pair of different points after the other, in groups of at most 128."""
    count, dim = z.shape
    group = max((size for size in range(16, 129, 16) if count % size == 0), default=count)
    points, kinds = z.tolist(), [0] * count if label is None else label.argmax(1).tolist()
    classes = 1 if label is None else label.shape[1]
    share = [1 / classes] * classes if shares is None else shares.tolist()
    total = 0.0
    for i, j in product(range(count), repeat=2):
        if i != j and i // group == j // group and kinds[i] == kinds[j]:
            pair = math.exp(-(math.dist(points[i], points[j]) ** 2) / 2) + 3 ** (-dim / 2)
            for at in (i, j):
                pair -= 2 ** (-dim / 2) * math.exp(-(math.hypot(*points[at]) ** 2) / 4)
            total += pair / share[kinds[i]]
    return total / (count * (group - 1))


@pytest.mark.parametrize("num_classes", [0, 1, 2, 6])
@pytest.mark.parametrize(("batch", "dim"), [(20, 2), (50, 3), (64, 1), (160, 7), (256, 2), (272, 3)])
def test_the_value_is_the_mean_over_pairs_of_one_group_and_one_label(
    batch: int, dim: int, num_classes: int
) -> None:
    z, label = 1.5 * normal(batch, dim) + 0.4, labels(batch, num_classes)
    assert float(losses.gaussianity(z, label)) == pytest.approx(pair_by_pair(z, label), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("num_classes", [1, 2, 6])
@pytest.mark.parametrize(("batch", "dim"), [(20, 2), (64, 1), (256, 2)])
def test_a_pair_counts_by_the_reciprocal_of_its_labels_share(batch: int, dim: int, num_classes: int) -> None:
    shares = unequal(num_classes)
    z, label = 1.5 * normal(batch, dim) + 0.4, labels(batch, num_classes, shares)
    expected = pair_by_pair(z, label, shares)
    assert float(losses.gaussianity(z, label, shares)) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    if num_classes > 1:
        assert float(losses.gaussianity(z, label)) != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("num_classes", [1, 2, 6])
def test_equal_shares_are_no_shares(num_classes: int) -> None:
    z, label = normal(256, 3), labels(256, num_classes)
    equal = torch.full((num_classes,), 1 / num_classes, dtype=torch.float64)
    for one, other in zip(both(z, label), both(z, label, equal), strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-6, abs=SINGLE)


def test_with_unequal_shares_the_mean_over_batches_is_that_over_labels_by_their_shares() -> None:
    """Σ w·T, with T of a label's normal latents N(m, v) in closed form."""
    shares = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64)
    mean = torch.tensor([2.0, 0.0, -0.5], dtype=torch.float64)
    variance = torch.tensor([0.2, 2.5, 1.0], dtype=torch.float64)
    within = (1 + 2 * variance) ** -0.5
    across = (2 + variance) ** -0.5 * torch.exp(-mean.square() / (2 * (2 + variance)))
    each = within - 2 * across + 3**-0.5
    count, batch = 4000, 16
    label = labels(count * batch, 3, shares)
    assert label is not None
    z = label @ mean + (label @ variance).sqrt() * normal(count * batch, seed=3)
    batches = zip(z.view(-1, batch, 1), label.view(-1, batch, 3), strict=True)
    values = [both(*one, shares) for one in batches]
    for found in map(torch.stack, zip(*values, strict=True)):
        error = float(found.std()) / math.sqrt(count)
        assert abs(float(found.mean()) - float(shares @ each)) < 4 * error
        assert abs(float(found.mean()) - float(each.mean())) > 10 * error
        assert error < float(shares @ each) / 40


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("num_classes", [0, 2, 6])
@pytest.mark.parametrize("dim", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [16, 64, 80, 160, 256, 272])
def test_compiled_value_and_gradient_are_those_of_the_definition_under_autograd(
    batch: int, dim: int, num_classes: int, shared: bool
) -> None:
    """Without shares, and with those of labels that are not equally frequent."""
    shares = unequal(num_classes) if shared and num_classes else None
    z, label = 1.5 * normal(batch, dim) + 0.4, labels(batch, num_classes, shares)
    found, gradient = compiled.gaussianity(z, label, shares)
    expected = losses.gaussianity(z.requires_grad_(), label, shares)
    (autograd,) = torch.autograd.grad(expected, z)
    assert torch.allclose(found, expected, rtol=1e-5, atol=SINGLE)
    assert torch.allclose(gradient, autograd, rtol=1e-5, atol=SINGLE)


def test_one_label_for_all_is_no_label() -> None:
    z = normal(64, 3)
    for one, other in zip(both(z), both(z, torch.ones(64, 1, dtype=torch.float64)), strict=True):
        assert torch.equal(one, other)
    gradients = [compiled.gaussianity(z, label)[1] for label in (None, torch.ones(64, 1))]
    assert torch.equal(*gradients)


def test_latents_that_are_normal_together_but_not_for_each_label_are_found_out() -> None:
    z = normal(4096, 1)
    sign = torch.cat([z < 0, z >= 0], 1).double()  # each label has a half
    for together, apart, blind in zip(both(z), both(z, sign), both(z, labels(4096, 2)), strict=True):
        assert abs(float(together)) < 0.005
        assert abs(float(blind)) < 0.005
        assert float(apart) > 0.05


FREQUENCIES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)  # for means under N(0, 1)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(
    ("draw", "characteristic"),
    [
        (lambda z: 0 * z, lambda t: 1 + 0 * t),
        (lambda z: 0 * z + 1.5, lambda t: np.exp(1.5j * t)),
        (torch.sign, np.cos),
        (lambda z: 0.6 * z, lambda t: np.exp(-((0.6 * t) ** 2) / 2)),
    ],
    ids=["dead", "constant", "two values", "narrow"],
)
def test_the_closed_form_is_the_integral_over_frequencies(
    draw: Callable[[Tensor], Tensor], characteristic: Callable[[NDArray[np.float64]], Any], dim: int
) -> None:
    """∫ |φ(t) − e^{−|t|²/2}|² N(t; 0, I) dt for coordinates that are independent, each with this φ."""
    t = np.stack(np.meshgrid(*[FREQUENCIES] * dim))
    weight = np.prod(np.meshgrid(*[WEIGHTS / WEIGHTS.sum()] * dim), axis=0)
    apart = np.prod(characteristic(t), axis=0) - np.exp(-np.square(t).sum(0) / 2)
    exact = (weight * abs(apart) ** 2).sum()
    for found in both(draw(normal(32_000, dim))):
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
    once, twice, rarity = np.zeros_like(z), np.ones_like(z), np.ones(1, np.float32)
    penalty.gaussianity(z, np.zeros(32, np.int64), 0, rarity, np.float32(1), once, space)
    penalty.gaussianity(z, np.zeros(32, np.int64), 0, rarity, np.float32(3), twice, space)
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
