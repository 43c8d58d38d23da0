"""Densities fitted to latents: found again where they are mixtures, and never a fault for odd latents."""

import numpy as np
import pytest
from scipy import stats

from snrvae.measurement import density
from snrvae.measurement.density import Mixture

TRUE = Mixture(
    np.array([0.2, 0.8]),
    np.array([[-3.0, 0.0], [2.0, 1.0]]),
    np.array([[[0.5, 0.0], [0.2, 0.1]], [[1.0, 0.0], [-0.8, 0.6]]]),
)


def drawn(count: int, seed: int = 0) -> np.ndarray:
    return TRUE.sample(count, np.random.default_rng(seed))


def test_samples_have_the_moments_of_the_mixture() -> None:
    latents = drawn(200_000).astype(np.float64)
    mean = TRUE.weight @ TRUE.mean
    covariances = TRUE.root @ TRUE.root.transpose(0, 2, 1)
    away = TRUE.mean - mean
    covariance = np.einsum("k,kij->ij", TRUE.weight, covariances + away[:, :, None] * away[:, None])
    assert latents.mean(0) == pytest.approx(mean, abs=0.03)
    assert np.cov(latents.T) == pytest.approx(covariance, abs=0.05)


def test_samples_come_in_no_order() -> None:
    left = drawn(10_000)[:, 0] < -1
    assert abs(stats.pearsonr(left[:-1], left[1:]).statistic) < 0.05


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_fit_cannot_be_told_from_the_law_whatever_its_scale(scale: float) -> None:
    fitted = density.fit(scale * drawn(20_000), seed=1).sample(4000, np.random.default_rng(2)) / scale
    for direction in ([1, 0], [0, 1], [0.6, 0.8]):
        assert stats.ks_2samp(fitted @ direction, drawn(4000, 3) @ direction).pvalue > 0.01


def test_a_ring_that_no_normal_law_resembles_is_followed() -> None:
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 12_000)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    fitted = density.fit(ring, seed=0).sample(5000, np.random.default_rng(1))
    assert np.quantile(np.abs(np.linalg.norm(fitted, axis=1) - 1), 0.95) < 0.05


def test_the_same_latents_and_seed_give_the_same_mixture() -> None:
    one, two, other = (density.fit(drawn(2000), seed) for seed in (1, 1, 2))
    assert np.array_equal(one.mean, two.mean)
    assert not np.array_equal(one.mean, other.mean)


@pytest.mark.parametrize("value", [0.25, 0.3])  # whose mean is exact, and is rounded
@pytest.mark.parametrize("count", [2, 40, 1200])
def test_latents_that_do_not_vary_are_drawn_again(count: int, value: float) -> None:
    dead = np.full((count, 2), value)
    fitted = density.fit(dead, seed=0).sample(100, np.random.default_rng(0))
    assert fitted == pytest.approx(np.full((100, 2), value), abs=0.02)


def test_one_dimension_may_be_dead() -> None:
    latents = np.stack([np.zeros(1000), np.random.default_rng(0).normal(size=1000)], 1)
    fitted = density.fit(latents, seed=0).sample(1000, np.random.default_rng(1))
    assert np.abs(fitted[:, 0]).max() < 0.02
    assert stats.ks_2samp(fitted[:, 1], latents[:, 1]).pvalue > 0.01
