"""A multilayer perceptron: linear layers with an activation between them."""

import math
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snrvae.settings.params import Network

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}
GAINS = {"relu": 2.0, "silu": 2.0, "tanh": 1.0}  # 1 / E f(a)² of a normal sum a, roughly


def build(inputs: int, outputs: int, settings: Network) -> nn.Module:
    """A perceptron from `inputs` numbers to `outputs`, with hidden layers as the settings say."""
    return Perceptron(widths(inputs, outputs, settings), settings.activation)


def widths(inputs: int, outputs: int, settings: Network) -> list[int]:
    """Features before, between and after the layers."""
    return [inputs, *[settings.hidden_units] * settings.hidden_layers, outputs]


class Perceptron(nn.Sequential):
    """Linear layers of these widths, with an activation between them."""

    def __init__(self, widths: list[int], activation: str):
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [nn.Linear(i, o), ACTIVATIONS[activation]()]
        super().__init__(*layers[:-1])
        self.gain = GAINS[activation]

    @torch.no_grad()
    def initialise(self, inputs: Tensor, generator: np.random.Generator) -> None:
        """Draw weights and biases, for inputs like `inputs` [n, i].

        Weights are normal with variance gain/i after an activation (He et al., ICCV 2015, eq. 10) and 1/i for
        the first layer. The kink of every hidden unit goes through one of the inputs, so that no unit is
        dead or linear on all of them; outputs have mean zero.
        """
        x: NDArray[np.float32] = inputs.numpy().T  # [features, n]; NumPy gives every thread the same bits
        linear = [layer for layer in self if isinstance(layer, nn.Linear)]
        for place, layer in enumerate(linear):
            weight, bias = layer.weight.numpy(), layer.bias.numpy()
            gain = self.gain if place else 1
            weight[:] = generator.standard_normal(weight.shape, np.float32) * math.sqrt(gain / len(x))
            x = weight @ x
            through = generator.integers(x.shape[1], size=(len(x), 1))
            kink = x.mean(1) if place == len(linear) - 1 else np.take_along_axis(x, through, 1)[:, 0]
            bias[:] = -kink
            if place < len(linear) - 1:
                x = self[2 * place + 1](torch.from_numpy(x + bias[:, None])).numpy()
