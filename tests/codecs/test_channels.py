"""The SNR channel: noise power is signal power over SNR, whatever the latents."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor

from snrvae.codecs import losses
from snrvae.codecs.channels import Isotropic, Learned
from snrvae.settings.grid import Cell
from snrvae.training.compiled import channel

SNRS = (0.1, 1.0, 10.0, 1000.0)
DIM, BATCH = 3, 40_000

powers = st.floats(1e-6, 1e6)
heads = hnp.arrays(np.float32, (8, 3), elements=st.floats(-60, 60, width=32))


def isotropic(snr: float) -> Isotropic:
    return Isotropic(Cell("isotropic", DIM, snr, 0))


def learned_noise(snr: float) -> Learned:
    return Learned(Cell("learned", DIM, snr, 0))


@pytest.fixture(params=[0.2, 1.0, 3.0, 0.01])
def mean(request: pytest.FixtureRequest) -> Tensor:
    """Latent means, neither centred nor normal."""
    generator = torch.Generator().manual_seed(1)
    return request.param * (torch.rand(BATCH, DIM, generator=generator) + torch.tensor([0.0, 1.0, -2.0]))


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(BATCH, DIM, generator=torch.Generator().manual_seed(2))


def test_signal_power_is_the_mean_squared_norm_over_the_dimension(mean: Tensor) -> None:
    expected = (mean.double().numpy() ** 2).sum(1).mean() / DIM
    made = isotropic(1.0)
    assert float(made.power(mean)) == pytest.approx(expected, rel=1e-5)
    made.measure(mean)
    assert float(made.eval().power(mean[:1])) == pytest.approx(expected, rel=1e-5)


@given(powers, st.floats(1e-6, 1e6))
def test_isotropic_noise_power_is_signal_power_over_snr(power: float, snr: float) -> None:
    made = isotropic(snr).double().eval()
    made.signal_power = torch.tensor(power, dtype=torch.float64)
    made.snr = torch.tensor(snr, dtype=torch.float64)
    log = made(torch.ones(4, 2, dtype=torch.float64)).log_noise_power
    assert log.shape == (1, 1)
    assert float(log.exp()) == pytest.approx(power / snr, rel=1e-9)


@pytest.mark.parametrize("snr", SNRS)
def test_what_the_channel_adds_has_the_signal_power_over_the_snr(
    snr: float, mean: Tensor, noise: Tensor
) -> None:
    latents = isotropic(snr)(mean)
    added = latents.transmit(noise) - mean
    ratio = added.double().square().mean() / mean.double().square().mean()
    spread = (2 / (DIM * BATCH)) ** 0.5  # of the mean of as many squared normal values, relative
    assert abs(ratio * snr - 1) < 5 * spread
    assert abs(added.mean()) < 5 * (latents.log_noise_power.exp().item() / (DIM * BATCH)) ** 0.5


@given(heads, powers, st.floats(1e-3, 1e3))
def test_learned_noise_has_the_signal_power_over_the_snr_on_average(
    values: NDArray[np.float32], power: float, snr: float
) -> None:
    head = torch.from_numpy(values).double()
    made = learned_noise(snr).double()
    made.snr = torch.tensor(snr, dtype=torch.float64)
    log = made(torch.cat([torch.full_like(head, power**0.5), head], 1)).log_noise_power
    assert log.shape == head.shape
    assert float(log.exp().mean()) == pytest.approx(power / snr, rel=1e-9)


def test_learned_noise_is_spread_as_the_head_says(mean: Tensor, noise: Tensor) -> None:
    offset = learned_noise(7.0)(torch.cat([mean, noise], 1)).log_noise_power - noise
    assert offset.max() - offset.min() < 1e-4


@given(st.floats(-60, 60))
def test_a_constant_head_gives_isotropic_noise(constant: float) -> None:
    mean = torch.linspace(-1, 2, 24).reshape(8, 3)
    for snr in (1.0, 30.0):
        learned = learned_noise(snr)(torch.cat([mean, torch.full_like(mean, constant)], 1)).log_noise_power
        assert torch.allclose(learned, isotropic(snr)(mean).log_noise_power.expand(8, 3), atol=2e-5)


@given(heads)
def test_the_log_of_the_mean_is_that_of_plain_float64_arithmetic(values: NDArray[np.float32]) -> None:
    made = learned_noise(1.0)
    made.measure(torch.from_numpy(np.concatenate([values, values], 1)))
    expected = np.log(np.exp(values.astype(np.float64)).mean())
    assert float(made.noise_log_gain) == pytest.approx(expected, abs=2e-5)


def test_the_log_of_the_mean_of_heads_that_would_overflow() -> None:
    made = learned_noise(1.0)
    made.measure(torch.tensor([[1.0, 500.0], [1.0, -500.0]]))
    assert float(made.noise_log_gain) == pytest.approx(500 - np.log(2))


@pytest.mark.parametrize("snr", SNRS)
def test_the_channel_adds_the_noise_times_its_standard_deviation(
    snr: float, mean: Tensor, noise: Tensor
) -> None:
    latents = isotropic(snr)(mean)
    sigma = (mean.square().mean() / snr).sqrt()
    assert torch.equal(latents.transmit(torch.zeros_like(mean)), mean)
    assert torch.allclose(latents.transmit(noise), mean + sigma * noise, atol=1e-5)


@pytest.mark.parametrize("snr", SNRS)
def test_two_transmissions_of_the_same_latents_differ(snr: float, mean: Tensor) -> None:
    latents, generator = isotropic(snr)(mean), torch.Generator().manual_seed(0)
    once, twice = (latents.transmit(torch.randn(mean.shape, generator=generator)) for _ in "12")
    assert (once != twice).double().mean() > 0.99


def test_as_the_snr_grows_the_channel_becomes_noiseless(noise: Tensor) -> None:
    mean = 3 * torch.ones(BATCH, DIM)
    errors = [
        float((isotropic(snr)(mean).transmit(noise) - mean).abs().max()) for snr in (1e2, 1e6, 1e10, 1e20)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1
    assert errors[-1] < 1e-8


@given(st.floats(1e-3, 1e3))
def test_the_scale_of_the_latents_changes_nothing_in_units_of_the_signal(scale: float) -> None:
    generator = torch.Generator().manual_seed(3)
    mean, noise = (torch.randn(16, 2, generator=generator, dtype=torch.float64) for _ in "12")

    def normalised(mean: Tensor) -> Tensor:
        return isotropic(7.0).double()(mean).transmit(noise) / mean.square().mean().sqrt()

    assert torch.allclose(normalised(scale * mean), normalised(mean))


# The channel in training, against autograd over the definition


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("snr", [0.7, 30.0])
def test_the_channel_in_training_sends_charges_and_pulls_as_its_formulas_do(
    snr: float, learned: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    dims, batch, kl_weight = 3, 5, 0.3
    output = (2 * torch.randn((1 + learned) * dims, batch, generator=generator)).requires_grad_()
    noise, at_z = (torch.randn(dims, batch, generator=generator) for _ in "12")
    latents = (learned_noise if learned else isotropic)(snr)(output.T)
    z = latents.transmit(noise.T).T
    kl = losses.kl_nats(latents).mean()
    ((at_z * z).sum() + kl_weight * kl).backward()

    given, weight = np.float32(snr), np.float32(kl_weight)
    sent, root, delta = (np.empty(shape, np.float32) for shape in (z.shape, z.shape, output.shape))
    arrays = output.detach().numpy(), noise.numpy()
    if learned:
        charged = channel.learned_forward(*arrays, given, sent, root)
        channel.learned_backward(*arrays, given, weight, root, at_z.numpy(), delta)
    else:
        charged = channel.isotropic_forward(*arrays, given, sent)
        channel.isotropic_backward(*arrays, given, weight, at_z.numpy(), delta)
    assert sent == pytest.approx(z.detach().numpy(), rel=1e-5)
    assert charged == pytest.approx(float(kl.detach()), rel=1e-5)
    assert output.grad is not None
    assert delta == pytest.approx(output.grad.numpy(), rel=1e-4, abs=1e-5)


def test_a_head_that_would_overflow_is_sent_all_the_same() -> None:
    output = np.array([[1, -1], [500, -500]], np.float32)
    sent, root = np.empty((1, 2), np.float32), np.empty((1, 2), np.float32)
    channel.learned_forward(output, np.ones((1, 2), np.float32), np.float32(4), sent, root)
    assert root[0] == pytest.approx([1, 0])
    assert sent[0] == pytest.approx([1 + 2**0.5 / 2, -1])
