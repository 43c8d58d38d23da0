"""Runs side by side: what one of them never measured is left out, and the rest is shown."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from stages import compare, files
from tests.repository import ROOT, Repository, create

ROW = {"noise": "isotropic", "latent_dim": 2, "snr": 10.0, "selected": 1, "mse": 0.02}
NOW = pd.DataFrame([ROW | {"gap_db": 1.5}])
BEFORE = pd.DataFrame([ROW])


def test_a_run_from_before_a_measure_is_drawn_without_it() -> None:
    mse, gap = compare.figure({"now": NOW, "before": BEFORE}).axes
    assert (len(mse.lines), len(gap.lines)) == (2, 1)


def test_a_run_from_before_a_measure_stands_beside_a_dash() -> None:
    now = {"snr_vae": {"d2-snr10": {"mse": 0.02, "gap_db": 1.5}}, "summary": {"mean_gap_db": 1.5}}
    before = {"snr_vae": {"d2-snr10": {"mse": 0.02}}, "summary": {}}
    table = compare.markdown({"now": {}, "before": {}}, {"now": now, "before": before})
    assert "| summary.mean_gap_db | 1.5 | – |" in table
    assert "| snr_vae.d2-snr10.mse | 0.02 | 0.02 |" in table


PARAMS, METRICS, CELLS = "params.yaml", "reports/metrics.json", "reports/cells.csv"
HEADER = "noise,latent_dim,snr,selected,mse,gap_db"
SOUND = {
    PARAMS: "seed: 0\n",
    METRICS: '{"snr_vae": {"d2-snr10": {"mse": 0.02}}, "summary": {"mean_gap_db": 1.5}}',
    CELLS: f"{HEADER}\nisotropic,2,10,1,0.02,1.5\n",
}
FOREIGN = [
    (PARAMS, "a: [", "not YAML"),
    (PARAMS, "day: 2026-99-99", "not YAML"),
    (PARAMS, "a: &a {b: *a}", "not YAML"),
    (PARAMS, "a: \x00", "not YAML"),
    (PARAMS, "- seed\n- data\n", "not a set of keys"),
    (PARAMS, "", "not a set of keys"),
    (METRICS, "<html>\n</html>", "not JSON"),
    (METRICS, "[" * 100_000, "not JSON"),
    (METRICS, "[1]", "has no summary"),
    (METRICS, '{"summary": 3}', "has no summary"),
    (METRICS, '{"ae": 1, "summary": {}}', "a model without cells"),
    (METRICS, '{"ae": {"best": {}}, "summary": {}}', "no cell is called best"),
    (METRICS, '{"ae": {"d1-snrten": {}}, "summary": {}}', "ten"),
    (METRICS, '{"ae": {"d1": {"mse": "low"}}, "summary": {}}', "d1: values that are not numbers"),
    (METRICS, '{"ae": {"d1": 2}, "summary": {}}', "d1: values that are not numbers"),
    (METRICS, '{"summary": {"mse": null}}', "summary: values that are not numbers"),
    (CELLS, "", "not a CSV table"),
    (CELLS, 'a,"b\n1', "not a CSV table"),
    (CELLS, "model,mse\nae,0.02\n", "has no column selected"),
    (CELLS, f"{HEADER[6:]}\n2,10,1,0.02,1.5\n", "has no column noise"),
    (CELLS, f"{HEADER}\nisotropic,2,10,1,low,1.5\n", "mse: values that are not numbers"),
    (CELLS, f"{HEADER}\nisotropic,,10,1,0.02,1.5\n", "values that no cell has"),
    (CELLS, f"{HEADER}\nisotropic,2,-10,1,0.02,1.5\n", "values that no cell has"),
    (CELLS, f"{HEADER}\nnone,2,,1,0.02,\n", "no row of an SNR-VAE"),
]


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository whose commit has the files that are compared, small ones."""
    made = create(tmp_path_factory.mktemp("compared"), {})
    for name, text in SOUND.items():
        files.write(made.path / name, text)
    made.run("git", "add", "-f", "-A")
    made.run("git", "commit", "-q", "-m", "sound")
    return made


@pytest.fixture
def repository(committed: Repository) -> Iterator[Repository]:
    """The repository, left as it was committed."""
    yield committed
    committed.run("git", "checkout", "-q", ".")
    shutil.rmtree(committed.path / "compare", ignore_errors=True)


@pytest.mark.parametrize(("name", "text", "what"), FOREIGN)
def test_a_foreign_file_is_told_in_one_line_with_its_revision_and_name(
    repository: Repository, name: str, text: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.path)
    files.write(Path(name), text)
    try:
        with pytest.raises(ValueError) as caught:
            compare.compare(["HEAD", "workspace"])
    finally:
        files.write(Path(name), SOUND[name])
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"workspace: {name}: ")
    assert what in line
    assert not Path("compare").exists()


def test_a_foreign_file_of_a_commit_ends_the_command_with_one_line(repository: Repository) -> None:
    files.write(repository.path / METRICS, "[1]")
    repository.run("git", "commit", "-q", "-a", "-m", "foreign")
    printed = repository.run("python", "-m", "stages.compare", "HEAD", fails=True)
    files.write(repository.path / METRICS, SOUND[METRICS])
    repository.run("git", "commit", "-q", "-a", "-m", "sound again")
    assert printed == f"compare: HEAD: {METRICS}: has no summary\n"


def test_a_run_whose_cells_diverged_is_drawn_without_them(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.path)
    files.write(Path(CELLS), f"{HEADER},diverged\nisotropic,2,10,1,,,1\n")
    files.write(Path(METRICS), '{"snr_vae": {"d2-snr10": {"diverged": 1}}, "summary": {"diverged_cells": 1}}')
    alone, beside = compare.compare(["workspace"]), compare.compare(["HEAD", "workspace"])
    assert "| summary.diverged_cells | 1 |" in alone
    assert "| snr_vae.d2-snr10.mse | 0.02 | – |" in beside


def test_without_a_name_it_says_what_is_missing(repository: Repository) -> None:
    printed = repository.run("python", "-m", "stages.compare", fails=True)
    assert printed.startswith("compare: names of experiments or commits are missing: make compare REVS=")


# Repositories and terminals of every kind


def test_a_project_in_a_folder_of_a_larger_repository_is_compared(
    repository: Repository, tmp_path: Path
) -> None:
    outer, inner = Repository(tmp_path), Repository(tmp_path / "shapes" / "codecs")
    shutil.copytree(repository.path, inner.path, ignore=shutil.ignore_patterns(".git", ".dvc", "compare"))
    outer.run("git", "init", "-q")
    inner.run("dvc", "init", "-q", "--subdir")
    outer.run("git", "add", "-f", "-A")
    commit(outer)
    (inner.path / PARAMS).write_text("seed: 1\n")
    assert "| params.seed | 0 | 1 |" in inner.run("python", "-m", "stages.compare", "HEAD", "workspace")


def test_a_partial_clone_gets_from_its_origin_what_it_compares(
    repository: Repository, tmp_path: Path
) -> None:
    origin = Repository(tmp_path / "origin")
    shutil.copytree(repository.path, origin.path)
    origin.run("git", "config", "uploadpack.allowFilter", "true")
    (origin.path / PARAMS).write_text("seed: 1\n")
    commit(origin)
    address = origin.path.as_uri()
    subprocess.run(["git", "clone", "-q", "--filter=blob:none", address, tmp_path / "clone"], check=True)
    made = Repository(tmp_path / "clone")
    assert "?" in made.run("git", "rev-list", "--objects", "--missing=print", "HEAD")
    assert "| params.seed | 0 | 1 |" in made.run("python", "-m", "stages.compare", "HEAD~1", "HEAD")


def test_a_repository_of_another_user_is_told_in_one_line_with_the_way_out(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    (line,) = repository.run("python", "-m", "stages.compare", "HEAD", fails=True).splitlines()
    assert line.startswith("compare: detected dubious ownership in repository at ")
    assert f"git config --global --add safe.directory {repository.path}" in line


def commit(repository: Repository) -> None:
    repository.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-a", "-m", "one more")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_terminal_shows_the_table(
    repository: Repository, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    files.write(repository.path / METRICS, '{"summary": {}}')
    printed = repository.run("python", "-m", "stages.compare", "HEAD", "workspace")
    files.write(repository.path / METRICS, SOUND[METRICS])
    table = (repository.path / "compare" / "compare.md").read_text("utf-8")
    assert "| summary.mean_gap_db | 1.5 | – |" in table
    assert printed == (table if encoding == "utf-8" else table.replace("–", "?"))


def test_a_page_that_is_written_through_the_shell_is_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    command = [sys.executable, "-m", "snrvae.reporting.glossary"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    assert printed == (ROOT / "docs" / "metrics.md").read_bytes()


def test_nothing_else_prints_to_standard_output_what_an_encoding_may_lack() -> None:
    """Standard error replaces what it cannot show; a plain `print` fails at it."""
    prints = {
        str(path.relative_to(ROOT))
        for folder in ("snrvae", "stages", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        if not any(keyword.arg == "file" for keyword in node.keywords)
    }
    assert prints == {"stages/files.py", "benchmarks/scale.py"}  # `show`, and a number
