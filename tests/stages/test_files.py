"""Files and stages: written whole or not at all, and bad input told in lines that a person can act on."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from conftest import draw_splits

from snrvae.codecs import files as models
from snrvae.codecs.codec import Codec
from snrvae.settings.grid import Cell
from snrvae.settings.params import SPLITS, Network, Train
from snrvae.sources import cube, dataset, npz, record
from snrvae.training.compiled import engine
from snrvae.training.config import TrainConfig
from stages import files

ROOT = Path(__file__).parents[2]
TREE: dict[str, Any] = {
    "seed": 5,
    "data": {"train_points": 60, "validation_points": 60, "test_points": 600},
    "network": {"kind": "mlp", "activation": "relu", "hidden_units": 16, "hidden_layers": 1},
    "encoder": {"candidates": 1, "folded_start": False},
    "train": {
        "steps": 4,
        "batch_size": 16,
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
    "noise": "isotropic",
    "latent_dim": 1,
    "snr": 10,
}
RAW, SOURCE = "data/raw", "data/source.npz"
CUBE, AE, VAE = "data/cube.npz", "data/ae.safetensors", "data/snr_vae.safetensors"
LIMIT, ONE_POINT = "reports/rate_distortion.csv", "reports/one_point.csv"
ARGUMENTS = {
    "check": [],
    "generate": [RAW, CUBE, SOURCE],
    "train_ae": [SOURCE, CUBE, AE, "reports/training_ae.csv"],
    "train_vae": [SOURCE, CUBE, VAE, "reports/training_vae.csv"],
    "rate_distortion": [SOURCE, LIMIT],
    "evaluate": [
        *(SOURCE, CUBE, AE, VAE, LIMIT, ONE_POINT, "reports/cells.csv", "reports/metrics.json"),
        *("data/evaluation.npz", "data/codecs.safetensors"),
    ],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with valid settings, to be in."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(TREE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def filled(folder: Path, codecs: dict[str, Codec]) -> Path:
    """The folder with a cube, models and the table of the limit too."""
    counts = {name: TREE["data"][f"{name}_points"] for name in SPLITS}
    files.write(folder / CUBE, dataset.to_bytes(draw_splits(cube.SOURCE, counts, seed=0)))
    files.write(folder / SOURCE, record.to_bytes(cube.SOURCE))
    silent = {name: codec for name, codec in codecs.items() if codec.architecture.cell.noise == "none"}
    noisy = {name: codec for name, codec in codecs.items() if name not in silent}
    files.write(folder / AE, models.to_bytes(silent))
    files.write(folder / VAE, models.to_bytes(noisy))
    for name in (LIMIT, ONE_POINT):
        files.write(folder / name, (ROOT / name).read_bytes())
    return folder


def run(stage: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A stage as DVC runs it: a process in the current folder."""
    return subprocess.run(
        [sys.executable, *options, "-m", f"stages.{stage}", *ARGUMENTS[stage]],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def fails(stage: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines with which a stage ends, called in this process."""
    module = importlib.import_module(f"stages.{stage}")
    monkeypatch.setattr(sys, "argv", [stage, *ARGUMENTS[stage]])
    with pytest.raises(SystemExit) as caught:
        files.run(getattr(module, stage))
    assert isinstance(caught.value.code, str), "sys.exit with text ends the process with code 1"
    return caught.value.code.splitlines()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Reading and writing


@pytest.mark.parametrize(
    ("content", "data"), [(b"\x00\xff", b"\x00\xff"), ("σ² = P / s\n", "σ² = P / s\n".encode())]
)
def test_what_is_written_is_read_back_and_nothing_else_is_left(
    content: bytes | str, data: bytes, tmp_path: Path
) -> None:
    files.write(tmp_path / "new" / "folder" / "file", content)
    files.write(tmp_path / "new" / "folder" / "file", content)
    assert contents(tmp_path) == {"new/folder/file": data}


def half(self: Path, data: bytes) -> int:
    self.open("wb").write(data[: len(data) // 2])
    raise OSError(28, "No space left on device")


def refuse(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("method", "failure"),
    [("write_bytes", half), ("replace", refuse), ("write_bytes", interrupt), ("replace", interrupt)],
)
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    method: str, failure: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(tmp_path / "file", "old")
    with monkeypatch.context() as patch, pytest.raises((OSError, KeyboardInterrupt)):
        patch.setattr(Path, method, failure)
        files.write(tmp_path / "file", "new and longer")
    assert contents(tmp_path) == {"file": b"old"}


def test_a_file_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, replace = tmp_path / "file", Path.replace
    files.write(path, "old")

    def look(self: Path, target: Path) -> Path:
        assert target == path
        assert path.read_bytes() == b"old"
        assert self.read_bytes() == b"new"
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    files.write(path, "new")
    assert path.read_bytes() == b"new"


def test_a_missing_file_is_named_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dvc repro") as caught:
        files.read(tmp_path / "cube.npz", partial(dataset.from_bytes, cube.SOURCE.domain, counts={}))
    assert str(caught.value).startswith(f"{tmp_path / 'cube.npz'}: No such file")


def test_every_line_of_a_fault_names_the_file(tmp_path: Path) -> None:
    def decode(_: bytes) -> None:
        raise ValueError("first fault\nsecond fault")

    path = tmp_path / "params.yaml"
    files.write(path, "")
    with pytest.raises(ValueError) as caught:
        files.read(path, decode)
    assert str(caught.value).splitlines() == [f"{path}: first fault", f"{path}: second fault"]


# Stages as DVC runs them


def test_generate_writes_the_cube_and_says_nothing(folder: Path) -> None:
    first = run("generate")
    data = (folder / CUBE).read_bytes()
    assert (folder / SOURCE).read_bytes() == record.to_bytes(cube.SOURCE)
    (folder / CUBE).unlink()
    second = run("generate")
    assert (first.returncode, first.stdout, first.stderr) == (second.returncode, "", "") == (0, "", "")
    assert (folder / CUBE).read_bytes() == data
    counts = {name: TREE["data"][f"{name}_points"] for name in SPLITS}
    assert data == dataset.to_bytes(draw_splits(cube.SOURCE, counts, seed=5))


@pytest.mark.slow
def test_train_ae_writes_the_models_and_says_nothing_where_the_output_is_no_terminal(filled: Path) -> None:
    (filled / AE).unlink()
    done = run("train_ae")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    points = draw_splits(cube.SOURCE, {"train": TREE["data"]["train_points"]}, seed=0)["train"].points
    train, network = Train.model_validate(TREE["train"]), Network.model_validate(TREE["network"])
    config = TrainConfig(network, train, seed=5, source=cube.SOURCE.domain)
    expected, _ = engine.fit(Cell("none", 1, None, 0), points, config, lambda *_: None)
    assert (filled / AE).read_bytes() == models.to_bytes({"ae/d1/0": expected})
    assert (filled / "reports" / "training_ae.csv").read_text().count("\n") == 1 + TREE["train"]["steps"]


@pytest.mark.parametrize("stage", ["check", "generate"])
def test_every_fault_of_the_settings_is_a_line_on_stderr_and_the_outputs_stay(
    stage: str, folder: Path
) -> None:
    files.write(folder / CUBE, "old")
    wrong = TREE | {"seed": -1, "snr": [10, 0], "colour": "red"}
    (folder / "params.yaml").write_text(yaml.safe_dump(wrong))
    before = contents(folder)
    done = run(stage)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [
        [stage, "params.yaml", key] for key in ("seed", "snr", "colour")
    ]
    assert contents(folder) == before


def test_generate_imports_no_torch() -> None:
    code = "import sys, stages.generate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_finds_the_stages_where_python_looks_for_no_module_in_its_folder() -> None:
    """As if the environment were made: -o takes a target for done."""
    done = subprocess.run(
        ["make", "--silent", "-o", ".venv/.run", "compare"],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONSAFEPATH": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("compare: names of experiments or commits are missing")


# The same faults, told in this process


@pytest.mark.parametrize("stage", ARGUMENTS)
def test_every_stage_checks_the_whole_settings_first(
    stage: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(TREE | {"snr": [10, 0], "seed": "one"}))
    lines = fails(stage, monkeypatch)
    assert [line.split(": ")[1:3] for line in lines] == [["params.yaml", "seed"], ["params.yaml", "snr"]]


@pytest.mark.parametrize("stage", ARGUMENTS)
@pytest.mark.parametrize("content", [None, b"", b"seed: [", b"\xff\xfe\x00"])
def test_settings_that_are_missing_or_no_yaml_are_told_in_one_line(
    stage: str, content: bytes | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "params.yaml").unlink()
    if content is not None:
        (folder / "params.yaml").write_bytes(content)
    (line,) = fails(stage, monkeypatch)
    assert "params.yaml: " in line


FOREIGN = safetensors.torch.save({"weight": torch.zeros(2)})


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign", "folder"])
@pytest.mark.parametrize(
    ("stage", "name"),
    [
        *((stage, name) for stage in ("train_ae", "train_vae") for name in (SOURCE, CUBE)),
        ("rate_distortion", SOURCE),
        *(("evaluate", name) for name in (SOURCE, CUBE, AE, VAE, LIMIT, ONE_POINT)),
    ],
)
def test_an_input_that_cannot_be_had_is_told_in_one_line_and_the_outputs_stay(
    stage: str,
    name: str,
    damage: str,
    filled: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = filled / name
    data = path.read_bytes()
    path.unlink()
    match damage:
        case "truncated":
            path.write_bytes(data[:-100])
        case "foreign":
            path.write_bytes(FOREIGN)
        case "folder":
            path.mkdir()
    for output in (
        "reports/cells.csv",
        "reports/metrics.json",
        "data/evaluation.npz",
        "data/codecs.safetensors",
        "reports/training_ae.csv",
    ):
        files.write(filled / output, "old")
    before = contents(filled)
    (line,) = fails(stage, monkeypatch)
    assert name in line
    assert contents(filled) == before


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "unknown source": ({"source": "torus"}, "source: torus is wrong; expected cube, "),
    "missing file": ({"source": "cow.ply"}, "cow.ply: No such file or directory; name a file below raw"),
    "no labels": ({"source": "sphere", "conditional": True}, "conditional: source sphere has no labels; "),
    "training": ({"data": TREE["data"] | {"train_points": 61}}, "data.train_points: 61 points do not divide"),
    "validation": ({"data": TREE["data"] | {"validation_points": 61}}, "data.validation_points: 61 points "),
    "test": ({"data": TREE["data"] | {"test_points": 601}}, "data.test_points: 601 points do not divide"),
    "few": ({"data": TREE["data"] | {"test_points": 594}}, "data.test_points: 594 is wrong; expected at le"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_the_source_is_not_fit_for_is_told_by_generate_in_one_line_and_the_outputs_stay(
    what: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, says = UNFIT[what]
    (filled / "params.yaml").write_text(yaml.safe_dump(TREE | changed))
    before = contents(filled)
    (line,) = fails("generate", monkeypatch)
    place = "" if what == "missing file" else "params.yaml: "
    assert line.startswith(f"stages.generate: {place}{says}")
    assert contents(filled) == before


@pytest.mark.parametrize("stage", ["train_ae", "train_vae", "rate_distortion", "evaluate"])
def test_a_source_that_is_not_the_settings_is_told_in_one_line(
    stage: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (filled / "params.yaml").write_text(yaml.safe_dump(TREE | {"source": "sphere"}))
    before = contents(filled)
    (line,) = fails(stage, monkeypatch)
    assert line == (
        f"stages.{stage}: {SOURCE}: of cube, but params.yaml says sphere; `dvc repro` makes it again"
    )
    assert contents(filled) == before


def test_points_beside_the_surface_are_refused_by_evaluate(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the bounds: training, which knows no surface, takes them."""
    with np.load(filled / CUBE) as archive:
        arrays = dict(archive)
    arrays["test"][7] = 0.5
    (filled / CUBE).write_bytes(npz.to_bytes(arrays))
    (line,) = fails("evaluate", monkeypatch)
    assert line == (
        f"stages.evaluate: {CUBE}: test: points or labels that do not fit params.yaml, "
        "whose source is the surface of the unit cube"
    )


def test_training_that_diverges_ends_with_one_line_and_writes_nothing(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = TREE | {"train": TREE["train"] | {"learning_rate": 1e30}}
    (filled / "params.yaml").write_text(yaml.safe_dump(wrong))
    before = contents(filled)
    (line,) = fails("train_vae", monkeypatch)
    assert "snr_vae/d1-snr10/0: " in line
    assert "step 1 of 4" in line
    assert "learning rate" in line
    assert contents(filled) == before


def test_an_output_that_cannot_be_written_is_told_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(folder / "data", "a file where a folder should be")
    (line,) = fails("generate", monkeypatch)
    assert "data" in line
