"""A cell that diverges, kept: from training to the report it is named, and takes nothing else along."""

import csv
import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from snrvae.codecs.codec import Codec
from snrvae.settings import params
from snrvae.settings.grid import Cell
from snrvae.training import batches
from stages import files
from tests.repository import STAGES

pytestmark = pytest.mark.slow  # whole runs

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "data": {"train_points": 600, "validation_points": 600, "test_points": 600},
    "network": {"kind": "mlp", "activation": "relu", "hidden_units": 16, "hidden_layers": 1},
    "encoder": {"candidates": 1, "folded_start": False},
    "latent_dim": [1],
    "snr": [10, 1e12],
}
TRAIN = {"steps": 100, "batch_size": 32, "on_divergence": "keep"}
BAD = "snr_vae_learned/d1-snr10/0"


@pytest.fixture
def bad_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """BAD starts at infinity, whatever the processor."""
    begin = batches.start

    def start(cell: Cell, *rest: Any) -> Codec:
        codec = begin(cell, *rest)
        if cell.name == BAD:
            with torch.no_grad():
                list(codec.encoder.parameters())[-1].fill_(math.inf)
        return codec

    monkeypatch.setattr(batches, "start", start)


def ran(folder: Path, monkeypatch: pytest.MonkeyPatch, **train: float) -> Path:
    """A folder in which every stage but rate_distortion ran with these settings of training."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text()) | SETTINGS
    tree["train"] |= TRAIN | train
    settings = params.from_yaml(yaml.safe_dump(tree))
    for name in ("reports/rate_distortion.csv", "reports/one_point.csv", "requirements.lock"):
        files.write(folder / name, (ROOT / name).read_bytes())
    files.write(folder / "reports" / "closer.csv", (ROOT / "tests" / "closer.csv").read_bytes())
    monkeypatch.chdir(folder)
    for stage, entry in STAGES.items():
        if stage != "rate_distortion":
            module = importlib.import_module(f"stages.{stage}")
            getattr(module, stage)(settings, *map(Path, entry["cmd"].split()[3:]))
    return folder


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of cells.csv by the cell's name."""
    models = {"none": "ae", "isotropic": "snr_vae", "learned": "snr_vae_learned"}
    with (folder / "reports" / "cells.csv").open() as file:
        found = list(csv.DictReader(file))
    return {
        f"{models[r['noise']]}/d{r['latent_dim']}{'-snr' + r['snr'] if r['snr'] else ''}/{r['repeat']}": r
        for r in found
    }


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "reports" / "metrics.json").read_text())


@pytest.mark.usefixtures("bad_start")
def test_a_cell_that_diverges_is_named_everywhere_and_the_others_have_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = ran(tmp_path, monkeypatch, repeats=1)
    (warning,) = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert BAD in warning
    assert "step 0 of 100" in warning
    measures = {name: row for name, row in rows(folder).items() if row["mse"]}
    assert set(rows(folder)) - set(measures) == {BAD}
    assert [name for name, row in rows(folder).items() if row["diverged"] == "1"] == [BAD]
    assert rows(folder)[BAD]["selected"] == "1"
    tree = metrics(folder)
    assert tree["snr_vae_learned"]["d1-snr10"] == {"diverged": 1}
    assert tree["summary"]["diverged_cells"] == 1
    assert tree["snr_vae"]["d1-snr1e+12"]["mse"] == float(measures["snr_vae/d1-snr1e+12/0"]["mse"])
    report = (folder / "reports" / "README.md").read_text()
    assert "| 1 | 10 | diverged |" in report
    assert report.count("| diverged |") == 2  # what it reconstructs, and what it generates
    page = (folder / "reports" / "report.html").read_text()
    assert page.count("<tr data-index") == len(measures)
    assert page.count('<tr class="diverged">') == 1


@pytest.mark.usefixtures("bad_start")
def test_a_repeat_that_diverges_leaves_its_cell_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ran(tmp_path, monkeypatch, repeats=2)
    assert [name for name, row in rows(folder).items() if row["diverged"] == "1"] == [BAD]
    assert rows(folder)[BAD]["selected"] == "0"
    assert rows(folder)[BAD[:-1] + "1"]["selected"] == "1"
    tree = metrics(folder)
    assert tree["snr_vae_learned"]["d1-snr10"]["mse"] > 0
    assert tree["summary"]["diverged_cells"] == 1


def test_a_grid_of_which_every_cell_diverges_comes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ran(tmp_path, monkeypatch, repeats=2, learning_rate=1e30)
    assert all(row["diverged"] == "1" and not row["mse"] for row in rows(folder).values())
    assert metrics(folder)["summary"] == {"diverged_cells": 10}
    assert metrics(folder)["ae"] == {"d1": {"diverged": 1}}
    assert len(list((folder / "reports" / "figures").iterdir())) == 10
    page = (folder / "reports" / "report.html").read_text()
    assert page.count('<tr class="diverged">') == 5
    assert "nan" not in (folder / "reports" / "cells.csv").read_text()
    assert "nan" not in (folder / "reports" / "training_vae.csv").read_text()
