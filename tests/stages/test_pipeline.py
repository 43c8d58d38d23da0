"""The pipeline as DVC runs it: a tiny grid in a real git and DVC repository in a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snrvae.codecs import files as models
from tests.repository import ROOT, TINY, Repository, create

SETTINGS = TINY | {"source": "circle"}  # whose limit is known in closed form
STAGES = ["generate", "train_ae", "train_vae", "rate_distortion", "evaluate", "render"]
MEASUREMENT, REPORTING = Path("snrvae", "measurement"), Path("snrvae", "reporting")
EDITS = {  # a file, what stands in it, what replaces that, and the stages that are stale then
    "meaning": (
        MEASUREMENT / "metrics.py",
        "mean of (x − x̂)²",
        "average of (x − x̂)²",
        ["evaluate", "render"],
    ),
    "column": (MEASUREMENT / "metrics.py", 'Metric("coverage"', 'Metric("covered"', ["evaluate", "render"]),
    "figure": (REPORTING / "figures" / "curves.py", 'title="Distortion"', 'title="The mse"', ["render"]),
    "outline": (REPORTING / "drawing.py", '"cube": (-0.1, 1.1)', '"cube": (-0.2, 1.2)', ["render"]),
    "caption": (REPORTING / "templates" / "report.md", "**Training.**", "**The training.**", ["render"]),
}


REFUSAL = """
import socket

def refuse(self, address, *_):
    if self.family != socket.AF_UNIX:
        with open({log!r}, "a") as log:
            print(address, file=log)
        raise OSError("no network in this test")

socket.socket.connect = socket.socket.connect_ex = refuse
"""


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository where the pipeline ran once and is committed."""
    made = create(tmp_path_factory.mktemp("repository"), SETTINGS, limit=False)
    assert made.stages_run("dvc", "repro") == STAGES
    made.run("git", "add", "-A")
    made.run("git", "commit", "-q", "-m", "first run")
    return made


@pytest.fixture
def repository(committed: Repository) -> Iterator[Repository]:
    """The repository; afterwards what a test changed is taken back, as the README says."""
    yield committed
    changed = committed.run("git", "status", "--porcelain")
    if changed:
        (committed.path / "params.yaml").touch()
        committed.run("git", "checkout", "-q", ".")
    if "dvc.lock" in changed:
        committed.run("dvc", "checkout", "-q")


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


@pytest.mark.slow
def test_a_fresh_clone_without_a_network_makes_the_same_bytes_with_two_cores(
    committed: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever asks for a socket that leaves the machine gets none; DVC has its own settings alone."""
    log, refusal = tmp_path / "refused", tmp_path / "refusal"
    refusal.mkdir()
    (refusal / "sitecustomize.py").write_text(REFUSAL.format(log=str(log)))
    clone = Repository(tmp_path / "clone")
    committed.run("git", "clone", "-q", ".", str(clone.path))
    monkeypatch.setenv("PYTHONPATH", str(refusal))
    monkeypatch.delenv("CI", raising=False)
    asked = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    assert "no network in this test" in clone.run("python", "-c", asked, fails=True)
    log.unlink()
    own = ("env", "--unset=DVC_NO_ANALYTICS", "OMP_NUM_THREADS=2")
    drawn = [stage for stage in STAGES if stage != "rate_distortion"]  # Shannon's limit is committed
    assert clone.stages_run(*own, "dvc", "repro") == drawn
    assert not log.exists(), log.read_text()
    assert clone.run("git", "status", "--porcelain") == ""
    assert clone.bytes() == committed.bytes()


# What a room is for: by DVC's own account, an edit in measurement or reporting leaves training as it is


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_what_is_measured_or_reported_trains_nothing_again(
    repository: Repository, edit: str
) -> None:
    name, old, new, stale = EDITS[edit]
    replace(repository.path / name, old, new)
    assert repository.stages_run("dvc", "repro", "--dry") == stale


@pytest.mark.slow
def test_an_edit_of_the_definition_trains_again(repository: Repository) -> None:
    """Without this, the others would pass if DVC looked at no code. The report also compares its digest."""
    with (repository.path / "snrvae" / "codecs" / "losses.py").open("a") as file:
        file.write("\n")
    assert repository.stages_run("dvc", "repro", "--dry") == ["train_ae", "train_vae", "evaluate", "render"]


@pytest.mark.slow
def test_a_changed_caption_runs_render_alone(repository: Repository) -> None:
    name, old, new, _ = EDITS["caption"]
    replace(repository.path / name, old, new)
    assert repository.stages_run("dvc", "repro") == ["render"]
    assert new in (repository.path / "reports" / "README.md").read_text()


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
