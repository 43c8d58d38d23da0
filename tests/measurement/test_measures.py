"""Measures on held-out points, against laws whose numbers are known and independent routines."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, stats

from snrvae.measurement import measures
from snrvae.settings.grid import Cell
from snrvae.sources import cube

COUNT = 12_000
COVARIANCE = np.eye(3) * 5 / 36  # of the source

Array = NDArray[np.float64]


def linear_mse(latent_dim: int, snr: float | None) -> float:
    cell = Cell("none" if snr is None else "isotropic", latent_dim, snr, 0)
    return measures.linear_mse(cell, cube.SOURCE, False)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_estimate_is_the_mean_with_its_standard_error() -> None:
    values = rng().exponential(size=500)
    found = measures.estimate(values)
    assert found.value == pytest.approx(values.mean())
    assert found.stderr == pytest.approx(stats.sem(values))


def test_the_mean_of_squared_errors_is_the_loss_of_torch() -> None:
    points, reconstructed = rng().random((2, 500, 3))
    error = measures.squared_error(points, reconstructed)
    assert error.shape == (500,)
    assert error.mean() == pytest.approx(torch.nn.MSELoss()(*map(torch.from_numpy, (points, reconstructed))))
    assert error[7] == pytest.approx(((points[7] - reconstructed[7]) ** 2).sum() / 3)


# The linear reference


def linear_distortion(encoder: Array, snr: float) -> float:
    """MSE of a linear encoder [d, 3] with the best linear decoder behind the SNR channel."""
    received = encoder @ COVARIANCE @ encoder.T
    noise = np.trace(received) / len(encoder) / snr
    decoder = COVARIANCE @ encoder.T @ np.linalg.inv(received + noise * np.eye(len(encoder)))
    return float(np.trace(COVARIANCE - decoder @ encoder @ COVARIANCE) / 3)


@pytest.mark.parametrize("latent_dim", [1, 2, 3, 6])
@pytest.mark.parametrize("snr", [0.1, 1.0, 10.0, 1000.0])
def test_the_linear_reference_is_pca_with_the_best_linear_decoder(latent_dim: int, snr: float) -> None:
    encoder = np.eye(3)[np.arange(latent_dim) % 3]  # components in turn, each over as many uses
    assert linear_mse(latent_dim, snr) == pytest.approx(linear_distortion(encoder, snr))


@pytest.mark.parametrize("latent_dim", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("snr", [0.3, 10.0])
def test_no_linear_codec_beats_the_linear_reference_and_a_search_reaches_it(
    latent_dim: int, snr: float
) -> None:
    reference = linear_mse(latent_dim, snr)
    starts = rng(1).normal(size=(40, latent_dim, 3))
    assert min(linear_distortion(start, snr) for start in starts) >= reference - 1e-12
    best = min(
        optimize.minimize(lambda x: linear_distortion(x.reshape(latent_dim, 3), snr), start.ravel()).fun
        for start in starts[:3]
    )
    assert best == pytest.approx(reference, rel=1e-4)


@pytest.mark.parametrize("latent_dim", [1, 2, 3])
def test_least_squares_on_transmitted_points_reaches_the_linear_reference(latent_dim: int) -> None:
    snr, points = 5.0, cube.SOURCE.split(60_000, rng(2)).points.astype(np.float64) - 0.5
    sent = points[:, :latent_dim]
    received = sent + np.sqrt((sent**2).mean() / snr) * rng(3).normal(size=sent.shape)
    residual = points - received @ np.linalg.lstsq(received, points, rcond=None)[0]
    error = measures.estimate((residual**2).mean(axis=1))
    assert abs(linear_mse(latent_dim, snr) - error.value) < 5 * error.stderr


@given(st.integers(1, 8))
def test_the_linear_reference_goes_from_the_variance_to_what_is_not_sent(latent_dim: int) -> None:
    unsent = cube.SOURCE.variance * (1 - min(latent_dim, 3) / 3)
    assert linear_mse(latent_dim, 1e-9) == pytest.approx(cube.SOURCE.variance, rel=1e-6)
    assert linear_mse(latent_dim, 1e12) == pytest.approx(unsent, abs=1e-9)
    assert linear_mse(latent_dim, None) == pytest.approx(unsent, abs=1e-15)


# The law of latents


def test_a_normal_sample_has_no_kl_from_the_normal_law() -> None:
    found = [measures.normal_kl_bits(rng(seed).normal(size=COUNT)) for seed in range(20)]
    assert max(map(abs, found)) < 0.02
    assert abs(np.mean(found)) < 0.006


@pytest.mark.parametrize(
    ("mean", "variance"), [(1.0, 1.0), (0.0, 4.0), (0.0, 0.01), (-3.0, 0.25), (20.0, 9.0)]
)
def test_a_shifted_and_scaled_normal_sample_has_the_kl_of_the_closed_form(
    mean: float, variance: float
) -> None:
    values = mean + math.sqrt(variance) * rng(4).normal(size=COUNT)
    sampled_moment = float((values**2).mean())  # its own spread is not the estimator's
    expected = (sampled_moment - 1 - math.log(variance)) / 2 / math.log(2)
    assert measures.normal_kl_bits(values) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    "law",
    [stats.uniform(-1, 3), stats.expon(), stats.laplace(), stats.beta(2, 5)],
    ids=lambda law: law.dist.name,
)
def test_the_entropy_of_a_sample_is_that_of_its_law(law: stats.rv_continuous) -> None:
    values = law.rvs(COUNT, random_state=rng(5))
    surprise = stats.sem(law.logpdf(values))
    assert abs(measures.entropy_nats(values) - law.entropy()) < 0.01 + 4 * surprise


def test_the_entropy_of_few_uniform_values_is_right_on_average() -> None:
    found = [measures.entropy_nats(values) for values in rng(6).random((4000, 30))]
    assert abs(np.mean(found)) < 5 * stats.sem(found)


@given(st.floats(0.01, 100), st.floats(-10, 10))
def test_the_entropy_grows_by_the_logarithm_of_the_scale(scale: float, shift: float) -> None:
    values = rng(7).normal(size=2000)
    grown = measures.entropy_nats(shift + scale * values)
    assert grown == pytest.approx(measures.entropy_nats(values) + math.log(scale), abs=1e-2)


@pytest.mark.parametrize(
    "values",
    [np.zeros(1000), np.ones(1000), np.full(1000, 1e-30), np.full(1000, 3e5), np.repeat([-1.0, 1.0], 500)],
)
def test_ties_give_a_finite_kl_larger_than_any_honest_one(values: Array) -> None:
    assert 9 < measures.normal_kl_bits(values) < 1e12
    latents = np.stack([values, values], axis=1)
    assert 9 < measures.latent_shape_kl_bits(latents) < 60


def test_a_few_ties_hardly_move_the_kl() -> None:
    values = rng(8).normal(size=COUNT)
    values[:60] = values[0]
    assert measures.normal_kl_bits(values) < 0.15


def test_the_kl_of_latents_is_the_mean_over_their_dimensions() -> None:
    latents = rng(9).normal(size=(2000, 3)) * [1, 2, 0.1]
    columns = [measures.normal_kl_bits(column) for column in latents.T]
    assert measures.latent_kl_bits(latents) == pytest.approx(np.mean(columns))
    assert len({round(kl, 3) for kl in columns}) == 3


@given(st.floats(0.001, 1000), st.floats(-100, 100), st.sampled_from([-1, 1]))
def test_the_kl_of_the_shape_ignores_scale_shift_and_sign_of_each_dimension(
    scale: float, shift: float, sign: int
) -> None:
    latents = rng(10).gamma(2, size=(2000, 2))
    moved = latents * [sign * scale, 1] + [scale * shift, -3]
    assert measures.latent_shape_kl_bits(moved) == pytest.approx(
        measures.latent_shape_kl_bits(latents), abs=1e-3
    )


def test_the_kl_of_the_shape_is_that_of_the_standardised_law() -> None:
    uniform = rng(11).random((COUNT, 1))
    expected = (math.log(2 * math.pi) + 1 - math.log(12)) / 2 / math.log(2)
    assert measures.latent_shape_kl_bits(5 * uniform - 2) == pytest.approx(expected, abs=0.02)
    assert measures.latent_kl_bits(5 * uniform - 2) > expected + 0.1


def test_equal_shares_of_the_faces_are_no_error() -> None:
    assert measures.face_error(cube.SOURCE.split(600, rng()).points, cube.SOURCE) == pytest.approx(
        0, abs=1e-12
    )


def test_the_face_error_is_the_largest_relative_error_of_a_share() -> None:
    points = cube.SOURCE.split(600, rng()).points
    face = cube.SOURCE.nearest(points)
    missing = points[face != 4]
    assert measures.face_error(missing, cube.SOURCE) == pytest.approx(1)
    assert measures.face_error(points[face == 2], cube.SOURCE) == pytest.approx(5)
    assert measures.face_error(np.concatenate([points, points[face == 0]]), cube.SOURCE) == pytest.approx(
        12 / 7 - 1
    )
