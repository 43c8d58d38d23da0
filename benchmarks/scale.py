"""Time per cell and memory over the size of the grid: `python -m benchmarks.scale REPEATS` trains one."""

import subprocess
import sys
import time
from dataclasses import dataclass

import torch

from benchmarks import setting
from snrvae.training.pool import Pool

STEPS = 2000  # a tenth of a run, enough for one-time costs to matter little
REPEATS = (1, 3, 10, 30, 90)
LEAST = 120  # cells in a timing, at least: a smaller grid is trained more than once


@dataclass(frozen=True)
class Scale:
    """A grid's size, the seconds that `STEPS` steps of it take, and the memory of all processes in MiB."""

    cells: int
    seconds: float
    peak_mib: float


def measure(repeats: int) -> Scale:
    """Train a grid in a process of its own, and measure the memory of that process and its children.

    Memory is the proportional set size (PSS), which counts a page that n processes share as 1/n in each.
    """
    import psutil  # noqa: PLC0415  (a package of the benchmark's extra; watched processes do without)

    command = [sys.executable, "-m", "benchmarks.scale", str(repeats)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            total = 0
            for member in (watched, *watched.children(recursive=True)):
                try:
                    total += member.memory_full_info().pss
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, total)
            time.sleep(0.1)
        assert process.stdout is not None
        return Scale(len(setting.grid(repeats)), float(process.stdout.read()), peak / 2**20)


def main() -> None:
    grid = setting.standard(int(sys.argv[1]), STEPS)
    times = max(1, LEAST // len(grid.cells))
    pool = Pool(grid.points, grid.config, torch.get_num_threads())
    pool.fit(grid.cells[:1], lambda *_: None)  # loads the compiled step
    start = time.perf_counter()
    for _ in range(times):
        pool.fit(grid.cells, lambda *_: None)
    print((time.perf_counter() - start) / times)


if __name__ == "__main__":
    main()
