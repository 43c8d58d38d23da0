"""The exported encoder and decoder give what PyTorch gives, under onnxruntime."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.export_onnx import export
from snrvae.codecs.codec import Architecture, Codec
from snrvae.settings.grid import Cell
from snrvae.settings.params import Network
from snrvae.sources.domain import Bounds
from tests.conftest import box

MISSING = "`pip install -r requirements-dev.lock` installs it"
for package in ("onnx", "onnxscript"):
    pytest.importorskip(package, reason=MISSING)
onnxruntime = pytest.importorskip("onnxruntime", reason=MISSING)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of torch.onnx about itself
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
CELLS = (Cell("none", 2, None, 0), Cell("isotropic", 1, 10.0, 0), Cell("learned", 3, 100.0, 0))


BOUNDS = ((-0.6, -9.0, -9.0), (9.0, 0.0, 9.0))


@pytest.mark.parametrize(
    ("cell", "classes", "bounds"), [(CELLS[0], 0, None), (CELLS[1], 0, BOUNDS), (CELLS[2], 4, None)]
)
def test_encoder_and_decoder_give_what_pytorch_gives(
    cell: Cell, classes: int, bounds: Bounds | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    place = {"centre": (1.0, -2.0, 0.5), "factor": 1.7, "bounds": bounds}
    source = replace(box(3, np.random.default_rng(0)), **place)
    network = Network(kind="mlp", activation="silu", hidden_units=16, hidden_layers=2)
    codec = Codec(Architecture(cell, network, classes, source, "torch"))
    label = torch.eye(classes)[torch.arange(33) % classes] if classes else None
    codec.measure_power(torch.randn(33, 3), label)
    export(codec.requires_grad_(False), "ours")
    points, noise = torch.randn(33, 3), torch.randn(33, cell.latent_dim)
    x = (points - torch.tensor(source.centre)) / source.factor
    z = codec.transmit(x, noise, label)
    more = {"label": label.numpy()} if label is not None else {}
    assert ran("ours-encoder.onnx", points=points.numpy(), noise=noise.numpy(), **more) == close(z)
    restored = torch.tensor(source.centre) + source.factor * codec.decode(z, label)
    assert ran("ours-decoder.onnx", z=z.numpy(), **more) == close(restored)
    assert len(restored.unique(dim=0)) > 10


def close(expected: torch.Tensor) -> object:
    return pytest.approx(expected.numpy(), abs=1e-5)


def ran(path: str, **inputs: np.ndarray) -> np.ndarray:
    """What a model makes of its inputs; an autoencoder's encoder has no use for noise, but takes it."""
    (output,) = onnxruntime.InferenceSession(path).run(None, inputs)
    return output
