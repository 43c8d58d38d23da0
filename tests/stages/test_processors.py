"""Other processors: the same bytes within a class, on older instructions the same numbers up to rounding."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tests.repository import ROOT, STAGES

pytestmark = pytest.mark.slow

SETTINGS = {
    "seed": 0,
    "data": {"train_points": 1200, "validation_points": 600, "test_points": 1200},
    "network": {"kind": "mlp", "activation": "relu", "hidden_units": 32, "hidden_layers": 2},
    "encoder": {"candidates": 1, "folded_start": False},
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


TRAINING, MEASURING = ("generate", "train_ae", "train_vae"), ("evaluate", "render")
UNNAMED = ("import llvmlite.binding", "llvmlite.binding.get_host_cpu_features = dict")  # of no class


def run(folder: Path, stages: Iterable[str], before: Iterable[str] = (), **variables: str) -> None:
    """Run stages in a folder, in one process with these environment variables and these lines first."""
    (folder / "params.yaml").write_text(yaml.safe_dump(SETTINGS))
    (folder / "reports").mkdir(exist_ok=True)
    for given in ("reports/rate_distortion.csv", "reports/one_point.csv", "requirements.lock"):
        (folder / given).write_bytes((ROOT / given).read_bytes())
    (folder / "reports" / "closer.csv").write_bytes((ROOT / "tests" / "closer.csv").read_bytes())
    lines = [
        *before,
        "import sys",
        "from stages import evaluate, files, generate, rate_distortion, render, train_ae, train_vae",
    ]
    for stage in stages:
        lines.append(f"sys.argv = {['stage', *STAGES[stage]['cmd'].split()[3:]]}")
        lines.append(f"files.run({stage}.{stage})")
    subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables,
        check=True,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run, by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native")
    run(folder, (*TRAINING, *MEASURING))
    return folder


def assert_same_up_to_rounding(one: Path, other: Path) -> None:
    """The measures of two runs, of the same cells in the same order."""
    older, newer = (pd.read_csv(folder / "reports" / "cells.csv") for folder in (one, other))
    assert list(older.noise) == list(newer.noise)
    for name in MEASURES:
        both = newer[name].notna()
        np.testing.assert_allclose(older[name][both], newer[name][both], rtol=TOLERANCE)
    largest = max((older[name] / newer[name] - 1).abs().max() for name in MEASURES)
    print(f"largest relative difference {largest:.1e}")


@pytest.mark.skipif("AVX" not in torch.backends.cpu.get_cpu_capability(), reason="no x86 with AVX")
def test_the_oldest_instructions_give_the_same_numbers_up_to_rounding(native: Path, tmp_path: Path) -> None:
    older_libraries = {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NUMBA_CPU_NAME": "nehalem",
        "NUMBA_CPU_FEATURES": "",
    }
    run(tmp_path, (*TRAINING, "evaluate"), UNNAMED, **older_libraries)
    assert_same_up_to_rounding(tmp_path, native)


def test_the_same_models_are_measured_and_drawn_to_the_same_bytes(native: Path, tmp_path: Path) -> None:
    """MKL's paths differ between vendors, and kernels between classes."""
    shutil.copytree(native, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "data" / "evaluation.npz", tmp_path / "reports" / "cells.csv"):
        path.unlink()
    run(tmp_path, MEASURING, SNRVAE_CPU="avx2", MKL_CBWR="COMPATIBLE", OMP_NUM_THREADS="2")
    assert contents(tmp_path) == contents(native)


def test_a_pinned_pipeline_gives_the_same_bytes_whatever_the_libraries_would_choose(
    native: Path, tmp_path: Path
) -> None:
    """The same class, once as it comes and once against settings of a machine that would choose otherwise."""
    once, again = tmp_path / "once", tmp_path / "again"
    chosen = {
        "OPENBLAS_CORETYPE": "SkylakeX",
        "NPY_DISABLE_CPU_FEATURES": "",
        "ATEN_CPU_CAPABILITY": "avx512",
    }
    for folder, others in ((once, {}), (again, chosen | {"MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2"})):
        folder.mkdir()
        run(folder, (*TRAINING, "rate_distortion", *MEASURING), **{"SNRVAE_CPU": "avx2"} | others)
    assert contents(once) == contents(again)
    assert b"kernel Haswell" in (once / "reports" / "README.md").read_bytes()
    assert_same_up_to_rounding(once, native)
