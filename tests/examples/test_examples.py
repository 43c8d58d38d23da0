"""The examples: they run as programs, and do what they say."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from examples import train_one
from snrvae.codecs import files
from snrvae.codecs.codec import Codec
from snrvae.measurement.measures import linear_mse
from snrvae.settings.grid import Cell
from snrvae.sources import cube

ROOT = Path(__file__).parents[2]
CELL = Cell("isotropic", 2, 100.0, 0)


def run(folder: Path, *arguments: str) -> str:
    """What an example prints as a program of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def codec() -> Codec:
    torch.manual_seed(0)
    return train_one.train(CELL, steps=600)


def test_a_few_steps_already_beat_the_best_linear_codec(codec: Codec) -> None:
    assert train_one.mse(codec) < linear_mse(CELL, cube.SOURCE, False) / 2


@pytest.mark.slow
def test_train_one_trains_nearly_as_well_as_the_pipeline(tmp_path: Path) -> None:
    assert float(run(tmp_path, "examples.train_one").removeprefix("mse ")) < 0.004  # the pipeline: 0.0031


def test_use_a_codec_sends_and_generates_points(
    codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "codecs.safetensors").write_bytes(files.to_bytes({"d2-snr100": codec}))
    monkeypatch.chdir(tmp_path)
    runpy.run_module("examples.use_a_codec", run_name="__main__")
    printed = capsys.readouterr().out
    blocks = {name: matrix(printed, name) for name in ("sent", "received", "generated from z ~ N(0, I)")}
    assert [block.shape for block in blocks.values()] == [(3, 3)] * 3
    sent, received, _ = blocks.values()
    mse = float(printed.split("mean squared error ")[1].split("\n")[0])
    assert mse == pytest.approx(np.square(sent - received).mean(), abs=1e-3)
    assert mse < 0.05


def matrix(printed: str, name: str) -> np.ndarray:
    """The three rows below a line."""
    rows = printed.split(f"{name}\n")[1].split("\n")[:3]
    return np.array([[float(number) for number in row.strip("[] ").split()] for row in rows])
