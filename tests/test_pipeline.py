"""The pipeline as DVC runs it: a tiny grid in a real git and DVC repository in a temporary folder."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COPIED = ("dvc.yaml", "params.yaml", "requirements.lock", ".dvcignore", ".gitignore", ".gitattributes")
TINY = {
    "data": {"train_points": 600, "validation_points": 600, "test_points": 600},
    "network": {"hidden_units": 16, "hidden_layers": 1},
    "train": {"steps": 30, "batch_size": 32, "learning_rate": 0.01, "repeats": 2},
    "latent_dim": [1, 2],
    "snr": [1, 10],
}
STAGES = ["generate", "train_ae", "train_vae", "evaluate", "render"]


class Repository:
    """A clone of the project with a tiny grid, and the commands that people type in it."""

    def __init__(self, path: Path):
        self.path = path

    def run(self, *command: str, fails: bool = False) -> str:
        """What a command prints on both streams; its exit code is checked."""
        environment = os.environ | {"OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            command, cwd=self.path, env=environment, text=True, check=False, capture_output=True, timeout=300
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def stages_run(self, *command: str) -> list[str]:
        """The stages that a DVC command ran, in order."""
        lines = self.run(*command).splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        return json.loads((self.path / "reports" / "metrics.json").read_text())

    def bytes(self) -> dict[str, bytes]:
        """Every output of the pipeline."""
        folders = [self.path / "data", self.path / "reports"]
        return {
            str(file.relative_to(self.path)): file.read_bytes()
            for folder in folders
            for file in sorted(folder.rglob("*"))
            if file.is_file() and file.name != ".gitignore"
        }


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository where the pipeline ran once and is committed."""
    path = tmp_path_factory.mktemp("repository")
    for name in COPIED:
        shutil.copy(ROOT / name, path / name)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in ("snrvae", "stages"):
        shutil.copytree(ROOT / folder, path / folder, ignore=ignored)
    params = yaml.safe_load((path / "params.yaml").read_text())
    for key, value in TINY.items():
        params[key] = params[key] | value if isinstance(value, dict) else value
    (path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    made = Repository(path)
    made.run("git", "init", "-q")
    made.run("git", "config", "user.email", "tests@localhost")
    made.run("git", "config", "user.name", "tests")
    made.run("dvc", "init", "-q")
    shutil.copy(ROOT / ".dvc" / "config", path / ".dvc" / "config")
    assert made.stages_run("dvc", "repro") == STAGES
    made.run("git", "add", "-A")
    made.run("git", "commit", "-q", "-m", "first run")
    return made


def test_a_second_repro_has_nothing_to_do(repository: Repository) -> None:
    assert repository.stages_run("dvc", "repro") == []
    assert repository.run("git", "status", "--porcelain") == ""


def test_the_report_shows_every_figure_that_was_drawn(repository: Repository) -> None:
    page = (repository.path / "reports" / "README.md").read_text()
    figures = sorted(path.name for path in (repository.path / "reports" / "figures").iterdir())
    assert len(figures) == 7
    for name in figures:
        assert f"](figures/{name})" in page
    assert page.count("](figures/") == len(figures)


def test_the_report_names_the_locked_versions(repository: Repository) -> None:
    page = (repository.path / "reports" / "README.md").read_text()
    locked = dict(
        line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    )
    assert f"torch {locked['torch']}" in page


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_cores(repository: Repository) -> None:
    before = repository.bytes()
    repository.run("dvc", "repro", "--force")
    assert repository.bytes() == before
    paths = yaml.safe_load((repository.path / "dvc.yaml").read_text())["stages"]["train_vae"]["cmd"].split()
    repository.run("env", "OMP_NUM_THREADS=2", *paths)
    assert repository.bytes() == before


def test_a_changed_snr_retrains_the_grid_and_neither_data_nor_autoencoder(repository: Repository) -> None:
    before = repository.metrics()
    ran = repository.stages_run("dvc", "exp", "run", "--set-param", "snr=10")
    assert ran == ["train_vae", "evaluate", "render"]
    assert repository.metrics()["ae"] == before["ae"]
    assert list(repository.metrics()["snr_vae"]) == ["d1-snr10", "d2-snr10"]
    for cell in ("d1-snr10", "d2-snr10"):  # a cell is a cell, whatever is trained beside it
        assert repository.metrics()["snr_vae"][cell] == before["snr_vae"][cell]

    ran = repository.stages_run("dvc", "exp", "run", "--set-param", "snr=[1,100]")
    assert ran == ["train_vae", "evaluate", "render"]
    difference = json.loads(repository.run("dvc", "metrics", "diff", "--json"))["reports/metrics.json"]
    assert "snr_vae.d2-snr100.mse" in difference
    assert difference["snr_vae.d2-snr10.mse"]["new"] is None

    repository.run("git", "checkout", "-q", ".")
    repository.run("dvc", "checkout", "-q")
    assert repository.stages_run("dvc", "repro") == []


def test_a_bad_parameter_is_one_line_and_leaves_the_outputs_alone(repository: Repository) -> None:
    before = repository.bytes()
    printed = repository.run("dvc", "exp", "run", "--set-param", "snr=-3", fails=True)
    line = "train_vae: params.yaml: snr: -3 is wrong; expected a number from 1e-6"
    assert sum(text.startswith(line) for text in printed.splitlines()) == 1
    assert "Traceback" not in printed
    repository.run("git", "checkout", "-q", ".")
    repository.run("dvc", "checkout", "-q")
    assert repository.bytes() == before
