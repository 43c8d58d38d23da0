"""Training: one compiled program, equal to a plain module per cell that torch itself trains."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from snrvae.codecs.network import Network
from snrvae.training.loop import DivergedError, Draws, Recipe
from snrvae.training.program import initialise
from snrvae.training.step import Program
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from snrvae.codecs import codec
from snrvae.codecs.codec import Codecs
from snrvae.settings.grid import Cell, Noise
from snrvae.sources import cube
from snrvae.sources.source import Points, Split
from snrvae.training import loop, program, step
from snrvae.training.history import History
from tests.compiled import begun, gradients, off_the_points, without_moving

MakeRecipe = Callable[..., Recipe]

NOISES: tuple[Noise, ...] = ("none", "isotropic", "learned")


@pytest.fixture
def points(splits: dict[str, Split]) -> Points:
    return splits["train"].points


def cells_of(noise: Noise, latent_dim: int = 2, repeats: int = 2) -> tuple[Cell, ...]:
    snrs = (None,) if noise == "none" else (2.0, 50.0)
    return tuple(Cell(noise, latent_dim, snr, repeat) for snr in snrs for repeat in range(repeats))


def fit(cells: Sequence[Cell], points: Points, recipe: Recipe) -> tuple[Codecs, History]:
    return loop.fit(tuple(cells), points, recipe, lambda *_: None)


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


def plain_module(cell: Cell, made: Program) -> PlainCodec:
    return PlainCodec(cell, program._network(made.encoder), program._network(made.decoder), 0)


@pytest.mark.parametrize("hidden", [(16,), (16, 16), (16, 32, 16)])
@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize("noise", NOISES)
def test_the_gradient_of_a_step_is_that_of_the_whole_loss_under_autograd(
    noise: Noise, latent_dim: int, hidden: tuple[int, ...], recipe: MakeRecipe, points: Points
) -> None:
    settings = recipe(hidden, kl_weight=0.05, gaussianity_weight=0.3)  # no term drowns in another
    x = torch.rand(64, 3, generator=torch.Generator().manual_seed(3))
    epsilon = torch.randn(latent_dim, 64, generator=torch.Generator().manual_seed(4))
    for cell in cells_of(noise, latent_dim):
        made = begun(cell, points, settings)
        module = plain_module(cell, made)
        losses = without_moving(made, x.numpy(), epsilon, settings.train.gaussianity_weight)
        expected = [float(v.detach()) for v in module.losses(x, epsilon.T)]
        assert losses == pytest.approx(expected, rel=1e-4, abs=1e-6)
        module.loss(settings, x, epsilon.T, settings.train.gaussianity_weight).backward()
        for gradient, parameter in zip(gradients(made), module.parameters(), strict=True):
            scale = float(parameter.grad.abs().max())
            assert torch.allclose(gradient, parameter.grad, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("noise", NOISES)
def test_a_dozen_steps_move_the_parameters_as_adam_moves_a_plain_module(
    noise: Noise, recipe: MakeRecipe, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    def initialise_off_the_points(made: Program, inputs: Points, generator: np.random.Generator) -> None:
        initialise(made, inputs, generator)
        off_the_points(made)

    monkeypatch.setattr(program, "initialise", initialise_off_the_points)
    cells, settings = cells_of(noise), recipe(steps=12, kl_weight=0.01)
    codecs, _ = fit(cells, points, settings)
    seen = torch.from_numpy(points[:64])
    means, _ = codec.heads(noise, 2, codecs.encoder(seen.T.expand(len(cells), -1, -1)))
    decoded = codecs.decode(means)
    for i, cell in enumerate(cells):
        module = plain_module(cell, begun(cell, points, settings))
        optimiser = torch.optim.Adam(module.parameters())
        for number, (choice, epsilon) in enumerate(
            zip(*Draws(cell, len(points), settings).of(12), strict=True)
        ):
            optimiser.param_groups[0]["lr"] = loop.learning_rate(number, 12, settings.train.learning_rate)
            weight = loop.gaussianity_weight(number, 12, settings.train.gaussianity_weight)
            optimiser.zero_grad()
            batch = torch.from_numpy(points[choice]), torch.from_numpy(epsilon).T
            module.loss(settings, *batch, weight).backward()
            optimiser.step()
        mean = module.encoder(seen)[:, :2]
        assert torch.allclose(means[i].T, mean, atol=2e-3)
        assert torch.allclose(decoded[i], module.decode(mean), atol=2e-3)


# What is drawn for the steps


def all_differ(arrays: Sequence[Any]) -> bool:
    return len({np.asarray(array).tobytes() for array in arrays}) == len(arrays)


def test_points_and_noise_differ_from_step_to_step_and_from_repeat_to_repeat(recipe: MakeRecipe) -> None:
    choices, noises = [], []
    for cell in cells_of("isotropic")[:2]:
        draws = Draws(cell, 1200, recipe())
        for size in (100, 7):
            choice, noise = draws.of(size)
            assert choice.shape == (size, 64)
            assert noise.shape == (size, 2, 64)
            choices.extend(choice)
            noises.extend(noise)
    assert all_differ(choices)
    assert all_differ(noises)


def test_what_is_drawn_does_not_depend_on_how_many_steps_draw_at_once(recipe: MakeRecipe) -> None:
    one, other = (Draws(Cell("isotropic", 3, 2.0, 0), 1200, recipe()) for _ in "12")
    at_once, in_turn = one.of(30), [other.of(size) for size in (1, 9, 20)]
    for place in (0, 1):
        assert np.array_equal(at_once[place], np.concatenate([drawn[place] for drawn in in_turn]))


def test_the_seed_and_the_dimension_move_what_is_drawn(recipe: MakeRecipe) -> None:
    cell = Cell("isotropic", 2, 2.0, 0)
    first, other_seed = (Draws(cell, 1200, recipe(seed=seed)).of(1) for seed in (1, 2))
    assert not any(np.array_equal(*pair) for pair in zip(first, other_seed, strict=True))
    other_dim = Draws(Cell("isotropic", 3, 2.0, 0), 1200, recipe(seed=1)).of(1)
    assert not np.array_equal(first[1][0, 0], other_dim[1][0, 0])
    assert not np.array_equal(first[1][0, 0], first[1][0, 1])


def test_cells_of_one_repeat_draw_the_same_points_and_of_one_dimension_the_same_noise(
    recipe: MakeRecipe,
) -> None:
    drawn = [
        Draws(cell, 1200, recipe()).of(3)
        for cell in (Cell("isotropic", 2, 2.0, 1), Cell("learned", 2, 9.0, 1), Cell("none", 3, None, 1))
    ]
    assert np.array_equal(drawn[0][0], drawn[1][0])
    assert np.array_equal(drawn[0][0], drawn[2][0])
    assert np.array_equal(drawn[0][1], drawn[1][1])


def test_steps_see_training_points_all_of_them_and_standard_normal_noise(recipe: MakeRecipe) -> None:
    choice, noise = Draws(cells_of("isotropic")[0], 300, recipe()).of(200)
    assert np.array_equal(np.unique(choice), np.arange(300))
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3


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
    points: Points,
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


def test_training_twice_gives_identical_bytes_and_another_seed_other_ones(
    recipe: MakeRecipe, points: Points
) -> None:
    cells = cells_of("isotropic")
    once, twice, other = (codec.to_bytes([fit(cells, points, recipe(seed=seed))[0]]) for seed in (0, 0, 1))
    assert once == twice != other


def test_repeats_of_a_cell_start_and_come_out_different(recipe: MakeRecipe, points: Points) -> None:
    cells = cells_of("isotropic")
    assert all_differ([begun(cell, points, recipe()).parameters for cell in cells])
    codecs, _ = fit(cells, points, recipe())
    for net in (codecs.encoder, codecs.decoder):
        assert all(all_differ(list(weight)) for weight in net.weights)


@pytest.mark.parametrize("noise", NOISES)
def test_the_stored_signal_power_is_the_mean_squared_latent_of_the_training_set(
    noise: Noise, recipe: MakeRecipe, points: Points
) -> None:
    points = points[:1001]  # no whole number of batches
    codecs, _ = fit(cells_of(noise), points, recipe())
    mean = codecs.encode(torch.from_numpy(points)).mean.double()
    expected = mean.square().sum(1).mean(1) / codecs.latent_dim
    assert codecs.signal_power.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_of_many_training_points_the_first_measure_the_signal_power(
    recipe: MakeRecipe, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "MEASURED", 100)
    codecs, _ = fit(cells_of("isotropic")[:1], points, recipe(steps=20))
    first, every = (
        codecs.encode(torch.from_numpy(seen)).mean.square().mean() for seen in (points[:100], points)
    )
    assert float(codecs.signal_power) == pytest.approx(float(first), rel=1e-4)
    assert float(codecs.signal_power) != pytest.approx(float(every), rel=1e-3)


@pytest.mark.parametrize("noise", ["isotropic", "learned"])
def test_over_the_training_set_noise_power_is_signal_power_over_snr(
    noise: Noise, recipe: MakeRecipe, points: Points
) -> None:
    points = points[:1001]
    codecs, _ = fit(cells_of(noise), points, recipe(steps=200))
    latents = codecs.encode(torch.from_numpy(points))
    assert latents.log_noise_power is not None
    noise_power = latents.log_noise_power.double().exp().mean((1, 2))
    signal_power = latents.mean.double().square().mean((1, 2))
    snrs = [cell.snr for cell in codecs.cells]
    assert (signal_power / noise_power).tolist() == pytest.approx(snrs, rel=1e-4)
    if noise == "learned":
        assert latents.log_noise_power.std() > 0.01, "the head says nothing"


@pytest.mark.parametrize("noise", NOISES)
def test_training_lowers_the_loss_below_that_of_the_mean_point(
    noise: Noise, recipe: MakeRecipe, points: Points
) -> None:
    _, history = fit(cells_of(noise), points, recipe(steps=300))
    mse = history.losses[:, :, 0]
    assert (mse[-1] < mse[0] / 2).all()
    assert (mse[-1] < cube.SOURCE.variance).all()


def test_a_strong_kl_weight_pins_the_kl_at_the_capacity_of_the_channel(
    recipe: MakeRecipe, points: Points
) -> None:
    codecs, history = fit(cells_of("isotropic"), points, recipe(steps=300, kl_weight=10))
    snrs = np.array([cell.snr for cell in codecs.cells])
    assert history.losses[-1, :, 1] == pytest.approx(np.log1p(snrs), rel=0.01)
    assert codecs.signal_power.numpy() == pytest.approx(snrs / (1 + snrs), rel=0.1)


# The record


@pytest.mark.parametrize(("steps", "records"), [(1, 1), (59, 59), (120, 60), (121, 61), (150, 75)])
def test_the_history_ends_with_the_last_step(
    steps: int, records: int, recipe: MakeRecipe, points: Points
) -> None:
    cells = cells_of("isotropic")
    _, history = fit(cells, points, recipe(steps=steps))
    assert history.cells == cells
    assert history.step[-1] == steps
    assert (np.diff(history.step) > 0).all()
    assert history.losses.shape == (len(history.step), len(cells), 3)
    assert len(history.step) == len(history.learning_rate) == records


def test_each_record_is_the_mean_of_the_steps_since_the_last(
    recipe: MakeRecipe, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = recipe(steps=121)
    _, coarse = fit(cells_of("learned"), points, settings)
    monkeypatch.setattr(loop, "RECORDS", 1000)
    _, fine = fit(cells_of("learned"), points, settings)
    assert len(fine.step) == 121
    start = 0
    for end, losses in zip(coarse.step, coarse.losses, strict=True):
        assert losses == pytest.approx(fine.losses[start:end].mean(0), rel=1e-4)
        start = end


def test_an_autoencoder_has_no_kl_and_no_gaussianity(recipe: MakeRecipe, points: Points) -> None:
    _, history = fit(cells_of("none"), points, recipe())
    assert not history.losses[:, :, 1:].any()
    assert history.losses[:, :, 0].all()


@pytest.mark.parametrize("steps", [7, 131])
def test_progress_adds_up_to_the_steps_of_all_cells(steps: int, recipe: MakeRecipe, points: Points) -> None:
    told: list[tuple[int, float]] = []
    loop.fit(cells_of("isotropic"), points, recipe(steps=steps), lambda *report: told.append(report))
    assert sum(cell_steps for cell_steps, _ in told) == steps * 4
    assert all(cell_steps > 0 and 0 < mse < 10 for cell_steps, mse in told)


# The learning rate


def test_the_learning_rate_rises_from_a_25th_to_its_peak_and_falls_to_almost_nothing() -> None:
    rates = [loop.learning_rate(step, 1000, 0.02) for step in range(1001)]
    assert rates[0] == pytest.approx(0.02 / 25)
    assert rates[300] == max(rates) == pytest.approx(0.02)
    assert rates[1000] == pytest.approx(0.02 / 250_000)
    assert all(a < b for a, b in pairwise(rates[:301]))
    assert all(a > b for a, b in pairwise(rates[300:]))


def test_the_learning_rate_is_the_one_cycle_schedule_of_torch() -> None:
    steps = 10_000
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.0, steps)
    for number in range(steps):
        assert loop.learning_rate(number, steps, 1.0) == pytest.approx(schedule.get_last_lr()[0], abs=1e-3)
        optimiser.step()
        schedule.step()


def test_the_latent_penalty_is_strong_at_first_and_at_its_last_weight_from_half_of_the_steps_on() -> None:
    weights = [loop.gaussianity_weight(step, 1000, 0.02) for step in range(1000)]
    assert weights[0] == pytest.approx(0.02 * (1 + loop.EARLY))
    assert np.diff(weights[:501]) == pytest.approx(-0.02 * loop.EARLY / 500)
    assert weights[500:] == [0.02] * 500
    assert loop.gaussianity_weight(0, 1, 0.0) == 0
    assert loop.gaussianity_weight(0, 1000, 0.02, labels=6) == 0.02


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_every_step_of_the_shortest_training_has_a_positive_learning_rate(steps: int) -> None:
    assert all(0 < loop.learning_rate(step, steps, 0.1) <= 0.1 for step in range(steps))


# Divergence

BAD = Cell("isotropic", 2, 1e39, 0)  # its noise power is below what float32 holds


def test_a_learning_rate_that_is_far_too_large_is_reported_with_cell_step_and_rate(
    recipe: MakeRecipe, points: Points
) -> None:
    (cell,) = cells = cells_of("isotropic")[:1]
    with pytest.raises(DivergedError) as caught:
        fit(cells, points, recipe(learning_rate=1e30))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{cell.name}: ")
    assert "step 1 of 60" in line
    assert f"{loop.learning_rate(1, 60, 1e30):.3g}" in line
    assert "1e+30" in line


@pytest.mark.parametrize("steps", [60, 300])
def test_the_cell_and_the_first_step_that_diverged_are_named_among_others(
    steps: int, recipe: MakeRecipe, points: Points
) -> None:
    sound = cells_of("isotropic")
    with pytest.raises(DivergedError, match="step 0 of") as caught:
        fit((*sound[:2], BAD, *sound[2:]), points, recipe(steps=steps))
    assert str(caught.value).startswith(f"{BAD.name}: ")


@pytest.mark.parametrize("rate", [1e10, 1e30])
@pytest.mark.parametrize("noise", NOISES)
def test_training_never_hands_on_a_codec_that_is_not_finite(
    noise: Noise, rate: float, recipe: MakeRecipe, points: Points
) -> None:
    for steps in (1, 2):
        try:
            codecs, _ = fit(cells_of(noise), points, recipe(steps=steps, learning_rate=rate))
        except DivergedError:
            continue
        assert math.isfinite(float(codecs.signal_power.sum()))
        assert math.isfinite(float(codecs.noise_log_gain.sum()))
        assert codecs.decode(codecs.encode(torch.from_numpy(points)).mean).isfinite().all()


def test_a_cell_that_diverges_may_be_kept_and_leaves_the_bits_of_the_others_alone(
    recipe: MakeRecipe, points: Points
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
def test_cells_that_all_diverge_are_kept_too(noise: Noise, recipe: MakeRecipe, points: Points) -> None:
    cells = cells_of(noise)
    codecs, history = fit(cells, points, recipe(learning_rate=1e30, on_divergence="keep"))
    assert set(history.diverged) == set(cells) == set(codecs.diverged)
    assert set(history.diverged.values()) <= {1, 2}
    (read,) = codec.from_bytes(codec.to_bytes([codecs]))
    assert read.diverged == cells


def test_what_progress_raises_ends_training_and_leaves_the_arithmetic_as_it_was(
    recipe: MakeRecipe, points: Points
) -> None:
    def interrupt(*_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.fit(cells_of("none"), points, recipe(), interrupt)
    assert float(torch.tensor(1e-40) * 1) > 0, "small numbers are flushed to zero"


def test_adam_is_the_one_of_pytorch() -> None:
    generator = np.random.default_rng(0)
    ours, first, second = (np.zeros(1000, np.float32) for _ in "123")
    theirs = torch.zeros(1000, requires_grad=True)
    reference = torch.optim.Adam([theirs])
    for step_number in range(1, 50):
        gradient = generator.standard_normal(1000, np.float32) * np.float32(10.0 ** (step_number % 7 - 5))
        theirs.grad = torch.from_numpy(gradient)
        reference.param_groups[0]["lr"] = 0.1 / step_number
        reference.step()
        step.adam(ours, gradient, first, second, 0.1 / step_number, step_number)
        assert ours == pytest.approx(theirs.detach().numpy(), rel=1e-5, abs=1e-6)
