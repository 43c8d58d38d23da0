"""What an encoder sends: its network's answer for a point, or for a neighbour where that is better."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import MakeConfig
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snrvae.codecs import search
from snrvae.codecs.codec import Architecture, Codec
from snrvae.settings.grid import Cell
from snrvae.settings.params import Network
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import cube, gaussian, square
from snrvae.sources.domain import Split
from snrvae.training.compiled import engine

NEIGHBOURS = torch.cat([torch.eye(3), -torch.eye(3)]) * 0.05


def untrained(noise: str, snr: float | None, labels: int = 0, seed: int = 0) -> Codec:
    """A codec as training starts with it, for points of the cube."""
    network = Network(kind="mlp", activation="relu", hidden_units=16, hidden_layers=2)
    codec = Codec(Architecture(Cell(noise, 2, snr, 0), network, labels, cube.SOURCE.domain, "compiled"))
    for place, (net, width) in enumerate(((codec.encoder, 3 + labels), (codec.decoder, 2 + labels))):
        seen = torch.from_numpy(np.random.default_rng(0).random((width, 256), np.float32)).T
        net.initialise(seen, numpy_stream(seed + place, "search"))
    return codec.eval().requires_grad_(False)


def errors(codec: Codec, output: Tensor, x: Tensor, label: Tensor | None) -> Tensor:
    """Squared error [n] of what a codec answers without noise, from outputs [n, o]."""
    return (codec.decode(output[:, :2], label) - x).square().sum(1)


@pytest.mark.parametrize(("noise", "snr"), [("none", None), ("isotropic", 30.0), ("learned", 300.0)])
@pytest.mark.parametrize("labels", [0, 6])
@given(seed=st.integers(0, 2**20))
def test_a_point_keeps_its_own_answer_unless_a_neighbours_is_better_by_the_margin(
    noise: str, snr: float | None, labels: int, seed: int
) -> None:
    codec = untrained(noise, snr, labels, seed)
    points = torch.from_numpy(cube.SOURCE.split(60, numpy_stream(seed, "points")).points)
    label = torch.eye(6).repeat(10, 1) if labels else None
    outputs = [
        codec.encoder(points + away if label is None else torch.cat([points + away, label], 1))
        for away in (torch.zeros(3), *NEIGHBOURS)
    ]
    error = torch.stack([errors(codec, output, points, label) for output in outputs])  # [7, n]
    spread = 2 / 12 if labels else 3 * 5 / 36
    error[1:] += search.margin(spread, codec.architecture.cell)
    mean = codec.encode(points, label).mean
    for point, place in enumerate(error.argmin(0).tolist()):
        best, second = error[:, point].sort().values[:2]
        if second - best > 1e-5:  # else rounding decides
            assert torch.allclose(mean[point], outputs[place][point, :2], atol=1e-5)


def test_learned_noise_comes_from_where_the_latents_come() -> None:
    codec = untrained("learned", 300.0, seed=3)
    points = torch.from_numpy(cube.SOURCE.split(600, numpy_stream(3, "points")).points)
    latents, own = codec.encode(points), codec.encoder(points)
    assert latents.log_noise_power is not None
    moved = (latents.mean != own[:, :2]).any(1)
    assert 0.05 < moved.float().mean() < 0.95
    head = latents.log_noise_power + np.log(300.0)  # signal power is 1, ln E exp(v) 0
    assert torch.allclose(head[~moved], own[~moved][:, 2:], atol=1e-5)
    assert (head[moved] != own[moved][:, 2:]).any(1).all()


def test_a_cut_is_sent_as_one_of_its_sides() -> None:
    """The encoder goes from -1 to 1 between x = 0.48 and 0.52, where the decoder knows -1 and 1 alone."""

    def encode(inputs: Tensor) -> Tensor:
        return ((inputs[:, :1] - 0.5) / 0.02).clamp(-1, 1)

    def decode(output: Tensor) -> Tensor:
        first = (0.75 + 0.25 * output).where(output.abs() == 1, torch.tensor(0.0))
        return torch.cat([first, torch.zeros_like(first), torch.zeros_like(first)], 1)

    inputs = torch.zeros(5, 3)
    inputs[:, 0] = torch.tensor([0.3, 0.485, 0.5, 0.515, 0.9])
    assert encode(inputs).flatten().abs().tolist() == pytest.approx([1, 0.75, 0, 0.75, 1])
    sent = search.best_output(inputs, encode, decode, 0.0)
    assert sent.flatten().tolist() == [-1, -1, -1, -1, 1]
    assert search.best_output(inputs, encode, decode, 9.0).equal(encode(inputs))


def test_a_larger_margin_moves_fewer_points(splits: dict[str, Split]) -> None:
    points = torch.from_numpy(splits["test"].points)
    moved = []
    for snr in (1000.0, 100.0):
        codec = untrained("isotropic", snr)
        moved.append(float((codec.encode(points).mean != codec.encoder(points)).any(1).float().mean()))
    assert moved[0] > 1.2 * moved[1] > 0


def test_the_margin_is_the_error_of_the_linear_codec_of_all_that_varies() -> None:
    """By the noise that gets through and what the decoder shrinks, both from the definition."""
    for source in (cube.SOURCE, gaussian.SOURCE, square.SOURCE):
        for snr in (0.5, 10.0, 1000.0):
            gain = snr / (1 + snr)
            each = source.variance * ((1 - gain) ** 2 + gain**2 / snr)
            found = search.margin(source.domain.spread, Cell("isotropic", 2, snr, 0))
            assert found == pytest.approx(source.components * each)
    assert search.margin(cube.SOURCE.domain.spread, Cell("none", 2, None, 0)) == 0


def test_a_source_that_is_not_searched_is_sent_as_the_encoder_says(splits: dict[str, Split]) -> None:
    points = torch.from_numpy(splits["test"].points)
    codec = untrained("isotropic", 1000.0)
    own = codec.encoder(points)
    assert not torch.equal(codec.encode(points).mean, own)
    unsearched = replace(codec.architecture.source, searched=False)
    codec.architecture = replace(codec.architecture, source=unsearched)
    assert torch.equal(codec.encode(points).mean, own)


@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
def test_what_is_sent_is_recovered_better_and_has_the_power_that_is_stored(
    noise: str, splits: dict[str, Split], config: MakeConfig
) -> None:
    """Of curves, whose encoders have to cut; summed over restarts, since one may need the search less."""
    points = torch.from_numpy(splits["train"].points)
    settings = config(64, 3, steps=3000, learning_rate=0.006, gaussianity_weight=0.01)
    recovered = before = torch.zeros(())
    for repeat in range(4):
        cell = Cell(noise, 1, None if noise == "none" else 1000.0, repeat)
        codec, _ = engine.fit(cell, splits["train"].points, settings, lambda *_: None)
        sent, own = codec.encode(points).mean, codec.encoder(points)[:, :1]
        assert float(codec.channel.signal_power) == pytest.approx(float(sent.square().mean()), rel=1e-4)
        recovered = recovered + (codec.decode(sent) - points).square().mean()
        before = before + (codec.decode(own) - points).square().mean()
    assert recovered < 0.9 * before
