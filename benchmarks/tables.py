"""The tables of benchmarks/README.md, as Markdown."""

import datetime
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import torch

from benchmarks import step
from benchmarks.peak import Peak, step_flops
from benchmarks.peers import Timing, rows_against_ours
from benchmarks.scale import STEPS, Scale
from benchmarks.setting import Setting
from benchmarks.waiting import Wait

PACKAGES = ("torch", "numpy", "scipy", "numba", "jax", "jaxlib", "optax", "pythae")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Processor, cores, threads, versions and date."""
    info = Path("/proc/cpuinfo")
    models = [x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return (
        f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} thread(s) of PyTorch; {', '.join(versions)}; {datetime.date.today()}."
    )


def training_section(setting: Setting, whole: Setting, timings: Sequence[Timing], rounds: int) -> str:
    """The comparison with peers."""
    train, network = setting.config.train, setting.config.network
    header = ("way", "cell-steps/s", "ours is faster by", "from – to", "mse", "remark")
    return f"""## Training a grid

{len(setting.cells)} cells (d = 1, 2, 3; SNR = 1, 10, 100, 1000; {len(setting.cells) // 12} repeats),
{network.hidden_layers} hidden layers of {network.hidden_units} units, batch {train.batch_size}.
This project's compiled engine trains them whole, {whole.config.train.steps:,} steps each and the signal
power at the end; its engine torch and the peers take {train.steps:,} steps.
Network, losses, one-cycle schedule and Adam are the same in every way but pythae's. Ways that train one
cell after the other train {len(setting.few)} of the cells. Median of {rounds} interleaved
round{"s" * (rounds > 1)} after one for warming up. The ratio is of cell-steps per second in the same round:
above 1, this project is faster. The mse is the median over d = 3, SNR = 1000 at the end; a test holds peers
to ours after the same steps. pythae does without SNR and latent penalty, and is held against ours without
the penalty. JAX and pythae do not project outputs onto the cube.

{table(header, rows_against_ours(timings))}
"""


def peak_section(setting: Setting, rate: float, peaks: Sequence[Peak]) -> str:
    """Our products' share of the machine's peak."""
    flops = statistics.mean(step_flops(cell, setting.config) for cell in setting.cells)
    best = max(found.best for found in peaks)
    small = max(found.best for found in peaks[:2])  # the shapes of a step
    rows = [
        (" × ".join(map(str, found.shape)), f"{found.processes:.0f}", f"{found.threads:.0f}")
        for found in peaks
    ]
    ours = rate * flops / 1e9
    return f"""## Share of the machine's peak

A cell's step has {flops / 1e6:.2f} MFLOP in matrix products (forward, weight gradients, input gradients;
mean over the cells). At {rate:,.0f} cell-steps/s that makes {ours:.0f} GFLOP/s, while everything else in the
step takes its time too: {ours / best:.0%} of the fastest float32 `torch.bmm` on all cores, and
{ours / small:.0%} of the fastest of the first two shapes, which are a hidden layer's, forward and for the
gradient of its weights.

{table(("c × o × i × b", "GFLOP/s, a process per core", "GFLOP/s, a thread per core"), rows)}
"""


def scale_section(scales: Sequence[Scale]) -> str:
    """Time and memory over the grid's size."""
    rows = [
        (
            f"{found.cells:,}",
            f"{1e3 * found.seconds / found.cells:.1f}",
            f"{found.cells * STEPS / found.seconds:,.0f}",
            f"{found.peak_mib:,.0f}",
        )
        for found in scales
    ]
    return f"""## Size of the grid

{STEPS} steps, each grid in fresh processes. Memory is the peak of the sum of proportional set sizes of all
processes, Python and PyTorch included, sampled every 0.1 s.

{table(("cells", "ms per cell", "cell-steps/s", "peak memory in MiB"), rows)}
"""


def waiting_section(waits: Sequence[Wait]) -> str:
    """Waits other than training."""
    rows = [
        (wait.ours, wait.theirs, *(f"{s:.2f}" for s in (*wait.seconds, wait.ratio)), f"{wait.bound:g}")
        for wait in waits
    ]
    return f"""## Waiting

Seconds of a processor, the least of several rounds in turn. `make bench` fails if a ratio is above its bound.

{table(("what", "compared with", "s", "s of that", "ratio", "bound"), rows)}
"""


def step_section(parts: Mapping[int, Mapping[str, float]]) -> str:
    """The shares of a step's time."""
    shares = {dim: step.shares(found) for dim, found in parts.items()}
    names = list(next(iter(shares.values())))
    rows = [(part, *(f"{shares[dim][part]:.1%}" for dim in parts)) for part in names]
    whole = ("µs of a step", *(f"{found[step.WHOLE]:.1f}" for found in parts.values()))
    return f"""## A step

A cell on one thread, the least of several calls; its compiled parts are called by themselves.

{table(("part", *(f"d = {dim}" for dim in parts)), [whole, *rows])}
"""
