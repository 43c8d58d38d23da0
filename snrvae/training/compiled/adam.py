"""Adam (Kingma & Ba, ICLR 2015)."""

import math

import numpy as np

from snrvae.training.compiled.kernel import Floats, compiled


@compiled
def adam(
    parameters: Floats, gradient: Floats, first: Floats, second: Floats, rate: float, count: int
) -> None:
    """Step number `count` of Adam (Kingma & Ba, ICLR 2015, algorithm 1), with the defaults given there."""
    factor = np.float32(rate / (1 - 0.9**count))
    root_factor = np.float32(1 / math.sqrt(1 - 0.999**count))
    for place in range(len(parameters)):
        g = gradient[place]
        m = first[place] + np.float32(0.1) * (g - first[place])
        v = second[place] + np.float32(0.001) * (g * g - second[place])
        first[place], second[place] = m, v
        parameters[place] -= factor * m / (np.sqrt(v) * root_factor + np.float32(1e-8))
