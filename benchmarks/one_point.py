"""The best codes for one point at a time that are found without networks: writes reports/one_point.csv.

A code is a decoder on a regular grid of received z and, for each point x, a latent μ on that grid. Noise has
the variance 1, so that P = E|μ|²/d is the SNR. Decoder and encoder take turns, each the best for the other:
x̂(z) = E[x | z], and μ(x) the least of E|x̂(μ + ε) − x|² + price·|μ|². With m = E x̂(μ + ε) that error is
|x − m|² + E|x̂ − m|², so the least is the nearest neighbour of (x, 0) among (m, √(E|x̂ − m|² + price·|μ|²)).

The SNR rises from turn to turn, with latents that are shaken a little, since a symmetric code would stay
symmetric (noisy channel relaxation: Gadkari & Rose, IEEE Trans. Commun. 47, 1999). The price of power is the
error that a larger scale of the latents would save, −(dE|x̂ − x|²/d ln scale)/(2E|μ|²): each turn scales them
to the SNR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

from snrvae.settings import tables
from snrvae.sources import cube
from stages import files

Array = NDArray[np.float64]
Rng = np.random.Generator

REACH = 6  # standard deviations of the noise beyond which no noise is expected
TURNS_PER_DB = 5
SETTLING = 30  # turns at one SNR, during which the shaking decays
FINE = 4  # turns on the fine grid after that


@dataclass(frozen=True)
class Run:
    """One annealing: d, its first and last SNR, and its resolution.

    step, fine  step of the grid of latents, and in the last turns, in standard deviations of the noise
    shaking     shaking of the latents, in the same unit
    edge        points along an edge of the cube
    flat        whether latents start as the surface laid out on a disc, or else at random
    """

    latent_dim: int
    first: float
    last: float
    step: float
    fine: float
    shaking: float
    seed: int = 0
    edge: int = 60
    flat: bool = False


RUNS = (
    *(Run(1, 0.5, 1000, 1 / 8, 1 / 16, 0.4, seed=seed) for seed in range(5)),
    Run(2, 0.5, 30, 1 / 4, 1 / 8, 0.9, edge=80),
    Run(2, 30, 1000, 1 / 4, 1 / 4, 0.3, edge=80, flat=True),
    Run(3, 0.5, 10, 2 / 5, 1 / 4, 0.5),
    Run(3, 10, 100, 1 / 2, 1 / 3, 0.6),
)
SNRS = (1, 3, 10, 30, 100, 300, 1000)


@dataclass(frozen=True)
class Decoder:
    """The decoder's output for each latent μ that may be sent, averaged over the noise.

    nodes   μ [n, d]
    mean    E x̂(μ + ε) [n, k]
    spread  E|x̂(μ + ε) − mean|² [n]
    price   of power, in squared error per unit of |μ|²
    """

    nodes: Array
    mean: Array
    spread: Array
    price: float


def decoder(x: Array, mu: Array, step: float) -> Decoder:
    """The best decoder for points x [n, k] of mean 0 that are sent as μ [n, d], multiples of `step`."""
    index, margin = np.rint(mu / step).astype(int), int((REACH + 1) / step)
    low = index.min(0) - margin
    shape = tuple(index.max(0) - low + margin + 1)
    flat = np.ravel_multi_index((index - low).T, shape)

    def table(weights: Array) -> Array:
        return np.bincount(flat, weights, int(np.prod(shape))).reshape(shape) / len(x)

    def noisy(values: Array) -> Array:
        return gaussian_filter(values, 1 / step, mode="constant", truncate=REACH)

    share, sent = table(np.ones(len(x))), [table(c) for c in x.T]
    density = noisy(share)
    known = density > 1e-14  # elsewhere the answer is the mean of all points
    answer = [np.divide(noisy(s), density, out=np.zeros(shape), where=known) for s in sent]
    mean, square = [noisy(a) for a in answer], noisy(sum(a * a for a in answer))
    outward = 0.0  # dE|x̂ − x|²/d ln scale
    for axis, latent in enumerate(np.ogrid[tuple(map(slice, shape))]):
        slope = share * np.gradient(square, axis=axis)
        slope -= 2 * sum(s * np.gradient(m, axis=axis) for s, m in zip(sent, mean, strict=True))
        outward += (slope * (latent + low[axis])).sum()
    near = np.nonzero(density > 1e-6 * density.max())
    means = np.stack([m[near] for m in mean], 1)
    spread = np.maximum(square[near] - (means**2).sum(1), 0)
    return Decoder((np.stack(near, 1) + low) * step, means, spread, -outward / (2 * (mu**2).sum(1).mean()))


def encode(x: Array, code: Decoder) -> tuple[Array, float]:
    """The best latents [n, d] of points [n, k], and their mean squared error over points and noise."""
    cost = code.price * (code.nodes**2).sum(1)
    tree = KDTree(np.c_[code.mean, np.sqrt(code.spread + cost)], balanced_tree=False)
    distance, best = tree.query(np.c_[x, np.zeros(len(x))])
    return code.nodes[best], float((distance**2 - cost[best]).mean())


def turn(x: Array, mu: Array, snr: float, step: float, shaking: float, rng: Rng) -> Array:
    """Latents [n, d] after a turn of decoder and encoder, from latents μ [n, d], first scaled to the SNR."""
    mu = mu * (snr / (mu**2).mean()) ** 0.5 + shaking * rng.standard_normal(mu.shape)
    # rounded without bias: a change of less than a step counts on average
    on_grid = step * np.floor(mu / step + rng.random(mu.shape))
    return encode(x, decoder(x, on_grid, step))[0]


def annealed(x: Array, mu: Array, run: Run) -> Iterator[tuple[float, Decoder]]:
    """Codes for points x [n, k] at those of SNRS that the run passes, from latents μ [n, d]."""
    rng, last = np.random.default_rng(run.seed), run.first
    for stop in (snr for snr in SNRS if run.first <= snr <= run.last):
        for snr in np.geomspace(last, stop, 1 + round(TURNS_PER_DB * 10 * np.log10(stop / last))):
            mu = turn(x, mu, snr, run.step, run.shaking, rng)
        yield stop, _settled(x, mu, stop, run, rng)
        last = stop


def _settled(x: Array, mu: Array, snr: float, run: Run, rng: Rng) -> Decoder:
    """The code after the turns at one SNR."""
    for shaking in run.shaking * np.linspace(1, -0.5, SETTLING).clip(min=0):
        mu = turn(x, mu, snr, run.step, shaking, rng)
    for _ in range(FINE):
        mu = turn(x, mu, snr, run.fine, 0, rng)
    return decoder(x, mu, run.fine)


def error(code: Decoder, fresh: Array, snr: float) -> float:
    """E|x̂ − x|² of fresh points [n, k], at the price at which their power is at most the SNR.

    Raises ValueError if that price is more than twice the code's own.
    """
    low, high = code.price / 2, code.price * 2
    mu, least = encode(fresh, replace(code, price=high))
    if (mu**2).mean() > snr:
        raise ValueError(f"at SNR {snr:g} the code has not settled")
    for _ in range(12):
        middle = (low * high) ** 0.5
        mu, found = encode(fresh, replace(code, price=middle))
        if (mu**2).mean() > snr:
            low = middle
        else:
            high, least = middle, found
    return least


def surface(edge: int, shift: float) -> Array:
    """edge² points [n, 3] on each face of the unit cube around 0, on a lattice that is shifted."""
    place = (np.arange(edge) + shift) / edge - 0.5
    face = np.stack(np.meshgrid(place, place, indexing="ij"), -1).reshape(-1, 2)
    return np.concatenate([np.insert(face, axis, side, 1) for axis in range(3) for side in (-0.5, 0.5)])


def start(x: Array, run: Run) -> Array:
    """Latents [n, d] of points [n, k]: smooth and random, or the surface opened at its top and laid flat."""
    if run.flat:
        u = x / np.linalg.norm(x, axis=1, keepdims=True)
        return np.asarray(u[:, :2] / np.sqrt((1 + u[:, 2:]).clip(min=1e-9)))  # Lambert, Photometria, 1760
    rng = np.random.default_rng(run.seed)
    wave, phase = rng.standard_normal((x.shape[1], 64)), rng.uniform(0, 2 * np.pi, 64)
    return np.cos(x @ wave + phase) @ rng.standard_normal((64, run.latent_dim))


def main() -> None:
    fresh, best = surface(71, 0.29), dict[tuple[int, float], float]()
    for run in RUNS:
        x = surface(run.edge, 0.5)
        for snr, code in annealed(x, start(x, run), run):
            mse = error(code, fresh, snr) / x.shape[1]
            files.show(f"d = {run.latent_dim}, SNR {snr:g}: mse {mse:.6g}\n")
            best[run.latent_dim, snr] = min(mse, best.get((run.latent_dim, snr), np.inf))
    rows = [(cube.SOURCE.domain.name, d, snr, mse) for (d, snr), mse in sorted(best.items())]
    table = pd.DataFrame(rows, columns=["source", "latent_dim", "snr", "mse"])
    files.write(Path("reports/one_point.csv"), tables.to_csv(table))


if __name__ == "__main__":
    main()
