"""The stage closer: a row for each cell, setting and seed, with the numbers that evaluate finds."""

import hashlib
import re
import shlex
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml

from snrvae.limit import of_source
from snrvae.limit.shannon import RateDistortionTable, capacity_bits, distortion_at_rate
from snrvae.measurement import evaluation
from snrvae.settings import grid, params
from snrvae.settings.params import Params
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import origin
from snrvae.training import config, digest
from stages import closer
from stages.train import train_cells
from tests.repository import ROOT, TINY, create

pytestmark = pytest.mark.slow

SETTINGS = ["plain", "candidates"]
KEY = ["setting", "latent_dim", "snr"]


@pytest.fixture(scope="module")
def settings() -> Params:
    committed = params.from_yaml((ROOT / "params.yaml").read_text())
    few = {"train_points": 900, "validation_points": 300, "test_points": 600}
    return committed.model_copy(
        update={
            "data": committed.data.model_copy(update=few),
            "train": committed.train.model_copy(update={"steps": 60, "repeats": 2}),
            "latent_dim": (1, 2),
            "snr": (1.0, 100.0),
        }
    )


@pytest.fixture(scope="module")
def rows(
    settings: Params, limits: RateDistortionTable, tmp_path_factory: pytest.TempPathFactory
) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("closer") / "closer.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNRVAE_CACHE", "off")
        patch.setattr(closer, "SOURCES", {"cube": SETTINGS, "digits": SETTINGS})
        patch.setattr(closer, "SEEDS", (3,))
        patch.setattr(closer, "WEIGHTS", (0.5,))
        patch.setattr(of_source, "table", lambda *_: limits)
        closer.closer(settings, path)
    return pd.read_csv(path)


def test_make_closer_measures_again_and_records_it(tmp_path: Path) -> None:
    """By the Makefile's own commands; DVC runs no frozen stage, not even by name."""
    made = create(tmp_path, TINY)
    stage = tmp_path / "stages" / "closer.py"
    fewer = re.sub(r"^SEEDS = .*", "SEEDS = (7,)", stage.read_text(), flags=re.MULTILINE)
    fewer = re.sub(r"^SOURCES = .*", 'SOURCES = {"sphere": ["plain"]}', fewer, flags=re.MULTILINE)
    stage.write_text(fewer)
    recipe = re.search(r"^closer: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert recipe is not None
    for line in recipe[1].splitlines():
        made.run(*shlex.split(line))
    table = pd.read_csv(tmp_path / "reports" / "closer.csv")
    assert set(table.source) == {"sphere"}
    assert set(table.seed) == {7}
    (out,) = yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"]["closer"]["outs"]
    assert out["md5"] == hashlib.md5((tmp_path / "reports" / "closer.csv").read_bytes()).hexdigest()


def test_every_cell_of_every_run_has_a_row(rows: pd.DataFrame) -> None:
    assert not rows.duplicated(["source", *KEY]).any()
    counts = rows.groupby(["source", "setting"]).size().to_dict()
    grid = {(source, setting): 4 for source in ("cube", "digits") for setting in SETTINGS}
    assert counts == grid | {("cube", "T weight 0.5"): 2}
    assert set(rows.seed) == {3}
    assert set(rows.noise) == {"isotropic"}
    assert set(rows.code) == {digest.CODE}
    by_setting = rows.groupby("setting").candidates.unique().map(list).to_dict()
    assert by_setting == {"plain": [1], "candidates": [4], "T weight 0.5": [4]}


def test_the_numbers_are_those_of_the_pipeline(
    rows: pd.DataFrame, settings: Params, limits: RateDistortionTable
) -> None:
    stream = partial(numpy_stream, 3, "data")
    source, splits = origin.draw("cube", settings.data.counts, stream, Path())
    run = settings.model_copy(update={"seed": 3, "noise": ("isotropic",)})
    made = train_cells(grid.snr_vaes(run), splits["train"].points, config.of_params(run, source.domain))
    measured = [
        evaluation.measure(codec, source, splits["validation"], splits["test"], 3) for codec, _ in made
    ]
    found = rows[rows.source == "cube"].set_index(KEY)
    for result in evaluation.select(measured):
        cell = result.cell
        assert cell.snr is not None
        row = found.loc[("plain", cell.latent_dim, cell.snr)]
        assert row.mse == pytest.approx(result.mse.value, rel=1e-5)
        assert row.validation_mse == pytest.approx(result.validation_mse, rel=1e-5)
        least = float(distortion_at_rate(limits.tangents, capacity_bits(cell.latent_dim, cell.snr))) / 3
        assert 10 ** (row.gap_db / 10) == pytest.approx(row.mse / least, rel=1e-4)


def test_points_have_no_gap_and_only_two_latents_generate(rows: pd.DataFrame) -> None:
    assert (rows.gap_db.notna() == (rows.source == "cube")).all()
    assert (rows.generation_ratio.notna() == ((rows.source == "cube") & (rows.latent_dim == 2))).all()
