"""All benchmarks, in about twenty minutes; prints their tables and writes them to benchmarks/README.md.

`--short` only checks that everything runs: one round, small grids.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import peak, peers, scale, step, tables, waiting
from benchmarks.setting import standard
from stages import files


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    rounds, repeats = (1, scale.REPEATS[:2]) if short else (5, scale.REPEATS)

    setting = standard()
    whole = setting if short else standard(steps=None)
    timings = peers.measure(peers.ways(setting, whole), rounds)
    peaks = peak.measure(rounds)
    scales = [scale.measure(count) for count in repeats]
    waits = waiting.measure(rounds)
    sections = [
        f"# Benchmarks\n\nWritten by `make bench`. {tables.machine()}",
        "**A short run on a busy machine, to see that everything runs: its numbers say nothing.**" * short,
        tables.training_section(setting, whole, timings, rounds),
        tables.peak_section(setting, timings[0].rate, peaks),
        tables.scale_section(scales),
        tables.step_section(step.measure(setting, 4 * rounds)),
        tables.waiting_section(waits),
    ]
    text = "\n\n".join(section.strip() for section in sections if section) + "\n"
    files.show(text)
    files.write(Path("benchmarks/README.md"), text)
    if above := [wait.ours for wait in waits if wait.ratio > wait.bound]:
        sys.exit(f"above its bound: {', '.join(above)}")


if __name__ == "__main__":
    main()
