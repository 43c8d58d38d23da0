"""Training by the compiled engine: what is drawn, what comes out, what is recorded, and what diverges."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeConfig
from scipy import stats

from snrvae.codecs import files
from snrvae.codecs.codec import Codec
from snrvae.codecs.losses import Weights, loss
from snrvae.settings.grid import Cell
from snrvae.sources import cube
from snrvae.sources.domain import Points, Split
from snrvae.training import batches, history, schedule
from snrvae.training.batches import BatchSampler
from snrvae.training.compiled import adam, engine, state
from snrvae.training.config import DivergedError, TrainConfig
from snrvae.training.trainer import Trained

NOISES = ("none", "isotropic", "learned")


@pytest.fixture
def points(splits: dict[str, Split]) -> Points:
    return splits["train"].points


def cells_of(noise: str, latent_dim: int = 2, repeats: int = 2) -> tuple[Cell, ...]:
    snrs = (None,) if noise == "none" else (2.0, 50.0)
    return tuple(Cell(noise, latent_dim, snr, repeat) for snr in snrs for repeat in range(repeats))


def fit(cell: Cell, points: Points, settings: TrainConfig) -> Trained:
    return engine.fit(cell, points, settings, lambda *_: None)


def fit_all(cells: Sequence[Cell], points: Points, settings: TrainConfig) -> list[Trained]:
    return [fit(cell, points, settings) for cell in cells]


def data(codec: Codec) -> bytes:
    return files.to_bytes({codec.architecture.cell.name: codec})


@pytest.mark.parametrize("noise", NOISES)
def test_a_dozen_steps_move_the_parameters_as_adam_moves_the_definition(
    noise: str, config: MakeConfig, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = batches.start

    def off_the_points(cell: Cell, inputs: Points, settings: TrainConfig) -> Codec:
        """The kink of a unit starts at a point, where rounding would decide whether it moves the unit."""
        codec, rng = begin(cell, inputs, settings), np.random.default_rng(0)
        for parameter in codec.parameters():
            moved = 1e-3 * rng.standard_normal(parameter.shape, np.float32)
            parameter.data += torch.from_numpy(np.asarray(moved, np.float32))
        return codec

    monkeypatch.setattr(batches, "start", off_the_points)
    settings = config(steps=12, kl_weight=0.01)
    rates, weights, _ = schedule.schedule(range(12), settings.train, False)
    for cell in cells_of(noise):
        trained, _ = fit(cell, points, settings)
        module = off_the_points(cell, points, settings)
        optimiser = torch.optim.Adam(module.parameters())
        drawn = zip(*BatchSampler(cell, len(points), settings).draw(12), strict=True)
        for (choice, epsilon), rate, weight in zip(drawn, rates, weights, strict=True):
            optimiser.param_groups[0]["lr"] = float(rate)
            optimiser.zero_grad()
            x, noises = torch.from_numpy(points[choice.numpy()]), epsilon.T
            loss(module(x, noises), x, noises, Weights(0.01, float(weight)))[0].backward()
            optimiser.step()
        seen = torch.from_numpy(points[:64])
        with torch.no_grad():
            mean = module.channel.mean(module.encoder(seen))
            assert torch.allclose(trained.channel.mean(trained.encoder(seen)), mean, atol=2e-3)
            assert torch.allclose(trained.decode(mean), module.decode(mean), atol=2e-3)


# What is drawn for the steps


def all_differ(arrays: Sequence[Any]) -> bool:
    return len({np.asarray(array).tobytes() for array in arrays}) == len(arrays)


def test_points_and_noise_differ_from_step_to_step_and_from_repeat_to_repeat(config: MakeConfig) -> None:
    choices, noises = [], []
    for cell in cells_of("isotropic")[:2]:
        draws = BatchSampler(cell, 1200, config())
        for size in (100, 7):
            choice, noise = draws.draw(size)
            assert choice.shape == (size, 64)
            assert noise.shape == (size, 2, 64)
            choices.extend(choice)
            noises.extend(noise)
    assert all_differ(choices)
    assert all_differ(noises)


def test_what_is_drawn_does_not_depend_on_how_many_steps_draw_at_once(config: MakeConfig) -> None:
    one, other = (BatchSampler(Cell("isotropic", 3, 2.0, 0), 1200, config()) for _ in "12")
    at_once, in_turn = one.draw(30), [other.draw(size) for size in (1, 9, 20)]
    for place in (0, 1):
        assert np.array_equal(at_once[place], np.concatenate([drawn[place] for drawn in in_turn]))


def test_the_seed_and_the_dimension_move_what_is_drawn(config: MakeConfig) -> None:
    cell = Cell("isotropic", 2, 2.0, 0)
    first, other_seed = (BatchSampler(cell, 1200, config(seed=seed)).draw(1) for seed in (1, 2))
    assert not any(np.array_equal(*pair) for pair in zip(first, other_seed, strict=True))
    other_dim = BatchSampler(Cell("isotropic", 3, 2.0, 0), 1200, config(seed=1)).draw(1)
    assert not np.array_equal(first[1][0, 0], other_dim[1][0, 0])
    assert not np.array_equal(first[1][0, 0], first[1][0, 1])


def test_cells_of_one_repeat_draw_the_same_points_and_of_one_dimension_the_same_noise(
    config: MakeConfig,
) -> None:
    drawn = [
        BatchSampler(cell, 1200, config()).draw(3)
        for cell in (Cell("isotropic", 2, 2.0, 1), Cell("learned", 2, 9.0, 1), Cell("none", 3, None, 1))
    ]
    assert np.array_equal(drawn[0][0], drawn[1][0])
    assert np.array_equal(drawn[0][0], drawn[2][0])
    assert np.array_equal(drawn[0][1], drawn[1][1])


def test_steps_see_training_points_all_of_them_and_standard_normal_noise(config: MakeConfig) -> None:
    choice, noise = BatchSampler(cells_of("isotropic")[0], 300, config()).draw(200)
    assert np.array_equal(np.unique(choice), np.arange(300))
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3


# What comes out


@pytest.mark.parametrize(
    ("latent_dim", "units", "layers", "batch", "steps"),
    [(1, 16, 2, 48, 60), (1, 64, 3, 128, 8), (2, 32, 1, 16, 110), (3, 64, 3, 128, 8)],
)
@pytest.mark.parametrize("noise", NOISES)
def test_a_cell_comes_out_bit_identical_whatever_was_trained_before(
    noise: str,
    latent_dim: int,
    units: int,
    layers: int,
    batch: int,
    steps: int,
    config: MakeConfig,
    points: Points,
) -> None:
    cells = cells_of(noise, latent_dim, repeats=4)
    settings = config(units, layers, steps=steps, batch_size=batch)
    together = {cell: data(fit(cell, points, settings)[0]) for cell in cells}
    backwards = {cell: data(fit(cell, points, settings)[0]) for cell in cells[::-1]}
    assert together == backwards
    assert data(fit(cells[2], points, settings)[0]) == together[cells[2]]


def test_training_twice_gives_identical_bytes_and_another_seed_other_ones(
    config: MakeConfig, points: Points
) -> None:
    (cell, *_) = cells_of("isotropic")
    once, twice, other = (data(fit(cell, points, config(seed=seed))[0]) for seed in (0, 0, 1))
    assert once == twice != other


def test_repeats_of_a_cell_start_and_come_out_different(config: MakeConfig, points: Points) -> None:
    cells, settings = cells_of("isotropic"), config()
    starts = [state.build(batches.start(cell, points, settings), 64, 0.0).parameters for cell in cells]
    assert all_differ(starts)
    codecs = [codec for codec, _ in fit_all(cells, points, settings)]
    for weights in zip(*(codec.parameters() for codec in codecs), strict=True):
        assert all_differ([weight.numpy() for weight in weights])


@pytest.mark.parametrize("noise", NOISES)
def test_the_stored_signal_power_is_the_mean_squared_latent_of_the_training_set(
    noise: str, config: MakeConfig, points: Points
) -> None:
    points = points[:1001]  # no whole number of batches
    for codec, _ in fit_all(cells_of(noise), points, config()):
        expected = codec.encode(torch.from_numpy(points)).mean.double().square().mean()
        assert float(codec.channel.signal_power) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("noise", NOISES)
def test_the_definition_measures_the_power_that_the_engine_stored(
    noise: str, config: MakeConfig, points: Points
) -> None:
    for codec, _ in fit_all(cells_of(noise), points, config()):
        power, gain = codec.channel.signal_power.clone(), codec.channel.noise_log_gain.clone()
        codec.measure_power(torch.from_numpy(points))
        assert float(codec.channel.signal_power) == pytest.approx(float(power), rel=1e-5)
        assert float(codec.channel.noise_log_gain) == pytest.approx(float(gain), rel=1e-5, abs=1e-6)


def test_of_many_training_points_the_first_measure_the_signal_power(
    config: MakeConfig, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MEASURED", 100)
    codec, _ = fit(cells_of("isotropic")[0], points, config(steps=20))
    first, every = (
        codec.encode(torch.from_numpy(seen)).mean.square().mean() for seen in (points[:100], points)
    )
    assert float(codec.channel.signal_power) == pytest.approx(float(first), rel=1e-4)
    assert float(codec.channel.signal_power) != pytest.approx(float(every), rel=1e-3)


@pytest.mark.parametrize("noise", ["isotropic", "learned"])
def test_over_the_training_set_noise_power_is_signal_power_over_snr(
    noise: str, config: MakeConfig, points: Points
) -> None:
    points = points[:1001]
    for codec, _ in fit_all(cells_of(noise), points, config(steps=200)):
        latents = codec.encode(torch.from_numpy(points))
        assert latents.log_noise_power is not None
        noise_power = latents.log_noise_power.double().exp().mean()
        signal_power = latents.mean.double().square().mean()
        snr = codec.architecture.cell.snr
        assert float(signal_power / noise_power) == pytest.approx(snr, rel=1e-4)
        if noise == "learned":
            assert latents.log_noise_power.std() > 0.01, "the head says nothing"


@pytest.mark.parametrize("noise", NOISES)
def test_training_lowers_the_loss_below_that_of_the_mean_point(
    noise: str, config: MakeConfig, points: Points
) -> None:
    for _, past in fit_all(cells_of(noise), points, config(steps=300)):
        mse = past.losses[:, 0]
        assert mse[-1] < mse[0] / 2
        assert mse[-1] < cube.SOURCE.variance


def test_a_strong_kl_weight_pins_the_kl_at_the_capacity_of_the_channel(
    config: MakeConfig, points: Points
) -> None:
    for codec, past in fit_all(cells_of("isotropic"), points, config(steps=300, kl_weight=10)):
        snr = codec.architecture.cell.snr
        assert snr is not None
        assert past.losses[-1, 1] == pytest.approx(math.log1p(snr), rel=0.01)
        assert float(codec.channel.signal_power) == pytest.approx(snr / (1 + snr), rel=0.1)


# The record


@pytest.mark.parametrize(("steps", "records"), [(1, 1), (59, 59), (120, 60), (121, 61), (150, 75)])
def test_the_history_ends_with_the_last_step(
    steps: int, records: int, config: MakeConfig, points: Points
) -> None:
    cell = cells_of("isotropic")[0]
    _, past = fit(cell, points, config(steps=steps))
    assert past.cell == cell
    assert past.step[-1] == steps
    assert (np.diff(past.step) > 0).all()
    assert past.losses.shape == (len(past.step), 3)
    assert len(past.step) == len(past.learning_rate) == records


def test_each_record_is_the_mean_of_the_steps_since_the_last(
    config: MakeConfig, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, settings = cells_of("learned")[0], config(steps=121)
    _, coarse = fit(cell, points, settings)
    monkeypatch.setattr(history, "RECORDS", 1000)
    _, fine = fit(cell, points, settings)
    assert len(fine.step) == 121
    start = 0
    for end, losses in zip(coarse.step, coarse.losses, strict=True):
        assert losses == pytest.approx(fine.losses[start:end].mean(0), rel=1e-4)
        start = end


def test_an_autoencoder_has_no_kl_and_no_gaussianity(config: MakeConfig, points: Points) -> None:
    _, past = fit(cells_of("none")[0], points, config())
    assert not past.losses[:, 1:].any()
    assert past.losses[:, 0].all()


@pytest.mark.parametrize("steps", [7, 131])
def test_progress_adds_up_to_the_steps_of_the_cell(steps: int, config: MakeConfig, points: Points) -> None:
    reported: list[tuple[int, float]] = []
    settings = config(steps=steps)
    engine.fit(cells_of("isotropic")[0], points, settings, lambda *report: reported.append(report))
    assert sum(cell_steps for cell_steps, _ in reported) == steps
    assert all(cell_steps > 0 and 0 < mse < 10 for cell_steps, mse in reported)


# The learning rate


def test_the_learning_rate_rises_from_a_25th_to_its_peak_and_falls_to_almost_nothing() -> None:
    rates = [schedule.learning_rate(step, 1000, 0.02) for step in range(1001)]
    assert rates[0] == pytest.approx(0.02 / 25)
    assert rates[300] == max(rates) == pytest.approx(0.02)
    assert rates[1000] == pytest.approx(0.02 / 250_000)
    assert all(a < b for a, b in pairwise(rates[:301]))
    assert all(a > b for a, b in pairwise(rates[300:]))


def test_the_learning_rate_is_the_one_cycle_schedule_of_torch() -> None:
    steps = 10_000
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.0, steps)
    for number in range(steps):
        assert schedule.learning_rate(number, steps, 1.0) == pytest.approx(
            reference.get_last_lr()[0], abs=1e-3
        )
        optimiser.step()
        reference.step()


def test_the_latent_penalty_is_strong_at_first_and_at_its_last_weight_from_half_of_the_steps_on() -> None:
    weights = [schedule.gaussianity_weight(step, 1000, 0.02) for step in range(1000)]
    assert weights[0] == pytest.approx(0.02 * (1 + schedule.EARLY))
    assert np.diff(weights[:501]) == pytest.approx(-0.02 * schedule.EARLY / 500)
    assert weights[500:] == [0.02] * 500
    assert schedule.gaussianity_weight(0, 1, 0.0) == 0
    assert schedule.gaussianity_weight(0, 1000, 0.02, conditional=True) == 0.02


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_every_step_of_the_shortest_training_has_a_positive_learning_rate(steps: int) -> None:
    assert all(0 < schedule.learning_rate(step, steps, 0.1) <= 0.1 for step in range(steps))


# Divergence

BAD = Cell("isotropic", 2, 1e39, 0)  # its noise power is below what float32 holds


def test_a_learning_rate_that_is_far_too_large_is_reported_with_cell_step_and_rate(
    config: MakeConfig, points: Points
) -> None:
    cell = cells_of("isotropic")[0]
    with pytest.raises(DivergedError) as caught:
        fit(cell, points, config(learning_rate=1e30))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{cell.name}: ")
    assert "step 1 of 60" in line
    assert f"{schedule.learning_rate(1, 60, 1e30):.3g}" in line
    assert "1e+30" in line


@pytest.mark.parametrize("steps", [60, 300])
def test_the_cell_and_the_first_step_that_diverged_are_named(
    steps: int, config: MakeConfig, points: Points
) -> None:
    with pytest.raises(DivergedError, match="step 0 of") as caught:
        fit(BAD, points, config(steps=steps))
    assert str(caught.value).startswith(f"{BAD.name}: ")


@pytest.mark.parametrize("rate", [1e10, 1e30])
@pytest.mark.parametrize("noise", NOISES)
def test_training_never_hands_on_a_codec_that_is_not_finite(
    noise: str, rate: float, config: MakeConfig, points: Points
) -> None:
    for steps in (1, 2):
        for cell in cells_of(noise):
            try:
                codec, _ = fit(cell, points, config(steps=steps, learning_rate=rate))
            except DivergedError:
                continue
            assert codec.finite
            assert codec.decode(codec.encode(torch.from_numpy(points)).mean).isfinite().all()


def test_a_cell_that_diverges_may_be_kept_and_leaves_the_bits_of_the_others_alone(
    config: MakeConfig, points: Points
) -> None:
    sound = cells_of("isotropic")[0]
    expected, before = fit(sound, points, config())
    codec, past = fit(BAD, points, config(on_divergence="keep"))
    after, again = fit(sound, points, config(on_divergence="keep"))
    assert data(after) == data(expected)
    assert np.array_equal(again.losses, before.losses)
    assert (past.diverged, before.diverged) == (0, None)
    assert (codec.diverged, expected.diverged) == (True, False)
    assert np.isnan(past.losses).all()
    assert not codec.finite
    assert all(tensor.isnan().all() for tensor in codec.state_dict().values())


@pytest.mark.parametrize("noise", NOISES)
def test_cells_that_all_diverge_are_kept_too(noise: str, config: MakeConfig, points: Points) -> None:
    for cell in cells_of(noise):
        codec, past = fit(cell, points, config(learning_rate=1e30, on_divergence="keep"))
        assert past.diverged in (1, 2)
        (read,) = files.from_bytes(data(codec)).values()
        assert read.diverged


def test_what_progress_raises_ends_training_and_leaves_the_arithmetic_as_it_was(
    config: MakeConfig, points: Points
) -> None:
    def interrupt(*_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.fit(cells_of("none")[0], points, config(), interrupt)
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
        adam.adam(ours, gradient, first, second, 0.1 / step_number, step_number)
        assert ours == pytest.approx(theirs.detach().numpy(), rel=1e-5, abs=1e-6)
