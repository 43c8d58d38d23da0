"""Cell-steps per second of training a grid, ours and its peers', in interleaved rounds of one process."""

import importlib
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from benchmarks import ours, plain, vmapped
from benchmarks.setting import SNRS, Setting, Way
from snrvae.training.pool import Pool


@dataclass(frozen=True)
class Timing:
    """A way's cell-steps per second and its mse at the last SNR and three dimensions, round by round."""

    way: Way
    rates: list[float]
    mses: list[float]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def ways(setting: Setting, whole: Setting) -> list[Way]:
    """Ours first, with the latent penalty and without, then every peer whose package is installed.

    whole  as `setting`, with the number of steps for ours
    """
    pool = Pool(whole.points, whole.config, torch.get_num_threads())
    found = [
        ours.prepare(whole, pool),
        ours.without_penalty(whole, pool),
        ours.autograd(setting),
        plain.prepare(setting, fused=False),
        plain.prepare(setting, fused=True),
        vmapped.prepare(setting),
    ]
    for name in ("jaxed", "pythaed"):
        try:
            peer = importlib.import_module(f"benchmarks.{name}")
        except ModuleNotFoundError as error:
            line = f"skipped: benchmarks/{name}.py needs {error.name}, which is not installed"
            print(line, file=sys.stderr)
            continue
        if name == "jaxed":
            found += [peer.prepare(setting, devices) for devices in sorted({1, peer.DEVICES})]
        else:
            found.append(peer.prepare(setting))
    return found


def measure(ways: Sequence[Way], rounds: int) -> list[Timing]:
    """Time the ways in turn, `rounds` times, after a first time for warming up."""
    timings = [Timing(way, [], []) for way in ways]
    for round_number in range(rounds + 1):
        for timing in timings:
            start = time.perf_counter()
            mses = timing.way.train()
            seconds = time.perf_counter() - start
            if round_number:
                timing.rates.append(timing.way.steps * len(mses) / seconds)
            print(f"round {round_number} of {rounds}: {timing.way.name}, {seconds:.1f} s", file=sys.stderr)
            timing.mses.extend(m for cell, m in mses.items() if (cell.latent_dim, cell.snr) == (3, max(SNRS)))
    return timings


def rows_against_ours(timings: Sequence[Timing]) -> Iterable[list[str]]:
    """The table. Ratios compare times of the same round, so that a slow minute of the machine affects both.

    A way with the latent penalty is compared with our way with it, and a way without with ours without.
    """
    first = {timing.way.penalty: timing.rates for timing in reversed(timings)}
    for timing in timings:
        ratios = [a / b for a, b in zip(first[timing.way.penalty], timing.rates, strict=True)]
        yield [
            timing.way.name,
            f"{timing.rate:,.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} – {max(ratios):.2f}",
            f"{statistics.median(timing.mses):.1e}",
            timing.way.remark,
        ]
