"""A real git and DVC repository in a temporary folder: the project with a tiny grid."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
COPIED = ("dvc.yaml", "params.yaml", "requirements.lock", ".dvcignore", ".gitignore", ".gitattributes")
STAGES = {  # that `dvc repro` runs
    name: stage
    for name, stage in yaml.safe_load((Path(__file__).parents[1] / "dvc.yaml").read_text())["stages"].items()
    if not stage.get("frozen")
}
LIMIT, ONE_POINT = Path("reports", "rate_distortion.csv"), Path("reports", "one_point.csv")
CLOSER = Path("reports", "closer.csv")  # of frozen code: a small one, of two cells, stands in for it
TINY = {
    "data": {"train_points": 600, "validation_points": 600, "test_points": 600},
    "network": {"hidden_units": 16, "hidden_layers": 1},
    "train": {"steps": 30, "batch_size": 32, "learning_rate": 0.01, "repeats": 2},
    "latent_dim": [1, 2],
    "snr": [1, 10],
}


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
            if file.is_file() and file.name != ".gitignore" and file.parent.name != "raw"
        }


def create(path: Path, settings: Mapping[str, Any], limit: bool = True) -> Repository:
    """The project's files in `path`, with these settings in params.yaml; nothing run, nothing committed.

    Shannon's limit depends on no setting and takes longer than all else: it comes with the project, as in a
    clone of it, if `limit`.
    """
    for name in COPIED:
        shutil.copy(ROOT / name, path / name)
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("snrvae", "stages"):
        shutil.copytree(ROOT / folder, path / folder, ignore=ignored)
    raw = Path("data", "raw")
    (path / raw).mkdir(parents=True)
    shutil.copy(ROOT / raw / "README.md", path / raw)
    (path / CLOSER).parent.mkdir()
    shutil.copy(ROOT / "tests" / CLOSER.name, path / CLOSER)
    shutil.copy(ROOT / ONE_POINT, path / ONE_POINT)
    configure(path, settings)
    made = Repository(path)
    made.run("git", "init", "-q")
    made.run("git", "config", "user.email", "tests@localhost")
    made.run("git", "config", "user.name", "tests")
    made.run("dvc", "init", "-q")
    shutil.copy(ROOT / ".dvc" / "config", path / ".dvc" / "config")
    shutil.copytree(ROOT / ".dvc" / "plots", path / ".dvc" / "plots")
    if limit:
        lock = yaml.safe_load((ROOT / "dvc.lock").read_text())
        lock["stages"] = {"rate_distortion": lock["stages"]["rate_distortion"]}
        (path / "dvc.lock").write_text(yaml.safe_dump(lock))
        shutil.copy(ROOT / LIMIT, path / LIMIT)
    return made


def configure(path: Path, settings: Mapping[str, Any]) -> None:
    """Put settings into the params.yaml of a folder; of a section those that are named."""
    params = yaml.safe_load((path / "params.yaml").read_text())
    for key, value in settings.items():
        params[key] = params[key] | value if isinstance(value, dict) else value
    (path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
