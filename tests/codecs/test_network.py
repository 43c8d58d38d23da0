"""Networks, in training and batched, against a plain torch.nn.Sequential per cell."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from snrvae.codecs.network import Network
from snrvae.training.step import Perceptron
from torch import Tensor, nn

from snrvae.codecs import network
from snrvae.settings.grid import Cell
from snrvae.training import program, step

CELLS, BATCH = 3, 20
WIDTHS = (3, 16, 32, 2)

widths_of = st.lists(st.integers(1, 40), min_size=2, max_size=5)


def make(cells: int, widths: tuple[int, ...], first: int = 0) -> Network:
    """A network of which the parameters of cell number k are drawn by a generator of its own, first + k."""
    return network.concatenate([program._network(perceptron(widths, first + cell)) for cell in range(cells)])


def perceptron(widths: tuple[int, ...], seed: int = 0) -> Perceptron:
    """A network in training, initialised for normal inputs."""
    size = sum(o * (i + 1) for i, o in pairwise(widths))
    net = Perceptron(
        np.array(widths),
        np.zeros(size, np.float32),
        np.zeros(size, np.float32),
        np.zeros(sum(widths) * BATCH, np.float32),
        np.zeros((widths[-1], BATCH), np.float32),
        np.ones(BATCH, np.float32),
        np.zeros((3, max(widths) * BATCH), np.float32),
    )
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((widths[0], 40), np.float32)
    network.initialise(*program.layers(net.parameters, widths), inputs, generator)
    return net


def plain(net: Network, cell: int) -> nn.Sequential:
    """The cell's network as torch has it."""
    layers: list[nn.Module] = []
    for weight, bias in zip(net.weights, net.biases, strict=True):
        linear = nn.Linear(weight.shape[2], weight.shape[1], dtype=weight.dtype)
        linear.weight.data, linear.bias.data = weight[cell].clone(), bias[cell, :, 0].clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def parameters(net: Network) -> list[Tensor]:
    return [tensor for pair in zip(net.weights, net.biases, strict=True) for tensor in pair]


def close(found: Tensor, expected: Tensor) -> bool:
    scale = float(expected.detach().abs().max())
    return torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("widths", [WIDTHS, (3, 16, 3), (1, 16, 16, 16, 3), (4, 2), (2, 20, 5)])
def test_forward_and_every_gradient_equal_those_of_a_plain_module(widths: tuple[int, ...]) -> None:
    net = perceptron(widths)
    weights, biases = program.layers(net.parameters, net.widths)
    weights[0][0], biases[0][0] = 0, 0  # a unit that lies exactly on the kink
    net.gradient[:] = 99  # what stood there before must not stay
    module = plain(program._network(net), 0)
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):  # buffers are used again
        x = torch.randn(widths[0], BATCH, generator=generator)
        delta = torch.randn(widths[-1], BATCH, generator=generator)
        net.activations[: x.numel()] = x.numpy().ravel()
        output = step.forward(net)
        net.delta[:] = delta.numpy()
        step.backward(net)
        for_input = np.empty(x.shape, np.float32)
        step.gradient_at_input(net, for_input)
        at = x.T.clone().requires_grad_()
        expected = module(at)
        module.zero_grad()
        (expected * delta.T).sum().backward()
        assert close(torch.from_numpy(output), expected.T)
        assert at.grad is not None
        assert close(torch.from_numpy(for_input), at.grad.T)
        found = [g for pair in zip(*program.layers(net.gradient, net.widths), strict=True) for g in pair]
        for mine, parameter in zip(found, module.parameters(), strict=True):
            assert close(torch.from_numpy(mine), parameter.grad)


def test_a_nan_comes_through_every_layer() -> None:
    net = perceptron(WIDTHS)
    net.activations[: WIDTHS[0] * BATCH] = np.nan
    assert np.isnan(step.forward(net)).all()


@given(widths_of)
def test_layers_are_views_that_fill_the_parameters(widths: list[int]) -> None:
    flat = np.zeros(sum(o * (i + 1) for i, o in pairwise(widths)), np.float32)
    weights, biases = program.layers(flat, widths)
    assert [w.shape for w in weights] == [(o, i) for i, o in pairwise(widths)]
    assert [b.shape for b in biases] == [(o,) for o in widths[1:]]
    for layer in (*weights, *biases):
        np.add(layer, 1, out=layer)
    assert (flat == 1).all(), "two views overlap, or something is left over"


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_what_is_trained_stands_on_cache_lines_of_its_own(latent_dim: int) -> None:
    made = program.build(Cell("learned", latent_dim, 4.0, 0), (16, 32), 6, 48, 0, "cube")
    arrays = [v for v in (*made, *made.encoder, *made.decoder) if getattr(v, "dtype", None) == np.float32]
    arrays = [array for array in arrays if array.ndim]
    assert len(arrays) > 12
    assert all(array.ctypes.data % 64 == 0 and array.flags.c_contiguous for array in arrays)


def test_a_cell_starts_from_the_same_parameters_whatever_its_neighbours() -> None:
    grid, alone = make(5, WIDTHS), make(1, WIDTHS, first=3)
    for together, single in zip(parameters(grid), parameters(alone), strict=True):
        assert torch.equal(together[3], single[0])
        assert not torch.equal(together[2], single[0])


def test_fresh_weights_keep_the_variance_of_activations() -> None:
    net = make(2, (64, 512, 256, 3))
    for weight, gain in zip(net.weights, (1, 2, 2), strict=True):  # a ReLU lets half of the power through
        inputs, error = weight.shape[2], 5 / (2 * weight.numel()) ** 0.5  # five standard errors
        assert float(weight.std()) == pytest.approx((gain / inputs) ** 0.5, rel=error)
        assert abs(float(weight.mean())) < 5 * (gain / inputs / weight.numel()) ** 0.5


def test_selected_networks_are_the_cells_named_in_the_order_named() -> None:
    net, x = make(4, WIDTHS), torch.randn(4, 3, BATCH)
    index = [2, 0]
    assert torch.equal(net.select(index)(x[index]), net(x)[index])


def test_concatenation_undoes_selection() -> None:
    net = make(4, WIDTHS)
    joined = network.concatenate([net.select([0]), net.select([1, 2]), net.select([3])])
    assert all(torch.equal(*pair) for pair in zip(parameters(joined), parameters(net), strict=True))


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_a_fresh_network_bends_where_its_inputs_are(offset: float) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((3, 500), np.float32) + np.float32(offset)
    weights, biases = program.layers(perceptron(WIDTHS).parameters, WIDTHS)
    network.initialise(weights, biases, x, generator)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = weight @ x + bias[:, None]
        assert (abs(x) <= 1e-6 * max(1, offset**2)).any(1).all(), "a unit's kink is at one of the inputs"
        x = np.maximum(x, 0)
    output = weights[-1] @ x + biases[-1][:, None]
    assert abs(output.mean(1)).max() < 1e-4 * output.std()
