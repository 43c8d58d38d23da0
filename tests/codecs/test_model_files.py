"""Codecs and their file: what goes in comes out, and nothing else is let in."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from snrvae.codecs import codec
from snrvae.codecs.codec import Codecs
from snrvae.settings.grid import Cell
from snrvae.sources import cube
from snrvae.sources.source import Split

Change = Callable[[dict[str, Tensor], dict[str, Any]], object]

VAE = "snr_vae/d2"


def points_of(splits: dict[str, Split], count: int = 64) -> Tensor:
    return torch.from_numpy(splits["test"].points[:count])


def of(codecs: Sequence[Codecs], noise: str, latent_dim: int = 2) -> Codecs:
    (found,) = (batch for batch in codecs if (batch.noise, batch.latent_dim) == (noise, latent_dim))
    return found


def tensors(batch: Codecs) -> list[Tensor]:
    return [
        *batch.encoder.weights,
        *batch.encoder.biases,
        *batch.decoder.weights,
        *batch.decoder.biases,
        batch.signal_power,
        batch.noise_log_gain,
    ]


def test_the_file_gives_back_every_cell_and_every_bit(codecs: list[Codecs]) -> None:
    read = {batch.cells: batch for batch in codec.from_bytes(codec.to_bytes(codecs))}
    assert set(read) == {batch.cells for batch in codecs}
    for batch in codecs:
        assert all(
            torch.equal(*pair) for pair in zip(tensors(read[batch.cells]), tensors(batch), strict=True)
        )


def test_the_same_codecs_give_the_same_bytes(codecs: list[Codecs]) -> None:
    data = codec.to_bytes(codecs)
    assert codec.to_bytes(codecs) == data
    assert codec.to_bytes(codec.from_bytes(data)) == data
    assert codec.to_bytes(codecs[::-1]) == data


def test_the_file_gives_back_which_cells_diverged_and_the_others_as_they_were(codecs: list[Codecs]) -> None:
    marked = of(codecs, "learned").select(range(4))
    marked.give_up([1, 3])
    (read,) = codec.from_bytes(codec.to_bytes([marked]))
    assert read.diverged == (marked.cells[1], marked.cells[3])
    assert read.finite.tolist() == [True, False, True, False]
    for one, other in zip(tensors(read), tensors(of(codecs, "learned")), strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])


def test_a_cell_that_is_not_a_number_in_part_is_damaged(codecs: list[Codecs]) -> None:
    for place in range(len(tensors(of(codecs, "learned")))):
        marked = of(codecs, "learned").select(range(4))
        marked.give_up([1])
        tensors(marked)[place][1] = 1.0
        assert "not finite" in refusal(codec.to_bytes([marked]))


def test_the_file_says_which_cells_it_holds_without_this_code(codecs: list[Codecs]) -> None:
    data = codec.to_bytes(codecs)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    (described,) = header["__metadata__"].values()
    assert json.loads(described)[VAE]["cells"][0] == {
        "noise": "isotropic",
        "latent_dim": 2,
        "snr": 4.0,
        "repeat": 0,
    }


# Bad files


def changed(data: bytes, change: Change) -> bytes:
    """The model file with its tensors and groups of cells changed."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    ((key, described),) = header["__metadata__"].items()
    loaded, groups = safetensors.torch.load(data), json.loads(described)
    change(loaded, groups)
    return safetensors.torch.save(loaded, {key: json.dumps(groups)})


def put(name: str, tensor: Tensor) -> Change:
    return lambda tensors, _: tensors.update({f"{VAE}/{name}": tensor})


def drop(part: str) -> Change:
    return lambda tensors, _: [tensors.pop(name) for name in list(tensors) if part in name]


def cells(**columns: object) -> Change:
    return lambda _, groups: [cell.update(columns) for cell in groups[VAE]["cells"]]


FAULTS: dict[str, Change] = {
    "inputs": put("encoder/0/weight", torch.zeros(4, 16, 4)),
    "count of cells": put("encoder/0/weight", torch.zeros(3, 16, 3)),
    "one axis": put("encoder/0/weight", torch.zeros(16)),
    "bias without its last axis": put("encoder/1/bias", torch.zeros(4, 16)),
    "two heads for one": put("encoder/2/weight", torch.zeros(4, 4, 16)),
    "latents": put("decoder/0/weight", torch.zeros(4, 16, 1)),
    "hidden units": put("decoder/1/weight", torch.zeros(4, 32, 16)),
    "nan": put("decoder/2/bias", torch.full((4, 3, 1), torch.nan)),
    "inf": put("encoder/1/weight", torch.full((4, 16, 16), torch.inf)),
    "float64": put("encoder/1/weight", torch.zeros(4, 16, 16, dtype=torch.float64)),
    "integers": put("encoder/1/weight", torch.zeros(4, 16, 16, dtype=torch.int32)),
    "count of powers": put("signal_power", torch.ones(3)),
    "nan power": put("signal_power", torch.tensor([1.0, 1.0, torch.nan, 1.0])),
    "infinite power": put("signal_power", torch.tensor([1.0, 1.0, torch.inf, 1.0])),
    "negative power": put("signal_power", torch.tensor([1.0, 1.0, -1.0, 1.0])),
    "float64 power": put("signal_power", torch.ones(4, dtype=torch.float64)),
    "axes of gains": put("noise_log_gain", torch.zeros(4, 1)),
    "nan gain": put("noise_log_gain", torch.full((4,), torch.nan)),
    "no weight in a layer": drop(f"{VAE}/decoder/1/weight"),
    "a layer less": drop(f"{VAE}/decoder/1"),
    "no decoder": drop(f"{VAE}/decoder"),
    "no power": drop(f"{VAE}/signal_power"),
    "another dimension": cells(latent_dim=1),
    "dimension as text": cells(latent_dim="2"),
    "another noise": cells(noise="learned"),
    "unknown noise": cells(noise="pink"),
    "no snr": cells(snr=None),
    "snr as text": cells(snr="ten"),
    "negative snr": cells(snr=-1.0),
    "unknown column": cells(colour="red"),
    "a cell less": lambda _, groups: groups[VAE]["cells"].pop(),
    "no cells": lambda _, groups: groups[VAE]["cells"].clear(),
    "cells as text": lambda _, groups: groups[VAE].update(cells="cells"),
    "tensors of another group": lambda _, groups: groups.update(other=groups[VAE]),
    "another depth": lambda _, groups: groups[VAE].update(hidden=[16]),
    "no depth": lambda _, groups: groups[VAE].pop("hidden"),
    "another tensor": put("extra", torch.zeros(2)),
    "nothing at all": lambda tensors, groups: (tensors.clear(), groups.clear()),
    "no groups": lambda _, groups: groups.clear(),
}


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        codec.from_bytes(data)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_change_of_nothing_is_no_fault(codecs: list[Codecs]) -> None:
    data = codec.to_bytes(codecs)
    read = codec.from_bytes(changed(data, lambda *_: None))
    assert codec.to_bytes(read) == data


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_does_not_fit_its_cells_is_refused_in_one_line(codecs: list[Codecs], fault: str) -> None:
    refusal(changed(codec.to_bytes(codecs), FAULTS[fault]))


def test_a_truncated_file_is_refused_wherever_it_ends(codecs: list[Codecs]) -> None:
    data = codec.to_bytes(codecs)
    for size in range(0, len(data), 611):
        refusal(data[:size])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"PK\x03\x04" + bytes(100),
        safetensors.torch.save({"weight": torch.zeros(2)}),
        safetensors.torch.save({"weight": torch.zeros(2)}, {"format": "pt"}),
        safetensors.torch.save({"weight": torch.zeros(2)}, {codec.METADATA: "hello"}),
        safetensors.torch.save({"weight": torch.zeros(2)}, {codec.METADATA: "[1]"}),
    ],
    ids=["empty", "text", "zip", "no metadata", "other metadata", "no JSON", "no groups"],
)
def test_a_foreign_file_is_refused_in_one_line(data: bytes) -> None:
    assert "not a model file of this pipeline" in refusal(data)


# Encoding and decoding


def test_latents_and_reconstructions_have_the_shapes_that_the_docstrings_say(
    codecs: list[Codecs], splits: dict[str, Split]
) -> None:
    for batch in codecs:
        latents = batch.encode(points_of(splits))
        assert latents.mean.shape == (len(batch.cells), batch.latent_dim, 64)
        shape = None if latents.log_noise_power is None else tuple(latents.log_noise_power.shape)
        per_point = tuple(latents.mean.shape)
        assert (
            shape == {"none": None, "isotropic": (len(batch.cells), 1, 1), "learned": per_point}[batch.noise]
        )
        assert batch.decode(latents.mean).shape == (len(batch.cells), 64, 3)


def test_a_projected_point_is_no_farther_from_any_point_of_the_source(splits: dict[str, Split]) -> None:
    said = 3 * torch.randn(1, 3, 500, generator=torch.Generator().manual_seed(0))
    answered = codec.project(said.clone(), cube.SOURCE.bounds)
    points = points_of(splits)
    assert (torch.cdist(answered[0].T, points) <= torch.cdist(said[0].T, points) + 1e-6).all()
    assert torch.equal(codec.project(answered.clone(), cube.SOURCE.bounds), answered)
    assert torch.equal(codec.project(points.T.clone(), cube.SOURCE.bounds), points.T)
    assert (answered != said).any(1).float().mean() > 0.9


def test_a_decoder_never_answers_from_outside_the_cube(codecs: list[Codecs]) -> None:
    for batch in codecs:
        z = 100 * torch.randn(1, batch.latent_dim, 500, generator=torch.Generator().manual_seed(0))
        decoded = batch.decode(z.expand(len(batch.cells), -1, -1))
        assert decoded.min() == 0
        assert decoded.max() == 1


def test_what_a_point_gives_does_not_depend_on_the_points_it_came_with(
    codecs: list[Codecs], splits: dict[str, Split]
) -> None:
    for batch in codecs:
        together, alone = batch.encode(points_of(splits)), batch.encode(points_of(splits, 7))
        assert torch.allclose(together.mean[:, :, :7], alone.mean, atol=1e-6)
        if together.log_noise_power is not None and alone.log_noise_power is not None:
            assert torch.allclose(together.log_noise_power[:, :, :7], alone.log_noise_power, atol=1e-5)


def test_the_autoencoder_is_the_same_codec_on_a_noiseless_channel(
    codecs: list[Codecs], splits: dict[str, Split]
) -> None:
    latents = of(codecs, "none").encode(points_of(splits))
    assert torch.equal(latents.transmit(torch.ones_like(latents.mean)), latents.mean)


@pytest.mark.parametrize("noise", ["isotropic", "learned"])
def test_the_trained_channel_has_a_noise_power_of_one_over_the_snr(
    codecs: list[Codecs], splits: dict[str, Split], noise: str
) -> None:
    batch = of(codecs, noise)
    latents = batch.encode(torch.from_numpy(splits["train"].points))
    draw = torch.randn((50, *latents.mean.shape), generator=torch.Generator().manual_seed(0))
    added = (latents.transmit(draw) - latents.mean).double().square()  # [50, c, d, n]
    ratio = added.mean((2, 3)) / latents.mean.double().square().mean((1, 2))  # [50, c]
    snr = torch.tensor([cell.snr for cell in batch.cells], dtype=torch.float64)
    error = (ratio * snr).std(0) / 50**0.5
    assert (abs((ratio * snr).mean(0) - 1) < 5 * error + 1e-6).all()
    assert (error < 0.03).all()


def test_the_first_half_of_an_encoders_output_is_the_mean_and_the_second_the_head() -> None:
    output = torch.arange(24.0).view(1, 4, 6)
    mean, head = codec.heads("learned", 2, output)
    assert torch.equal(mean, output[:, :2])
    assert head is not None
    assert torch.equal(head, output[:, 2:])
    assert codec.heads("isotropic", 4, output)[1] is None


def test_selected_codecs_are_those_of_the_cells_named_in_the_order_named(
    codecs: list[Codecs], splits: dict[str, Split]
) -> None:
    index = [3, 1]
    for batch in codecs:
        if len(batch.cells) < 4:
            continue
        chosen, points = batch.select(index), points_of(splits)
        assert chosen.cells == tuple(batch.cells[i] for i in index)
        latents, expected = chosen.encode(points), batch.encode(points)
        noise = torch.randn(expected.mean.shape, generator=torch.Generator().manual_seed(0))
        assert torch.equal(
            chosen.decode(latents.transmit(noise[index])), batch.decode(expected.transmit(noise))[index]
        )


def test_concatenation_undoes_selection(codecs: list[Codecs]) -> None:
    for batch in codecs:
        parts = [batch.select([cell]) for cell in range(len(batch.cells))]
        joined = codec.concatenate(parts)
        assert joined.cells == batch.cells
        assert all(torch.equal(*pair) for pair in zip(tensors(joined), tensors(batch), strict=True))


def test_only_learned_noise_has_a_second_head() -> None:
    assert codec.encoder_widths("learned", 3, (16, 32)) == [3, 16, 32, 6]
    assert codec.encoder_widths("isotropic", 2, (16,)) == codec.encoder_widths("none", 2, (16,)) == [3, 16, 2]
    assert codec.decoder_widths(2, (16, 32)) == [2, 16, 32, 3]


def test_the_snrs_of_cells_stand_along_the_first_axis() -> None:
    cells = [Cell("isotropic", 2, snr, 0) for snr in (1.0, 30.0)]
    assert codec.snrs(cells).tolist() == [[[1.0]], [[30.0]]]
    assert codec.snrs([replace(cells[0], snr=0.1)]).dtype == torch.float32
