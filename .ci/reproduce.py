"""Run the default pipeline on the commit that is checked out; compare what it makes with what is committed.

Prints this machine's kernel of OpenBLAS and the files that differ. With the kernel that the committed report
names, it fails if a model differs in a byte, or an mse, E KL or gap by more than 10⁻³ relative.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

REPORT, CELLS, LOCK = "reports/README.md", "reports/cells.csv", "dvc.lock"
MODELS = ("data/ae.safetensors", "data/snr_vae.safetensors")
MEASURES, TOLERANCE = ["mse", "kl_bits", "gap_db"], 1e-3


def digests(lock: str) -> dict[str, str]:
    """The md5 of every output, by path."""
    stages = yaml.safe_load(lock)["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}


def kernel(report: str) -> str:
    """The kernel of OpenBLAS that a report names."""
    found = re.search(r"the\s+kernel (\w+)", report)
    if found is None:
        sys.exit(f"{REPORT} names no kernel of OpenBLAS")
    return found.group(1)


def worst(before: pd.DataFrame, after: pd.DataFrame) -> float:
    """The largest relative difference of a measure in any cell."""
    one, other = before[MEASURES].to_numpy(), after[MEASURES].to_numpy()
    return float(np.nanmax(np.abs(other / one - 1))) if one.shape == other.shape else np.inf


def main() -> str | None:
    """What is wrong, if anything."""
    paths = [Path(name) for name in (REPORT, LOCK)]
    report, lock = (path.read_text() for path in paths)
    cells = pd.read_csv(CELLS)
    subprocess.run(["dvc", "repro", "--force"], check=True, stdout=subprocess.DEVNULL)
    report_now, lock_now = (path.read_text() for path in paths)
    before, after = digests(lock), digests(lock_now)
    differing = sorted(path for path in after if before.get(path) != after[path])
    moved = worst(cells, pd.read_csv(CELLS))
    here, committed = kernel(report_now), kernel(report)
    print(f"kernel {here}; the committed report is of {committed}")
    print(f"files that differ: {', '.join(differing) or 'none'}; measures by at most {moved:.1e}")
    if here != committed:
        return None
    if models := [path for path in MODELS if path in differing]:
        return f"with the committed kernel, but other models: {', '.join(models)}"
    return f"{', '.join(MEASURES)} moved by up to {moved:.1e}" if moved > TOLERANCE else None


if __name__ == "__main__":
    sys.exit(main())
