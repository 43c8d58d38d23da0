"""Networks, in training and as the definition has them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from snrvae.codecs.codec import Architecture, Codec
from snrvae.codecs.networks import mlp
from snrvae.settings.grid import Cell
from snrvae.settings.params import Network
from snrvae.sources import cube
from snrvae.training.compiled import network, state
from snrvae.training.compiled.network import Perceptron

BATCH = 20
WIDTHS = (3, 16, 32, 2)

widths_of = st.lists(st.integers(1, 40), min_size=2, max_size=5)


def drawn(widths: tuple[int, ...], seed: int = 0) -> mlp.Perceptron:
    """A network as training starts with it, for normal inputs."""
    net = mlp.Perceptron(list(widths), "relu")
    generator = np.random.default_rng(seed)
    inputs = torch.from_numpy(generator.standard_normal((widths[0], 40), np.float32)).T
    net.initialise(inputs, generator)
    return net


def perceptron(module: mlp.Perceptron, widths: tuple[int, ...]) -> Perceptron:
    """The same network in training."""
    size = sum(o * (i + 1) for i, o in pairwise(widths))
    net = Perceptron(
        np.array(widths),
        network.RELU,
        np.zeros(size, np.float32),
        np.zeros(size, np.float32),
        np.zeros(sum(widths) * BATCH, np.float32),
        np.zeros(0, np.float32),
        np.zeros((widths[-1], BATCH), np.float32),
        np.ones(BATCH, np.float32),
        np.zeros((3, max(widths) * BATCH), np.float32),
    )
    for flat, parameter in zip(state.tensors(net.parameters, widths), module.parameters(), strict=True):
        flat[:] = parameter.detach().numpy()
    return net


def close(found: Tensor, expected: Tensor) -> bool:
    scale = float(expected.detach().abs().max())
    return torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("widths", [WIDTHS, (3, 16, 3), (1, 16, 16, 16, 3), (4, 2), (2, 20, 5)])
def test_forward_and_every_gradient_equal_those_of_a_plain_module(widths: tuple[int, ...]) -> None:
    module = drawn(widths)
    with torch.no_grad():
        module[0].weight[0], module[0].bias[0] = 0, 0  # a unit that lies exactly on the kink
    net = perceptron(module, widths)
    net.gradient[:] = 99  # what was there before must not stay
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):  # buffers are used again
        x = torch.randn(widths[0], BATCH, generator=generator)
        delta = torch.randn(widths[-1], BATCH, generator=generator)
        net.activations[: x.numel()] = x.numpy().ravel()
        output = network.forward(net)
        net.delta[:] = delta.numpy()
        network.backward(net)
        for_input = np.empty(x.shape, np.float32)
        network.gradient_at_input(net, for_input)
        at = x.T.clone().requires_grad_()
        expected = module(at)
        module.zero_grad()
        (expected * delta.T).sum().backward()
        assert close(torch.from_numpy(output), expected.T)
        assert at.grad is not None
        assert close(torch.from_numpy(for_input), at.grad.T)
        found = state.tensors(net.gradient, net.widths)
        for mine, parameter in zip(found, module.parameters(), strict=True):
            assert close(torch.from_numpy(mine), parameter.grad)


def test_a_nan_comes_through_every_layer() -> None:
    net = perceptron(drawn(WIDTHS), WIDTHS)
    net.activations[: WIDTHS[0] * BATCH] = np.nan
    assert np.isnan(network.forward(net)).all()


@given(widths_of)
def test_layers_are_views_that_fill_the_parameters(widths: list[int]) -> None:
    flat = np.zeros(sum(o * (i + 1) for i, o in pairwise(widths)), np.float32)
    views = state.tensors(flat, widths)
    assert [w.shape for w in views[::2]] == [(o, i) for i, o in pairwise(widths)]
    assert [b.shape for b in views[1::2]] == [(o,) for o in widths[1:]]
    for layer in views:
        np.add(layer, 1, out=layer)
    assert (flat == 1).all(), "two views overlap, or something is left over"


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_what_is_trained_stands_on_cache_lines_of_its_own(latent_dim: int) -> None:
    settings = Network(kind="mlp", activation="silu", hidden_units=32, hidden_layers=2)
    cell = Cell("learned", latent_dim, 4.0, 0)
    made = state.build(Codec(Architecture(cell, settings, 6, cube.SOURCE.domain, "compiled")), 48, 0)
    arrays = [v for v in (*made, *made.encoder, *made.decoder) if getattr(v, "dtype", None) == np.float32]
    read = {id(array) for array in (made.rarity, made.lower, made.upper)}
    arrays = [array for array in arrays if array.ndim and id(array) not in read]
    assert len(arrays) > 12
    assert all(array.ctypes.data % 64 == 0 and array.flags.c_contiguous for array in arrays)


def test_fresh_weights_keep_the_variance_of_activations() -> None:
    linear = [layer for layer in drawn((64, 512, 256, 3)) if isinstance(layer, nn.Linear)]
    for layer, gain in zip(linear, (1, 2, 2), strict=True):  # a ReLU lets half of the power through
        weight = layer.weight.detach()
        inputs, error = weight.shape[1], 5 / (2 * weight.numel()) ** 0.5  # five standard errors
        assert float(weight.std()) == pytest.approx((gain / inputs) ** 0.5, rel=error)
        assert abs(float(weight.mean())) < 5 * (gain / inputs / weight.numel()) ** 0.5


def test_a_seed_gives_the_same_parameters_again_and_another_seed_others() -> None:
    once, again, other = (list(drawn(WIDTHS, seed).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(once, other, strict=True))


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_a_fresh_network_bends_where_its_inputs_are(offset: float) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((3, 500), np.float32) + np.float32(offset)
    module = mlp.Perceptron(list(WIDTHS), "relu")
    module.initialise(torch.from_numpy(x).T, generator)
    tensors = [parameter.detach().numpy() for parameter in module.parameters()]
    weights, biases = tensors[::2], tensors[1::2]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = weight @ x + bias[:, None]
        assert (abs(x) <= 1e-6 * max(1, offset**2)).any(1).all(), "a unit's kink is at one of the inputs"
        x = np.maximum(x, 0)
    output = weights[-1] @ x + biases[-1][:, None]
    assert abs(output.mean(1)).max() < 1e-4 * output.std()
