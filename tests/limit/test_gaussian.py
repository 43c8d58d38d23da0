"""References from a covariance, against closed forms and searches."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from snrvae.limit import gaussian

VARIANCES = np.array([3.0, 1.0, 0.2])


def test_rate_and_distortion_of_a_normal_law_undo_each_other() -> None:
    for rate in (0.0, 0.1, 1.0, 4.0, 20.0):
        d = gaussian.distortion(VARIANCES, rate)
        assert gaussian.rate_bits(VARIANCES, d) == pytest.approx(rate, abs=1e-9)
    assert gaussian.distortion(VARIANCES, 0) == pytest.approx(4.2)


def test_equal_variances_give_the_textbook_formula() -> None:
    assert gaussian.rate_bits(np.full(3, 0.5), 0.3) == pytest.approx(1.5 * np.log2(3 * 0.5 / 0.3))


def test_the_normal_law_of_the_demonstration_has_its_closed_form() -> None:
    """Yang & Mandt, ICLR 2022: at D = 2/3 R = ln 3 + ½ ln(σ₁²σ₂²) nats."""
    pair = np.array([1.20553, 1.08977])
    nats = gaussian.rate_bits(pair, 2 / 3) * np.log(2)
    assert nats == pytest.approx(np.log(3) + np.log(pair.prod()) / 2, rel=1e-12)
    assert nats == pytest.approx(1.2351, abs=1e-4)


def test_a_component_below_the_water_gets_no_bits() -> None:
    with_it = gaussian.distortion(np.array([1.0, 1e-6]), 2.0)
    assert with_it == pytest.approx(gaussian.distortion(np.array([1.0]), 2.0) + 1e-6, rel=1e-12)


def linear(encoder: NDArray[np.float64], uses: int, snr: float) -> float:
    """D of a linear encoder [uses, k], at the power it may use, with the best linear decoder."""
    a = encoder.reshape(uses, len(VARIANCES))
    power = np.trace(a @ np.diag(VARIANCES) @ a.T)
    a = a * np.sqrt(uses * snr / power)
    received = a @ np.diag(VARIANCES) @ a.T + np.eye(uses)
    cross = np.diag(VARIANCES) @ a.T
    return float(VARIANCES.sum() - np.trace(cross @ np.linalg.solve(received, cross.T)))


@pytest.mark.parametrize("uses", [1, 2, 3, 4])
@pytest.mark.parametrize("snr", [0.1, 1.0, 30.0])
def test_no_linear_code_that_a_search_finds_beats_the_best_and_it_reaches_it(uses: int, snr: float) -> None:
    best = gaussian.linear_distortion(VARIANCES, uses, snr)
    rng = np.random.default_rng(0)
    starts = rng.standard_normal((6, uses * 3))
    found = min(minimize(linear, start, args=(uses, snr), method="BFGS").fun for start in starts)
    assert best <= found + 1e-9
    assert found == pytest.approx(best, rel=1e-4)


def test_equal_variances_give_the_linear_formula_that_stands() -> None:
    """D = 5/12·[1 − (m/3)·s′/(1 + s′)], s′ = s·d/m (docs/theory.md)."""
    for d, snr in ((1, 3.0), (2, 10.0), (5, 0.5)):
        m = min(d, 3)
        s = snr * d / m
        got = gaussian.linear_distortion(np.full(3, 5 / 36), d, snr)
        assert got == pytest.approx(5 / 12 * (1 - m / 3 * s / (1 + s)), rel=1e-12)


def test_no_linear_code_beats_the_normal_laws_limit() -> None:
    for d, snr in ((1, 0.2), (2, 5.0), (3, 100.0)):
        limit = gaussian.distortion(VARIANCES, d / 2 * np.log2(1 + snr))
        assert gaussian.linear_distortion(VARIANCES, d, snr) >= limit * (1 - 1e-12)


@pytest.mark.parametrize("bad", [[], [-1.0], [float("nan")], [[[1.0]]]])
def test_what_is_no_variance_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="variances"):
        gaussian.distortion(np.array(bad), 1.0)


def test_other_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="rate"):
        gaussian.distortion(VARIANCES, -1.0)
    with pytest.raises(ValueError, match="distortion"):
        gaussian.rate_bits(VARIANCES, 0.0)
    with pytest.raises(ValueError, match="snr"):
        gaussian.linear_distortion(VARIANCES, 0, 1.0)


LABELLED = np.array([[1.0, 0.3, 0.05], [0.4, 0.2, 0.0]])
SHARES = np.array([0.8, 0.2])


@pytest.mark.parametrize(("uses", "snr"), [(1, 0.5), (1, 30.0), (2, 4.0), (3, 100.0)])
def test_with_labels_power_goes_where_it_saves_most_error(uses: int, snr: float) -> None:
    """Against a search over how the power is split among the components of both labels."""
    sent = LABELLED[:, :uses]

    def error(logits: np.ndarray) -> float:
        share = np.exp(logits - logits.max()).reshape(sent.shape)
        power = uses * snr * share / (SHARES @ share.sum(1))
        return float(SHARES @ ((sent / (1 + power)).sum(1) + LABELLED[:, uses:].sum(1)))

    starts = np.random.default_rng(0).standard_normal((8, sent.size))
    found = min(
        minimize(error, start, method="Nelder-Mead", options={"maxfev": 4000}).fun for start in starts
    )
    best = gaussian.linear_distortion(LABELLED, uses, snr, SHARES)
    assert best <= found * (1 + 1e-9)
    assert found == pytest.approx(best, rel=1e-3)


def test_equal_labels_change_nothing() -> None:
    twice = np.stack([VARIANCES, VARIANCES])
    for shares in (None, np.array([0.7, 0.3])):
        for rate in (0.2, 2.0, 9.0):
            least = gaussian.distortion(VARIANCES, rate)
            assert gaussian.distortion(twice, rate, shares) == pytest.approx(least)
            assert gaussian.rate_bits(twice, least, shares) == pytest.approx(rate)
        linear = gaussian.linear_distortion(VARIANCES, 2, 7.0)
        assert gaussian.linear_distortion(twice, 2, 7.0, shares) == pytest.approx(linear)


def test_rate_and_distortion_with_labels_undo_each_other() -> None:
    for rate in (0.01, 0.5, 3.0, 12.0):
        least = gaussian.distortion(LABELLED, rate, SHARES)
        assert gaussian.rate_bits(LABELLED, least, SHARES) == pytest.approx(rate)


def test_without_noise_what_is_not_sent_is_lost() -> None:
    assert gaussian.linear_distortion(VARIANCES, 1, np.inf) == pytest.approx(np.sort(VARIANCES)[:-1].sum())
