"""What comes from outside: nothing through the network while the pipeline runs, all packages locked."""

import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repository import ROOT, TINY, create

pytestmark = pytest.mark.slow


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {
    "requirements.lock": PROJECT["dependencies"],
    "requirements-dev.lock": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"],
}
PLATFORM = re.compile("nvidia-|cuda-|triton")  # torch pins what its build for a machine needs
REFUSAL = """
import socket

def refuse(self, address, *_):
    if self.family != socket.AF_UNIX:
        with open({log!r}, "a") as log:
            print(address, file=log)
        raise OSError("no network in this test")

socket.socket.connect = socket.socket.connect_ex = refuse
"""


def needed(requirements: list[str]) -> set[str]:
    """Every package that these requirements install on this machine, walked through what is installed."""
    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        one, extra = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(one.name)
        for wanted in ["", *one.extras]:
            if f"{name}[{wanted}]" not in found:
                found.add(f"{name}[{wanted}]")
                requires = importlib.metadata.requires(name) or []
                waiting += [(Requirement(text), wanted) for text in requires]
    return {name.partition("[")[0] for name in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_that_is_installed_is_pinned_to_one_version(lock: str) -> None:
    lines = [line for line in (ROOT / lock).read_text().splitlines() if line and not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    missing = {name for name in needed(LOCKS[lock]) - set(pinned) if not PLATFORM.match(name)}
    assert missing == set()
    assert len(pinned) == len(lines)


def test_the_walk_sees_what_is_not_in_a_lock() -> None:
    assert {"dvc", "pygit2", "cffi"} <= needed(["dvc"])


def test_both_locks_pin_the_same_versions() -> None:
    run, dev = ((ROOT / lock).read_text().splitlines() for lock in LOCKS)
    assert {line for line in run if "==" in line} <= set(dev)


@pytest.mark.parametrize("lock", sorted(path.name for path in ROOT.glob("requirements*.lock")))
def test_a_lock_names_versions_and_nothing_else(lock: str) -> None:
    """No address, no option of pip, no build of one machine."""
    lines = [line for line in (ROOT / lock).read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []


def test_what_is_installed_is_what_is_locked_and_fits_together() -> None:
    pinned = dict(
        line.split("==") for line in (ROOT / "requirements-dev.lock").read_text().split() if "==" in line
    )
    found = {name: importlib.metadata.version(name).partition("+")[0] for name in pinned}
    assert found == pinned
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_what_ci_runs_of_others_is_named_by_its_commit_and_may_only_read() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []
    assert workflow["permissions"] == {"contents": "read"}


def test_the_analytics_of_dvc_is_off() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config")
    assert config["core"]["analytics"] == "false"
    assert not [section for section in config if section.startswith("remote") or "'remote" in section]


def test_the_pipeline_runs_where_no_socket_may_leave_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training in two processes, whose pipes must go on working; DVC with its own settings alone."""
    (tmp_path / "project").mkdir()
    (tmp_path / "refusal").mkdir()
    log = tmp_path / "refused"
    (tmp_path / "refusal" / "sitecustomize.py").write_text(REFUSAL.format(log=str(log)))
    made = create(tmp_path / "project", TINY | {"latent_dim": [1], "train": TINY["train"] | {"repeats": 5}})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "refusal"))
    monkeypatch.delenv("DVC_NO_ANALYTICS", raising=False)
    monkeypatch.delenv("CI", raising=False)
    seen = subprocess.run(
        [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9), 1)"],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no network in this test" in seen.stderr
    log.unlink()
    done = subprocess.run(
        ["dvc", "repro"], cwd=made.path, env=os.environ | {"OMP_NUM_THREADS": "2"}, check=False
    )
    assert done.returncode == 0
    assert not log.exists(), log.read_text()
