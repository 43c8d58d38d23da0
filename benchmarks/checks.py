"""Compare our limits with results in closed form or in publications: writes a table to docs/checks.md.

Each case is a law at one slope of its R(D), given as a user would (a mesh, or points) or as a quadrature.
Rates are in bits, at the distortion of the row. Everything is computed anew, in a few minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import log, log10, pi
from pathlib import Path

import numpy as np
from scipy.integrate import quad
from scipy.special import gammaln, ive
from scipy.stats import ncx2

from benchmarks import setting
from snrvae.limit import clouds, gaussian, mesh, points, shannon
from snrvae.limit.clouds import Cloud
from snrvae.limit.quadrature import Array
from snrvae.limit.rate_distortion import Bound
from snrvae.measurement import evaluation
from snrvae.settings.grid import Cell
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import circle as circle_law
from snrvae.sources import cube, sphere
from snrvae.sources.source import Source
from snrvae.training.pool import Pool

POINTS = 24_000
SNRS = (1.0, 10.0, 100.0, 1000.0)
TOLERANCE = 0.0005  # of max G, in nats, for laws that are a quadrature here


@dataclass(frozen=True)
class Check:
    """One row: a law at a distortion, with our rates and the known rate, in bits."""

    law: str
    given: str  # a mesh, points or a quadrature
    known: str  # origin of the reference
    distortion: float
    below: float
    above: float
    reference: float
    least: float  # below − reference is at least this
    most: float  # above − reference is at most this

    @property
    def holds(self) -> bool:
        """Whether our bounds are within `least` and `most` of the reference."""
        return self.below - self.reference >= self.least and self.above - self.reference <= self.most


# --- laws ----------------------------------------------------------------------------------------


def cube_mesh() -> Array:
    """The surface of the unit cube as 12 triangles."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2
    faces = [np.roll(np.c_[np.full(4, side), corners], axis, 1) for axis in range(3) for side in (-0.5, 0.5)]
    return np.array([face[half] for face in faces for half in ([0, 1, 2], [0, 2, 3])])


def icosphere(divisions: int) -> Array:
    """20·4^divisions triangles with their corners on the unit sphere."""
    golden = (1 + 5**0.5) / 2
    near = [(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    corners = np.array([np.roll(c, turn) for c in near for turn in range(3)]) / (1 + golden**2) ** 0.5
    side = np.linalg.norm(corners[:, None] - corners, axis=2)
    edge = side[side > 0].min() * 1.01
    names = [(i, j, k) for i in range(12) for j in range(i) for k in range(j)]
    faces = np.array([corners[list(n)] for n in names if side[np.ix_(n, n)].max() < edge])
    for _ in range(divisions):
        a, b, c = np.moveaxis(faces, 1, 0)
        ab, bc, ca = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (a + b, b + c, c + a))
        parts = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = np.concatenate([np.stack(part, axis=1) for part in parts])
    return faces


def normal(variances: list[float], nodes: int) -> Cloud:
    """A normal law of uncorrelated components, by Gauss–Legendre up to 5 standard deviations."""
    t, w = np.polynomial.legendre.leggauss(nodes)
    share = w * np.exp(-12.5 * t**2)
    grids = np.meshgrid(*(5 * v**0.5 * t for v in variances), indexing="ij")
    weights = np.prod(np.meshgrid(*[share] * len(variances), indexing="ij"), axis=0).ravel()
    return Cloud(np.stack([g.ravel() for g in grids], axis=1), weights / weights.sum())


def circle(count: int = 720) -> Cloud:
    """A circle of radius 1 by points of equal weight."""
    angle = 2 * pi * np.arange(count) / count
    return Cloud(np.stack([np.cos(angle), np.sin(angle)], axis=1), np.full(count, 1 / count))


def noisy_sphere(k: int, variance: float, rng: np.random.Generator) -> Array:
    """Points of the unit sphere in R^k, with normal noise of a variance in each coordinate."""
    x = rng.standard_normal((POINTS, k))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x + variance**0.5 * rng.standard_normal(x.shape))


# --- what is known -------------------------------------------------------------------------------


def noisy_sphere_bits(k: int, variance: float) -> float:
    """R at D = k·variance: h(x) less the noise's entropy, since the best y is on the sphere there.

    −ln Z of the radius r, Z = E exp(−λ|x − y|²) over y on the sphere, λ = 1/(2·variance), a Bessel function.
    |x|²/variance has a noncentral χ² law.
    """
    lam, order = 0.5 / variance, k / 2 - 1

    def log_z(r: float) -> float:
        bessel = log(ive(order, 2 * lam * r)) + 2 * lam * r - order * log(lam * r)
        return -lam * (1 + r * r) + float(gammaln(k / 2)) + bessel

    law = ncx2(k, 1 / variance)
    mean, _ = quad(lambda u: -log_z((u * variance) ** 0.5) * law.pdf(u), *law.ppf([1e-14, 1 - 1e-12]))
    return (mean - k / 2) / log(2)


def circle_bits(distortion: float) -> float:
    """D = 1 − r², R = κr − ln I₀(κ) nats with r = I₁(κ)/I₀(κ)."""
    r, kappa = (1 - distortion) ** 0.5, 1.0
    for _ in range(200):  # d r/d κ = 1 − r/κ − r²
        at = ive(1, kappa) / ive(0, kappa)
        kappa = max(kappa - (at - r) / (1 - at / kappa - at**2), kappa / 2)
    return (kappa * r - kappa - log(ive(0, kappa))) / log(2)


def segment_bits(distortion: float) -> float:
    """R(D) of a uniform segment of length 1, half a square's: an upper bound, within 0.005 bit."""
    square = shannon.rate_distortion_table(shannon.UNIT_SQUARE)
    return float(square.upper_bits(2 * distortion)) / 2


def noisy_sphere_line(k: int, variance: float, distortion: float) -> float:
    """The tangent at noisy_sphere_bits, evaluated at a D nearby."""
    return noisy_sphere_bits(k, variance) - (distortion - k * variance) / (2 * variance * log(2))


def built_in(source: Source) -> Reference:
    """R(D) of a built-in source: the lower bound of its table."""
    table = shannon.rate_distortion_table(shannon.law(source))
    return lambda distortion: float(table.tangents.rate_bits(distortion))


# --- the rows ------------------------------------------------------------------------------------


def of_cloud(cloud: Cloud, slope: float) -> Bound:
    """Both bounds at a slope in bits."""
    q = clouds.fitted(cloud, slope * log(2), TOLERANCE / 4)
    return clouds.bound(cloud, slope, q, TOLERANCE)


def of_points(x: Array, slope: float) -> Bound:
    """The plug-in, and the estimate from above."""
    return points.halved(points.whole(x)).at(slope)[0]


Reference = Callable[[float], float]  # R in bits at a distortion
Range = tuple[float, float]  # least of below − known, most of above − known


def row(law: str, given: str, known: str, bound: Bound, reference: Reference, within: Range) -> Check:
    """The row of a bound."""
    d = bound.distortion
    below = bound.intercept - bound.slope * d
    return Check(law, given, known, d, below, bound.rate_upper_bits, reference(d), *within)


def checks() -> Iterator[Check]:
    """All rows."""
    yield from of_laws()
    yield from of_meshes()
    yield from of_samples()
    yield from of_cube_points()


def of_laws() -> Iterator[Check]:
    """Laws by quadrature."""
    pair, law = np.array([1.20553, 1.08977]), "normal, 2-D (Yang & Mandt, 2022)"
    bound = of_cloud(normal(pair.tolist(), 40), 1.5 / log(2))
    yield row(law, "quadrature", "water-filling", bound, partial(gaussian.rate_bits, pair), (-0.01, 0.01))
    for slope in (2.0, 20.0, 500.0):
        bound = of_cloud(circle(), slope)
        yield row("circle", "quadrature", "Bessel functions", bound, circle_bits, (-0.02, 0.01))
    t, w = np.polynomial.legendre.leggauss(200)
    segment = Cloud(t[:, None] / 2, w / 2)
    for slope in (20.0, 200.0, 3000.0):
        bound = of_cloud(segment, slope)
        yield row("segment", "quadrature", "built-in table", bound, segment_bits, (-0.02, 0.01))


def of_meshes() -> Iterator[Check]:
    """The cube of 12 triangles, and the sphere of 1,280; tests/limit/test_mesh_limit.py has their tables."""
    box, ball = mesh.Mesh(cube_mesh()), mesh.Mesh(icosphere(3))
    for bits in (2.0, 4.0, 6.0):
        bound, _ = box.searched(box.steep(bits))
        yield row("cube", "12 triangles", "built-in table", bound, built_in(cube.SOURCE), (-0.02, 0.02))
    for bits in (2.0, 5.0, 8.0):
        bound, _ = ball.searched(ball.steep(bits))
        yield row("sphere", "1,280 triangles", "closed form", bound, built_in(sphere.SOURCE), (-0.05, 0.02))


def of_samples() -> Iterator[Check]:
    """Points of laws unknown to the bound; in more than three dimensions it is an estimate, and loose."""
    rng = np.random.default_rng(1)
    given = f"{POINTS:,} points"
    for k, within in ((2, (-0.05, 0.02)), (5, (-0.35, 0.1)), (10, (-3.0, 0.3))):
        bound = of_points(noisy_sphere(k, 0.1, rng), 5 / log(2))
        law = f"noisy sphere, k = {k} (Yang et al., 2023)"
        yield row(law, given, "entropies", bound, partial(noisy_sphere_line, k, 0.1), within)
    variances = np.array([1.0, 0.25, 0.04])
    x = rng.standard_normal((POINTS, 3)) * np.sqrt(variances)
    for slope in (2.0, 10.0, 40.0):
        known = partial(gaussian.rate_bits, variances)
        yield row(
            "normal, variances 1, ¼, 1/25", given, "water-filling", of_points(x, slope), known, (-0.3, 0.1)
        )


def of_cube_points() -> Iterator[Check]:
    """Points of the cube; tests/limit/test_points.py has the table of as many."""
    x = cube.SOURCE.sample(POINTS, np.random.default_rng(1))
    for slope in (12.0, 48.0, 190.0):
        bound = of_points(x, slope)
        yield row("cube", f"{POINTS:,} points", "built-in table", bound, built_in(cube.SOURCE), (-0.05, 0.1))


@dataclass(frozen=True)
class CircleCodec:
    """A codec on the circle with one latent: the capacity of its channel, its D, and D(R) there."""

    snr: float
    bits: float
    distortion: float
    limit: float

    @property
    def gap_db(self) -> float:
        """The gap of D to D(R), in dB."""
        return 10 * log10(self.distortion / self.limit)


def on_the_circle(snrs: tuple[float, ...] = SNRS, steps: int | None = None) -> list[CircleCodec]:
    """Codecs of one latent for points of the circle, trained as in params.yaml; the best of three each."""
    source, config = circle_law.SOURCE, setting.standard(steps=steps).config
    config = replace(config, source=source.domain)
    splits = {n: source.split(12_000, numpy_stream(0, "circle", n)) for n in ("train", "validation", "test")}
    cells = [Cell("isotropic", 1, snr, repeat) for snr in snrs for repeat in range(3)]
    trained = Pool(splits["train"].points, config, 2).fit(cells, lambda *_: None)
    measured = [
        evaluation.measure(codec, source, splits["validation"], splits["test"], 0) for codec, _ in trained
    ]
    law = shannon.law(source)
    lines = shannon.rate_distortion_table(law).tangents
    found = []
    for best in evaluation.select(measured):
        assert best.cell.snr is not None
        bits = shannon.capacity_bits(1, best.cell.snr)
        least = float(shannon.distortion_at_rate(lines, bits, law))
        found.append(CircleCodec(best.cell.snr, bits, source.coordinates * best.mse.value, least))
    return found


HEAD = (
    "law",
    "given as",
    "known from",
    "D",
    "from below",
    "from above",
    "known",
    "below − known",
    "above − known",
)


def text(rows: list[Check], codecs: list[CircleCodec]) -> str:
    """The page."""
    lines = [HEAD, ["---"] * len(HEAD)]
    for c in rows:
        rates = [f"{rate:.4f}" for rate in (c.below, c.above, c.reference)]
        off = [f"{rate - c.reference:+.4f}" for rate in (c.below, c.above)]
        lines.append([c.law, c.given, c.known, f"{c.distortion:.4g}", *rates, *off])
    last = [("SNR", "capacity", "D", "D(R)", "gap in dB"), ["---"] * 5]
    last += [
        [f"{c.snr:g}", f"{c.bits:.3f}", f"{c.distortion:.5f}", f"{c.limit:.5f}", f"{c.gap_db:.2f}"]
        for c in codecs
    ]
    tables = ["".join(f"| {' | '.join(line)} |\n" for line in table) for table in (lines, last)]
    return INTRODUCTION + tables[0] + CIRCLE + tables[1]


INTRODUCTION = """# Checks

How close are our limits to known ones? `make checks` writes this page; `tests/benchmarks/test_checks.py` and
the tests in `tests/limit` check it. Rates are in bits, at the distortion D = E|x − x̂|² of the row.
For points, "from below" is computed on the points themselves and "from above" is an estimate on points that
were held out. In more than three dimensions both are estimates, and 24,000 points are too few for the true
rate ([theory](theory.md), "Meshes and points"). The sphere of 1,280 triangles has 0.5 % less area than the
true sphere: 0.007 bit.

"""

CIRCLE = """
## Codecs on the circle

Bhadane, Wagner and Ballé ("Do neural networks compress manifolds optimally?", 2022) train compressors for
sources with the structure of a circle, and find that these miss the optimum. Their compressors quantise;
the rate is the entropy of the symbols that a lossless code then writes. Our codecs send one number over a
Gaussian channel; the rate is the channel's capacity, which no encoder can change. Both send one point at a
time, and R(D) bounds both. To lie on a line, a circle must be cut: the gap comes mostly from points near
the cut. The table has the best of three trainings, chosen on validation points, for d = 1 and the other
settings of params.yaml:

"""


def main() -> None:
    page = text(list(checks()), on_the_circle())
    Path("docs/checks.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
