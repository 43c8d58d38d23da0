"""What an open project has: its files agree with each other and with the code."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_hooks_run_what_make_check_runs() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    recipe = re.search(r"^check: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert recipe
    assert repo["repo"] == "local"  # nothing is downloaded
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in repo["hooks"]]
    assert entries == [line.strip() for line in recipe[1].splitlines()]
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in repo["hooks"])


def test_the_citation_fits_the_project_and_its_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= {*citation}
    assert str(citation["version"]) == PROJECT["version"]
    licence = (ROOT / "LICENSE").read_text()
    assert licence.startswith(f"{citation['license']} License")
    assert citation["authors"][0]["name"] in licence


def test_an_artifact_is_what_a_stage_writes() -> None:
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    written = {out for stage in pipeline["stages"].values() for out in stage["outs"] if isinstance(out, str)}
    assert {artifact["path"] for artifact in pipeline["artifacts"].values()} <= written
