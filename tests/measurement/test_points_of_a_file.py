"""Codecs of a file's points, whose labels are not equally frequent: requests, information and the limit."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import MakeConfig, reference_of

from snrvae.codecs.codec import Architecture, Codec
from snrvae.limit import of_source
from snrvae.measurement import evaluation, information, measures
from snrvae.settings.grid import Cell
from snrvae.sources import finite
from snrvae.sources.domain import Split, Words
from snrvae.sources.normalisation import Frame
from snrvae.sources.reading import PointSet
from snrvae.sources.source import Source


def labelled(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    label = (np.arange(count) % 10 == 0).astype(np.uint8)
    points = 0.3 * rng.standard_normal((count, 2)) + label[:, None]
    return Split(points.astype(np.float32), label)


@pytest.fixture(scope="module")
def source() -> Source:
    train = labelled(1000, 0)
    found = PointSet(train.points.astype(np.float64), train.label, ("common", "rare"), (2,))
    words = Words("a.csv", "the points in a.csv", "a", "unit")
    return finite.source(finite.domain(words, found, Frame(np.zeros(2), 1.0), train), train)


def codec(source: Source, config: MakeConfig, num_classes: int) -> Codec:
    torch.manual_seed(0)
    made = Architecture(
        Cell("isotropic", 1, 4.0, 0), config().network, num_classes, source.domain, "compiled"
    )
    return Codec(made).eval().requires_grad_(False)


def test_labels_are_asked_for_as_often_as_they_occur(source: Source, config: MakeConfig) -> None:
    found = evaluation.generate(codec(source, config, 2), reference_of(source, labelled(600, 1)), 0)
    assert found.conditional is not None
    assert found.conditional.distance is None
    assert found.conditional.label.mean() == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 600))
    real = (source.nearest(labelled(600, 1).points) == labelled(600, 1).label).mean()
    assert found.conditional.real_share == real


def test_information_by_label_is_a_mean_by_shares() -> None:
    rng = np.random.default_rng(0)
    label = labelled(1000, 0).label
    scale = np.where(label == 1, 5.0, 0.5)
    mean = torch.from_numpy(rng.standard_normal(1000) * scale)[None]
    power = torch.zeros(1, 1, dtype=torch.float64)
    z = mean + torch.from_numpy(rng.standard_normal(1000))[None]
    together = information.conditional_information(mean, power, z, 1000, label)
    each = []
    for number in (0, 1):
        own = torch.from_numpy(label == number)
        each.append(information.mutual_information(mean[:, own], power, z[:, own]))
    for end in ("lower", "upper"):
        alone = [getattr(one, end) for one in each]
        found = getattr(together, end)
        assert found.value == pytest.approx(0.9 * alone[0].value + 0.1 * alone[1].value)
        assert found.stderr == pytest.approx(math.hypot(0.9 * alone[0].stderr, 0.1 * alone[1].stderr))


@pytest.mark.parametrize("saturated", [False, True])
def test_beyond_what_the_points_carry_there_is_no_gap(
    saturated: bool, source: Source, config: MakeConfig
) -> None:
    table, test = of_source.table(source, conditional=False), labelled(600, 1)
    one = codec(source, config, 0)
    result = evaluation.measure(one, source, labelled(600, 2), test, 0)
    marked = replace(table, saturated=np.full(len(table.slope), saturated))
    if not saturated:  # the rate is one that the table reaches
        marked = replace(marked, rate_upper_bits=table.rate_upper_bits + 10)
    found = evaluation.limit(one, result, test, source, marked, 0)
    assert found.saturated == saturated
    assert found.certainty == "99 %"
    assert (found.shannon_mse is None) == (found.gap_db is None) == saturated
    assert found.gaussian_mse > 0
    assert measures.linear_mse(one.architecture.cell, source, False) >= found.gaussian_mse * (1 - 1e-9)
