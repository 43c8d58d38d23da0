"""Codecs and their file: what goes in comes out, and nothing else is let in."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from snrvae import processor
from snrvae.codecs import codec, files
from snrvae.codecs.channels import CHANNELS
from snrvae.codecs.codec import Architecture, Codec
from snrvae.codecs.networks import mlp
from snrvae.settings.grid import Cell
from snrvae.settings.params import Network
from snrvae.sources import cube, sphere
from snrvae.sources.domain import Split

Change = Callable[[dict[str, Tensor], dict[str, Any]], object]

VAE = "snr_vae/d2-snr4/0"
LEARNED = "snr_vae_learned/d2-snr4/0"
NETWORK = {"kind": "mlp", "activation": "relu", "hidden_units": 16, "hidden_layers": 2}


def points_of(splits: dict[str, Split], count: int = 64) -> Tensor:
    return torch.from_numpy(splits["test"].points[:count])


def untrained(cell: Cell, **network: Any) -> Codec:
    return Codec(
        Architecture(cell, Network.model_validate(NETWORK | network), 0, cube.SOURCE.domain, "torch")
    )


def copy(one: Codec) -> Codec:
    """The same codec, its numbers in memory of its own."""
    return files.from_bytes(files.to_bytes({"copy": one}))["copy"]


def same(one: Codec, other: Codec) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def described_in(data: bytes) -> dict[str, Any]:
    """What a model file says of its codecs, read without this project's code."""
    return model_in(data)[files.CODECS]


def model_in(data: bytes) -> dict[str, Any]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    (model,) = header["__metadata__"].values()  # of several, safetensors would choose the order
    return json.loads(model)


def saying(tensors: dict[str, Tensor], model: object) -> bytes:
    """A file of these tensors with this metadata."""
    return safetensors.torch.save(tensors, {files.METADATA: json.dumps(model)})


def test_the_file_gives_back_every_cell_and_every_bit(codecs: dict[str, Codec]) -> None:
    read = files.from_bytes(files.to_bytes(codecs))
    assert list(read) == list(codecs)
    for name, one in codecs.items():
        assert read[name].architecture == one.architecture
        assert same(read[name], one)
        assert torch.equal(read[name].channel.snr, one.channel.snr)
        assert not read[name].training


def test_the_same_codecs_give_the_same_bytes(codecs: dict[str, Codec]) -> None:
    data = files.to_bytes(codecs)
    assert files.to_bytes(codecs) == data
    assert files.to_bytes(files.from_bytes(data)) == data


def test_codecs_are_in_the_file_in_the_order_given(codecs: dict[str, Codec]) -> None:
    backwards = dict(reversed(codecs.items()))
    read = files.from_bytes(files.to_bytes(backwards))
    assert list(read) == list(backwards)
    assert all(same(read[name], one) for name, one in codecs.items())


@pytest.mark.parametrize("kind", ["mlp", "residual"])
@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
@pytest.mark.parametrize(
    "cell", [Cell("none", 2, None, 0), Cell("learned", 1, 4.0, 1), Cell("free", 3, None, 0)]
)
def test_every_architecture_comes_back(kind: str, activation: str, cell: Cell) -> None:
    one = untrained(cell, kind=kind, activation=activation)
    (read,) = files.from_bytes(files.to_bytes({cell.name: one})).values()
    assert read.architecture == one.architecture
    assert same(read, one)
    x, noise = torch.rand(5, 3), torch.randn(5, cell.latent_dim)
    assert torch.equal(read(x, noise).reconstruction, one.eval()(x, noise).reconstruction)


def test_the_file_gives_back_which_cells_diverged_and_the_others_as_they_were(
    codecs: dict[str, Codec],
) -> None:
    marked = {name: copy(one) for name, one in codecs.items()}
    bad = [LEARNED, "ae/d1/1"]
    for name in bad:
        marked[name].mark_diverged()
    read = files.from_bytes(files.to_bytes(marked))
    assert {name for name, one in read.items() if one.diverged} == set(bad)
    assert {name for name, one in read.items() if not one.finite} == set(bad)
    assert all(same(read[name], one) for name, one in codecs.items() if name not in bad)


def test_a_cell_that_is_not_a_number_in_part_is_damaged(codecs: dict[str, Codec]) -> None:
    for key in codecs[LEARNED].state_dict():
        marked = copy(codecs[LEARNED])
        marked.mark_diverged()
        marked.state_dict()[key].flatten()[0] = 1.0
        assert "not finite" in refusal(files.to_bytes({LEARNED: marked}))


def test_the_file_says_which_cells_it_holds_without_this_code(codecs: dict[str, Codec]) -> None:
    data = files.to_bytes(codecs)
    assert described_in(data)[VAE] == {
        "cell": {"noise": "isotropic", "latent_dim": 2, "snr": 4.0, "repeat": 0},
        "network": NETWORK,
        "num_classes": 0,
        "source": "cube",
        "engine": "compiled",
        "kernel": processor.kernel(),
        "candidates": 2,
    }
    (source,) = model_in(data)[files.SOURCES].values()
    assert (source["name"], source["bounds"]) == ("cube", [[0, 0, 0], [1, 1, 1]])
    assert source["labels"] == list(cube.FACE_NAMES)
    assert {name.rpartition("/")[0] for name in safetensors.torch.load(data)} == set(codecs)
    assert f"{VAE}/encoder.0.weight" in safetensors.torch.load(data)


# Bad files


def changed(data: bytes, change: Change) -> bytes:
    """The model file with its tensors and what it says of its codecs changed."""
    loaded, described = safetensors.torch.load(data), described_in(data)
    change(loaded, described)
    return saying(loaded, model_in(data) | {files.CODECS: described})


def of_source(data: bytes, **fields: object) -> bytes:
    """The model file with what it says of its source changed."""
    model = model_in(data)
    model[files.SOURCES]["cube"] |= fields
    return saying(safetensors.torch.load(data), model)


def put(name: str, tensor: Tensor) -> Change:
    return lambda tensors, _: tensors.update({f"{VAE}/{name}": tensor})


def drop(part: str) -> Change:
    return lambda tensors, _: [tensors.pop(name) for name in list(tensors) if part in name]


def cell(**columns: object) -> Change:
    return lambda _, described: described[VAE]["cell"].update(columns)


def network(**settings: object) -> Change:
    return lambda _, described: described[VAE]["network"].update(settings)


def says(**entries: object) -> Change:
    return lambda _, described: described[VAE].update(entries)


def says_not(entry: str) -> Change:
    return lambda _, described: described[VAE].pop(entry)


FAULTS: dict[str, Change] = {
    "inputs": put("encoder.0.weight", torch.zeros(16, 4)),
    "an axis for cells": put("encoder.0.weight", torch.zeros(1, 16, 3)),
    "one axis": put("encoder.0.weight", torch.zeros(16)),
    "bias with another axis": put("encoder.2.bias", torch.zeros(16, 1)),
    "a candidate too many": put("encoder.4.weight", torch.zeros(6, 16)),
    "latents": put("decoder.0.weight", torch.zeros(16, 1)),
    "hidden units": put("decoder.2.weight", torch.zeros(32, 16)),
    "nan": put("decoder.4.bias", torch.full((3,), torch.nan)),
    "inf": put("encoder.2.weight", torch.full((16, 16), torch.inf)),
    "float64": put("encoder.2.weight", torch.zeros(16, 16, dtype=torch.float64)),
    "integers": put("encoder.2.weight", torch.zeros(16, 16, dtype=torch.int32)),
    "axes of powers": put("channel.signal_power", torch.ones(1)),
    "nan power": put("channel.signal_power", torch.tensor(torch.nan)),
    "infinite power": put("channel.signal_power", torch.tensor(torch.inf)),
    "negative power": put("channel.signal_power", torch.tensor(-1.0)),
    "float64 power": put("channel.signal_power", torch.ones((), dtype=torch.float64)),
    "axes of gains": put("channel.noise_log_gain", torch.zeros(1)),
    "nan gain": put("channel.noise_log_gain", torch.tensor(torch.nan)),
    "no weight in a layer": drop(f"{VAE}/decoder.2.weight"),
    "a layer less": drop(f"{VAE}/decoder.2"),
    "no decoder": drop(f"{VAE}/decoder"),
    "no power": drop(f"{VAE}/channel.signal_power"),
    "another dimension": cell(latent_dim=1),
    "dimension as text": cell(latent_dim="2"),
    "more dimensions than any memory has": cell(latent_dim=10**30),
    "another noise": cell(noise="learned"),
    "unknown noise": cell(noise="pink"),
    "noise as a list": cell(noise=["isotropic"]),
    "no snr": cell(snr=None),
    "snr as text": cell(snr="ten"),
    "negative snr": cell(snr=-1.0),
    "unknown column": cell(colour="red"),
    "a cell less": lambda _, described: described.pop(VAE),
    "no cell": says_not("cell"),
    "an empty cell": lambda _, described: described[VAE]["cell"].clear(),
    "cell as text": says(cell="cell"),
    "all as text": lambda _, described: described.update({VAE: "codec"}),
    "tensors of another codec": lambda _, described: described.update(other=described[VAE]),
    "another depth": network(hidden_layers=1),
    "a depth of more layers than tensors": network(hidden_layers=10**9),
    "more units than any memory has": network(hidden_units=10**9 - 10**9 % 16),
    "no depth": lambda _, described: described[VAE]["network"].pop("hidden_layers"),
    "another kind": network(kind="residual"),
    "unknown kind": network(kind="transformer"),
    "kind as a list": network(kind=["mlp"]),
    "a kind that is a path": network(kind="../../mlp"),
    "unknown activation": network(activation="gelu"),
    "unknown setting": network(dropout=0.5),
    "no network": says_not("network"),
    "another source": says(source="torus"),
    "no source": says_not("source"),
    "labels": says(num_classes=6),
    "labels that no source has": says(num_classes=5),
    "labels as a truth value": says(num_classes=False),
    "no labels": says_not("num_classes"),
    "no engine": says_not("engine"),
    "another tensor": put("extra", torch.zeros(2)),
    "nothing at all": lambda tensors, described: (tensors.clear(), described.clear()),
    "no codecs": lambda _, described: described.clear(),
}


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        files.from_bytes(data)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_change_of_nothing_is_no_fault(codecs: dict[str, Codec]) -> None:
    data = files.to_bytes(codecs)
    read = files.from_bytes(changed(data, lambda *_: None))
    assert files.to_bytes(read) == data


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_does_not_fit_its_cells_is_refused_in_one_line(
    codecs: dict[str, Codec], fault: str
) -> None:
    refusal(changed(files.to_bytes(codecs), FAULTS[fault]))


@pytest.mark.parametrize(
    ("change", "what", "known"),
    [
        (network(kind="transformer"), "network.kind 'transformer'", "mlp, residual"),
        (network(activation="gelu"), "network.activation 'gelu'", "relu, silu, tanh"),
        (cell(noise="pink"), "noise 'pink'", "none, isotropic, learned, free"),
    ],
)
def test_what_this_version_does_not_know_is_named_with_the_codec_and_what_it_knows(
    codecs: dict[str, Codec], change: Change, what: str, known: str
) -> None:
    line = refusal(changed(files.to_bytes(codecs), change))
    assert line == f"{VAE}: {what} is unknown; expected {known}"


def test_a_source_that_the_file_does_not_describe_is_named(codecs: dict[str, Codec]) -> None:
    line = refusal(changed(files.to_bytes(codecs), says(source="torus")))
    assert line == "not a model file of this pipeline ('torus')"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": None},
        {"bounds": [[0.0, 0.0], [1.0, 1.0]]},
        {"bounds": [[0.0, 0.0, 0.0], [1.0, 1.0, math.inf]]},
        {"bounds": [[0.0, 0.0, 0.0]]},
        {"mean": [0.5, 0.5]},
        {"mean": [0.5, 0.5, "z"]},
        {"shape": [2, 2]},
        {"factor": 0.0},
        {"factor": math.nan},
        {"spread": math.nan},
        {"labels": []},
        {"labels": "faces"},
        {"mean": [0.5] * 4, "centre": [0.0] * 4, "shape": [4], "bounds": None},
    ],
    ids=repr,
)
def test_a_source_that_is_none_is_refused_in_one_line(
    codecs: dict[str, Codec], fields: dict[str, object]
) -> None:
    refusal(of_source(files.to_bytes(codecs), **fields))


@pytest.mark.parametrize("said", [None, "", "cube", [], [1], {}, {"cube": 1}, {"cube": {}}], ids=repr)
def test_sources_that_are_none_are_refused_in_one_line(codecs: dict[str, Codec], said: object) -> None:
    data = files.to_bytes(codecs)
    refusal(saying(safetensors.torch.load(data), model_in(data) | {files.SOURCES: said}))


def test_a_codec_answers_within_the_bounds_in_its_file_for_each_coordinate() -> None:
    low, high = (-1.5, 0.25, 3.0), (-1.0, 0.5, 7.0)
    domain = replace(cube.SOURCE.domain, name="box", bounds=(low, high))
    made = Architecture(Cell("none", 2, None, 0), Network.model_validate(NETWORK), 0, domain, "torch")
    one = copy(Codec(made))
    assert one.architecture == made
    assert (one.lower.tolist(), one.upper.tolist()) == (list(low), list(high))
    for said, answered in ((-1e3, low), (1e3, high)):
        one.decoder[-1].bias.fill_(said)
        assert one.decode(torch.zeros(1, 2)).tolist() == [list(answered)]


def test_a_file_of_an_earlier_version_is_refused_as_such(codecs: dict[str, Codec]) -> None:
    data = files.to_bytes(codecs)
    cells = [{"noise": "isotropic", "latent_dim": 2, "snr": 4.0, "repeat": 0}]
    group = {"cells": cells, "hidden": [16, 16], "labels": 0, "source": "cube"}
    tensors = {"snr_vae/d2/encoder/0/weight": torch.zeros(1, 16, 3), "snr_vae/d2/signal_power": torch.ones(1)}
    for loaded, described in (
        (tensors, {"snr_vae/d2": group}),
        (safetensors.torch.load(data), described_in(data)),  # with names of sources alone
    ):
        line = refusal(safetensors.torch.save(loaded, {"codecs": json.dumps(described)}))
        assert line == "a model file of an earlier version; train again"


def test_a_truncated_file_is_refused_wherever_it_ends(codecs: dict[str, Codec]) -> None:
    data = files.to_bytes(codecs)
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
        safetensors.torch.save({"weight": torch.zeros(2)}, {files.METADATA: "hello"}),
        safetensors.torch.save({"weight": torch.zeros(2)}, {files.METADATA: "[1]"}),
        safetensors.torch.save({"weight": torch.zeros(2)}, {files.METADATA: "[" * 100_000}),
    ],
    ids=["empty", "text", "zip", "no metadata", "other metadata", "no JSON", "no codecs", "deep"],
)
def test_a_foreign_file_is_refused_in_one_line(data: bytes) -> None:
    assert "not a model file of this pipeline" in refusal(data)


@pytest.mark.parametrize(
    ("noises", "source", "num_classes", "words"),
    [
        (("none", "isotropic"), cube, 0, f"holds {LEARNED}, but expected noise: none or isotropic"),
        (("none", "isotropic", "learned"), sphere, 0, "of cube, but params.yaml and the data are of sphere"),
        (("none", "isotropic", "learned"), cube, 6, "trained with 0 labels, but expected 6"),
    ],
)
def test_codecs_of_another_run_are_refused_by_name_in_one_line(
    codecs: dict[str, Codec], noises: tuple[str, ...], source: ModuleType, num_classes: int, words: str
) -> None:
    data = files.to_bytes(codecs)
    read = files.of_run(data, ("none", "isotropic", "learned"), cube.SOURCE.domain, 0)
    assert [one.architecture.cell.name for one in read] == list(codecs)
    with pytest.raises(ValueError) as caught:
        files.of_run(data, noises, source.SOURCE.domain, num_classes)
    (line,) = str(caught.value).splitlines()
    assert words in line


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (Cell("none", 2, None, 1), "ae/d2"),
        (Cell("isotropic", 2, 100.0, 0), "d2-snr100"),
        (Cell("learned", 1, 0.5, 0), "learned/d1-snr0.5"),
        (Cell("free", 3, None, 0), "free/d3"),
    ],
)
def test_a_selected_codec_has_a_name_without_its_repeat(cell: Cell, name: str) -> None:
    assert files.selected_name(cell) == name


# Encoding and decoding


def test_latents_and_reconstructions_have_the_shapes_that_the_docstrings_say(
    codecs: dict[str, Codec], splits: dict[str, Split]
) -> None:
    for one in codecs.values():
        latent_dim = one.architecture.cell.latent_dim
        latents = one.encode(points_of(splits))
        assert latents.mean.shape == (64, latent_dim)
        shape = None if latents.log_noise_power is None else tuple(latents.log_noise_power.shape)
        expected = {"none": None, "isotropic": (1, 1), "learned": (64, latent_dim)}
        assert shape == expected[one.architecture.cell.noise]
        assert one.decode(latents.mean).shape == (64, 3)


def test_a_projected_point_is_no_farther_from_any_point_of_the_source(splits: dict[str, Split]) -> None:
    said = 3 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    assert cube.SOURCE.domain.bounds is not None
    low, high = map(torch.tensor, cube.SOURCE.domain.bounds)
    answered = codec.project(said.clone(), low, high)
    points = points_of(splits)
    assert (torch.cdist(answered, points) <= torch.cdist(said, points) + 1e-6).all()
    assert torch.equal(codec.project(answered.clone(), low, high), answered)
    assert torch.equal(codec.project(points.clone(), low, high), points)
    assert (answered != said).any(1).float().mean() > 0.9


def test_a_decoder_never_answers_from_outside_the_cube(codecs: dict[str, Codec]) -> None:
    for one in codecs.values():
        latent_dim = one.architecture.cell.latent_dim
        decoded = one.decode(100 * torch.randn(500, latent_dim, generator=torch.Generator().manual_seed(0)))
        assert decoded.min() == 0
        assert decoded.max() == 1


def test_what_a_point_gives_does_not_depend_on_the_points_it_came_with(
    codecs: dict[str, Codec], splits: dict[str, Split]
) -> None:
    for one in codecs.values():
        together, alone = one.encode(points_of(splits)), one.encode(points_of(splits, 7))
        assert torch.allclose(together.mean[:7], alone.mean, atol=1e-6)
        if together.log_noise_power is not None and alone.log_noise_power is not None:
            shared = together.log_noise_power.expand(64, -1)[:7]
            assert torch.allclose(shared, alone.log_noise_power.expand(7, -1), atol=1e-5)


def test_the_autoencoder_is_the_same_codec_on_a_noiseless_channel(
    codecs: dict[str, Codec], splits: dict[str, Split]
) -> None:
    for name in ("ae/d1/0", "ae/d2/1"):
        latents = codecs[name].encode(points_of(splits))
        assert torch.equal(latents.transmit(torch.ones_like(latents.mean)), latents.mean)


@pytest.mark.parametrize("noise", ["isotropic", "learned"])
def test_the_trained_channel_has_a_noise_power_of_one_over_the_snr(
    codecs: dict[str, Codec], splits: dict[str, Split], noise: str
) -> None:
    found = [one for one in codecs.values() if one.architecture.cell.noise == noise]
    assert len(found) == 4
    for one in found:
        latents = one.encode(torch.from_numpy(splits["train"].points))
        draw = torch.randn((50, *latents.mean.shape), generator=torch.Generator().manual_seed(0))
        added = (latents.transmit(draw) - latents.mean).double().square()  # [50, n, d]
        ratio = added.mean((1, 2)) / latents.mean.double().square().mean() * one.channel.snr  # [50]
        error = ratio.std() / 50**0.5
        assert abs(ratio.mean() - 1) < 5 * error + 1e-6
        assert error < 0.03


def test_the_first_half_of_an_encoders_output_is_the_mean_and_the_second_the_head() -> None:
    output = torch.arange(24.0).view(4, 6) / 24
    for noise, snr in (("learned", 4.0), ("free", None)):
        channel = CHANNELS[noise](Cell(noise, 2, snr, 0))
        latents = channel(output)
        assert torch.equal(channel.mean(output), output[:, :3])
        assert torch.equal(latents.mean, output[:, :3])
        assert latents.log_noise_power is not None
        offset = latents.log_noise_power - output[:, 3:]
        assert torch.allclose(offset, offset[:1, :1].expand(4, 3), atol=1e-6)
    for noise, snr in (("isotropic", 4.0), ("none", None)):
        assert torch.equal(CHANNELS[noise](Cell(noise, 2, snr, 0)).mean(output), output)


def test_only_noise_of_the_encoders_choice_has_a_second_head() -> None:
    settings = Network.model_validate(NETWORK)
    assert mlp.widths(3, 6, settings) == [3, 16, 16, 6]
    for noise, snr, outputs in (
        ("learned", 4.0, 6),
        ("free", None, 6),
        ("isotropic", 4.0, 3),
        ("none", None, 3),
    ):
        one = untrained(Cell(noise, 3, snr, 0))
        assert [layer.weight.shape[0] for layer in (one.encoder[-1], one.decoder[-1])] == [outputs, 3]
        assert [layer.weight.shape[1] for layer in (one.encoder[0], one.decoder[0])] == [3, 3]


def test_a_codec_has_the_snr_of_its_cell_in_float32_after_it_is_loaded_too() -> None:
    for snr in (0.1, 30.0):
        one = untrained(Cell("isotropic", 2, snr, 0))
        for found in (one.channel.snr, copy(one).channel.snr):
            assert torch.equal(found, torch.tensor(snr, dtype=torch.float32))
    assert copy(untrained(Cell("none", 2, None, 0))).channel.snr == math.inf
