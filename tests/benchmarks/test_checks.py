"""Our limits beside closed forms and published numbers: the rows of docs/checks.md, computed anew.

Those of meshes and of the cube's points are part of the tables in test_mesh_limit.py and test_points.py.
"""

import re
from math import log
from pathlib import Path

import pytest
from scipy.optimize import brentq
from scipy.special import ive

from benchmarks import checks

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"


@pytest.mark.slow
def test_laws_and_their_closed_forms() -> None:
    rows = list(checks.of_laws())
    assert len(rows) == 7
    assert [row for row in rows if not row.holds] == []


@pytest.mark.slow
def test_points_beside_laws_that_the_bound_is_not_told() -> None:
    assert [row for row in checks.of_samples() if not row.holds] == []


def test_a_row_that_misses_does_not_hold() -> None:
    row = checks.Check("law", "given", "known", 0.1, 1.0, 1.1, 1.05, -0.1, 0.1)
    assert row.holds
    assert not checks.Check("law", "given", "known", 0.1, 1.0, 1.1, 1.2, -0.1, 0.1).holds
    assert not checks.Check("law", "given", "known", 0.1, 1.0, 1.1, 0.9, -0.1, 0.1).holds


def test_the_page_has_a_row_for_every_law() -> None:
    laws = re.findall(r"^\| ([a-z][^|]*?) \|", PAGE.read_text(), flags=re.MULTILINE)
    assert {law.split(",")[0] for law in laws[1:]} == {
        "normal",
        "circle",
        "segment",
        "cube",
        "sphere",
        "noisy sphere",
    }


def test_the_closed_form_of_the_circle_is_that_of_its_test_channel() -> None:
    """At D = 1 − r², the derivative of R is −κ/(2r) in nats."""
    step = 1e-5
    for d in (0.05, 0.3, 0.8):
        r = (1 - d) ** 0.5
        kappa = brentq(lambda k, r=r: ive(1, k) / ive(0, k) - r, 1e-6, 100)
        slope = (checks.circle_bits(d + step) - checks.circle_bits(d - step)) / (2 * step)
        assert slope == pytest.approx(-kappa / (2 * r) / log(2), rel=1e-5)
    assert checks.circle_bits(0.999) == pytest.approx(0.001 / log(2), rel=0.01)  # λ is 1 at rate 0


def test_no_codec_on_the_circle_is_below_the_limit() -> None:
    """A short training, at two rates."""
    few, many = checks.on_the_circle((1.0, 100.0), steps=300)
    assert few.bits == pytest.approx(0.5)
    assert few.limit == pytest.approx(brentq(lambda d: checks.circle_bits(d) - 0.5, 0.1, 0.999), rel=1e-3)
    assert 0 < few.gap_db < 2
    assert 0 < many.gap_db < 9
