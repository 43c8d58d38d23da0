"""Batched networks against one plain torch.nn.Sequential per cell."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from snrvae import network
from snrvae.network import Backpropagation, Network, Packed
from snrvae.params import ROW

CELLS, BATCH = 3, 20
WIDTHS = (3, 16, 32, 2)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}

widths_of = st.lists(st.integers(1, 40), min_size=2, max_size=5)


def pack(cells: int, widths: tuple[int, ...], dtype: torch.dtype = torch.float32, first: int = 0) -> Packed:
    """Parameters of which those of cell number k are drawn from a generator of its own, seeded first + k."""
    packed = network.pack(torch.zeros(network.parameter_count(cells, widths), dtype=dtype), cells, widths)
    generators = [torch.Generator().manual_seed(first + cell) for cell in range(cells)]
    inputs = [torch.randn(widths[0], 40, generator=generator, dtype=dtype) for generator in generators]
    network.initialise(packed.network, inputs, generators)
    return packed


def make(cells: int, widths: tuple[int, ...], dtype: torch.dtype = torch.float32, first: int = 0) -> Network:
    """The network of these parameters."""
    return pack(cells, widths, dtype, first).network


def plain(net: Network, cell: int) -> nn.Sequential:
    """The cell's network as torch has it."""
    layers: list[nn.Module] = []
    for weight, bias in zip(net.weights, net.biases, strict=True):
        linear = nn.Linear(weight.shape[2], weight.shape[1], dtype=weight.dtype)
        linear.weight.data, linear.bias.data = weight[cell].clone(), bias[cell, :, 0].clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def backpropagation(packed: Packed, gradient: Packed) -> Backpropagation:
    widest = max(packed.network.widths)
    return Backpropagation(packed, gradient, BATCH, network.scratch(CELLS, widest, BATCH, packed.weight))


def parameters(net: Network) -> list[Tensor]:
    return [tensor for pair in zip(net.weights, net.biases, strict=True) for tensor in pair]


def close(found: Tensor, expected: Tensor) -> bool:
    tolerance = TOLERANCE[expected.dtype]
    scale = float(expected.detach().abs().max())
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("widths", [WIDTHS, (3, 16, 3), (1, 16, 16, 16, 3), (4, 2)])
def test_forward_loss_and_every_gradient_equal_those_of_a_plain_module_per_cell(
    widths: tuple[int, ...], dtype: torch.dtype
) -> None:
    packed = pack(CELLS, widths, dtype)
    net = packed.network
    net.weights[0][0, 0], net.biases[0][0, 0] = 0, 0  # a unit that lies exactly on the kink
    into = pack(CELLS, widths, dtype, first=99)  # what stood there before must not stay
    passes, gradient = backpropagation(packed, into), into.network
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):  # buffers are used again
        x = torch.randn(CELLS, widths[0], BATCH, generator=generator, dtype=dtype)
        target = torch.randn(CELLS, widths[-1], BATCH, generator=generator, dtype=dtype)
        output = passes.forward(x).clone()
        delta = passes.backward((output - target) * (2 / target[0].numel()))
        for_input = passes.input_gradient(delta)
        assert close(output, net(x))
        for cell in range(CELLS):
            module, at = plain(net, cell), x[cell].T.clone().requires_grad_()
            expected = module(at)
            loss = nn.functional.mse_loss(expected, target[cell].T)
            loss.backward()
            assert close(output[cell], expected.T)
            assert close((output[cell] - target[cell]).square().mean(), loss)
            assert close(for_input[cell], at.grad.T)
            for found, parameter in zip(parameters(gradient), module.parameters(), strict=True):
                assert close(found[cell].reshape(parameter.shape), parameter.grad)


@pytest.mark.parametrize("hidden", [(16,), (16, 32), (32, 16, 16)])
def test_networks_on_the_same_scratch_pass_a_gradient_back_in_turn(hidden: tuple[int, ...]) -> None:
    widths = (3, *hidden, 2), (2, *hidden, 3)
    encoder, decoder = (pack(CELLS, w, torch.float64, first) for first, w in enumerate(widths))
    scratch = network.scratch(CELLS, 32, BATCH, encoder.weight)
    gradients = [pack(CELLS, w, torch.float64) for w in widths]
    first, second = (
        Backpropagation(packed, into, BATCH, scratch)
        for packed, into in zip((encoder, decoder), gradients, strict=True)
    )
    x = torch.randn(CELLS, 3, BATCH, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    output = second.forward(first.forward(x))
    first.backward(second.input_gradient(second.backward(2 * output)))
    for cell in range(CELLS):
        module = nn.Sequential(plain(encoder.network, cell), plain(decoder.network, cell))
        module(x[cell].T).square().sum().backward()
        found = [gradient[cell] for into in gradients for gradient in parameters(into.network)]
        for mine, parameter in zip(found, module.parameters(), strict=True):
            assert close(mine.reshape(parameter.shape), parameter.grad)


def test_a_network_leaves_its_input_and_its_parameters_as_they_were() -> None:
    packed = pack(CELLS, WIDTHS)
    net, passes = packed.network, backpropagation(packed, pack(CELLS, WIDTHS))
    x = torch.randn(CELLS, WIDTHS[0], BATCH)
    before = [x.clone(), *(p.clone() for p in parameters(net))]
    net(x)
    passes.input_gradient(passes.backward(torch.ones_like(passes.forward(x))))
    assert all(torch.equal(*pair) for pair in zip(before, [x, *parameters(net)], strict=True))


@given(st.integers(1, 6), widths_of)
def test_views_start_on_rows_of_their_own_and_fill_the_flat_tensor(cells: int, widths: list[int]) -> None:
    flat = torch.zeros(network.parameter_count(cells, widths))
    packed = network.pack(flat, cells, widths)
    views = [*packed.hidden, packed.weight, packed.bias]
    for number, view in enumerate(views, start=1):
        assert view.is_contiguous()
        assert view.storage_offset() % ROW == 0
        view.fill_(number)
    for number, view in enumerate(views, start=1):
        assert (view == number).all(), "two views overlap"
    used = sum(-(-view.numel() // ROW) for view in views)
    assert len(flat) == used * ROW
    assert int((flat != 0).sum()) == sum(view.numel() for view in views)


@given(st.integers(1, 6), widths_of)
def test_a_network_is_all_of_its_packed_parameters(cells: int, widths: list[int]) -> None:
    flat = torch.zeros(network.parameter_count(cells, widths))
    packed = network.pack(flat, cells, widths)
    for number, parameter in enumerate(parameters(packed.network), start=1):
        parameter.add_(number)
    assert all(
        bool((parameter == number).all())
        for number, parameter in enumerate(parameters(packed.network), start=1)
    )
    assert int((flat != 0).sum()) == sum(parameter.numel() for parameter in parameters(packed.network))


@given(st.integers(1, 6), widths_of)
def test_views_have_the_shapes_that_the_widths_ask_for(cells: int, widths: list[int]) -> None:
    net = make(cells, tuple(widths))
    assert net.widths == tuple(widths)
    assert [tuple(w.shape) for w in net.weights] == [(cells, o, i) for i, o in pairwise(widths)]
    assert [tuple(b.shape) for b in net.biases] == [(cells, o, 1) for o in widths[1:]]


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
    generators = [torch.Generator().manual_seed(cell) for cell in range(CELLS)]
    inputs = [torch.randn(3, 500, generator=generator) + offset for generator in generators]
    net = network.view(torch.zeros(network.parameter_count(CELLS, WIDTHS)), CELLS, WIDTHS)
    network.initialise(net, inputs, generators)
    x = torch.stack(inputs)
    for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
        x = torch.baddbmm(bias, weight, x)
        assert (x.abs() <= 1e-6 * max(1, offset**2)).any(2).all(), "a unit's kink is at one of the inputs"
        x = x.relu()
    output = torch.baddbmm(net.biases[-1], net.weights[-1], x)
    assert float(output.mean(2).abs().max()) < 1e-4 * output.std()
