"""Learning rate and weights of the loss at each step: every engine uses these."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snrvae.settings.params import Train

Floats = NDArray[np.float32]

EARLY = 100  # additional weight of T at the first step, in multiples of its last weight
SETTLING = 0.25  # share of the steps in which the first candidate alone is trained, and a fold pulls it


class Schedule(NamedTuple):
    """By step: the learning rate, and the weights of T and of E|μ − target|²."""

    learning_rate: NDArray[np.float64]
    gaussianity: Floats
    pull: Floats


def schedule(steps: range, train: Train, conditional: bool) -> Schedule:
    """Learning rate and weights at these steps of a training."""
    rates = [learning_rate(n, train.steps, train.learning_rate) for n in steps]
    weights = [gaussianity_weight(n, train.steps, train.gaussianity_weight, conditional) for n in steps]
    last = max(settling_steps(train), 1)
    pulls = np.float32(1) - np.array(steps, np.float32) / np.float32(last)
    return Schedule(np.array(rates), np.array(weights, np.float32), np.maximum(pulls, np.float32(0)))


def settling_steps(train: Train) -> int:
    """Steps in which a codec settles: its first candidate is sent, and a fold pulls it less and less."""
    return math.ceil(SETTLING * train.steps)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One-cycle schedule (Smith & Topin, arXiv:1708.07120): up for 30 % of the steps, down for the rest."""
    warm, start, end = 0.3 * steps, peak / 25, peak / 250_000
    if step < warm:
        return start + (peak - start) * _ease(step / warm)
    return peak + (end - peak) * _ease((step - warm) / (steps - warm))


def gaussianity_weight(step: int, steps: int, last: float, conditional: bool = False) -> float:
    """Weight of T: strong at first, falling in a straight line to `last` at half of the steps.

    Latents thus spread over their whole space while the codec changes easily; then the mse arranges them.
    A conditional codec has `last` throughout: a face of the cube is flat already, and T compares fewer pairs.
    """
    early = 0 if conditional else EARLY
    return last * (1 + early * max(0.0, 1 - 2 * step / steps))


def _ease(share: float) -> float:
    """From 0 to 1 along half a cosine."""
    return (1 - math.cos(math.pi * share)) / 2
