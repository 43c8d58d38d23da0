"""A user's own file through the real DVC: tracked by git or by DVC, in the workspace, in copies, queued."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from snrvae.sources import reading
from tests.repository import ROOT, TINY, Repository, create

PAGE = (ROOT / "docs" / "own-data.md").read_text()
FIRST, _, LAST = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
TRAINING = ("train_ae", "train_vae")
SMALL = TINY | {"train": TINY["train"] | {"repeats": 1}, "latent_dim": [1], "snr": [10]}


def committed(folder: Path) -> Repository:
    """The project as somebody starts with it."""
    made = create(folder, SMALL)
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "start")
    return made


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return committed(tmp_path)


@pytest.fixture(scope="module")
def spiral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which somebody typed the page's first commands."""
    made = committed(tmp_path_factory.mktemp("spiral"))
    for line in FIRST.splitlines():
        made.run(*shlex.split(line, comments=True))
    return made.path


@pytest.fixture
def done(spiral: Path, tmp_path: Path) -> Repository:
    """A copy of that folder."""
    return Repository(shutil.copytree(spiral, tmp_path / "done"))


def save(repository: Repository, name: str) -> None:
    points = np.random.default_rng(0).standard_normal((900, 2)) * [5, 1] + 3
    np.save(repository.path / "data" / "raw" / name, points)


@pytest.mark.slow
def test_the_commands_of_the_page_lead_to_a_report_about_the_file(done: Repository) -> None:
    report = (done.path / "reports" / "README.md").read_text()
    assert "the points in spiral.npy" in report
    assert "99 %" in (done.path / "reports" / "cells.csv").read_text()
    assert "cube" not in report.split("## Appendix: provenance")[0].lower()
    done.run("git", "checkout", "-q", "-f", "HEAD")
    for line in LAST.splitlines():
        assert "ask" in done.run(*shlex.split(line, comments=True))


def test_the_python_of_the_page_makes_a_source_of_a_folder_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    for folder in ("FOLDER", "data/raw"):
        (tmp_path / folder).mkdir(parents=True)
    for name, mode in (("grey", "L"), ("colour", "RGB"), ("clear", "RGBA")):
        Image.new(mode, (40, 30), "white").save(tmp_path / "FOLDER" / f"{name}.png")
    Image.new("L", (28, 28)).save(tmp_path / "FOLDER" / "black.png")
    monkeypatch.chdir(tmp_path)
    exec(text, {})
    read = reading.read(tmp_path / "data/raw/images.npy", tmp_path / "data/raw")
    assert isinstance(read, reading.PointSet)
    assert read.shape == (28, 28)
    assert read.points.mean(1).tolist() == [0, 255, 255, 255]  # in the order of their names


@pytest.mark.slow
def test_a_file_is_seen_in_copies_and_from_the_queue_whoever_tracks_it(repository: Repository) -> None:
    save(repository, "git.npy")
    save(repository, "dvc.npy")
    repository.run("dvc", "add", "-q", "data/raw/dvc.npy")
    repository.run("git", "add", "-A")
    repository.run("git", "commit", "-qm", "data")
    experiment = ("dvc", "exp", "run", "generate")  # codecs are other tests' affair
    for name in ("git", "dvc"):
        repository.run(*experiment, "--temp", "-n", name, "-S", f"source={name}.npy")
    for name in ("git", "dvc"):
        queued = ("--queue", "-n", f"queued-{name}", "-S", "seed=1")
        repository.run(*experiment, *queued, "-S", f"source={name}.npy")
    repository.run("dvc", "queue", "start")
    repository.run("dvc", "queue", "logs", "--follow", "queued-git")
    repository.run("dvc", "queue", "logs", "--follow", "queued-dvc")
    commits = repository.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    drawn = {}
    for name in ("git", "dvc", "queued-git", "queued-dvc"):
        (commit,) = (ref for ref in commits if ref.endswith(f"/{name}"))
        lock = yaml.safe_load(repository.run("git", "show", f"{commit}:dvc.lock"))
        drawn[name] = {out["path"]: out["md5"] for out in lock["stages"]["generate"]["outs"]}["data/cube.npz"]
    assert drawn["git"] == drawn["dvc"] != drawn["queued-git"] == drawn["queued-dvc"]


@pytest.mark.slow
def test_a_file_that_no_run_uses_trains_nothing_again(done: Repository) -> None:
    save(done, "unused.npy")
    assert done.stages_run("dvc", "repro", "evaluate") == ["generate"]
    (done.path / "snrvae" / "sources" / "torus.py").write_text('"""A law that nobody uses."""\n')
    assert done.stages_run("dvc", "repro", *TRAINING) == ["generate"]
    assert done.stages_run("dvc", "repro", *TRAINING) == []


@pytest.mark.slow
def test_a_file_that_cannot_be_read_ends_the_run_with_one_line(repository: Repository) -> None:
    (repository.path / "data" / "raw" / "ragged.csv").write_text("1,2\n3,4\n5\n")
    printed = repository.run("dvc", "exp", "run", "-S", "source=ragged.csv", fails=True)
    (line,) = [line for line in printed.splitlines() if line.startswith("generate: ragged.csv")]
    assert "row 3" in line
    assert not (repository.path / "data" / "cube.npz").exists()
