"""Shannon's limit against closed forms, identities and independent integrals."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, fields
from itertools import pairwise, permutations, product
from math import cosh, e, exp, log, log2, pi, sinh, sqrt, tanh
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar

from snrvae.limit import cube_edges, shannon
from snrvae.limit.quadrature import (
    Source,
    cube_surface,
    kernel,
    kernel_moments,
    node_count,
    uniform_segment,
    uniform_square,
)
from snrvae.limit.rate_distortion import (
    Bound,
    Reproduction,
    Tangents,
    blahut_arimoto,
    certified,
    improved,
)

Array = NDArray[np.float64]

FACES = [(axis, side) for axis in range(3) for side in (-0.5, 0.5)]


@pytest.fixture(scope="module")
def table() -> shannon.RateDistortionTable:
    return shannon.rate_distortion_table()


def images(y: Array) -> Array:
    """All changes of sign and order of each row: [m·maps, k]."""
    k = y.shape[1]
    signs = [np.array(s) for s in product((-1.0, 1.0), repeat=k)]
    return np.concatenate([s * y[:, list(p)] for p in permutations(range(k)) for s in signs])


def gauss(breaks: list[float], count: int) -> tuple[Array, Array]:
    """Gauss–Legendre on each piece between the breaks: nodes and weights for an integral."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    pieces = list(pairwise(breaks))
    points = [(a + b) / 2 + (b - a) / 2 * nodes for a, b in pieces]
    return np.concatenate(points), np.concatenate([(b - a) / 2 * weights for a, b in pieces])


def tried_places(rng: np.random.Generator, count: int) -> Array:
    """Points about the cube [−½, ½]³: anywhere, on faces, on edges, at corners, and near them."""
    anywhere = rng.uniform(-0.55, 0.55, (count, 3))
    face = rng.uniform(-0.5, 0.5, (count, 3))
    face[:, 0] = 0.5
    edge = face.copy()
    edge[:, 1] = 0.5
    corner = np.full((1, 3), 0.5)
    inside = 1 - rng.exponential(0.05, (count, 1))
    return np.concatenate([anywhere, face, edge, corner, face * inside, edge * inside])


# --- capacity --------------------------------------------------------------------------------


def test_capacity_is_half_a_bit_per_use_at_snr_1_and_adds_up_over_uses() -> None:
    assert shannon.capacity_bits(1, 1.0) == pytest.approx(0.5, rel=1e-15)
    for snr in (0.3, 10.0, 1000.0):
        assert shannon.capacity_bits(3, snr) == pytest.approx(3 * shannon.capacity_bits(1, snr))
        assert 2 ** (2 * shannon.capacity_bits(1, snr)) == pytest.approx(1 + snr)


def test_capacity_vanishes_with_the_snr_and_is_linear_there() -> None:
    assert shannon.capacity_bits(2, 0.0) == 0.0
    assert shannon.capacity_bits(2, 1e-14) == pytest.approx(1e-14 / log(2), rel=1e-12)


@pytest.mark.parametrize(("latent_dim", "snr"), [(0, 1.0), (1, -0.1), (1, float("nan"))])
def test_capacity_of_no_channel_is_refused(latent_dim: int, snr: float) -> None:
    with pytest.raises(ValueError, match="latent_dim"):
        shannon.capacity_bits(latent_dim, snr)


# --- kernels and quadratures -------------------------------------------------------------------


def test_the_symmetric_kernel_is_the_mean_over_all_images() -> None:
    rng = np.random.default_rng(0)
    for k in (1, 2, 3):
        x, y, lam = rng.uniform(-0.5, 0.5, (5, k)), rng.uniform(-0.5, 0.5, (4, k)), 7.0
        source = Source(x, np.full(5, 0.2))
        turned = images(x).reshape(-1, 5, k)  # [maps, n, k]
        each = np.exp(-lam * np.sum((turned[:, :, None] - y) ** 2, axis=-1))
        np.testing.assert_allclose(kernel(source, y, lam), each.mean(axis=0), rtol=1e-13)
        powers = rng.integers(0, 3, k)
        monomial = np.prod(turned**powers, axis=-1)[:, :, None]
        (moment,) = kernel_moments(source, y, lam, [tuple(powers.tolist())])
        np.testing.assert_allclose(moment, (each * monomial).mean(axis=0), rtol=1e-11, atol=1e-15)


def test_the_cube_surface_has_the_moments_of_the_exact_law() -> None:
    source = cube_surface(12)
    radius = np.sum(source.points**2, axis=1)
    assert source.weights.sum() == pytest.approx(1.0, rel=1e-14)
    assert source.weights @ radius == pytest.approx(5 / 12, rel=1e-14)
    # E(¼ + u² + v²)²  with  E u² = 1/12, E u⁴ = 1/80
    fourth = 1 / 16 + 2 / 80 + 4 / 4 / 12 + 2 / 144
    assert source.weights @ radius**2 == pytest.approx(fourth, rel=1e-13)


@pytest.mark.parametrize("slope", [8.0, 60.0, 300.0])
def test_twice_the_nodes_move_both_bounds_by_less_than_1e_4_bit(slope: float) -> None:
    source, lam = cube_surface(node_count(slope)), slope * log(2)
    q = improved(source, Reproduction(np.zeros((1, 3)), np.ones(1)), lam, 1e-3)
    coarse = astuple(certified(source, slope, q))
    fine = astuple(certified(cube_surface(2 * node_count(slope)), slope, q))
    np.testing.assert_allclose(coarse, fine, rtol=0, atol=1e-6)


# --- sources whose R(D) is known ---------------------------------------------------------------


def test_a_gaussian_source_reaches_half_log_variance_over_distortion() -> None:
    x, w = gauss(list(np.linspace(0, 6.5, 27)), 6)
    density = w * np.exp(-(x**2) / 2)
    source = Source(x[:, None], density / density.sum())
    slopes = [0.9, 2.0, 8.0]
    for slope, b in zip(slopes, blahut_arimoto(lambda _: source, slopes), strict=True):
        touching = 1 / (2 * slope * log(2))  # where R's own slope is this one
        exact = 0.5 * log2(1 / touching) + slope * touching
        assert exact - 5e-4 < b.intercept < exact + 1e-7
        assert -1e-7 < b.rate_upper_bits - 0.5 * log2(1 / b.distortion) < 5e-4


def test_a_gaussian_source_needs_no_bits_at_its_variance() -> None:
    x, w = gauss(list(np.linspace(0, 6.5, 27)), 6)
    density = w * np.exp(-(x**2) / 2)
    source = Source(x[:, None], density / density.sum())
    (b,) = blahut_arimoto(lambda _: source, [0.7])  # below 1/(2 ln 2)
    assert b.rate_upper_bits == pytest.approx(0.0, abs=1e-12)
    assert b.distortion == pytest.approx(1.0, abs=1e-8)
    assert b.intercept == pytest.approx(0.7, abs=1e-8)


@pytest.mark.parametrize("symmetric", [True, False])
def test_two_points_have_their_closed_form(symmetric: bool) -> None:
    """±1, y = ±b: D = 1 − b² and R = 1 − h((1 + b)/2), with b = tanh(2λb)."""
    one, two = Source(np.array([[1.0]]), np.ones(1)), np.array([[3.0], [5.0]])
    source = one if symmetric else Source(two, np.full(2, 0.5), symmetric=False)
    slopes = [0.8, 1.0, 2.0, 5.0]
    for slope, b in zip(slopes, blahut_arimoto(lambda _: source, slopes, 1e-7), strict=True):
        lam = slope * log(2)
        half = brentq(lambda a, lam=lam: tanh(2 * lam * a) - a, 1e-3, 1.0)
        share = (1 + half) / 2
        rate = 1 + share * log2(share) + (1 - share) * log2(1 - share)
        assert b.distortion == pytest.approx(1 - half**2, abs=2e-4)
        assert b.rate_upper_bits == pytest.approx(rate, abs=5e-4)
        assert b.intercept == pytest.approx(rate + slope * (1 - half**2), abs=1e-6)


def segment_bounds(slopes: list[float]) -> list[Bound]:
    return list(blahut_arimoto(lambda s: uniform_segment(node_count(s)), slopes))


def test_a_uniform_segment_approaches_its_shannon_lower_bound() -> None:
    """R ≥ −½ log2(2πeD), whose line has the intercept ½ log2(λ/π); the rest falls as 1/√λ."""
    slopes = [500.0, 2000.0, 8000.0]
    excess = []
    for slope, b in zip(slopes, segment_bounds(slopes), strict=True):
        shannon_bound = 0.5 * log2(slope * log(2) / pi)
        excess.append(b.intercept - shannon_bound)
        assert b.rate_upper_bits > -0.5 * log2(2 * pi * e * b.distortion)
    assert 0 < excess[2] < excess[0] < 0.05
    assert excess[1] / excess[0] == pytest.approx(0.5, abs=0.03)
    assert excess[2] / excess[1] == pytest.approx(0.5, abs=0.05)


def test_a_uniform_square_costs_two_segments_at_half_its_distortion() -> None:
    slopes = [5.0, 20.0, 80.0]
    square = blahut_arimoto(lambda s: uniform_square(node_count(s)), slopes)
    for one, two in zip(segment_bounds(slopes), square, strict=True):
        width = 2 * (one.rate_upper_bits + one.slope * one.distortion - one.intercept) + 3e-4
        assert two.intercept == pytest.approx(2 * one.intercept, abs=width)
        assert two.distortion == pytest.approx(2 * one.distortion, rel=0.01)
        assert two.rate_upper_bits == pytest.approx(2 * one.rate_upper_bits, abs=0.02)


def test_a_shifted_source_without_symmetry_gets_the_same_bounds() -> None:
    half = uniform_segment(30)
    x = np.concatenate([half.points, -half.points]) + 0.3
    whole = Source(x, np.tile(half.weights / 2, 2), symmetric=False)
    slopes = [10.0, 30.0]
    for a, b in zip(
        blahut_arimoto(lambda _: half, slopes, 1e-5),
        blahut_arimoto(lambda _: whole, slopes, 1e-5),
        strict=True,
    ):
        assert a.intercept == pytest.approx(b.intercept, abs=3e-5)
        assert a.rate_upper_bits == pytest.approx(b.rate_upper_bits, abs=2e-3)


# --- the certificates, integrated independently --------------------------------------------------


@pytest.mark.parametrize("slope", [5.365, 14.0, 38.0, 64.0, 130.0])
def test_the_searched_certificate_holds_at_every_y(slope: float) -> None:
    """α = c/Z with E[ln α] = the intercept; six whole faces, all 48 images, other nodes."""
    lam = slope * log(2)
    source = cube_surface(node_count(slope))
    start = Reproduction(np.array([[0.4, 0.4, 0.4], [0.5, 0.0, 0.0]]), np.full(2, 0.5))
    q = improved(source, start, lam, 2e-4)
    b = certified(source, slope, q)

    u, w = gauss([-0.5, -0.25, 0.0, 0.25, 0.5], 10)
    faces = []
    for axis, side in FACES:
        face = np.empty((len(u), len(u), 3))
        face[:, :, axis] = side
        one, two = (axis + 1) % 3, (axis + 2) % 3
        face[:, :, one], face[:, :, two] = np.meshgrid(u, u, indexing="ij")
        faces.append(face.reshape(-1, 3))
    weights = np.outer(w, w).ravel() / 6
    z = np.zeros(len(weights))  # on one face; the others are alike
    for atom, mass in zip(q.atoms, q.masses, strict=True):
        for y in images(atom[None]):
            z += mass / 48 * np.exp(-lam * np.sum((faces[0] - y) ** 2, axis=1))
    mean_log = -6 * float(weights @ np.log(z))
    alpha = np.exp(b.intercept * log(2) - mean_log) / z

    def load(y: Array) -> Array:
        total = np.zeros(len(y))
        for x in faces:  # α on each face is the first one's, turned with it
            distance = np.sum(y**2, axis=1)[:, None] + np.sum(x**2, axis=1) - 2 * y @ x.T
            total += np.exp(-lam * distance) @ (weights * alpha)
        return total

    rng = np.random.default_rng(1)
    tried = np.concatenate([tried_places(rng, 100), q.atoms])
    height = load(tried)
    for scale in 0.5 * 0.6 ** np.arange(8.0):  # in units of 1/√λ: from the best, ever closer
        best = np.argsort(-height)[:15]
        nearby = tried[best].repeat(12, axis=0)
        nearby += rng.normal(0, scale / sqrt(lam), nearby.shape)
        tried, height = np.append(tried, nearby, axis=0), np.append(height, load(nearby))
    assert height.max() <= 1 + 1e-6
    assert height.max() > 1 - 1e-4  # α is as large as it may be


def numeric_profile(length: float) -> tuple[Array, Array, float]:
    """The edge certificate's f on [0, length], written anew: nodes, weights·f, ∫ ln f."""
    h, b = cube_edges.DIP_HEIGHT, cube_edges.DIP_PLACE
    reach = b + sqrt(-log(h))
    middle = [float(v) for v in np.linspace(reach, length - reach, max(2, int(length)))]
    a, w = gauss([0.0, *middle, length], 24)
    near = np.minimum(a, length - a)
    f = h * np.exp((np.minimum(near, reach) - b) ** 2)
    return a, w * f, float(w @ np.log(f))


@pytest.mark.parametrize("slope", [25.0, 60.0, 400.0, 5000.0])
def test_the_edge_certificate_holds_at_every_y(slope: float) -> None:
    """α = c·f(a₁)·f(a₂) with E[ln α] = the intercept, on the finite cube with all six faces."""
    lam = slope * log(2)
    length = sqrt(lam)
    a, weighted, log_f = numeric_profile(length)
    log_c = cube_edges.edge_intercept(slope) * log(2) - 2 * log_f / length

    rng = np.random.default_rng(2)
    crease = rng.uniform(0, 1.5, (400, 3)) / length - 0.5  # near a corner, where three faces meet
    crease[:200, 2] = rng.uniform(-0.5, 0.5, 200)  # and along an edge
    worst = np.array([[0.4 / length - 0.5, 0.4 / length - 0.5, 0.0]])
    y = (np.concatenate([tried_places(rng, 300), crease, worst]) + 0.5) * length
    # ∫ f(a) exp(−(a − y)²) da over [0, length], per coordinate: [y, k]
    along = np.exp(-((y[:, :, None] - a) ** 2)) @ weighted
    across = np.exp(-(y**2)) + np.exp(-((y - length) ** 2))
    load = np.zeros(len(y))
    for k in range(3):
        load += across[:, k] * along[:, (k + 1) % 3] * along[:, (k + 2) % 3]
    load *= exp(log_c) / (6 * lam)  # E over six faces of area λ in these units
    assert load.max() <= 1 + 1e-6
    assert load.max() > (0.9 if slope < 50 else 0.99)  # the bound for the faces opposite


def test_without_the_dip_edges_and_corners_would_break_the_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For f = 1 the worst loads are those that erf gives: 1.2205 and 1.3547 (docs/theory.md)."""
    monkeypatch.setattr(cube_edges, "DIP_HEIGHT", 1.0)
    monkeypatch.setattr(cube_edges, "DIP_REACH", 0.0)
    near = np.arange(0, 2, 0.001)
    assert cube_edges.edge_load(near, near).max() == pytest.approx(1.2205, abs=1e-4)
    assert near[cube_edges.edge_load(near, near).argmax()] == pytest.approx(0.358, abs=1e-3)
    assert cube_edges.corner_load(near, near, near).max() == pytest.approx(1.3547, abs=1e-4)
    with pytest.raises(ArithmeticError):
        cube_edges.proved_peak.__wrapped__()


def test_a_dip_too_shallow_is_found_out_between_grid_points_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place in np.linspace(0.4, 0.41, 5):
        monkeypatch.setattr(cube_edges, "DIP_PLACE", float(place))
        monkeypatch.setattr(cube_edges, "DIP_HEIGHT", 0.7)
        monkeypatch.setattr(cube_edges, "DIP_REACH", float(place) + sqrt(-log(0.7)))
        near = np.arange(0.35, 0.45, 1e-5)
        true_peak = cube_edges.edge_load(near, near).max()
        assert true_peak <= cube_edges.proved_peak.__wrapped__() <= true_peak * exp(5.1e-5)


def test_the_edge_certificate_needs_no_correction_and_wastes_little() -> None:
    assert cube_edges.proved_peak() == 1.0
    b = np.array(cube_edges.DIP_PLACE)
    assert 1 - 2e-4 < cube_edges.edge_load(b, b) < 1


def test_the_closed_forms_of_the_dip_match_integrals() -> None:
    a, w = gauss([0.0, cube_edges.DIP_REACH, 3.0, 6.0, 14.0], 40)
    f = cube_edges.dip(a)
    assert f[a > cube_edges.DIP_REACH] == pytest.approx(1.0)
    assert -float(w @ np.log(f)) == pytest.approx(cube_edges.dip_loss(), rel=1e-12)
    for p in (0.0, 0.2, cube_edges.DIP_PLACE, 0.4 + 1e-7, 1.3, 5.0):
        integral = float(w @ (f * np.exp(-((a - p) ** 2)))) / sqrt(pi)
        assert cube_edges.smoothed_dip(np.array(p)) == pytest.approx(integral, rel=1e-9)


def test_the_mean_alone_is_certified_at_rate_zero() -> None:
    """α = exp(λ|x|²) needs E[exp(2λ x·y)] ≤ exp(λ|y|²): sinh and cosh, coordinate by coordinate."""
    lam = shannon.CUBE_SURFACE.zero_rate.slope * log(2)
    rng = np.random.default_rng(3)
    for y in np.concatenate([rng.uniform(-0.5, 0.5, (200, 3)), 0.02 * np.eye(3)]):
        t = lam * y
        flat = [sinh(v) / v if v else 1.0 for v in t]
        exact = sum(cosh(t[k]) * flat[k - 1] * flat[k - 2] for k in range(3)) / 3
        assert exact <= exp(lam * float(y @ y))
    critical = 18 / 5
    for factor, holds in ((0.999, True), (1.001, False)):
        t1 = factor * critical * 0.02
        exact = (cosh(t1) + 2 * sinh(t1) / t1) / 3
        assert (exact <= exp(factor * critical * 0.02**2)) is holds


@pytest.mark.parametrize("slope", [40.0, 120.0])
def test_the_edge_channel_is_what_its_atoms_give(slope: float) -> None:
    """The same law of y as explicit points in space; sums over all of them."""
    c, lam = cube_edges, slope * log(2)
    length, count = sqrt(lam), 30
    face, face_w = gauss([c.FACE_MARGIN, length - c.FACE_MARGIN], count)
    line, line_w = gauss([c.EDGE_MARGIN, length - c.EDGE_MARGIN], count)
    atoms, masses = [], []
    for axis in range(3):
        for side in (0.0, length):
            for u, wu in zip(face, face_w, strict=True):
                for v, wv in zip(face, face_w, strict=True):
                    atoms.append(np.roll([side, u, v], axis))
                    masses.append(wu * wv)
        for s, t in product((c.EDGE_INSET, length - c.EDGE_INSET), repeat=2):
            for u, wu in zip(line, line_w, strict=True):
                atoms.append(np.roll([u, s, t], axis))
                masses.append(c.EDGE_MASS * wu)
    for corner in product((c.CORNER_INSET, length - c.CORNER_INSET), repeat=3):
        atoms.append(np.array(corner))
        masses.append(c.CORNER_MASS)
    y, q = np.array(atoms), np.array(masses) / np.sum(masses)

    u, w = gauss([0.0, length / 4, length / 2], 9)
    x = np.array([[0.0, a, b] for a, b in product(u, u)])
    weights = np.outer(w, w).ravel() * 4 / lam
    square: Array = np.sum((x[:, None] - y) ** 2, axis=-1)
    joint = q * np.exp(-square)
    z = joint.sum(axis=1)
    lam_distortion = float(weights @ (np.sum(joint * square, axis=1) / z))
    rate = (-float(weights @ np.log(z)) - lam_distortion) / log(2)

    got = cube_edges.edge_channel(slope)
    assert got[0] == pytest.approx(lam_distortion / lam, rel=1e-6)
    assert got[1] == pytest.approx(rate, abs=1e-6)


def test_two_ways_to_both_bounds_overlap() -> None:
    """Searched and closed-form brackets hold the same R(D)."""
    slopes = [30.0, 60.0, 120.0, 240.0]
    searched = blahut_arimoto(lambda s: cube_surface(node_count(s)), slopes, 1e-3)
    for b in searched:
        edge = cube_edges.edge_bound(b.slope)
        assert edge.intercept <= b.rate_upper_bits + b.slope * b.distortion
        assert b.intercept <= edge.rate_upper_bits + edge.slope * edge.distortion
        assert b.intercept - edge.intercept < 0.1


def test_below_its_range_the_edge_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="slope"):
        cube_edges.edge_intercept(24.0)
    with pytest.raises(ValueError, match="slope"):
        cube_edges.edge_bound(float("nan"))


# --- the table -----------------------------------------------------------------------------------


def test_the_table_runs_from_0_to_over_20_bits(table: shannon.RateDistortionTable) -> None:
    assert table.rate_upper_bits[0] == 0.0
    assert table.distortion[0] == 5 / 12
    assert table.rate_lower_bits[-1] > 20
    assert np.all(np.diff(table.slope) > 0)
    assert np.all(np.diff(table.distortion) < 0)
    assert np.all(np.diff(table.rate_upper_bits) > 0)


def test_the_bracket_is_narrow_at_every_rate(table: shannon.RateDistortionTable) -> None:
    distortion = np.geomspace(table.distortion[-1], 5 / 12, 5001)
    lower = table.tangents.rate_bits(distortion)
    gap = table.upper_bits(distortion) - lower
    assert np.all(gap >= 0)
    assert gap[lower <= 5.8].max() <= 0.005
    assert gap[lower <= 10].max() <= 0.01
    assert gap[lower > 10].max() <= 0.005


@pytest.mark.parametrize(
    ("distortion", "rate"),
    [
        (0.17545, 1.5505),
        (0.0457, 3.6511),
        (0.01092, 5.8556),
        (0.0055, 6.88),
        (0.00068, 9.97),
        (2e-5, 15.09),
    ],
)
def test_the_lower_bound_meets_the_check_values(
    table: shannon.RateDistortionTable, distortion: float, rate: float
) -> None:
    assert table.tangents.rate_bits(distortion) == pytest.approx(rate, abs=0.01)


def test_at_high_rate_both_bounds_close_in_on_the_plane(
    table: shannon.RateDistortionTable,
) -> None:
    plane = np.log2(6 / (pi * e * table.distortion))
    steep = table.distortion < 1e-3
    deficit = (plane - table.rate_lower_bits)[steep] / np.sqrt(table.distortion[steep])
    assert np.all((deficit > 1.45) & (deficit < 1.75 + 1e-3 / np.sqrt(table.distortion[steep])))
    assert np.all(table.rate_upper_bits[steep] < plane[steep])


def test_each_line_lies_below_every_point_of_the_upper_bound(
    table: shannon.RateDistortionTable,
) -> None:
    lines = table.intercept[:, None] - table.slope[:, None] * table.distortion
    assert np.all(lines <= table.rate_upper_bits)


def test_the_same_table_comes_out_each_time() -> None:
    slopes = [6.0, 20.0, 70.0]
    runs = [list(blahut_arimoto(lambda s: cube_surface(node_count(s)), slopes)) for _ in range(2)]
    assert runs[0] == runs[1]


# --- the table's CSV -----------------------------------------------------------------------------

COMMITTED = Path(__file__).parents[2] / "reports" / "rate_distortion.csv"


def test_the_csv_keeps_every_number_as_certified(table: shannon.RateDistortionTable) -> None:
    rows = list(csv.DictReader(io.StringIO(shannon.to_csv(table))))
    assert list(rows[0]) == [field.name for field in fields(table)]
    for name in ("slope", "intercept", "rate_lower_bits", "rate_upper_bits"):
        assert [float(row[name]) for row in rows] == getattr(table, name).tolist()
    # 5/12 alone has no ten digits
    assert [float(row["distortion"]) for row in rows[1:]] == table.distortion[1:].tolist()
    assert float(rows[0]["distortion"]) == pytest.approx(5 / 12, abs=5e-11)
    assert tuple(row["method"] for row in rows) == table.method


def test_the_lines_come_back_from_the_csv_as_they_were(table: shannon.RateDistortionTable) -> None:
    lines = shannon.tangents_from_csv(shannon.to_csv(table).encode())
    assert lines.slope.tolist() == table.slope.tolist()
    assert lines.intercept.tolist() == table.intercept.tolist()
    rates = np.linspace(0, 30, 100)
    np.testing.assert_array_equal(
        shannon.distortion_at_rate(lines, rates), shannon.distortion_at_rate(table.tangents, rates)
    )


def committed_and_computed(
    table: shannon.RateDistortionTable, searched: bool
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The rows, by column, whose method is a search or is none."""
    rows = list(csv.DictReader(io.StringIO(COMMITTED.read_text())))
    assert tuple(row["method"] for row in rows) == table.method
    chosen = [place for place, method in enumerate(table.method) if (method == "blahut-arimoto") == searched]
    names = ("slope", "intercept", "distortion", "rate_lower_bits", "rate_upper_bits")
    return (
        {name: np.array([float(rows[place][name]) for place in chosen]) for name in names},
        {name: getattr(table, name)[chosen] for name in names},
    )


def test_the_committed_closed_forms_are_those_that_are_computed(table: shannon.RateDistortionTable) -> None:
    committed, computed = committed_and_computed(table, searched=False)
    for name, values in computed.items():
        # the rates are whole millionths of a bit: another CPU may round to the next one
        least = 0 if name == "distortion" else 1.0001e-6
        np.testing.assert_allclose(committed[name], values, rtol=1e-6, atol=least, err_msg=name)


def test_the_committed_search_ended_within_its_tolerance_of_the_computed_one(
    table: shannon.RateDistortionTable,
) -> None:
    """A search may end at another q where another CPU rounds: as near to the line that touches R(D)."""
    committed, computed = committed_and_computed(table, searched=True)
    assert np.array_equal(committed["slope"], computed["slope"])
    for one, other in ((committed, computed), (computed, committed)):
        above = one["rate_upper_bits"] + one["slope"] * one["distortion"]
        assert (other["intercept"] <= above).all()
        assert (above - other["intercept"]).max() < log2(1 + 2e-4) + 2e-6


HEADER = (
    "slope,intercept,distortion,rate_lower_bits,rate_upper_bits,"
    "method,certainty,confident_intercept,saturated\n"
)
ROW = "5.184,2.16,0.4166666667,0,0,mean,certified,,0\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n\x00\xff",
        b"\x00" * 40,
        b"model,mse\nae,0.5\n",
        b"slope,distortion\n1,2\n",
        HEADER.encode(),
        HEADER[:20].encode(),
        f"{HEADER}{ROW}5.25,nan,0.4,0.05,0.05,x,certified,,0\n".encode(),
        f"{HEADER}{ROW}nan,2.2,0.4,0.05,0.05,x,certified,,0\n".encode(),
        f"{HEADER}{ROW}5.25,,0.4,0.05,0.05,x,certified,,0\n".encode(),
        f"{HEADER}{ROW}5.25,inf,0.4,0.05,0.05,x,certified,,0\n".encode(),
        f"{HEADER}{ROW}5.25,two,0.4,0.05,0.05,x,certified,,0\n".encode(),
        f"{HEADER}{ROW}2026-01-01,2,0.4,0.05,0.05,x,certified,,0\n".encode(),
        f"{HEADER}{ROW}0,2.2,0.4,0.05,0.05,x,certified,,0\n".encode(),
        f"{HEADER}{ROW}-5.25,2.2,0.4,0.05,0.05,x,certified,,0\n".encode(),
        f"{HEADER}{ROW}5.25,2.2,0.4,0.05,0.05,x,9\n".encode(),
        f'{HEADER}{ROW}"5.25,2.2'.encode(),
        f"{HEADER}{ROW}5.2".encode(),
    ],
)
def test_a_table_that_holds_no_lines_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        shannon.tangents_from_csv(data)
    (line,) = str(caught.value).splitlines()
    assert line.isprintable()
    assert len(line) > 10


@pytest.mark.parametrize("row", ["5.25,nan,0.4,0,0", "5.25,,0.4,0,0", "x,1,0.4,0,0", "-1,1,0.4,0,0"])
@pytest.mark.parametrize("place", [1, 100, -2])
def test_one_broken_row_anywhere_in_a_table_is_refused(row: str, place: int) -> None:
    rows = COMMITTED.read_text().splitlines()
    rows[place] = f"{row},x,certified,,0"
    with pytest.raises(ValueError, match=r"slope|whole rows"):
        shannon.tangents_from_csv("\n".join(rows).encode())


def changed(place: int, **cells: float) -> bytes:
    """The committed table with other numbers in a row."""
    table = pd.read_csv(COMMITTED)
    for name, value in cells.items():
        table.loc[table.index[place], name] = value
    return table.to_csv(index=False).encode()


def test_a_distortion_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        shannon.tangents_from_csv(changed(-1, distortion=0.0))


@pytest.mark.parametrize(("place", "slope"), [(0, 0.0), (0, 0.5), (7, 6.0), (-1, 1e8)])
def test_a_table_of_other_slopes_is_refused(place: int, slope: float) -> None:
    with pytest.raises(ValueError, match="cut short, or another's"):
        shannon.tangents_from_csv(changed(place, slope=slope))


def test_a_table_that_is_cut_short_says_how_long_it_should_be(table: shannon.RateDistortionTable) -> None:
    data = b"".join(COMMITTED.read_bytes().splitlines(keepends=True)[:-1])
    with pytest.raises(ValueError, match=f"expected {len(table.slope)} whole rows"):
        shannon.table_from_csv(data)


def test_the_upper_bound_says_where_it_ends(table: shannon.RateDistortionTable) -> None:
    last = table.distortion[-1]
    assert table.upper_bits(last) == table.rate_upper_bits[-1]
    with pytest.raises(ValueError, match=f"ends at D = {last:g}"):
        table.upper_bits(last * 0.99)


@pytest.mark.parametrize("rows", [1, 10, 150, 300])
@pytest.mark.parametrize("cut", ["whole rows", "in a row"])
def test_a_truncated_table_is_refused(rows: int, cut: str) -> None:
    lines = COMMITTED.read_text().splitlines(keepends=True)
    text = "".join(lines[: rows + 1]) + (lines[rows + 1][:-12] if cut == "in a row" else "")
    with pytest.raises(ValueError):
        shannon.tangents_from_csv(text.encode())


# --- D(R) ----------------------------------------------------------------------------------------


def test_at_0_bits_the_distortion_is_the_variance(table: shannon.RateDistortionTable) -> None:
    assert shannon.distortion_at_rate(table.tangents, 0.0) == 5 / 12


def test_distortion_and_rate_undo_each_other(table: shannon.RateDistortionTable) -> None:
    rates = np.linspace(0.01, 22, 400)
    distortion = shannon.distortion_at_rate(table.tangents, rates)
    assert np.all(np.diff(distortion) < 0)
    np.testing.assert_allclose(table.tangents.rate_bits(distortion), rates, rtol=0, atol=1e-9)


def test_the_distortion_is_the_best_line_and_no_interpolation() -> None:
    lines = Tangents(slope=np.array([1.0, 4.0]), intercept=np.array([1.0, 2.0]))
    np.testing.assert_allclose(lines.distortion([0.0, 0.5, 1.0, 3.0]), [1.0, 0.5, 0.25, 0.0])
    np.testing.assert_allclose(lines.rate_bits([0.0, 1 / 3, 0.5, 2.0]), [2.0, 2 / 3, 0.5, 0.0])


def test_beyond_the_table_the_closed_form_goes_on(table: shannon.RateDistortionTable) -> None:
    short = Tangents(table.slope[table.slope < 3e4], table.intercept[table.slope < 3e4])
    rates = np.linspace(12.0, 22.0, 60)
    full = shannon.distortion_at_rate(table.tangents, rates)
    np.testing.assert_allclose(shannon.distortion_at_rate(short, rates), full, rtol=2e-3)
    assert short.distortion(22.0) == 0.0  # what the short table knows by itself
    for rate in (30.0, 60.0):
        plane = 6 / (pi * e) * 2.0**-rate
        assert shannon.distortion_at_rate(table.tangents, rate) == pytest.approx(plane, rel=1e-3)
        assert shannon.distortion_at_rate(table.tangents, rate) < plane
    assert shannon.distortion_at_rate(table.tangents, 5000.0) == 0.0


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rates"):
        shannon.distortion_at_rate(Tangents(np.ones(1), np.ones(1)), rate)


# --- point by point ------------------------------------------------------------------------------


def test_strands_of_a_curve_have_their_best_distance() -> None:
    for snr in (100.0, 1e4):
        best = minimize_scalar(
            lambda step, s=snr: step**2 / 12 + 27 / (pi**2 * s * step**2),
            bounds=(1e-3, 2.0),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert shannon.point_by_point_distortion(1, snr) == pytest.approx(best.fun, rel=1e-6)


def test_the_paraboloid_density_gives_the_flat_map() -> None:
    """D = 12σ²∫q², q ∝ (6P − |z|²)₊ of power P per latent, at P = 1."""
    radius, w = gauss([0.0, sqrt(6.0)], 40)
    ring = 2 * pi * radius * w
    q = 6 - radius**2
    q /= ring @ q
    assert ring @ (q * radius**2) / 2 == pytest.approx(1.0)
    got = shannon.point_by_point_distortion(2, 50.0)
    assert got == pytest.approx(12 / 50 * float(ring @ q**2), rel=1e-12)


@pytest.mark.parametrize(
    ("latent_dim", "snr", "gap_db"),
    [
        (1, 1e12, 1.33),
        (1, 1e3, 1.9),
        (2, 1e8, 0.82),
        (2, 1e2, 1.2),
        (2, 1e3, 0.94),
        (3, 1e2, 6.1),
        (3, 1e3, 11.0),
    ],
)
def test_point_by_point_codes_lose_what_theory_says(
    table: shannon.RateDistortionTable, latent_dim: int, snr: float, gap_db: float
) -> None:
    capacity = shannon.capacity_bits(latent_dim, snr)
    limit = shannon.distortion_at_rate(table.tangents, capacity)
    loss = 10 * np.log10(shannon.point_by_point_distortion(latent_dim, snr) / limit)
    assert loss == pytest.approx(gap_db, abs=0.07)


@pytest.mark.parametrize(("latent_dim", "snr"), [(4, 10.0), (2, 0.0), (2, -1.0)])
def test_there_is_no_asymptote_for_four_latents_or_for_noise_alone(latent_dim: int, snr: float) -> None:
    with pytest.raises(ValueError, match="latent_dim"):
        shannon.point_by_point_distortion(latent_dim, snr)


@pytest.mark.parametrize("latent_dim", [1, 2, 3])
def test_the_curve_of_point_by_point_codes_is_the_asymptote_where_it_means_something(latent_dim: int) -> None:
    bits, distortion = shannon.point_by_point_curve(latent_dim, 25.0)
    assert len(bits) == len(distortion) > 20
    assert np.all(np.diff(bits) > 0)
    assert np.all(np.diff(distortion) < 0)
    snr = 2 ** (2 * bits / latent_dim) - 1
    expected = [shannon.point_by_point_distortion(latent_dim, float(s)) for s in snr]
    np.testing.assert_allclose(distortion, expected, rtol=1e-9)
    step = distortion[0] / distortion[1]
    most = shannon.ASYMPTOTE_BELOW * 5 / 12
    assert most / step <= distortion[0] < most == 0.02
    # it ends where the SNR is 2^(2·bits/d): a hair above the bits asked for
    assert bits[-1] == pytest.approx(25.0, abs=1e-3)


def test_the_curve_stays_above_the_limit(table: shannon.RateDistortionTable) -> None:
    for latent_dim in (1, 2, 3):
        bits, distortion = shannon.point_by_point_curve(latent_dim, 20.0)
        assert np.all(distortion > shannon.distortion_at_rate(table.tangents, bits))


def test_where_the_asymptote_never_holds_the_curve_is_empty() -> None:
    bits, distortion = shannon.point_by_point_curve(1, 2.0)
    assert len(bits) == len(distortion) == 0


@pytest.mark.parametrize("factor", [1024.0, 3.7])
def test_a_table_in_another_unit_comes_back_and_leaves_rates_alone(
    factor: float, table: shannon.RateDistortionTable
) -> None:
    data = shannon.to_csv(table, factor).encode()
    written, back = pd.read_csv(io.BytesIO(data)), shannon.table_from_csv(data, None, factor)
    np.testing.assert_allclose(written.distortion, table.distortion * factor**2, rtol=1e-9)
    np.testing.assert_allclose(written.slope, table.slope / factor**2, rtol=1e-9)
    np.testing.assert_allclose(back.distortion, table.distortion, rtol=1e-9)
    np.testing.assert_allclose(back.slope, table.slope, rtol=1e-9)
    np.testing.assert_array_equal(back.rate_lower_bits, table.rate_lower_bits)
