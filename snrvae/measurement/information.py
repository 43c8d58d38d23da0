"""How many bits about a point its latents carry: I(x; z), estimated from samples from below and above."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrvae.measurement import measures
from snrvae.measurement.records import Estimate

ROWS = 32  # queries at a time: their products with all components stay in the cache
RESOLUTION = 2.0**-24  # relative, of float32
LEAST = 3  # points of a label that is counted
SATURATED_BITS = 0.1  # estimates farther apart than this: the sample cannot carry the rate


@dataclass(frozen=True)
class Information:
    """I(x; z) in bits: in expectation at least `lower` and at most `upper`."""

    lower: Estimate
    upper: Estimate

    @property
    def saturated(self) -> bool:
        """Whether the sample is too small for the rate, so that neither end means much."""
        return self.upper.value - self.lower.value > SATURATED_BITS


def mutual_information(mean: Tensor, log_noise_power: Tensor, z: Tensor) -> Information:
    """I(x; z) from E[log q(z|x) - log q(z)], q(z) the mixture of q(z|x) over n points.

    mean             μ [d, n] of the points
    log_noise_power  ln σ², [1, 1] or [d, n]
    z                latents [d, k], as received, of the first k points

    If the mixture has the point's own component, it bounds I from below; without it, from above (Poole et
    al., ICML 2019, eqs. 10 and 12; leave-one-out). Computed in float64, since at a high SNR the exponents are
    large differences.
    """
    mean, z = mean.double(), z.double()
    # float32 latents resolve no smaller noise, whose reciprocal may be infinite
    resolved = mean.square().mean().mul(RESOLUTION**2).log()
    power = log_noise_power.double().maximum(resolved).exp().expand_as(mean)
    # ln q(z|x) = -½ Σ_d [(z - μ)²/σ² + ln σ²] as one product of terms of z and terms of x
    of_x = torch.cat(
        [-0.5 / power, mean / power, -0.5 * (mean**2 / power + power.log()).sum(0, keepdim=True)]
    )  # [2d + 1, n]
    of_z = torch.cat([z**2, z, torch.ones_like(z[:1])]).T  # [k, 2d + 1]
    count = mean.shape[1]
    own, others = [], []
    buffer = mean.new_empty(ROWS, count)
    for start in range(0, len(of_z), ROWS):
        rows = of_z[start : start + ROWS]
        log_density = torch.mm(rows, of_x, out=buffer[: len(rows)])
        place = torch.arange(len(rows)), torch.arange(start, start + len(rows))
        own.append(log_density[place])
        log_density[place] = -math.inf
        # ln Σ exp in place: the buffer is most of what this function holds
        peak = log_density.amax(1, keepdim=True)
        others.append(log_density.sub_(peak).exp_().sum(1).log_() + peak[:, 0])
    log_own, log_others = torch.cat(own), torch.cat(others)
    lower = log_own - torch.logaddexp(log_own, log_others) + math.log(count)
    upper = log_own - log_others + math.log(count - 1)
    bits = math.log(2)
    return Information(measures.estimate((lower / bits).numpy()), measures.estimate((upper / bits).numpy()))


def conditional_information(
    mean: Tensor, log_noise_power: Tensor, z: Tensor, queries: int, label: NDArray[np.integer]
) -> Information:
    """I(x; z | label): the mean of mutual_information over labels, weighted by their shares of points.

    Labels with fewer than three points are left out, since they allow no estimate.

    mean, z  [d, n];  label  [n];  log_noise_power  [1, 1] or [d, n];  queries  for all labels together
    """
    numbers, counts = np.unique(label, return_counts=True)
    each, whole = [], counts[counts >= LEAST].sum()
    for number, count in zip(numbers[counts >= LEAST], counts[counts >= LEAST], strict=True):
        own = torch.from_numpy(np.flatnonzero(label == number))
        power = log_noise_power if log_noise_power.shape[1] == 1 else log_noise_power[:, own]
        asked = max(LEAST, -(-queries * count // whole))
        each.append(mutual_information(mean[:, own], power, z[:, own[:asked]]))
    shares = counts[counts >= LEAST] / whole
    return Information(_mean([i.lower for i in each], shares), _mean([i.upper for i in each], shares))


def _mean(estimates: Sequence[Estimate], shares: NDArray[np.float64]) -> Estimate:
    """The mean of independent estimates, weighted by shares [l]."""
    value = math.fsum(share * e.value for share, e in zip(shares, estimates, strict=True))
    return Estimate(
        value, math.hypot(*(share * e.stderr for share, e in zip(shares, estimates, strict=True)))
    )


def gaussian_information_bits(mean: Tensor, noise_power: float) -> float:
    """Σ_j ½ log2(1 + P_j / σ²) of means [d, n]: at most the capacity, and equal to it for equal P_j."""
    powers = mean.double().square().mean(1)
    return float(torch.log2(1 + powers / noise_power).sum() / 2)
