"""What an encoder sends: its network's answer for a point, or that for a neighbour of the point.

A network is continuous. Where it goes from one part of a code to another, say from one turn of a curve to the
next, there are points whose latents mean neither part. Their neighbours on both sides of such a cut have
latents that mean one. So the encoder tries those too, decodes them, and sends what gives the point back best:
analysis by synthesis, as speech is coded (Atal & Remde, ICASSP 1982).
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrvae.sources.source import DIMENSION, Source

AWAY = 0.05  # of a neighbour, in the source's unit of length
NEIGHBOURS: NDArray[np.float32] = np.float32(AWAY) * np.concatenate([np.eye(3), -np.eye(3)], dtype=np.float32)


def margin(source: Source, snr: float | None) -> float:
    """Squared error by which a neighbour's answer must be better than a point's own.

    It is what noise adds to a source that is sent as it stands. Without it the noiseless decoder would decide
    among answers that noise makes alike, and would like strong ones: it answers for weaker ones than it gets.
    """
    return 0.0 if snr is None else source.components * source.variance / (1 + snr)


def best_output(
    inputs: Tensor, encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], margins: Tensor
) -> Tensor:
    """The encoder's output [c, o, n] that is sent for inputs [c, 3 + l, n].

    encode   inputs → the network's outputs [c, o, n]
    decode   outputs → points [c, 3, n], without noise
    margins  [c]
    """
    points = inputs[:, :DIMENSION]

    def error(output: Tensor) -> Tensor:
        return (decode(output) - points).square().sum(1)

    sent = encode(inputs)
    least = error(sent) - margins.view(-1, 1)
    for away in torch.from_numpy(NEIGHBOURS):
        output = encode(torch.cat([points + away.view(-1, 1), inputs[:, DIMENSION:]], 1))
        found = error(output)
        better = found < least
        sent = torch.where(better.unsqueeze(1), output, sent)
        least = torch.where(better, found, least)
    return sent
