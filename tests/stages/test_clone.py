"""What `make` sees at a clone before it installs anything, and that each way out it names is one."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.repository import ROOT, Repository

Make = Callable[..., Repository]


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository of two commits that has only what the check needs; no settings of git but its own."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_NAME", raising=False)
        monkeypatch.delenv(f"GIT_{name}_EMAIL", raising=False)
    (tmp_path / "gitconfig").write_text("[user]\nname = a\nemail = a@b\n[uploadpack]\nallowFilter = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    made = Repository(tmp_path / "origin")
    (made.path / "stages").mkdir(parents=True)
    shutil.copy(ROOT / "stages" / "clone.py", made.path / "stages")
    made.run("git", "init", "-q")
    for text in ("seed: 0\n", "seed: 1\n"):
        (made.path / "params.yaml").write_text(text)
        made.run("git", "add", "-A")
        made.run("git", "commit", "-q", "-m", text)
    return made


@pytest.fixture
def clone(origin: Repository, tmp_path: Path) -> Make:
    """A function that clones it with options of git."""

    def make(*options: str, name: str = "clone") -> Repository:
        command = ["git", "clone", "-q", *options, origin.path.as_uri(), str(tmp_path / name)]
        subprocess.run(command, check=True)
        return Repository(tmp_path / name)

    return make


def check(repository: Repository, fails: bool = False) -> list[str]:
    """The lines of the check, run by a Python without any package."""
    return repository.run(sys.executable, "-B", "-S", "stages/clone.py", fails=fails).splitlines()


def test_a_whole_clone_gives_no_warning(clone: Make) -> None:
    assert check(clone()) == []


@pytest.mark.parametrize(
    ("option", "what"),
    [("--depth=1", "warning: the clone is shallow"), ("--filter=blob:none", "warning: the clone is partial")],
)
def test_a_clone_without_its_history_is_named_and_the_way_out_completes_it(
    option: str, what: str, clone: Make
) -> None:
    made = clone(option)
    (line,) = check(made)
    assert line.startswith(what)
    made.run(*line.rpartition(": ")[2].split())
    assert check(made) == []


@pytest.mark.parametrize("name", ["größe", "a#b", "a%20b", "a?b"])
def test_a_path_at_which_dvc_fails_is_named(name: str, clone: Make) -> None:
    (line,) = check(clone(name=name))
    assert "lose their results: move the clone" in line


def test_other_characters_of_a_path_give_no_warning(clone: Make) -> None:
    assert check(clone(name="a b+c@d&e=f[g]~'h'")) == []


def test_a_missing_identity_is_named_before_an_experiment_fails(
    clone: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clone()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (line,) = check(made)
    assert line.startswith("warning: git does not know you")
    made.run("git", "config", "user.name", "a")
    made.run("git", "config", "user.email", "a@b")
    assert check(made) == []


def test_a_module_that_git_does_not_track_is_named_with_the_way_out(clone: Make) -> None:
    made = clone()
    (made.path / "stages" / "own.py").write_text("")
    (line,) = check(made)
    assert line.startswith("warning: not tracked by git, so missing with --temp and --queue: ")
    made.run(*line.rpartition(": ")[2].split())
    assert check(made) == []


def test_a_repository_of_another_user_is_one_line_with_the_way_out(
    clone: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clone()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    (line,) = check(made, fails=True)
    assert line.startswith("clone: detected dubious ownership in repository at ")
    made.run(*line.rpartition("call: ")[2].split())
    assert check(made) == []


def test_a_download_without_git_is_told_before_anything_is_installed(
    origin: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(origin.path.parent))
    shutil.rmtree(origin.path / ".git")
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, origin.path)
    printed = origin.run("make", "-j", "2", f"PYTHON={sys.executable}", fails=True)
    assert printed.startswith("clone: no git repository (a ZIP download?): ")
    assert not (origin.path / ".venv").exists()
    origin.run("git", "init", "-q")
    assert check(origin)[0].startswith("warning: no commit yet")
    origin.run("sh", "-c", check(origin)[0].rpartition(": ")[2])
    assert check(origin) == []


def test_a_machine_without_git_is_one_line(clone: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = clone()
    monkeypatch.setenv("PATH", "")
    assert check(made, fails=True) == ["clone: git is not installed, and DVC works on git repositories only"]
