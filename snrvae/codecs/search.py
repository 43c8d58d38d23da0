"""What an encoder sends: its network's answer for a point, or a nearby point's answer, if it decodes better.

A network is continuous. Where it goes from one part of a code to another, say from one turn of a curve to the
next, some points get latents that mean neither part. Their neighbours on both sides of such a cut have
latents that mean one. So the encoder tries those too, decodes them, and sends what gives the point back best:
analysis by synthesis, as speech is coded (Atal & Remde, ICASSP 1982).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from snrvae.settings.grid import Cell

AWAY = 0.05  # distance of a neighbour, in the source's unit of length


def margin(spread: float, cell: Cell) -> float:
    """Squared error by which a neighbour's answer must be better than a point's own.

    It is the error of a source of this spread that is sent as it is, without a code. Without a margin the
    noiseless decoder would decide among answers that noise makes alike, and would prefer strong ones, since
    it expects the noise to have weakened them.
    """
    return 0.0 if cell.snr is None else spread / (1 + cell.snr)


def neighbours(dimension: int) -> Tensor:
    """The displacements [2k, k] of a point that the search tries."""
    unit = torch.eye(dimension)
    return AWAY * torch.cat([unit, -unit])


def best_output(
    x: Tensor, encoder: Callable[[Tensor], Tensor], decoder: Callable[[Tensor], Tensor], least_gain: float
) -> Tensor:
    """The encoder's output [n, o] that is sent for points x [n, k].

    encoder     points → the network's output [n, o]
    decoder     output → points [n, k], without noise
    least_gain  by which a neighbour has to be better
    """

    def error(output: Tensor) -> Tensor:
        return (decoder(output) - x).square().sum(1)

    best = encoder(x)
    least = error(best) - least_gain
    for away in neighbours(x.shape[1]):
        output = encoder(x + away)
        found = error(output)
        better = found < least
        best = torch.where(better.unsqueeze(1), output, best)
        least = torch.where(better, found, least)
    return best
