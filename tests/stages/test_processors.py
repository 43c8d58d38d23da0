"""Other processors: the same commit gives the same numbers up to rounding, on older instructions too."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tests.repository import ROOT

pytestmark = pytest.mark.slow

SETTINGS = {
    "seed": 0,
    "data": {"train_points": 1200, "validation_points": 600, "test_points": 1200},
    "network": {"kind": "mlp", "activation": "relu", "hidden_units": 32, "hidden_layers": 2},
    "train": {
        "steps": 100,
        "batch_size": 64,
        "learning_rate": 0.01,
        "repeats": 1,
        "kl_weight": 3e-4,
        "gaussianity_weight": 3e-3,
        "mmd_weight": 0.0,
        "engine": "compiled",
        "on_divergence": "fail",
    },
    "source": "cube",
    "conditional": False,
    "noise": ["isotropic", "learned"],
    "latent_dim": [1, 2],
    "snr": [1, 100],
}
MEASURES = ("mse", "kl_bits")
TOLERANCE = 0.02  # relative; rounding grows over the steps of a training
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def cells(folder: Path, **variables: str) -> pd.DataFrame:
    """The table of cells of a run with these environment variables."""
    (folder / "params.yaml").write_text(yaml.safe_dump(SETTINGS))
    (folder / "reports").mkdir()
    limit = "reports/rate_distortion.csv"
    (folder / limit).write_bytes((ROOT / limit).read_bytes())
    lines = ["import sys", "from stages import evaluate, files, generate, train_ae, train_vae"]
    for stage in ("generate", "train_ae", "train_vae", "evaluate"):
        lines.append(f"sys.argv = {['stage', *STAGES[stage]['cmd'].split()[3:]]}")
        lines.append(f"files.run({stage}.{stage})")
    subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables,
        check=True,
    )
    return pd.read_csv(folder / "reports" / "cells.csv")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return cells(tmp_path_factory.mktemp("native"))


@pytest.mark.skipif("AVX" not in torch.backends.cpu.get_cpu_capability(), reason="no x86 with AVX")
@pytest.mark.parametrize(
    ("capability", "core", "processor"), [("default", "Nehalem", "nehalem"), ("avx2", "Haswell", "haswell")]
)
def test_older_instructions_give_the_same_numbers_up_to_rounding(
    capability: str, core: str, processor: str, native: pd.DataFrame, tmp_path: Path
) -> None:
    older = cells(
        tmp_path,
        ATEN_CPU_CAPABILITY=capability,
        MKL_CBWR="COMPATIBLE",
        ONEDNN_MAX_CPU_ISA="SSE41",
        OPENBLAS_CORETYPE=core,
        NUMBA_CPU_NAME=processor,
        NUMBA_CPU_FEATURES="",
    )
    assert list(older.noise) == list(native.noise)
    for name in MEASURES:
        both = native[name].notna()
        np.testing.assert_allclose(older[name][both], native[name][both], rtol=TOLERANCE)
    largest = max((older[name] / native[name] - 1).abs().max() for name in MEASURES)
    print(f"{capability}: largest relative difference {largest:.1e}")
