"""The compiled engine against the definition under autograd."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import MakeConfig, box
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from snrvae.codecs.losses import Losses, Weights, loss
from snrvae.settings.grid import Cell
from snrvae.sources import cube
from snrvae.sources.domain import Domain
from snrvae.training import batches
from snrvae.training.batches import BatchSampler
from snrvae.training.compiled import state, step
from snrvae.training.config import TrainConfig
from tests.compiled import gradients, off_the_points, parameters, without_moving

weights_of = st.floats(0, 1, width=32)


def away_from_the_kink(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> None:
    """Float32 puts a number on the side of 0 that it has in float64 only if it is not as good as 0."""
    assume(float(inputs[0].detach().abs().min()) > 1e-6)


def defined(
    cell: Cell,
    inputs: Tensor,
    config: TrainConfig,
    moved: list[Tensor],
    noise: Tensor,
    weights: Weights,
    target: Tensor | None,
) -> tuple[Losses, list[Tensor]]:
    """Losses and gradients by the definition, in float64, of a batch [b, k + l] with ε [d, b]."""
    codec = batches.start(cell, inputs.numpy(), config).train().double()
    own = list(codec.parameters())
    for parameter, value in zip(own, moved, strict=True):
        parameter.data = value.double()
    inputs, noise, target = inputs.double(), noise.double(), None if target is None else target.double()
    for module in codec.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(away_from_the_kink)
    k, shares = config.source.coordinates, config.source.shares
    x, label = inputs[:, :k], inputs[:, k:] if inputs.shape[1] > k else None
    to = None if target is None else target.T
    shared = torch.tensor(shares, dtype=torch.float64) if shares else None
    total, found = loss(codec(x, noise.T, label), x, noise.T, weights, label, to, shared)
    return found, list(torch.autograd.grad(total, own))


def cube_batch(batch: int, seed: int, labelled: bool) -> tuple[Domain, Tensor]:
    """The cube, and inputs [b, 3] or [b, 3 + 6] of it."""
    points = torch.from_numpy(cube.SOURCE.split(288, np.random.default_rng(seed)).points[:batch])
    labels = torch.eye(6).repeat(batch // 6 + 1, 1)[:batch]
    return cube.SOURCE.domain, torch.cat([points, labels], 1) if labelled else points


def box_batch(coordinates: int, batch: int, seed: int, labelled: bool) -> tuple[Domain, Tensor]:
    """A box, and inputs [b, k] or [b, k + 4] of it, whose labels are not equally frequent."""
    rng = np.random.default_rng(seed)
    domain = box(coordinates, rng)
    assert domain.bounds is not None
    points = torch.from_numpy(rng.uniform(*domain.bounds, (batch, coordinates)).astype(np.float32))
    labels = torch.eye(4)[rng.choice(4, batch, p=domain.shares)]
    return domain, torch.cat([points, labels], 1) if labelled else points


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hidden_layers=st.integers(1, 4),
    hidden_units=st.integers(1, 4).map(lambda rows: 16 * rows),
    batch=st.integers(1, 18).map(lambda rows: 16 * rows),
    latent_dim=st.integers(1, 4),
    snr=st.floats(0.5, 1000),
    kl_weight=weights_of,
    gaussianity_weight=weights_of,
    pull=st.none() | weights_of,
    seed=st.integers(0, 2**20),
)
def test_losses_and_gradients_are_those_of_the_definition_under_autograd(
    noise: str,
    activation: str,
    labelled: bool,
    hidden_layers: int,
    hidden_units: int,
    batch: int,
    latent_dim: int,
    snr: float,
    kl_weight: float,
    gaussianity_weight: float,
    pull: float | None,
    seed: int,
    config: MakeConfig,
) -> None:
    made = config(
        hidden_units,
        hidden_layers,
        activation=activation,
        seed=seed,
        batch_size=batch,
        kl_weight=kl_weight,
        gaussianity_weight=gaussianity_weight,
    )
    cell = Cell(noise, latent_dim, None if noise == "none" else snr, 0)  # type: ignore[arg-type]
    equals_the_definition(cell, *cube_batch(batch, seed, labelled), made, pull)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("coordinates", [1, 2, 16])
@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    activation=st.sampled_from(["relu", "silu", "tanh"]),
    batch=st.integers(1, 18).map(lambda rows: 16 * rows),
    latent_dim=st.integers(1, 4),
    weights=st.tuples(weights_of, weights_of),
    seed=st.integers(0, 2**20),
)
def test_so_they_are_of_any_coordinates_with_bounds_and_shares_of_their_own(
    noise: str,
    coordinates: int,
    labelled: bool,
    activation: str,
    batch: int,
    latent_dim: int,
    weights: tuple[float, float],
    seed: int,
    config: MakeConfig,
) -> None:
    kl, gaussianity = weights
    settings = {"batch_size": batch, "kl_weight": kl, "gaussianity_weight": gaussianity}
    made = config(16, 2, activation=activation, seed=seed, **settings)
    cell = Cell(noise, latent_dim, None if noise == "none" else 10.0, 0)  # type: ignore[arg-type]
    equals_the_definition(cell, *box_batch(coordinates, batch, seed, labelled), made, None)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    candidates=st.integers(2, 9),
    activation=st.sampled_from(["relu", "silu", "tanh"]),
    batch=st.integers(1, 6).map(lambda rows: 16 * rows),
    latent_dim=st.integers(1, 4),
    weights=st.tuples(weights_of, weights_of),
    pull=st.none() | weights_of,
    seed=st.integers(0, 2**20),
)
def test_so_they_are_of_the_best_of_several_candidates(
    noise: str,
    labelled: bool,
    candidates: int,
    activation: str,
    batch: int,
    latent_dim: int,
    weights: tuple[float, float],
    pull: float | None,
    seed: int,
    config: MakeConfig,
) -> None:
    kl, gaussianity = weights
    settings = {"batch_size": batch, "kl_weight": kl, "gaussianity_weight": gaussianity}
    made = config(16, 2, activation=activation, seed=seed, candidates=candidates, **settings)
    cell = Cell(noise, latent_dim, None if noise == "none" else 10.0, 0)  # type: ignore[arg-type]
    equals_the_definition(cell, *cube_batch(batch, seed, labelled), made, pull)


def test_the_first_candidate_alone_settles(config: MakeConfig) -> None:
    """The second has the weights of its start for a quarter of the steps; then it learns too."""
    cell, points = Cell("isotropic", 1, 10.0, 0), cube_batch(288, 0, False)[1].numpy()
    begun = batches.start(cell, points, config(candidates=2)).encoder[-1].weight[1]
    for steps, settling, moves in ((20, 20, False), (21, 20, True)):
        codec = batches.start(cell, points, config(candidates=2))
        made = state.build(codec, 64, 0.0)
        losses = np.zeros((steps, 3), np.float32)
        choice, noise = (drawn.numpy() for drawn in BatchSampler(cell, 288, config()).draw(steps))
        rates, none = np.full(steps, 0.01), np.zeros(steps, np.float32)
        targets = np.zeros((0, 1, 64), np.float32)
        step.train(made, points, choice, noise, rates, none, targets, none, 0, settling, losses)
        second = parameters(made)[2 * 2][1]  # of the output layer's weights
        assert (not torch.equal(second, begun)) == moves


def equals_the_definition(
    cell: Cell, domain: Domain, inputs: Tensor, config: TrainConfig, pull: float | None
) -> None:
    """A step on inputs [b, k + l] has the losses and gradients of the definition."""
    made, train = replace(config, source=domain), config.train
    batch, latent_dim, seed = len(inputs), cell.latent_dim, config.seed
    kl_weight, gaussianity_weight = train.kl_weight, train.gaussianity_weight
    generator = torch.Generator().manual_seed(seed)
    epsilon, target = (torch.randn(latent_dim, batch, generator=generator) for _ in "12")
    codec = batches.start(cell, inputs.numpy(), made)
    begun = off_the_points(state.build(codec, batch, kl_weight))
    moved = deepcopy(parameters(begun))
    pulled = None if pull is None else (target, pull)
    found = without_moving(begun, inputs.numpy(), epsilon, gaussianity_weight, pulled)
    weights = Weights(kl_weight, gaussianity_weight, pull=pull or 0.0)
    to = None if pull is None else target
    losses, expected = defined(cell, inputs, made, moved, epsilon, weights, to)
    assert found == pytest.approx([float(each.detach()) for each in losses], rel=1e-5, abs=1e-6)
    ours = gradients(begun)
    assert len(ours) == len(expected)
    for layer in range(0, len(expected), 2):  # a bias may cancel to almost nothing: weights set the scale
        pair = slice(layer, layer + 2)
        scale = max(float(autograd.abs().max()) for autograd in expected[pair])
        for mine, autograd in zip(ours[pair], expected[pair], strict=True):
            assert torch.allclose(mine.double(), autograd, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(("activation", "module"), [("silu", nn.SiLU), ("tanh", nn.Tanh)])
def test_smooth_activations_have_the_values_and_slopes_of_torch(
    activation: str, module: type[nn.Module], config: MakeConfig
) -> None:
    """A unit that passes its input on shows f in its activation and f′ among its slopes."""
    made = config(16, 1, activation=activation, batch_size=1024)
    cell = Cell("none", 1, None, 0)
    inputs = np.zeros((1024, 3), np.float32)
    inputs[:, 0] = np.linspace(-100, 100, 1024)
    begun = state.build(batches.start(cell, inputs, made), 1024, 0)
    weight, bias, *_ = parameters(begun)
    weight[:], bias[:] = 0, 0
    weight[0, 0] = 1
    without_moving(begun, inputs, torch.zeros(1, 1024), 0)
    at = torch.from_numpy(inputs[:, 0]).requires_grad_()
    value = module()(at)
    value.sum().backward()
    unit = slice(3 * 1024, 4 * 1024)
    assert begun.encoder.activations[unit] == pytest.approx(value.detach().numpy(), rel=2e-6, abs=1e-6)
    assert at.grad is not None
    assert begun.encoder.slopes[unit] == pytest.approx(at.grad.numpy(), rel=2e-6, abs=1e-6)
