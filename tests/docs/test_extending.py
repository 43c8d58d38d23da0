"""docs/extending.md says how to add one's own: a copy of the project does what it says, and runs."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.repository import ROOT, Repository, configure, create

PAGE = (ROOT / "docs" / "extending.md").read_text()
FENCE = r"```(\w+)\n(.*?)```"
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE))
ADDED = ("A network", "A channel", "A term of the loss", "A source", "A metric")
SETTINGS: dict[str, Any] = {
    "data": {"train_points": 600, "validation_points": 600, "test_points": 600},
    "network": {"hidden_units": 16, "hidden_layers": 1},
    "train": {"steps": 30, "batch_size": 32, "learning_rate": 0.01, "repeats": 1},
    "source": "circle",  # whose limit is known in closed form
    "noise": ["isotropic"],
    "latent_dim": [2],
    "snr": [1, 10],
}
TERM = """
import torch
from snrvae.codecs.channels import Latents
from snrvae.codecs.codec import Transmission
from snrvae.codecs.losses import Weights, covariance, loss
z, x = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
sent = Transmission(Latents(z, torch.zeros(1, 1)), z, x)
added = loss(sent, x, z, Weights(covariance=2.0))[0] - loss(sent, x, z, Weights())[0]
expected = 2 * torch.cov(z.T, correction=0).triu(1).square().sum()
print(torch.allclose(covariance(z), expected) and torch.allclose(added, 2 * expected, atol=1e-6))
"""
LAW = """
import numpy as np
from snrvae.sources.normal2 import SOURCE
drawn = SOURCE.sample(200_000, np.random.default_rng(0))
found = [SOURCE.mean_distance(np.array([point]))[0] for point in ([0, 0], [1, 2])]
found += [SOURCE.mean_distance(drawn).mean()]
expected = [np.linalg.norm(drawn - point, axis=1).mean() for point in ([0, 0], [1, 2])]
expected += [SOURCE.mean_pair_distance]
print(np.allclose(found, expected, rtol=0.01))
"""


def blocks(section: str) -> list[tuple[str, str, str]]:
    """The file that each block of a section is about, the last one named before it; its language and text."""
    found, file = [], ""
    for named, language, text in re.findall(rf"^`(\S+)`:$|^{FENCE}", section, flags=re.DOTALL | re.MULTILINE):
        file = named or file
        if language:
            found.append((file, language, text))
    return found


def command(section: str) -> list[str]:
    """The one command of a section."""
    (text,) = (text for _, language, text in blocks(SECTIONS[section]) if language == "sh")
    return shlex.split(text)


def add(section: str, path: Path) -> None:
    """Do to the project in `path` what a section says."""
    for name, language, text in blocks(SECTIONS[section]):
        file = path / name
        if language == "python":
            assert not file.exists()
            file.write_text(text)
        elif language == "diff":
            lines = text.splitlines(keepends=True)
            assert {line[0] for line in lines} == {"+", " "}
            old, new = ("".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" ", " +"))
            content = file.read_text()
            assert content.count(old) == 1, f"{name}: not once in it: {old}"
            file.write_text(content.replace(old, new))


def extended(path: Path, *sections: str) -> Repository:
    """The project with what these sections add and a tiny grid, committed."""
    made = create(path, {})
    shutil.copy(ROOT / "params.yaml", path)  # with its comments, which the page has, too
    for section in sections:
        add(section, path)
    configure(path, SETTINGS)
    made.run("git", "add", "-A")
    made.run("git", "commit", "-q", "-m", "add something")
    return made


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """With all that the page adds."""
    return extended(tmp_path_factory.mktemp("extended"), *ADDED)


def stages_run(repository: Repository, words: list[str]) -> list[str]:
    """The stages that an experiment runs, from the settings of the last commit."""
    repository.run("git", "checkout", "-q", "params.yaml")
    assert words[:3] == ["dvc", "exp", "run"]
    return repository.stages_run(*words)


def metrics_of(
    repository: Repository, words: list[str], last: str = "evaluate"
) -> dict[str, dict[str, dict[str, float]]]:
    """The metrics of an experiment up to a stage, after which none of these has anything left to do."""
    stages = stages_run(repository, [*words, last])
    assert {"train_vae", "evaluate", last} <= {*stages}
    assert repository.stages_run("dvc", "repro", last) == []
    return repository.metrics()


def answer(repository: Repository, question: str) -> str:
    """What Python answers in the extended project about its selected codecs."""
    start = "from snrvae.codecs import files; codecs = files.load('data/codecs.safetensors')"
    return repository.run("python", "-c", f"{start}; print({question})").strip()


@pytest.mark.slow
def test_the_network_of_the_page_trains_in_every_cell(repository: Repository) -> None:
    metrics = metrics_of(repository, [*command("A network"), "-S", "network.activation=silu"])
    assert {*metrics} == {"ae", "snr_vae", "summary"}
    made = "(c.architecture.network.activation, type(c.encoder[1]).__name__)"
    assert answer(repository, f"{{{made} for c in codecs.values()}}") == "{('silu', 'LayerNorm')}"


@pytest.mark.slow
def test_the_channel_of_the_page_trains_beside_isotropic_noise(repository: Repository) -> None:
    metrics = metrics_of(repository, command("A channel"), "render")
    assert {*metrics} == {"ae", "snr_vae", "snr_vae_peak", "summary"}
    assert {*metrics["snr_vae_peak"]} == {"d2-snr1", "d2-snr10"}
    assert "gap_db" in metrics["snr_vae_peak"]["d2-snr10"]
    assert "engine: torch" in (repository.path / "reports" / "README.md").read_text()
    weak = "[float(c.channel.signal_power) <= 1 for n, c in codecs.items() if n.startswith('peak/')]"
    assert answer(repository, weak) == "[True, True]"


@pytest.mark.slow
def test_the_channel_of_the_page_trains_alone(repository: Repository) -> None:
    words = [word.replace("[isotropic,peak]", "peak") for word in command("A channel")]
    assert {*metrics_of(repository, words)} == {"ae", "snr_vae_peak", "summary"}


@pytest.mark.slow
def test_the_term_of_the_page_is_part_of_the_loss(repository: Repository) -> None:
    with_it = command("A term of the loss")
    without = [word.replace("covariance_weight=0.1", "covariance_weight=0") for word in with_it]
    files = [repository.path / "data" / name for name in ("ae.safetensors", "snr_vae.safetensors")]
    found = []
    for words in (without, with_it):
        stages_run(repository, [*words, "train_ae", "train_vae"])
        found.append([file.read_bytes() for file in files])
    assert all(one != other for one, other in zip(*found, strict=True))
    assert repository.run("python", "-c", TERM).strip() == "True"


@pytest.mark.slow
def test_the_source_of_the_page_has_the_limit_that_a_linear_codec_reaches(repository: Repository) -> None:
    metrics = metrics_of(repository, command("A source"), "render")
    assert metrics["snr_vae"]["d2-snr10"]["gap_db"] > 0
    cells = pd.read_csv(repository.path / "reports" / "cells.csv").query("selected == 1 and snr > 0")
    assert {*cells.source} == {"normal2"}
    assert len(cells) == len(SETTINGS["snr"])
    np.testing.assert_allclose(cells.shannon_mse, 1 / (1 + cells.snr), rtol=1e-4)
    np.testing.assert_allclose(cells.linear_mse, 1 / (1 + cells.snr), rtol=1e-4)
    assert repository.run("python", "-c", LAW).strip() == "True"
    assert (
        "# How much of a normal distribution survives"
        in (repository.path / "reports" / "README.md").read_text()
    )


@pytest.mark.slow
def test_the_metric_of_the_page_is_in_the_tables_and_on_the_page_of_metrics(repository: Repository) -> None:
    repository.run("git", "checkout", "-q", "params.yaml")
    (repository.path / "docs").mkdir()
    ((_, _, text),) = (block for block in blocks(SECTIONS["A metric"]) if block[1] == "sh")
    repository.run("sh", "-ec", text)
    cell = repository.metrics()["snr_vae"]["d2-snr10"]
    assert cell["worst_error"] > cell["mse"]
    assert "worst_error" in pd.read_csv(repository.path / "reports" / "cells.csv")
    assert "worst_error" in (repository.path / "docs" / "metrics.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "refused"),
    [
        ("A network", "the compiled engine has no network.kind normed"),
        ("A channel", "the compiled engine has no noise peak"),
        ("A term of the loss", "the compiled engine has no train.covariance_weight 0.1"),
    ],
)
def test_the_compiled_engine_refuses_what_it_does_not_know(
    repository: Repository, section: str, refused: str
) -> None:
    words = [word.replace("engine=torch", "engine=compiled") for word in command(section)]
    repository.run("git", "checkout", "-q", "params.yaml")
    assert refused in repository.run(*words, fails=True)


@pytest.mark.slow
@pytest.mark.parametrize("section", ADDED)
def test_a_section_needs_no_other(section: str, tmp_path: Path) -> None:
    made = extended(tmp_path, section)
    settings: dict[str, dict[str, object]] = {}
    for key, _, value in (word.partition("=") for word in command(section) if "=" in word):
        group, _, name = f"root.{key}".rpartition(".")
        given = value.strip("[]").split(",") if value.startswith("[") else value
        settings.setdefault(group, {})[name] = json.loads(value) if value[0].isdigit() else given
    nested = {group.partition(".")[2]: own for group, own in settings.items() if group != "root"}
    configure(made.path, {**nested, **settings.get("root", {})})
    made.run("python", "-m", "stages.check")


def test_a_network_takes_fifteen_lines_and_its_name() -> None:
    texts = {language: text for _, language, text in blocks(SECTIONS["A network"])}
    assert len(texts["python"].splitlines()) <= 15
    assert [line for line in texts["diff"].splitlines() if line.startswith("+")] == ['+    "normed",']


def test_the_page_has_at_most_600_words_of_prose() -> None:
    assert 300 < len(re.sub(FENCE, "", PAGE, flags=re.DOTALL).split()) <= 600


def test_every_path_of_the_page_exists() -> None:
    named = set(re.findall(r"`([\w.-]*/[\w./-]*)`", re.sub(FENCE, "", PAGE, flags=re.DOTALL)))
    assert len(named) > 12
    made = {"snrvae/codecs/networks/normed.py", "snrvae/sources/normal2.py"}
    assert {name for name in named if not (ROOT / name).exists()} == made
