"""Training: one batched program for many cells, equal to a plain module per cell trained by torch itself."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from snrvae import codec, training
from snrvae.codec import Codecs
from snrvae.grid import Cell, Noise
from snrvae.network import Network
from snrvae.records import History
from snrvae.sources import cube
from snrvae.sources.source import Split
from snrvae.training import Adam, DivergedError, Recipe

MakeRecipe = Callable[..., Recipe]

NOISES: tuple[Noise, ...] = ("none", "isotropic", "learned")


@pytest.fixture
def points(splits: dict[str, Split]) -> Tensor:
    return torch.from_numpy(splits["train"].points)


def cells_of(noise: Noise, latent_dim: int = 2, repeats: int = 2) -> tuple[Cell, ...]:
    snrs = (None,) if noise == "none" else (2.0, 50.0)
    return tuple(Cell(noise, latent_dim, snr, repeat) for snr in snrs for repeat in range(repeats))


def fit(cells: Sequence[Cell], points: Tensor, recipe: Recipe) -> tuple[Codecs, History]:
    return training.fit(tuple(cells), points, recipe, lambda *_: None)


class PlainCodec(nn.Module):
    """One cell as torch has it: autograd, no batching over cells, nothing of snrvae's arithmetic."""

    def __init__(self, cell: Cell, encoder: Network, decoder: Network, index: int):
        super().__init__()
        self.cell = cell
        self.encoder, self.decoder = (
            nn.Sequential(*self._layers(network, index)) for network in (encoder, decoder)
        )

    @staticmethod
    def _layers(network: Network, index: int) -> Iterator[nn.Module]:
        for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            if layer:
                yield nn.ReLU()
            linear = nn.Linear(weight.shape[2], weight.shape[1])
            linear.weight.data, linear.bias.data = weight[index].clone(), bias[index, :, 0].clone()
            yield linear

    def decode(self, z: Tensor) -> Tensor:
        """Points [b, 3] of the solid cube; to autograd the projection is not there."""
        decoded = self.decoder(z)
        return decoded + (decoded.clamp(0, 1) - decoded).detach()

    def losses(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mse, E KL in nats and the gaussianity of a batch x [b, 3] with ε [b, d]."""
        output = self.encoder(x)
        nothing = torch.zeros(())
        if self.cell.snr is None:
            return nn.functional.mse_loss(self.decode(output), x), nothing, nothing
        mean = output[:, : self.cell.latent_dim]
        variance = (mean**2).mean() / self.cell.snr * torch.ones_like(mean)
        if self.cell.noise == "learned":
            share = output[:, self.cell.latent_dim :].exp()
            variance = variance * share / share.mean()
        z = mean + variance.sqrt() * noise
        kl = kl_divergence(Normal(mean, variance.sqrt()), Normal(0.0, 1.0)).sum(1).mean()
        kernel = torch.exp(-(z[:, None] - z).square().sum(2) / 2)
        pairs = (kernel.sum() - kernel.trace()) / (len(z) * (len(z) - 1))
        to_normal = torch.exp(-z.square().sum(1) / 4).mean() / 2 ** (z.shape[1] / 2)
        gaussianity = pairs - 2 * to_normal + 3 ** (-z.shape[1] / 2)
        return nn.functional.mse_loss(self.decode(z), x), kl, gaussianity

    def loss(self, recipe: Recipe, x: Tensor, noise: Tensor, gaussianity_weight: float) -> Tensor:
        mse, kl, gaussianity = self.losses(x, noise)
        return mse + recipe.train.kl_weight * kl + gaussianity_weight * gaussianity


def plain_modules(block: training._Block) -> list[PlainCodec]:
    return [PlainCodec(cell, block.encoder, block.decoder, i) for i, cell in enumerate(block.cells)]


def draw(cells: Sequence[Cell], recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Points and noise of a step, from one generator."""
    generator = torch.Generator().manual_seed(3)
    batch, dim = recipe.train.batch_size, cells[0].latent_dim
    x = torch.rand(len(cells), 3, batch, generator=generator)
    return x, torch.randn(len(cells), dim, batch, generator=generator)


@pytest.mark.parametrize("hidden", [(16,), (16, 16), (16, 32, 16)])
@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize("noise", NOISES)
def test_the_gradient_of_a_step_is_that_of_the_whole_loss_under_autograd(
    noise: Noise, latent_dim: int, hidden: tuple[int, ...], recipe: MakeRecipe, points: Tensor
) -> None:
    cells = cells_of(noise, latent_dim)
    settings = recipe(hidden, kl_weight=0.05, gaussianity_weight=0.3)  # no term drowns in another
    block = training._Block(cells, points, settings)
    modules = plain_modules(block)  # before the step moves the parameters
    x, epsilon = draw(cells, settings)
    losses = torch.zeros(3, len(cells))
    block.step(x, epsilon, 1e-3, settings.train.gaussianity_weight, losses)
    for i, module in enumerate(modules):
        batch = x[i].T, epsilon[i].T
        assert losses[:, i].tolist() == pytest.approx(
            [float(v.detach()) for v in module.losses(*batch)], rel=1e-4
        )
        module.loss(settings, *batch, settings.train.gaussianity_weight).backward()
        gradients = block._encoder.gradient, block._decoder.gradient
        found = [
            g[i] for net in gradients for pair in zip(net.weights, net.biases, strict=True) for g in pair
        ]
        for gradient, parameter in zip(found, module.parameters(), strict=True):
            scale = float(parameter.grad.abs().max())
            assert torch.allclose(gradient.view_as(parameter), parameter.grad, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("noise", NOISES)
def test_a_dozen_steps_move_the_parameters_as_adam_moves_a_plain_module(
    noise: Noise, recipe: MakeRecipe, points: Tensor
) -> None:
    cells, settings = cells_of(noise), recipe(steps=12, kl_weight=0.01)
    modules = plain_modules(training._Block(cells, points, settings))
    optimisers = [torch.optim.Adam(module.parameters()) for module in modules]
    for step, (x, epsilon) in enumerate(training._draws(cells, points, settings)):
        rate = training.learning_rate(step, 12, settings.train.learning_rate)
        weight = training.gaussianity_weight(step, 12, settings.train.gaussianity_weight)
        for i, (module, optimiser) in enumerate(zip(modules, optimisers, strict=True)):
            optimiser.param_groups[0]["lr"] = rate
            optimiser.zero_grad()
            module.loss(settings, x[i].T, epsilon[i].T, weight).backward()
            optimiser.step()
    codecs, _ = fit(cells, points, settings)
    latents = codecs.encode(points[:64])
    decoded = codecs.decode(latents.mean)
    for i, module in enumerate(modules):
        mean = module.encoder(points[:64])[:, :2]
        assert torch.allclose(latents.mean[i].T, mean, atol=2e-3)
        assert torch.allclose(decoded[i], module.decode(mean), atol=2e-3)


# What is drawn for the steps


def drawn(cells: Sequence[Cell], recipe: Recipe, points: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(training._draws(tuple(cells), points, recipe))


def all_differ(tensors: Sequence[Tensor]) -> bool:
    return len({tensor.numpy().tobytes() for tensor in tensors}) == len(tensors)


def test_points_and_noise_differ_from_step_to_step_and_from_repeat_to_repeat(
    recipe: MakeRecipe, points: Tensor
) -> None:
    steps = 2 * training.CHUNK + 3
    draws = drawn(cells_of("isotropic"), recipe(steps=steps), points)
    assert len(draws) == steps
    assert all_differ([noise[repeat] for _, noise in draws for repeat in (0, 1)])
    assert all_differ([x[repeat] for x, _ in draws for repeat in (0, 1)])


def test_the_seed_and_the_dimension_move_what_is_drawn(recipe: MakeRecipe, points: Tensor) -> None:
    (cell,) = cells_of("isotropic", 2, 1)[:1]
    first = drawn([cell], recipe(seed=1), points)[0]
    other_seed = drawn([cell], recipe(seed=2), points)[0]
    assert not any(torch.equal(*pair) for pair in zip(first, other_seed, strict=True))
    other_dim = drawn([Cell("isotropic", 3, 2.0, 0)], recipe(seed=1), points)[0]
    assert not torch.equal(first[1][0, 0], other_dim[1][0, 0])
    assert not torch.equal(first[1][0, 0], first[1][0, 1])


def test_what_a_cell_draws_does_not_depend_on_its_neighbours(recipe: MakeRecipe, points: Tensor) -> None:
    cells = cells_of("isotropic", repeats=3)
    together = drawn(cells, recipe(), points)
    for place in (0, 5, 2):
        alone = drawn([cells[place]], recipe(), points)
        for (x, noise), (x1, noise1) in zip(together, alone, strict=True):
            assert torch.equal(x[place], x1[0])
            assert torch.equal(noise[place], noise1[0])


def test_steps_see_training_points_all_of_them_and_standard_normal_noise(
    recipe: MakeRecipe, points: Tensor
) -> None:
    draws = drawn(cells_of("isotropic")[:1], recipe(steps=200), points[:300])
    seen = torch.cat([x[0].T for x, _ in draws]).numpy()
    assert np.array_equal(np.unique(seen, axis=0), np.unique(points[:300].numpy(), axis=0))
    noise = torch.stack([noise for _, noise in draws]).flatten().numpy()
    assert stats.kstest(noise, "norm").pvalue > 1e-3


# What comes out


def row(batch: Codecs, cell: Cell) -> bytes:
    return codec.to_bytes([batch.select([batch.cells.index(cell)])])


@pytest.mark.parametrize(
    ("latent_dim", "hidden", "batch", "steps"),
    [(1, (16, 16), 48, 60), (1, (64,) * 3, 128, 8), (2, (32,), 16, 110), (3, (64,) * 3, 128, 8)],
)
@pytest.mark.parametrize("noise", NOISES)
def test_a_cell_comes_out_bit_identical_alone_with_others_and_in_any_order(
    noise: Noise,
    latent_dim: int,
    hidden: tuple[int, ...],
    batch: int,
    steps: int,
    recipe: MakeRecipe,
    points: Tensor,
) -> None:
    cells = cells_of(noise, latent_dim, repeats=4)
    settings = recipe(hidden, steps=steps, batch_size=batch)
    together, _ = fit(cells, points, settings)
    backwards, _ = fit(cells[::-1], points, settings)
    pair, _ = fit(cells[1:3], points, settings)
    alone, _ = fit(cells[2:3], points, settings)
    assert all(row(together, cell) == row(backwards, cell) for cell in cells)
    assert all(row(together, cell) == row(pair, cell) for cell in pair.cells)
    assert row(together, cells[2]) == row(alone, cells[2])


def test_a_cell_comes_out_bit_identical_whatever_the_threads(recipe: MakeRecipe, points: Tensor) -> None:
    threads, outcomes = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            outcomes.append(codec.to_bytes([fit(cells_of("learned"), points, recipe())[0]]))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert outcomes[0] == outcomes[1]


def test_training_twice_gives_identical_bytes_and_another_seed_other_ones(
    recipe: MakeRecipe, points: Tensor
) -> None:
    cells = cells_of("isotropic")
    once, twice, other = (codec.to_bytes([fit(cells, points, recipe(seed=seed))[0]]) for seed in (0, 0, 1))
    assert once == twice != other


def test_repeats_of_a_cell_start_and_come_out_different(recipe: MakeRecipe, points: Tensor) -> None:
    start = training._Block(cells_of("isotropic"), points, recipe())
    codecs, _ = fit(cells_of("isotropic"), points, recipe())
    for net in (start.encoder, start.decoder, codecs.encoder, codecs.decoder):
        assert all(all_differ(list(weight)) for weight in net.weights)


@pytest.mark.parametrize("noise", NOISES)
def test_the_stored_signal_power_is_the_mean_squared_latent_of_the_training_set(
    noise: Noise, recipe: MakeRecipe, points: Tensor
) -> None:
    points = points[:1001]  # no whole number of batches
    codecs, _ = fit(cells_of(noise), points, recipe())
    mean = codecs.encode(points).mean.double()
    expected = mean.square().sum(1).mean(1) / codecs.latent_dim
    assert codecs.signal_power.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize("noise", ["isotropic", "learned"])
def test_over_the_training_set_noise_power_is_signal_power_over_snr(
    noise: Noise, recipe: MakeRecipe, points: Tensor
) -> None:
    points = points[:1001]
    codecs, _ = fit(cells_of(noise), points, recipe(steps=200))
    latents = codecs.encode(points)
    assert latents.log_noise_power is not None
    noise_power = latents.log_noise_power.double().exp().mean((1, 2))
    signal_power = latents.mean.double().square().mean((1, 2))
    snrs = [cell.snr for cell in codecs.cells]
    assert (signal_power / noise_power).tolist() == pytest.approx(snrs, rel=1e-4)
    if noise == "learned":
        assert latents.log_noise_power.std() > 0.01, "the head says nothing"


@pytest.mark.parametrize("noise", NOISES)
def test_training_lowers_the_loss_below_that_of_the_mean_point(
    noise: Noise, recipe: MakeRecipe, points: Tensor
) -> None:
    _, history = fit(cells_of(noise), points, recipe(steps=300))
    mse = history.losses[:, :, 0]
    assert (mse[-1] < mse[0] / 2).all()
    assert (mse[-1] < cube.SOURCE.variance).all()


def test_a_strong_kl_weight_pins_the_kl_at_the_capacity_of_the_channel(
    recipe: MakeRecipe, points: Tensor
) -> None:
    codecs, history = fit(cells_of("isotropic"), points, recipe(steps=300, kl_weight=10))
    snrs = np.array([cell.snr for cell in codecs.cells])
    assert history.losses[-1, :, 1] == pytest.approx(np.log1p(snrs), rel=0.01)
    assert codecs.signal_power.numpy() == pytest.approx(snrs / (1 + snrs), rel=0.1)


# The record


@pytest.mark.parametrize(("steps", "records"), [(1, 1), (59, 59), (120, 60), (121, 61), (150, 75)])
def test_the_history_ends_with_the_last_step(
    steps: int, records: int, recipe: MakeRecipe, points: Tensor
) -> None:
    cells = cells_of("isotropic")
    _, history = fit(cells, points, recipe(steps=steps))
    assert history.cells == cells
    assert history.step[-1] == steps
    assert (np.diff(history.step) > 0).all()
    assert history.losses.shape == (len(history.step), len(cells), 3)
    assert len(history.step) == len(history.learning_rate) == records


def test_each_record_is_the_mean_of_the_steps_since_the_last(
    recipe: MakeRecipe, points: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = recipe(steps=121)
    _, coarse = fit(cells_of("learned"), points, settings)
    monkeypatch.setattr(training, "RECORDS", 1000)
    _, fine = fit(cells_of("learned"), points, settings)
    assert len(fine.step) == 121
    start = 0
    for step, losses in zip(coarse.step, coarse.losses, strict=True):
        assert losses == pytest.approx(fine.losses[start:step].mean(0), rel=1e-4)
        start = step


def test_an_autoencoder_has_no_kl_and_no_gaussianity(recipe: MakeRecipe, points: Tensor) -> None:
    _, history = fit(cells_of("none"), points, recipe())
    assert not history.losses[:, :, 1:].any()
    assert history.losses[:, :, 0].all()


@pytest.mark.parametrize("steps", [7, 131])
def test_progress_adds_up_to_the_steps_of_all_cells(steps: int, recipe: MakeRecipe, points: Tensor) -> None:
    told: list[tuple[int, float]] = []
    training.fit(cells_of("isotropic"), points, recipe(steps=steps), lambda *report: told.append(report))
    assert sum(cell_steps for cell_steps, _ in told) == steps * 4
    assert all(cell_steps > 0 and 0 < mse < 10 for cell_steps, mse in told)


# The learning rate


def test_the_learning_rate_rises_from_a_25th_to_its_peak_and_falls_to_almost_nothing() -> None:
    rates = [training.learning_rate(step, 1000, 0.02) for step in range(1001)]
    assert rates[0] == pytest.approx(0.02 / 25)
    assert rates[300] == max(rates) == pytest.approx(0.02)
    assert rates[1000] == pytest.approx(0.02 / 250_000)
    assert all(a < b for a, b in pairwise(rates[:301]))
    assert all(a > b for a, b in pairwise(rates[300:]))


def test_the_learning_rate_is_the_one_cycle_schedule_of_torch() -> None:
    steps = 10_000
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.0, steps)
    for step in range(steps):
        assert training.learning_rate(step, steps, 1.0) == pytest.approx(schedule.get_last_lr()[0], abs=1e-3)
        optimiser.step()
        schedule.step()


def test_the_latent_penalty_is_strong_at_first_and_at_its_last_weight_from_half_of_the_steps_on() -> None:
    weights = [training.gaussianity_weight(step, 1000, 0.02) for step in range(1000)]
    assert weights[0] == pytest.approx(0.02 * (1 + training.EARLY))
    assert np.diff(weights[:501]) == pytest.approx(-0.02 * training.EARLY / 500)
    assert weights[500:] == [0.02] * 500
    assert training.gaussianity_weight(0, 1, 0.0) == 0
    assert training.gaussianity_weight(0, 1000, 0.02, labels=6) == 0.02


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_every_step_of_the_shortest_training_has_a_positive_learning_rate(steps: int) -> None:
    assert all(0 < training.learning_rate(step, steps, 0.1) <= 0.1 for step in range(steps))


# Divergence

BAD = Cell("isotropic", 2, 1e39, 0)  # its noise power is below what float32 holds


def test_a_learning_rate_that_is_far_too_large_is_reported_with_cell_step_and_rate(
    recipe: MakeRecipe, points: Tensor
) -> None:
    (cell,) = cells = cells_of("isotropic")[:1]
    with pytest.raises(DivergedError) as caught:
        fit(cells, points, recipe(learning_rate=1e30))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{cell.name}: ")
    assert "step 1 of 60" in line
    assert f"{training.learning_rate(1, 60, 1e30):.3g}" in line
    assert "1e+30" in line


@pytest.mark.parametrize("steps", [60, 300])
def test_the_cell_and_the_first_step_that_diverged_are_named_among_others(
    steps: int, recipe: MakeRecipe, points: Tensor
) -> None:
    sound = cells_of("isotropic")
    with pytest.raises(DivergedError, match="step 0 of") as caught:
        fit((*sound[:2], BAD, *sound[2:]), points, recipe(steps=steps))
    assert str(caught.value).startswith(f"{BAD.name}: ")


@pytest.mark.parametrize("rate", [1e10, 1e30])
@pytest.mark.parametrize("noise", NOISES)
def test_training_never_hands_on_a_codec_that_is_not_finite(
    noise: Noise, rate: float, recipe: MakeRecipe, points: Tensor
) -> None:
    for steps in (1, 2):
        try:
            codecs, _ = fit(cells_of(noise), points, recipe(steps=steps, learning_rate=rate))
        except DivergedError:
            continue
        assert math.isfinite(float(codecs.signal_power.sum()))
        assert math.isfinite(float(codecs.noise_log_gain.sum()))
        assert codecs.decode(codecs.encode(points).mean).isfinite().all()


def test_a_cell_that_diverges_may_be_kept_and_leaves_the_bits_of_the_others_alone(
    recipe: MakeRecipe, points: Tensor
) -> None:
    sound = cells_of("isotropic")
    expected, before = fit(sound, points, recipe())
    codecs, history = fit((BAD, *sound), points, recipe(on_divergence="keep"))
    assert codec.to_bytes([codecs.select(range(1, len(sound) + 1))]) == codec.to_bytes([expected])
    assert np.array_equal(history.losses[:, 1:], before.losses)
    assert history.diverged == {BAD: 0}
    assert codecs.diverged == (BAD,)
    assert np.isnan(history.losses[:, 0]).all()
    assert not codecs.finite[0]
    assert codecs.decoder.weights[0][0].isnan().all()
    assert (expected.diverged, before.diverged) == ((), {})


@pytest.mark.parametrize("noise", NOISES)
def test_a_block_of_which_every_cell_diverges_is_kept_too(
    noise: Noise, recipe: MakeRecipe, points: Tensor
) -> None:
    cells = cells_of(noise)
    codecs, history = fit(cells, points, recipe(learning_rate=1e30, on_divergence="keep"))
    assert set(history.diverged) == set(cells) == set(codecs.diverged)
    assert set(history.diverged.values()) <= {1, 2}
    (read,) = codec.from_bytes(codec.to_bytes([codecs]))
    assert read.diverged == cells


def test_what_progress_raises_ends_training(recipe: MakeRecipe, points: Tensor) -> None:
    def interrupt(*_: float) -> None:
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        training.fit(cells_of("none"), points, recipe(), interrupt)
    assert torch.get_num_threads() == threads


def test_adam_is_the_one_of_pytorch() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(1000, generator=generator)
    theirs = ours.clone().requires_grad_()
    gradient = torch.zeros(1000)
    adam, reference = Adam(ours, gradient), torch.optim.Adam([theirs], fused=True)
    for step in range(1, 50):
        gradient.normal_(generator=generator)
        theirs.grad = gradient.clone()
        reference.param_groups[0]["lr"] = 0.1 / step
        reference.step()
        adam.step(0.1 / step)
        assert torch.equal(ours, theirs)
