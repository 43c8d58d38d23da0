"""The pipeline as DVC runs it: a tiny grid in a real git and DVC repository in a temporary folder."""

import json

import pytest
import yaml

from tests.repository import ROOT, TINY, Repository, create

STAGES = ["generate", "train_ae", "train_vae", "rate_distortion", "evaluate", "render"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository where the pipeline ran once and is committed."""
    made = create(tmp_path_factory.mktemp("repository"), TINY)
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
    assert len(figures) == 9
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
    drawn = [stage for stage in STAGES if stage != "rate_distortion"]  # that one has no seed
    repository.run("dvc", "repro", "--force", "--single-item", *drawn)
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
