"""The limit of meshes: quadrature, certificates, edges, against laws whose R(D) is known."""

from math import e, exp, factorial, log, pi, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from benchmarks.checks import cube_mesh, icosphere
from snrvae.limit import clouds, cube_edges, mesh, mesh_edges, shannon
from snrvae.sources import sphere

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def tetrahedron() -> shannon.RateDistortionTable:
    corners = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], float)
    return mesh.table(np.array([np.delete(corners, i, axis=0) for i in range(4)]))


# --- quadrature ------------------------------------------------------------------------------------


def test_the_rule_of_a_triangle_is_exact_to_degree_4() -> None:
    """∫ uᵃvᵇ over the triangle u, v ≥ 0, u + v ≤ 1, as a mean: 2·a!·b!/(a + b + 2)!."""
    nodes, weights = mesh._rule()
    for a in range(5):
        for b in range(5 - a):
            exact = 2 * factorial(a) * factorial(b) / factorial(a + b + 2)
            assert weights @ (nodes[:, 0] ** a * nodes[:, 1] ** b) == pytest.approx(exact, rel=1e-12)


def test_parts_of_a_triangle_cover_it() -> None:
    for count in (1, 2, 5):
        parts = mesh._parts(count)
        triangle = np.array([[0.0, 0, 0], [2, 0, 0], [0, 3, 0]])
        corners = np.einsum("pcd,de->pce", parts, triangle)
        assert len(parts) == count**2
        np.testing.assert_allclose(mesh.areas(corners), 3 / count**2)
        assert corners.mean(axis=(0, 1)) == pytest.approx(triangle.mean(axis=0))


@pytest.mark.parametrize(("triangles", "bits"), [(cube_mesh(), 3), (cube_mesh(), 6), (icosphere(5), 2),
                                                 (icosphere(5), 5), (icosphere(3), 6)])  # fmt: skip
def test_finer_nodes_move_both_bounds_by_less_than_a_thousandth_of_a_bit(
    triangles: Array, bits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lam = mesh.Mesh(triangles).steep(bits) * log(2)
    coarse = mesh.quadrature(triangles, lam)
    q = clouds.fitted(coarse, lam, 0.005)
    monkeypatch.setattr(mesh, "LARGEST", mesh.LARGEST / 2)
    monkeypatch.setattr(mesh, "MERGED", mesh.MERGED / 2)
    fine = mesh.quadrature(triangles, lam)
    assert len(fine.points) > 2 * len(coarse.points)
    (one, d), (two, better) = (clouds.channel(c, q, lam) for c in (coarse, fine))
    loads = [
        np.log(clouds.kernel_sums(c.points, c.weights / clouds.partition(c, q, lam), q.atoms, lam))
        for c in (coarse, fine)
    ]
    assert abs(one - two) / log(2) < 1e-3
    assert d == pytest.approx(better, rel=1e-3)
    assert np.abs(loads[0] - loads[1])[q.masses > 1e-9].max() / log(2) < 1e-3


def test_merged_nodes_keep_mean_and_covariance() -> None:
    cloud = mesh.quadrature(cube_mesh(), 100.0)
    fewer = mesh.merged(cloud, 0.3)
    assert fewer.weights @ fewer.points == pytest.approx(cloud.weights @ cloud.points, abs=1e-12)
    np.testing.assert_allclose(clouds.covariance(fewer), clouds.covariance(cloud), atol=1e-12)


# --- edges -----------------------------------------------------------------------------------------


def test_the_dip_of_a_right_angle_is_near_the_cubes() -> None:
    dip = mesh_edges.dip(pi / 2)
    assert dip.height == pytest.approx(cube_edges.DIP_HEIGHT, abs=0.01)
    assert dip.loss == pytest.approx(cube_edges.dip_loss(), abs=0.01)


@pytest.mark.parametrize("bend", [0.5, 1.0, 1.6, 2.2])
def test_beside_its_edge_a_dip_leaves_little_above_one(bend: float) -> None:
    """Two half planes, integrated over a fine grid, at depths on the bisector and off it."""
    dip = mesh_edges.dip(bend)
    a = np.arange(0.0025, 9, 0.005)
    f = np.minimum(1, dip.height * np.exp(np.minimum(np.abs(a - dip.place), 5) ** 2))
    directions = [np.array([np.sin(bend / 2), side * np.cos(bend / 2)]) for side in (-1, 1)]
    y = np.stack(np.meshgrid(np.linspace(-0.5, 2.5, 60), np.linspace(-1.5, 1.5, 60)), axis=-1).reshape(-1, 2)
    load = np.zeros(len(y))
    for d in directions:
        x = a[:, None] * d
        square = np.sum((y[:, None] - x) ** 2, axis=2)
        load += np.exp(-square) @ f * 0.005 / sqrt(pi)
    assert load.max() < 1.02
    assert -np.sum(np.log(f)) * 0.005 == pytest.approx(dip.loss, abs=0.01)


def test_only_sharp_bends_are_edges() -> None:
    assert len(mesh_edges.sharp_edges(cube_mesh()).ends) == 12  # not the six diagonals of its faces
    assert len(mesh_edges.sharp_edges(icosphere(3)).ends) == 0
    assert len(mesh_edges.sharp_edges(icosphere(0)).ends) == 30


def test_without_dips_a_right_angle_and_a_corner_have_their_known_peaks() -> None:
    """1.2205 at an edge and 1.3547 at a corner (docs/theory.md)."""
    lam = mesh.Mesh(cube_mesh()).steep(8) * log(2)
    cloud, edges = mesh.quadrature(cube_mesh(), lam), mesh_edges.sharp_edges(cube_mesh())
    none = mesh_edges.Edges(edges.ends[:0], edges.dips[:0])
    bare = mesh_edges.log_peak(cloud, 6.0, none, lam, 0.02)
    assert log(1.3547) <= bare + 1e-3 <= log(1.3547) + 0.025
    assert mesh_edges.log_peak(cloud, 6.0, edges, lam, 0.02) < 0.08
    t = 0.358
    assert exp(-(t**2)) * (1 + erf(t)) == pytest.approx(1.2205, abs=1e-3)


def test_a_refined_channel_of_a_plane_stays_on_its_line() -> None:
    """Normal residuals are successively refinable: each halving of D costs half a bit a dimension."""
    mass, variances = np.full(5, 0.2), np.tile([0.0, 0.5, 0.5], (5, 1))
    distortion, rate = mesh_edges.refined(mass, variances, 3.0, 16.0)
    assert distortion == pytest.approx(2 / 32)
    assert rate == pytest.approx(3 + 2 * 0.5 * np.log2(16))


# --- the table -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_table_of_a_mesh_is_a_bracket_from_0_to_22_bits(tetrahedron: shannon.RateDistortionTable) -> None:
    assert tetrahedron.rate_upper_bits[0] < 0.01
    assert tetrahedron.rate_upper_bits[-1] > 21
    assert np.all(tetrahedron.rate_lower_bits <= tetrahedron.rate_upper_bits)
    assert np.all(np.diff(tetrahedron.distortion) <= 0)
    grid = np.geomspace(tetrahedron.distortion[-1], tetrahedron.distortion[0], 3000)
    lower = tetrahedron.tangents.rate_bits(grid)
    gap = tetrahedron.upper_bits(grid) - lower
    assert gap.min() > -1e-6
    assert gap[lower <= 6].max() <= 0.05
    assert gap[lower <= 10].max() <= 0.2
    assert set(tetrahedron.certainty) == {"certified"}


@pytest.mark.slow
def test_the_distortion_at_a_rate_comes_from_the_lines(tetrahedron: shannon.RateDistortionTable) -> None:
    rates = np.linspace(0, 21, 50)
    d = shannon.distortion_at_rate(tetrahedron.tangents, rates, None)
    assert np.all(np.diff(d) < 0)
    area = 4 * sqrt(3) / 4 * 8  # four sides, of edge √8
    assert d[-1] == pytest.approx(area / (pi * e) * 2.0 ** -rates[-1], rel=0.2)


@pytest.mark.slow
def test_a_mesh_of_one_flat_triangle_has_shannons_lower_bound() -> None:
    """A plane has no edges that bend: α = Aλ/π serves at any rate, and c is near 1."""
    flat = mesh.Mesh(np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]]))
    beyond = [*flat.asymptotes(*flat.searched(flat.steep(mesh.SEARCHED_BITS)))]
    assert len(beyond) > 10
    for bound in beyond:
        shannons = log(0.5 * bound.slope * log(2) / pi) / log(2)
        assert shannons - 0.1 < bound.intercept <= shannons


@pytest.mark.slow
def test_the_cube_as_a_mesh_has_the_cubes_table() -> None:
    found, true = mesh.table(cube_mesh()), shannon.rate_distortion_table()
    grid = np.geomspace(3e-6, 0.416, 2000)
    rate, lower = true.tangents.rate_bits(grid), found.tangents.rate_bits(grid)
    upper = found.upper_bits(grid)
    off, gap = rate - lower, upper - lower
    assert off[rate <= 6].max() <= 0.02
    assert (upper - rate)[rate <= 6].max() <= 0.02
    assert off.min() >= -1e-3  # never above
    assert gap[rate <= 6].max() <= 0.04
    assert gap[rate <= 10].max() <= 0.15


@pytest.mark.slow
def test_a_sphere_of_1280_triangles_has_nearly_the_spheres_closed_form() -> None:
    found = mesh.table(icosphere(3))
    true = shannon.rate_distortion_table(shannon.law(sphere.SOURCE))
    grid = np.geomspace(0.005, 0.99, 1000)
    rate = true.tangents.rate_bits(grid)
    below, above = rate - found.tangents.rate_bits(grid), found.upper_bits(grid) - rate
    assert below[rate <= 8].max() <= 0.05
    assert above[rate <= 8].max() <= 0.01
    assert found.certainty[-1] == "estimate"
    beyond = np.geomspace(found.distortion[-1], 0.005, 100)
    off = true.tangents.rate_bits(beyond) - found.tangents.rate_bits(beyond)
    assert off.min() > 0
    assert off.max() <= 0.12


# --- input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((4, 3)), "triangles"),
        (np.full((1, 3, 3), np.nan), "finite"),
        (np.ones((5, 3, 3)), "no triangle with an area"),
        (np.zeros((0, 3, 3)), "no triangle with an area"),
    ],
)
def test_what_is_no_mesh_is_refused_in_one_line(bad: Array, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        mesh.table(bad)
    assert "\n" not in str(caught.value)


def test_triangles_without_an_area_change_nothing() -> None:
    whole = np.concatenate([cube_mesh(), cube_mesh()[:1, [0, 0, 1]]])
    assert len(mesh.checked(whole)) == 12
