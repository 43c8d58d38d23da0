"""`python -m stages.send`: a user's own points through a trained codec, in the user's own unit."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from snrvae.codecs import files as models
from snrvae.codecs.codec import Architecture, Codec
from snrvae.settings.grid import Cell
from snrvae.settings.params import Network
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import cube, origin, record
from snrvae.sources.domain import Split
from snrvae.sources.source import Source
from stages import send
from tests.repository import ROOT

CELL = Cell("isotropic", 2, 100.0, 0)
COUNTS = {"train": 600, "validation": 600, "test": 600}
NETWORK = Network(kind="mlp", activation="relu", hidden_units=16, hidden_layers=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the report's table, to work in."""
    (tmp_path / "reports").mkdir()
    shutil.copy(ROOT / "reports" / "cells.csv", tmp_path / "reports")
    (tmp_path / "data" / "raw").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained_on(source: Source, classes: int = 0) -> Codec:
    """A codec of a source in data/, as evaluate leaves it."""
    torch.manual_seed(0)
    codec = Codec(Architecture(CELL, NETWORK, classes, source.domain, "torch"))
    *_, weight, bias = codec.decoder.parameters()
    weight.data *= 5
    bias.data = torch.tensor(source.domain.mean)  # answers differ, and few lie beyond the bounds
    labels = torch.eye(classes)[torch.arange(64) % classes] if classes else None
    codec.measure_power(torch.rand(64, source.coordinates), labels)
    Path("data/codecs.safetensors").write_bytes(models.to_bytes({"d2-snr100": codec}))
    Path("data/source.npz").write_bytes(record.to_bytes(source))
    return codec.requires_grad_(False)


def drawn(name: str) -> Source:
    return origin.draw(name, COUNTS, partial(numpy_stream, 0), Path("data/raw"))[0]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """What `python -m stages.send` does, in this process."""
    monkeypatch.setattr(sys, "argv", ["send", *arguments])
    runpy.run_path(str(ROOT / "stages" / "send.py"), run_name="__main__")


def test_the_command_prints_the_mse_of_what_it_writes_and_what_the_report_has(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained_on(cube.SOURCE)
    points = cube.SOURCE.split(600, np.random.default_rng(0)).points
    np.save("mine.npy", points)
    run(monkeypatch, "mine.npy", "--latent-dim", "2", "--snr", "100")
    printed = capsys.readouterr()
    assert printed.err == ""
    mse = np.square(points - np.load("sent/mine.npy")).mean()
    assert f"mse: {mse:.3g} ± " in printed.out
    assert "(edge squared, per coordinate)" in printed.out
    row = next(
        re.finditer(
            r"^snr_vae,isotropic,2,100,.*,cube,0,1,.*", (folder / "reports/cells.csv").read_text(), re.M
        )
    )
    header = (folder / "reports/cells.csv").read_text().partition("\n")[0].split(",")
    reported = dict(zip(header, row[0].split(","), strict=True))
    assert f"test points: {float(reported['mse']):.3g} ± " in printed.out
    assert f"Shannon's limit for these: {float(reported['shannon_mse']):.3g}\n" in printed.out
    assert imread("sent/mine.png").shape[1] > 900


def test_points_go_in_and_come_out_in_the_unit_of_the_file(folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.savetxt(folder / "data/raw/far.csv", 1e4 + 50 * rng.standard_normal((900, 2)), delimiter=",")
    source = drawn("far.csv")
    codec, points = trained_on(source), 1e4 + 50 * rng.standard_normal((80, 2))
    np.save("mine.npy", points)
    printed = send.send(Path("mine.npy"), CELL)
    x = source.domain.frame.normalise(points)
    received = send.transmit(codec, Split(x, np.zeros(80, np.uint8)))
    assert np.load("sent/mine.npy") == pytest.approx(source.domain.frame.restore(received))
    assert f"mse: {np.square(points - np.load('sent/mine.npy')).mean():.3g} ± " in printed
    assert "the file's unit squared" in printed
    assert "Shannon" not in printed  # the report is about the cube


@pytest.mark.usefixtures("folder")
def test_the_same_points_arrive_the_same_and_noise_is_added() -> None:
    codec = trained_on(cube.SOURCE)
    split = cube.SOURCE.split(600, np.random.default_rng(0))
    first, again = (send.transmit(codec, split) for _ in range(2))
    assert (first == again).all()
    x = torch.from_numpy(split.points)
    silent = codec(x, torch.zeros(600, 2)).reconstruction.numpy()
    assert np.abs(first - silent).max() > 1e-3


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("shape", [(8, 8), (64,)])
def test_images_come_back_in_the_shape_in_which_they_were_given(shape: tuple[int, ...]) -> None:
    source = drawn("digits")
    trained_on(source)
    np.save("mine.npy", source.domain.frame.restore(source.known.points[:30]).reshape(-1, *shape))
    assert "30 points" in send.send(Path("mine.npy"), CELL)
    assert np.load("sent/mine.npy").shape == (30, *shape)


@pytest.mark.usefixtures("folder")
def test_a_conditional_codec_receives_the_labels_by_their_names() -> None:
    source = drawn("digits")
    codec = trained_on(source, classes=10)
    points, label = source.known.points[:30], np.array([3, 7] * 15, np.uint8)
    restored = source.domain.frame.restore(points)
    np.savez("mine.npz", points=restored, label=label)
    send.send(Path("mine.npz"), CELL)
    sent = source.domain.frame.normalise(restored)
    expected = source.domain.frame.restore(send.transmit(codec, Split(sent, label)))
    assert np.load("sent/mine.npy") == pytest.approx(expected)
    np.savez("mine.npz", points=restored)
    with pytest.raises(ValueError, match=r"mine.npz: has no labels; this codec receives the label"):
        send.send(Path("mine.npz"), CELL)
    np.savez("mine.npz", points=restored, label=label + 4)
    with pytest.raises(ValueError, match=r"mine.npz: label '11' is wrong; expected 0, 1"):
        send.send(Path("mine.npz"), CELL)


@pytest.mark.usefixtures("folder")
def test_points_that_no_answer_can_reach_are_counted() -> None:
    trained_on(cube.SOURCE)
    np.save("mine.npy", [[0, 0, 0], [1, 1, 1], [1.1, 0, 0], [0, -0.2, 0]])
    assert "\n2 points lie outside the box around the surface of the unit cube\n" in send.send(
        Path("mine.npy"), CELL
    )


WRONG = [
    ("no.npy", "--latent-dim 2 --snr 100", "no.npy: no such file"),
    ("two.npy", "--latent-dim 2 --snr 100", "two.npy: a point has 2 numbers; expected 3, as the"),
    ("mine.npy", "--latent-dim 2 --snr 50", "data/codecs.safetensors: has no codec d2-snr50; it has d2-"),
    ("mine.npy", "--latent-dim 2", "data/codecs.safetensors: has no codec ae/d2; it has d2-snr100"),
    ("mine.npy", "--latent-dim 2 --noise learned", "no codec has noise learned, latent_dim 2 and snr None"),
    ("mine.npy", "--latent-dim 2 --snr -1", "no codec has noise isotropic, latent_dim 2 and snr -1.0"),
    ("mine.txt", "--latent-dim 2 --snr 100", "mine.txt: the suffix must be one of .npy"),
    ("mine.obj", "--latent-dim 2 --snr 100", "mine.obj: holds a mesh; expected points [n, 3]"),
]  # fmt: skip


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("file", "options", "message"), WRONG)
def test_what_is_wrong_is_said_in_one_line(file: str, options: str, message: str) -> None:
    trained_on(cube.SOURCE)
    np.save("mine.npy", np.eye(3))
    np.save("two.npy", np.eye(2))
    Path("mine.txt").write_text("1")
    Path("mine.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as found:
        send.send(*send.parsed([file, *options.split()]))
    assert "\n" not in str(found.value)
    assert not Path("sent").exists()


@pytest.mark.usefixtures("folder")
def test_a_codec_of_another_source_than_the_data_is_refused() -> None:
    trained_on(cube.SOURCE)
    other = replace(cube.SOURCE, domain=replace(cube.SOURCE.domain, factor=2.0))
    np.save("mine.npy", np.eye(3))
    codec = Codec(Architecture(CELL, NETWORK, 0, other.domain, "torch"))
    Path("data/codecs.safetensors").write_bytes(models.to_bytes({"d2-snr100": codec}))
    with pytest.raises(ValueError, match=r"of cube, but data/source.npz is of cube; run `dvc repro`"):
        send.send(Path("mine.npy"), CELL)


@pytest.mark.usefixtures("folder")
def test_before_the_first_run_the_command_names_the_file_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.save("mine.npy", np.eye(3))
    with pytest.raises(SystemExit, match=r"^send: data/codecs.safetensors: No such file.*$") as found:
        run(monkeypatch, "mine.npy", "--latent-dim", "2", "--snr", "100")
    assert "\n" not in str(found.value)  # Python prints it on stderr, and the exit code is 1


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_as_a_process_the_command_ends_in_that_line_and_exit_code_1() -> None:
    command = [sys.executable, "-m", "stages.send", "mine.npy", "--latent-dim", "2", "--snr", "100"]
    np.save("mine.npy", np.eye(3))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, text=True, check=False, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith("send: data/codecs.safetensors: No such file")
    assert done.stderr.count("\n") == 1
