"""The SNR channel: noise power is signal power over SNR, whatever the latents."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor

from snrvae.codecs import channel
from snrvae.training import step
from tests.compiled import signal_power

SNRS = torch.tensor([0.1, 1.0, 10.0, 1000.0]).view(-1, 1, 1)  # a cell each
DIM, BATCH = 3, 40_000

powers = st.floats(1e-6, 1e6)
heads = hnp.arrays(np.float32, (2, 3, 8), elements=st.floats(-60, 60, width=32))


def log_mean_exp(head: Tensor) -> Tensor:
    """ln E exp(v) over dimensions and points of a log-variance head [c, d, b], as [c, 1, 1]."""
    return head.logsumexp((1, 2), keepdim=True) - math.log(head.shape[1] * head.shape[2])


@pytest.fixture
def mean() -> Tensor:
    """Latent means of four cells, of different power and neither centred nor normal."""
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([0.2, 1.0, 3.0, 0.01]).view(-1, 1, 1)
    return scale * (torch.rand(4, DIM, BATCH, generator=generator) + torch.tensor([[[0.0], [1.0], [-2.0]]]))


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(4, DIM, BATCH, generator=torch.Generator().manual_seed(2))


def test_signal_power_is_the_mean_squared_norm_over_the_dimension_cell_by_cell(mean: Tensor) -> None:
    expected = [(cell.T.numpy() ** 2).sum(1).mean() / DIM for cell in mean.double()]
    assert signal_power(mean).shape == (4, 1, 1)
    assert signal_power(mean).flatten().tolist() == pytest.approx(expected, rel=1e-5)


@given(powers, st.floats(1e-6, 1e6))
def test_isotropic_noise_power_is_signal_power_over_snr(power: float, snr: float) -> None:
    log = channel.isotropic(torch.tensor(power, dtype=torch.float64), torch.tensor(snr, dtype=torch.float64))
    assert float(log.exp()) == pytest.approx(power / snr, rel=1e-9)


def test_what_the_channel_adds_has_the_signal_power_over_the_snr(mean: Tensor, noise: Tensor) -> None:
    log_noise_power = channel.isotropic(signal_power(mean), SNRS)
    added = channel.transmit(mean, log_noise_power, noise) - mean
    ratio = added.double().square().mean((1, 2)) / mean.double().square().mean((1, 2))
    assert log_noise_power.shape == (4, 1, 1)
    spread = (2 / (DIM * BATCH)) ** 0.5  # of the mean of as many squared normal values, relative
    assert (abs(ratio * SNRS.flatten() - 1) < 5 * spread).all()
    assert (abs(added.mean((1, 2))) < 5 * (log_noise_power.exp().flatten() / (DIM * BATCH)).sqrt()).all()


@given(heads, powers, st.floats(1e-3, 1e3))
def test_learned_noise_has_the_signal_power_over_the_snr_on_average(
    values: NDArray[np.float32], power: float, snr: float
) -> None:
    head, signal = torch.from_numpy(values).double(), torch.full((2, 1, 1), power, dtype=torch.float64)
    ratio = torch.full_like(signal, snr)
    log_noise_power = channel.learned(signal, ratio, head, log_mean_exp(head))
    assert log_noise_power.shape == head.shape
    means = log_noise_power.exp().mean((1, 2)).tolist()
    assert means == pytest.approx([power / snr] * 2, rel=1e-9)


def test_learned_noise_is_spread_as_the_head_says(mean: Tensor, noise: Tensor) -> None:
    signal = signal_power(mean)
    log_noise_power = channel.learned(signal, SNRS, noise, log_mean_exp(noise))
    offset = log_noise_power - noise
    assert (offset.amax((1, 2)) - offset.amin((1, 2))).max() < 1e-4


@given(st.floats(-60, 60))
def test_a_constant_head_gives_isotropic_noise(constant: float) -> None:
    head = torch.full((2, 3, 8), constant)
    signal, snr = torch.tensor([0.5, 2.0]).view(2, 1, 1), torch.tensor([1.0, 30.0]).view(2, 1, 1)
    learned = channel.learned(signal, snr, head, log_mean_exp(head))
    assert torch.allclose(learned, channel.isotropic(signal, snr).expand_as(learned), atol=2e-5)


@given(heads)
def test_the_log_of_the_mean_is_that_of_plain_float64_arithmetic(values: NDArray[np.float32]) -> None:
    expected = np.log(np.exp(values.astype(np.float64)).mean((1, 2)))
    found = log_mean_exp(torch.from_numpy(values))
    assert found.shape == (2, 1, 1)
    assert found.flatten().tolist() == pytest.approx(expected.tolist(), abs=2e-5)


def test_the_log_of_the_mean_stands_heads_that_would_overflow() -> None:
    head = torch.tensor([[[500.0, -500.0]]])
    assert float(log_mean_exp(head)) == pytest.approx(500 - np.log(2))


def test_without_noise_the_mean_comes_through_exactly(mean: Tensor) -> None:
    log_noise_power = channel.isotropic(signal_power(mean), SNRS)
    assert torch.equal(channel.transmit(mean, log_noise_power, torch.zeros_like(mean)), mean)


def test_the_channel_adds_the_noise_times_its_standard_deviation(mean: Tensor, noise: Tensor) -> None:
    log_noise_power = channel.isotropic(signal_power(mean), SNRS)
    sigma = (signal_power(mean) / SNRS).sqrt()
    assert torch.allclose(channel.transmit(mean, log_noise_power, noise), mean + sigma * noise, atol=1e-5)


def test_two_transmissions_of_the_same_latents_differ(mean: Tensor) -> None:
    log_noise_power = channel.isotropic(signal_power(mean), SNRS)
    generator = torch.Generator().manual_seed(0)
    one, two = (
        channel.transmit(mean, log_noise_power, torch.randn(mean.shape, generator=generator)) for _ in "12"
    )
    assert (one != two).double().mean() > 0.9


def test_as_the_snr_grows_the_channel_becomes_noiseless(mean: Tensor, noise: Tensor) -> None:
    errors = []
    for snr in (1e2, 1e6, 1e10, 1e20):
        log_noise_power = channel.isotropic(signal_power(mean), torch.full((4, 1, 1), snr))
        errors.append(float((channel.transmit(mean, log_noise_power, noise) - mean).abs().max()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1
    assert errors[-1] < 1e-8


@given(st.floats(1e-3, 1e3))
def test_the_scale_of_the_latents_changes_nothing_in_units_of_the_signal(scale: float) -> None:
    generator = torch.Generator().manual_seed(3)
    mean, noise = (torch.randn(1, 2, 16, generator=generator, dtype=torch.float64) for _ in "12")

    def normalised(mean: Tensor) -> Tensor:
        power = signal_power(mean)
        return channel.transmit(mean, channel.isotropic(power, torch.tensor(7.0)), noise) / power.sqrt()

    assert torch.allclose(normalised(scale * mean), normalised(mean))


# The channel in training, against autograd over the functions above


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("snr", [0.7, 30.0])
def test_the_channel_in_training_sends_charges_and_pulls_as_its_formulas_do(
    snr: float, learned: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    dims, batch, kl_weight = 3, 5, 0.3
    output = (2 * torch.randn((1 + learned) * dims, batch, generator=generator)).requires_grad_()
    noise, at_z = (torch.randn(dims, batch, generator=generator) for _ in "12")
    mean, head = output[None, :dims], output[None, dims:]
    power, ratio = signal_power(mean), torch.tensor(snr)
    log_noise_power = (
        channel.learned(power, ratio, head, log_mean_exp(head))
        if learned
        else channel.isotropic(power, ratio)
    )
    z = channel.transmit(mean, log_noise_power, noise)[0]
    kl = channel.kl_nats(mean, log_noise_power).mean()
    ((at_z * z).sum() + kl_weight * kl).backward()

    given, weight = np.float32(snr), np.float32(kl_weight)
    sent, root, delta = (np.empty(shape, np.float32) for shape in (z.shape, z.shape, output.shape))
    arrays = output.detach().numpy(), noise.numpy()
    if learned:
        charged = step.send_learned(*arrays, given, sent, root)
        step.pull_learned(*arrays, given, weight, root, at_z.numpy(), delta)
    else:
        charged = step.send(*arrays, given, sent)
        step.pull(*arrays, given, weight, at_z.numpy(), delta)
    assert sent == pytest.approx(z.detach().numpy(), rel=1e-5)
    assert charged == pytest.approx(float(kl.detach()), rel=1e-5)
    assert output.grad is not None
    assert delta == pytest.approx(output.grad.numpy(), rel=1e-4, abs=1e-5)


def test_a_head_that_would_overflow_is_sent_all_the_same() -> None:
    output = np.array([[1, -1], [500, -500]], np.float32)
    sent, root = np.empty((1, 2), np.float32), np.empty((1, 2), np.float32)
    step.send_learned(output, np.ones((1, 2), np.float32), np.float32(4), sent, root)
    assert root[0] == pytest.approx([1, 0])
    assert sent[0] == pytest.approx([1 + 2**0.5 / 2, -1])
