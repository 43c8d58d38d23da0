"""The folded surface that three latents start from, and what a cell makes of it."""

import numpy as np
import pytest
import torch
from conftest import MakeConfig
from scipy.spatial import cKDTree

from snrvae.settings.grid import Cell
from snrvae.sources.domain import Points
from snrvae.sources.registry import SOURCES
from snrvae.training import batches, folding, schedule
from snrvae.training.batches import BatchSampler, FoldedTargets
from snrvae.training.compiled import engine
from tests.compiled import begun, gradients, off_the_points, parameters, without_moving

CLOSED = ["cube", "sphere"]
FOLDED = Cell("isotropic", 3, 1000.0, 0)


def sample(source: str, count: int = 12_000) -> Points:
    return SOURCES[source].split(count, np.random.default_rng(0)).points


def folded(source: str, points: Points) -> np.ndarray:
    """Latents [n, 3]."""
    return folding.folded(points, SOURCES[source].domain).T


@pytest.mark.parametrize("source", CLOSED)
def test_latents_have_mean_0_and_mean_square_1(source: str) -> None:
    z = folded(source, sample(source))
    assert z.dtype == np.float32
    assert z.mean(0) == pytest.approx(0, abs=0.06)
    assert np.square(z).mean() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("source", CLOSED)
def test_nothing_is_torn(source: str) -> None:
    points = sample(source)
    nearby = points + 1e-4 * np.random.default_rng(1).standard_normal(points.shape).astype(np.float32)
    moved = np.linalg.norm(folded(source, nearby) - folded(source, points), axis=1)
    assert moved.max() < 0.01


@pytest.mark.parametrize("source", CLOSED)
def test_layers_keep_apart(source: str) -> None:
    """Within three standard deviations of the noise at SNR 100 there is nothing of another layer."""
    points = sample(source)
    near = cKDTree(folded(source, points)).query_pairs(0.3, output_type="ndarray")
    apart = np.linalg.norm(points[near[:, 0]] - points[near[:, 1]], axis=1)
    assert len(near) > len(points)
    assert apart.max() < 0.45


@pytest.mark.parametrize("place", [(0.5, 0.5, 1), (0.5, 0.5, 0), (1, 1, 0.5), (0, 0.5, 0.5)])
def test_poles_and_equator_have_latents(place: tuple[float, float, float]) -> None:
    z = folded("cube", np.array([place], np.float32))
    assert np.isfinite(z).all()


def test_the_surface_becomes_larger_than_it_is_at_the_same_power() -> None:
    """By more than a third along each direction: the lengths of short steps, as space has them and folded."""
    points = sample("cube", 24_000)
    spread = float(np.sqrt(5 / 36))  # of a coordinate
    face = points[:, 2] == 1
    here = points[face]
    stretch = []
    for axis in (0, 1):
        there = here + 1e-3 * np.eye(3, dtype=np.float32)[axis]
        stretch.append(np.linalg.norm(folded("cube", there) - folded("cube", here), axis=1) / 1e-3 * spread)
    assert np.median(np.concatenate(stretch)) > 4 / 3


@pytest.mark.parametrize("noise", ["isotropic", "learned"])
@pytest.mark.parametrize(
    ("source", "latent_dim", "snr", "labels", "folds"),
    [
        ("cube", 3, 1000.0, 0, True),
        ("sphere", 3, 100.0, 0, True),
        ("cube", 3, 10.0, 0, False),  # noise as large as the distance of layers
        ("cube", 2, 1000.0, 0, False),
        ("cube", 4, 1000.0, 0, False),
        ("cube", 3, 1000.0, 6, False),  # the label is the face
        ("square", 3, 1000.0, 0, False),
        ("gaussian", 3, 1000.0, 0, False),
    ],
)
def test_what_folds(
    noise: str, source: str, latent_dim: int, snr: float, labels: int, folds: bool, config: MakeConfig
) -> None:
    settings = config(steps=40, source=source, folded_start=True)
    inputs = np.zeros((60, 3 + labels), np.float32)
    inputs[:, :3] = sample(source, 60)
    cell = Cell(noise, latent_dim, snr, 0)  # type: ignore[arg-type]
    choice = BatchSampler(cell, 60, settings).draw(40)[0].numpy()
    targets = FoldedTargets(cell, inputs, settings).draw(range(40), choice)
    weights = schedule.schedule(range(40), settings.train, labels > 0).pull
    assert len(targets) == (10 if folds else 0)
    assert targets.shape[1:] == (latent_dim, 64)
    if folds:
        assert weights[:10] == pytest.approx(1 - np.arange(10) / 10)
        assert not weights[10:].any()
        expected = folding.folded(inputs[choice[7]], SOURCES[source].domain)
        assert np.array_equal(targets[7], expected)


def test_nothing_folds_unless_the_settings_say_so(config: MakeConfig) -> None:
    assert FoldedTargets(FOLDED, sample("cube", 600), config(steps=40)).steps == 0


def test_an_autoencoder_is_not_pulled(config: MakeConfig) -> None:
    settings, cell = config(steps=40, folded_start=True), Cell("none", 3, None, 0)
    choice = BatchSampler(cell, 600, settings).draw(40)[0].numpy()
    targets = FoldedTargets(cell, sample("cube", 600), settings).draw(range(40), choice)
    assert not len(targets)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_targets_do_not_depend_on_how_many_steps_are_asked_for_at_once(size: int, config: MakeConfig) -> None:
    settings, inputs = config(steps=40, folded_start=True), sample("cube", 600)
    choice = BatchSampler(FOLDED, 600, settings).draw(40)[0].numpy()
    targets = FoldedTargets(FOLDED, inputs, settings)
    whole = targets.draw(range(40), choice)
    steps = [range(n, min(n + size, 40)) for n in range(0, 40, size)]
    parts = [targets.draw(part, choice[part.start : part.stop]) for part in steps]
    assert np.array_equal(np.concatenate(parts), whole)
    pulls = [schedule.schedule(part, settings.train, False).pull for part in steps]
    assert np.array_equal(np.concatenate(pulls), schedule.schedule(range(40), settings.train, False).pull)


@pytest.mark.parametrize("noise", ["isotropic", "learned"])
def test_the_pull_has_the_gradient_of_the_mean_squared_distance(noise: str, config: MakeConfig) -> None:
    cell, points = Cell(noise, 3, 1000.0, 0), sample("cube", 600)  # type: ignore[arg-type]
    made = off_the_points(begun(cell, points, config()))
    epsilon = torch.zeros(3, 64)
    seen, target = points[:64], torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    without_moving(made, seen, epsilon, 0)
    before = [gradient.clone() for gradient in gradients(made)]
    without_moving(made, seen, epsilon, 0, pull=(target, 0.3))
    pulled = [gradient - one for gradient, one in zip(gradients(made), before, strict=True)]
    codec = batches.start(cell, points, config())
    for own, moved in zip(codec.parameters(), parameters(made), strict=True):
        own.data = moved.clone()
    mean = codec.channel.mean(codec.encoder(torch.from_numpy(seen)))
    expected = torch.autograd.grad(
        0.3 * (mean - target.T).square().sum(1).mean(), list(codec.encoder.parameters())
    )
    for found, autograd in zip(pulled, expected, strict=False):
        scale = float(autograd.abs().max())
        assert torch.allclose(found, autograd.reshape(found.shape), rtol=1e-3, atol=1e-4 * scale)
    assert not any(rest.any() for rest in pulled[len(expected) :]), "the decoder is pulled"


@pytest.mark.slow
def test_a_folded_start_pays(config: MakeConfig) -> None:
    points = sample("cube", 24_000)

    def mse(folded_start: bool) -> float:
        sizes = {"steps": 20_000, "learning_rate": 0.006, "gaussianity_weight": 0.01}
        settings = config(64, 3, folded_start=folded_start, **sizes)
        _, history = engine.fit(FOLDED, points, settings, lambda *_: None)
        return float(history.losses[-5:, 0].mean())

    assert mse(True) < 0.85 * mse(False)
