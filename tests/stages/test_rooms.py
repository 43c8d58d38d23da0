"""What a room is for: an edit in measurement or reporting leaves training as it is, by DVC's own account."""

from pathlib import Path

import pytest

from tests.repository import Repository, create

SETTINGS = {
    "data": {"train_points": 600, "validation_points": 600, "test_points": 600},
    "network": {"hidden_units": 16, "hidden_layers": 1},
    "train": {"steps": 20, "batch_size": 32, "learning_rate": 0.01, "repeats": 1},
    "noise": ["isotropic"],
    "latent_dim": [1],
    "snr": [10],
}
MEASUREMENT, REPORTING = Path("snrvae", "measurement"), Path("snrvae", "reporting")
EDITS = {  # a file, what stands in it, what replaces that, and the stages that are stale then
    "meaning": (
        MEASUREMENT / "metrics.py",
        "mean of (x − x̂)²",
        "average of (x − x̂)²",
        ["evaluate", "render"],
    ),
    "column": (MEASUREMENT / "metrics.py", 'Metric("coverage"', 'Metric("covered"', ["evaluate", "render"]),
    "figure": (REPORTING / "figures" / "curves.py", "Every codec against", "All codecs against", ["render"]),
    "outline": (REPORTING / "drawing.py", "view=(-0.1, 1.1)", "view=(-0.2, 1.2)", ["render"]),
    "caption": (REPORTING / "templates" / "report.md", "**Training.**", "**The training.**", ["render"]),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The pipeline, run once."""
    made = create(tmp_path_factory.mktemp("rooms"), SETTINGS)
    made.run("dvc", "repro", "-q")
    return made


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_what_is_measured_or_reported_trains_nothing_again(
    repository: Repository, edit: str
) -> None:
    name, old, new, stale = EDITS[edit]
    file = repository.path / name
    text = file.read_text()
    assert old in text
    try:
        file.write_text(text.replace(old, new))
        assert repository.stages_run("dvc", "repro", "--dry") == stale
    finally:
        file.write_text(text)
    assert repository.stages_run("dvc", "repro", "--dry") == []


def test_an_edit_of_the_definition_trains_again(repository: Repository) -> None:
    """Without this, the others would pass if DVC looked at no code. What render reads is still the same."""
    file = repository.path / "snrvae" / "codecs" / "losses.py"
    text = file.read_text()
    try:
        file.write_text(text + "\n")
        stale = repository.stages_run("dvc", "repro", "--dry")
    finally:
        file.write_text(text)
    assert stale == ["train_ae", "train_vae", "evaluate"]


def test_a_changed_caption_runs_render_alone(repository: Repository) -> None:
    name, old, new, _ = EDITS["caption"]
    file = repository.path / name
    text = file.read_text()
    try:
        file.write_text(text.replace(old, new))
        assert repository.stages_run("dvc", "repro") == ["render"]
        assert new in (repository.path / "reports" / "README.md").read_text()
    finally:
        file.write_text(text)
