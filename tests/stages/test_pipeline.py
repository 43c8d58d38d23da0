"""The pipeline as DVC runs it: a tiny grid in a real git and DVC repository in a temporary folder."""

import pytest
import yaml

from snrvae.codecs import files as models
from tests.repository import ROOT, TINY, Repository, create

pytestmark = pytest.mark.slow

STAGES = ["generate", "train_ae", "train_vae", "rate_distortion", "evaluate", "render"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository where the pipeline ran once and is committed."""
    made = create(tmp_path_factory.mktemp("repository"), TINY, limit=False)
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
    assert len(figures) == 10
    for name in figures:
        assert f"](figures/{name})" in page
    assert page.count("](figures/") == len(figures)


def test_the_report_names_the_locked_versions(repository: Repository) -> None:
    page = (repository.path / "reports" / "README.md").read_text()
    locked = dict(
        line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    )
    assert f"torch {locked['torch']}" in page


def test_the_selected_codec_of_every_cell_loads_by_name(repository: Repository) -> None:
    keys = [f"d{latent_dim}-snr{snr}" for latent_dim in (1, 2) for snr in (1, 10)]
    names = ["ae/d1", "ae/d2", *keys, *(f"learned/{key}" for key in keys)]
    found = models.load(repository.path / "data" / "codecs.safetensors")
    assert sorted(found) == sorted(names)
    assert all(models.selected_name(codec.architecture.cell) == name for name, codec in found.items())


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_cores(repository: Repository) -> None:
    before = repository.bytes()
    drawn = [stage for stage in STAGES if stage != "rate_distortion"]  # that one has no seed
    repository.run("dvc", "repro", "--force", "--single-item", *drawn)
    assert repository.bytes() == before
    paths = yaml.safe_load((repository.path / "dvc.yaml").read_text())["stages"]["train_vae"]["cmd"].split()
    repository.run("env", "OMP_NUM_THREADS=2", *paths)
    assert repository.bytes() == before
