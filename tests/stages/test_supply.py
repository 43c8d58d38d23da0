"""What comes from outside: all packages locked, actions of CI by their commits, no analytics."""

import configparser
import importlib.metadata
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repository import ROOT

pytestmark = pytest.mark.slow


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {
    "requirements.lock": PROJECT["dependencies"],
    "requirements-dev.lock": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"],
}
PLATFORM = re.compile("nvidia-|cuda-|triton")  # torch pins what its build for a machine needs


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
