"""Candidates: an encoder's network offers K latents for a point, and the encoder sends the best of them.

A network is continuous, but a good short code often is not. A curve that fills space has turns, and between
two of them a single answer passes through latents that decode to neither turn. An encoder with several
answers can jump instead: analysis by synthesis, as in speech coding (Atal & Remde, ICASSP 1982). Training
chooses in the same way.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from snrvae.settings.grid import Cell

Function = Callable[[Tensor], Tensor]

PRICE = 2.0  # times the price of power in a linear code; 1 and 4 are a little worse on validation points


def price(spread: float, cell: Cell) -> float:
    """What a candidate's power |μ|² costs, as squared error: PRICE · spread / ((1 + s)·d).

    At a given SNR the noise of all points grows with the power of each. Without a price the noiseless decoder
    would prefer strong candidates, since it expects noise to have weakened them. In a linear code of unit
    received power, dE|x − x̂|²/d|μ|² is spread / ((1 + s)·d), and this price makes the code's own latents the
    best choice.
    """
    return 0.0 if cell.snr is None else PRICE * spread / ((1 + cell.snr) * cell.latent_dim)


def best(offers: Tensor, x: Tensor, mean: Function, decode: Function, price: float) -> Tensor:
    """The best [n, o] of the offers [n, K, o] for points x [n, k]: it has the least |x − x̂|² + price·|μ|².

    mean    outputs [n·K, o] → μ [n·K, d]
    decode  μ [n·K, d] → points [n·K, k], without noise
    """
    count, outputs = offers.shape[1:]
    with torch.no_grad():  # gradients flow through the chosen candidate, not the choice
        sent = mean(offers.flatten(0, 1))
        error = (decode(sent).reshape(len(x), count, -1) - x.unsqueeze(1)).square().sum(2)
        chosen = (error + price * sent.square().sum(1).reshape(len(x), count)).argmin(1)
    return offers.gather(1, chosen.reshape(-1, 1, 1).expand(-1, 1, outputs)).squeeze(1)
