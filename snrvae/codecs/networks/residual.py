"""A residual network: blocks that add to what they receive (He et al., CVPR 2016)."""

from torch import Tensor, nn

from snrvae.codecs.networks.mlp import ACTIVATIONS
from snrvae.settings.params import Network


def build(inputs: int, outputs: int, settings: Network) -> nn.Module:
    """A network from `inputs` numbers to `outputs`, with a block for each hidden layer."""
    width = settings.hidden_units
    blocks = [Block(width, settings.activation) for _ in range(settings.hidden_layers)]
    return nn.Sequential(nn.Linear(inputs, width), *blocks, nn.Linear(width, outputs))


class Block(nn.Module):
    """x + W₂·f(W₁·x): two linear layers of one width around an activation."""

    def __init__(self, width: int, activation: str):
        super().__init__()
        self.first, self.activation = nn.Linear(width, width), ACTIVATIONS[activation]()
        self.second = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Features [n, w] from features [n, w]."""
        return x + self.second(self.activation(self.first(x)))
