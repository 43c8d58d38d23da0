"""Choose on validation points, report on test points: no choice sees the test split."""

import importlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from snrvae.settings import params
from snrvae.sources import cube, dataset
from snrvae.sources.domain import Split
from stages import files
from tests.repository import LIMIT, ONE_POINT, ROOT, STAGES

MODELS = ("data/ae.safetensors", "data/snr_vae.safetensors")
CELL = ["noise", "latent_dim", "snr"]


def settings() -> params.Params:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["data"] = dict.fromkeys(tree["data"], 600)
    tree["network"] |= {"hidden_units": 16, "hidden_layers": 1}
    tree["train"] |= {"steps": 100, "batch_size": 32, "repeats": 3}
    return params.from_yaml(yaml.safe_dump(tree | {"latent_dim": [1, 2], "snr": [10]}))


def run(stages: Iterable[str]) -> None:
    for stage in stages:
        function = getattr(importlib.import_module(f"stages.{stage}"), stage)
        function(settings(), *map(Path, STAGES[stage]["cmd"].split()[3:]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], ...]:
    """Outputs with the test points as generated, and with others: all of them in a corner of one face."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        for name in (LIMIT, ONE_POINT):
            files.write(name, (ROOT / name).read_bytes())
        run(["generate"])
        data = Path("data/cube.npz")
        splits = dataset.from_bytes(cube.SOURCE.domain, data.read_bytes(), settings().data.counts)
        corner = Split(splits["test"].points * np.float32([0, 0.1, 0.1]), np.zeros_like(splits["test"].label))
        found = []
        for each in (splits, splits | {"test": corner}):
            data.write_bytes(dataset.to_bytes(each))
            run(["train_ae", "train_vae", "evaluate"])
            found.append({name: Path(name).read_bytes() for name in (*MODELS, "reports/cells.csv")})
        return tuple(found)


def cells(outputs: dict[str, bytes]) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(outputs["reports/cells.csv"]))


@pytest.mark.slow
def test_training_does_not_see_the_test_points(runs: tuple[dict[str, bytes], ...]) -> None:
    one, other = runs
    assert all(one[name] == other[name] for name in MODELS)


@pytest.mark.slow
def test_the_same_repeats_are_selected_whatever_the_test_points(runs: tuple[dict[str, bytes], ...]) -> None:
    one, other = map(cells, runs)
    assert one.selected.tolist() == other.selected.tolist()
    assert one.validation_mse.tolist() == other.validation_mse.tolist()


@pytest.mark.slow
def test_a_selection_that_looked_at_them_would_be_another(runs: tuple[dict[str, bytes], ...]) -> None:
    one, other = map(cells, runs)
    assert (one.mse != other.mse).all()
    best = other.loc[other.groupby(CELL, dropna=False).mse.idxmin()]
    assert not best.selected.all()
