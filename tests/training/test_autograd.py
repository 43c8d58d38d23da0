"""The engines torch and cuda: many cells in one program, equal to a plain loop and to the compiled engine."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeConfig, box, draw_splits
from numpy.typing import NDArray

from snrvae.codecs import files
from snrvae.codecs.codec import Codec
from snrvae.codecs.losses import Weights, loss, mmd
from snrvae.settings import grid
from snrvae.settings.grid import Cell
from snrvae.sources import cube, dataset
from snrvae.sources.domain import Points, Split
from snrvae.training import autograd, batches
from snrvae.training.autograd import Autograd
from snrvae.training.batches import BatchSampler, FoldedTargets
from snrvae.training.compiled import engine
from snrvae.training.config import DivergedError, TrainConfig
from snrvae.training.history import Recorder
from snrvae.training.schedule import schedule
from snrvae.training.trainer import StoppedError, Trained

CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU here")
)
DEVICES = ["cpu", CUDA]
FACES = 6
FOLDED = Cell("isotropic", 3, 1000.0, 0)
BAD = Cell("isotropic", 2, 1e39, 0)  # its noise power is below what float32 holds
CELLS = [Cell("isotropic", 2, snr, repeat) for snr in (4.0, 50.0) for repeat in (0, 1)]


@pytest.fixture
def points(splits: dict[str, Split]) -> Points:
    return splits["train"].points


@pytest.fixture
def labelled(splits: dict[str, Split]) -> Points:
    return dataset.inputs(splits["train"], FACES)


@pytest.fixture(scope="module")
def many() -> Split:
    """As many points as a run has: a kink that starts at one of them seldom meets it in a batch."""
    return draw_splits(cube.SOURCE, {"train": 24_000})["train"]


def fit(cells: list[Cell], inputs: Points, config: TrainConfig, device: str = "cpu") -> dict[Cell, Trained]:
    trained = Autograd(inputs, config, device).fit(cells, lambda *_: None)
    assert [codec.architecture.cell for codec, _ in trained] == [c for g in grid.groups(cells) for c in g]
    return {history.cell: (codec, history) for codec, history in trained}


def bits(trained: dict[Cell, Trained]) -> dict[Cell, bytes]:
    return {cell: files.to_bytes({cell.name: codec}) for cell, (codec, _) in trained.items()}


def furthest(one: Codec, other: Codec) -> float:
    """The largest difference between two codecs' numbers."""
    first, second = one.state_dict(), other.state_dict()
    assert list(first) == list(second)
    return max(float((first[name] - second[name]).detach().abs().max()) for name in first)


def plainly(cell: Cell, inputs: Points, config: TrainConfig) -> tuple[Codec, NDArray[np.float32]]:
    """A cell trained by a loop as one writes it with PyTorch; its losses [step, 3]."""
    train, k, shares = config.train, config.source.coordinates, config.source.shares
    conditional, shared = inputs.shape[1] > k, torch.tensor(shares) if shares else None
    codec, steps = batches.start(cell, inputs, config), range(config.train.steps)
    choice, noise = BatchSampler(cell, len(inputs), config).draw(train.steps)
    targets = FoldedTargets(cell, inputs, config).draw(steps, choice.numpy())
    rates, gaussianity, pulls = schedule(steps, train, conditional)
    adam, losses = torch.optim.Adam(codec.parameters()), []
    for n in steps:
        x = torch.from_numpy(inputs[choice[n].numpy()])
        x, label = x[:, :k], x[:, k:] if conditional else None
        weights = Weights(train.kl_weight, float(gaussianity[n]), train.mmd_weight, float(pulls[n]))
        target = torch.from_numpy(targets[n]).T if n < len(targets) else None
        codec.choosing = n >= train.steps / 4
        adam.zero_grad()
        total, found = loss(codec(x, noise[n].T, label), x, noise[n].T, weights, label, target, shared)
        total.backward()
        adam.param_groups[0]["lr"] = float(rates[n])
        adam.step()
        losses.append(torch.stack(found).detach())
    x = torch.from_numpy(inputs)
    codec.measure_power(x[:, :k], x[:, k:] if conditional else None)
    return codec, torch.stack(losses).numpy()


# One cell


@pytest.mark.parametrize(
    ("cell", "conditional", "settings"),
    [
        (Cell("none", 2, None, 1), False, {}),
        (Cell("isotropic", 2, 4.0, 0), False, {}),
        (Cell("learned", 2, 50.0, 0), False, {}),
        (Cell("free", 2, None, 0), False, {}),
        (Cell("isotropic", 1, 4.0, 0), True, {}),
        (Cell("learned", 2, 4.0, 0), True, {}),
        (FOLDED, False, {"folded_start": True}),
        (Cell("isotropic", 1, 4.0, 0), False, {"candidates": 3}),
        (Cell("learned", 2, 50.0, 0), True, {"candidates": 2}),
        (Cell("isotropic", 2, 4.0, 0), False, {"mmd_weight": 0.3}),
        (Cell("isotropic", 2, 4.0, 0), False, {"kind": "residual"}),
    ],
)
@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
def test_a_cell_is_what_a_plain_loop_makes_of_it(
    cell: Cell,
    conditional: bool,
    settings: dict[str, Any],
    activation: str,
    many: Split,
    config: MakeConfig,
) -> None:
    inputs = dataset.inputs(many, FACES if conditional else 0)
    made = config(engine="torch", steps=20, activation=activation, **settings)
    codec, history = fit([cell], inputs, made)[cell]
    expected, losses = plainly(cell, inputs, made)
    assert (FoldedTargets(cell, inputs, made).steps > 0) == (cell == FOLDED)
    assert history.losses == pytest.approx(losses, rel=1e-4, abs=1e-6)
    assert furthest(codec, expected) < 1e-4


@pytest.mark.parametrize("coordinates", [1, 16])
@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
def test_so_is_one_of_other_coordinates_whose_labels_are_not_equally_frequent(
    noise: str, coordinates: int, config: MakeConfig
) -> None:
    rng = np.random.default_rng(0)
    domain = box(coordinates, rng)
    points = rng.uniform(*domain.bounds, (6000, coordinates)).astype(np.float32)
    label = rng.choice(4, len(points), p=domain.shares)
    inputs = np.concatenate([points, dataset.one_hot(label, 4)], 1)
    cell = Cell(noise, 2, None if noise == "none" else 10.0, 0)  # type: ignore[arg-type]
    made = replace(config(engine="torch", gaussianity_weight=0.3), source=domain)
    codec, history = fit([cell], inputs, made)[cell]
    expected, losses = plainly(cell, inputs, made)
    assert history.losses == pytest.approx(losses, rel=1e-4, abs=1e-6)
    assert furthest(codec, expected) < 1e-4
    if noise != "none":
        equally = replace(made, source=replace(domain, shares=()))
        assert furthest(fit([cell], inputs, equally)[cell][0], expected) > 1e-3


class Kept(Recorder):
    """A recorder that keeps the losses of each step."""

    of_cell: dict[Cell, NDArray[np.float32]]

    def add(self, steps: range, losses: NDArray[np.float32]) -> None:
        super().add(steps, losses)
        self.of_cell[self._cell] = losses


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
@pytest.mark.parametrize(
    "cells",
    [
        [Cell("none", 2, None, 0)],
        [Cell("isotropic", 2, 10.0, 0), Cell("isotropic", 2, 1000.0, 0)],
        [Cell("learned", 2, 10.0, 0), Cell("learned", 2, 1000.0, 0)],
        [FOLDED],
    ],
    ids=["none", "isotropic", "learned", "folded"],
)
def test_the_first_100_of_20_000_steps_are_those_of_the_compiled_engine(
    cells: list[Cell],
    activation: str,
    many: Split,
    config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They start beside the kinks of their units: those lie at points, where rounding decides a gradient."""

    def stop(*_: float) -> None:
        raise StoppedError

    def beside(cell: Cell, inputs: Points, made: TrainConfig) -> Codec:
        codec, generator = start(cell, inputs, made), torch.Generator().manual_seed(0)
        for parameter in codec.parameters():
            parameter.data += 1e-3 * torch.randn(parameter.shape, generator=generator)
        return codec

    start = batches.start
    monkeypatch.setattr(batches, "start", beside)
    weights = {"kl_weight": 3e-4, "gaussianity_weight": 1e-2}
    sizes = {"hidden_units": 64, "hidden_layers": 3, "activation": activation}
    made = partial(config, steps=20_000, learning_rate=0.006, **weights, **sizes)
    found: list[dict[Cell, NDArray[np.float32]]] = []
    for module, run in (
        (engine, lambda cell: engine.fit(cell, many.points, made(), stop)),
        (autograd, lambda cell: Autograd(many.points, made(engine="torch"), "cpu").fit([cell], stop)),
    ):
        kept = type("Kept", (Kept,), {"of_cell": {}})
        monkeypatch.setattr(module, "DRAWN", 6400)
        monkeypatch.setattr(module, "Recorder", kept)
        for cell in cells:
            with pytest.raises(StoppedError):
                run(cell)
        found.append(kept.of_cell)
    for cell in cells:
        compiled, ours = (losses[cell].astype(float) for losses in found)
        assert ours.shape == compiled.shape == (100, 3)
        assert ours[:, :2] == pytest.approx(compiled[:, :2], rel=1e-3)
        assert ours[:, 2] == pytest.approx(compiled[:, 2], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
def test_restarts_end_where_those_of_the_compiled_engine_do(
    noise: str, many: Split, config: MakeConfig
) -> None:
    """Rounding moves each of them far in 2000 steps: their means agree within the error of a mean."""
    cells = [Cell(noise, 2, None if noise == "none" else 100.0, repeat) for repeat in range(8)]  # type: ignore[arg-type]
    made = partial(config, steps=2000, learning_rate=0.006, gaussianity_weight=1e-2)
    compiled = [engine.fit(cell, many.points, made(), lambda *_: None)[1] for cell in cells]
    ours = [history for _, history in fit(cells, many.points, made(engine="torch")).values()]
    for column in (0,) if noise == "none" else (0, 1):  # mse, KL
        one, other = (np.log([past.losses[-5:, column].mean() for past in each]) for each in (compiled, ours))
        assert abs(other - one).max() > 1e-4, "rounding has moved nothing yet"
        assert abs(other.mean() - one.mean()) < 2 * one.std(ddof=1) / len(cells) ** 0.5


# Many cells


def test_cells_of_one_program_come_out_as_each_alone(points: Points, config: MakeConfig) -> None:
    made = config(engine="torch", activation="silu")
    together = fit(CELLS, points, made)
    for cell in CELLS:
        codec, history = fit([cell], points, made)[cell]
        beside, its_history = together[cell]
        assert furthest(beside, codec) < 1e-4
        assert its_history.losses == pytest.approx(history.losses, rel=1e-4, abs=1e-6)
    codecs = [codec for codec, _ in together.values()]
    assert furthest(codecs[0], codecs[2]) > 0.01, "an SNR says nothing"


def test_a_cell_that_is_pulled_and_one_that_is_not_share_a_program(
    points: Points, config: MakeConfig
) -> None:
    made, loud = config(engine="torch", activation="silu"), Cell("isotropic", 3, 1.0, 0)
    assert FoldedTargets(loud, points, made).steps == 0
    together = fit([FOLDED, loud], points, made)
    for cell in (FOLDED, loud):
        expected, _ = plainly(cell, points, made)
        assert furthest(together[cell][0], expected) < 1e-4


def test_cells_of_every_shape_come_in_their_order_with_their_steps_reported(
    cells: list[Cell], points: Points, config: MakeConfig
) -> None:
    reported: list[tuple[int, float]] = []
    trained = Autograd(points, config(engine="torch", steps=7), "cpu").fit(
        cells[::-1], lambda *report: reported.append(report)
    )
    assert [past.cell for _, past in trained] == [c for group in grid.groups(cells[::-1]) for c in group]
    assert sum(cell_steps for cell_steps, _ in reported) == 7 * len(cells)
    assert all(0 < mse < 10 for _, mse in reported)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["mlp", "residual"])
def test_a_group_comes_out_with_the_same_bytes_twice(
    kind: str, device: str, points: Points, config: MakeConfig
) -> None:
    once, twice, other = (
        bits(fit(CELLS, points, config(engine="torch", kind=kind, seed=seed), device)) for seed in (0, 0, 1)
    )
    assert once == twice
    assert all(other[cell] != once[cell] for cell in CELLS)


@pytest.mark.parametrize("kind", ["mlp", "residual"])
def test_pytorchs_own_generator_and_arithmetic_are_as_they_were(
    kind: str, points: Points, config: MakeConfig
) -> None:
    made, before = config(engine="torch", kind=kind, steps=5), torch.get_rng_state()
    once = bits(fit(CELLS, points, made))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert bits(fit(CELLS, points, made)) == once, "it moves what is trained"
    assert float(torch.tensor(1e-40) * 1) > 0, "small numbers are flushed to zero"


# Divergence


def test_a_cell_that_diverges_ends_training_and_is_named(points: Points, config: MakeConfig) -> None:
    with pytest.raises(DivergedError, match="step 0 of 60") as caught:
        fit([*CELLS[:2], BAD, *CELLS[2:]], points, config(engine="torch"))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{BAD.name}: ")
    assert line.endswith("lower train.learning_rate (0.01)")


def test_a_cell_that_diverges_may_be_kept_and_leaves_the_others_as_they_are(
    points: Points, config: MakeConfig
) -> None:
    made, sound = config(engine="torch", on_divergence="keep"), Cell("isotropic", 2, 9.0, 0)
    kept, expected = (fit([first, *CELLS], points, made) for first in (BAD, sound))
    codec, history = kept[BAD]
    assert codec.diverged
    assert all(bool(tensor.isnan().all()) for tensor in codec.state_dict().values())
    assert history.diverged == 0
    assert np.isnan(history.losses).all()
    for cell in CELLS:
        codec, history = kept[cell]
        assert not codec.diverged
        assert codec.finite
        assert history.diverged is None
        assert bits(kept)[cell] == bits(expected)[cell]
        assert history.losses.tobytes() == expected[cell][1].losses.tobytes()
    (read,) = files.from_bytes(files.to_bytes({BAD.name: kept[BAD][0]})).values()
    assert read.diverged


@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
def test_training_never_hands_on_a_codec_that_is_not_finite(
    noise: str, points: Points, config: MakeConfig
) -> None:
    cell = Cell(noise, 2, None if noise == "none" else 4.0, 0)
    for rate in (1e10, 1e30):
        for steps in (1, 2):
            made = config(engine="torch", steps=steps, learning_rate=rate)
            try:
                codec, history = fit([cell], points, made)[cell]
            except DivergedError as error:
                assert str(error).startswith(f"{cell.name}: ")
                continue
            assert codec.finite
            assert history.diverged is None


# What only this engine trains


@pytest.mark.slow
@pytest.mark.parametrize("cell", [Cell("none", 2, None, 0), Cell("learned", 2, 50.0, 0)])
def test_a_residual_network_trains_and_is_stored_and_loaded(
    cell: Cell, points: Points, config: MakeConfig
) -> None:
    made = config(engine="torch", kind="residual", activation="silu", steps=300, learning_rate=0.003)
    codec, history = fit([cell], points, made)[cell]
    assert history.losses[-1, 0] < history.losses[0, 0] / 2
    assert history.losses[-1, 0] < cube.SOURCE.variance
    (read,) = files.from_bytes(files.to_bytes({cell.name: codec})).values()
    assert read.architecture == codec.architecture
    assert (read.architecture.network.kind, read.architecture.engine) == ("residual", "torch")
    x, noise = torch.from_numpy(points[:50]), torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(read(x, noise).reconstruction, codec(x, noise).reconstruction)


@pytest.mark.slow
def test_mmd_brings_the_latents_of_a_noiseless_codec_nearer_to_a_normal_law(
    points: Points, config: MakeConfig
) -> None:
    def distance(weight: float) -> float:
        codec, _ = fit([cell], points, config(engine="torch", steps=300, mmd_weight=weight))[cell]
        return float(mmd(codec.encode(torch.from_numpy(points)).mean, prior))

    cell, prior = Cell("none", 2, None, 0), torch.randn(1200, 2, generator=torch.Generator().manual_seed(0))
    assert distance(1.0) < distance(0.0) / 4


# Devices


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
@pytest.mark.parametrize("conditional", [False, True])
def test_training_on_a_device_lowers_the_loss_and_gives_codecs_of_the_cpu(
    noise: str, conditional: bool, device: str, points: Points, labelled: Points, config: MakeConfig
) -> None:
    inputs = labelled if conditional else points
    cells = [Cell(noise, 2, None if noise == "none" else 50.0, repeat) for repeat in (0, 1)]
    made = config(engine="torch" if device == "cpu" else "cuda", steps=300)
    trained = fit(cells, inputs, made, device)
    for cell in cells:
        codec, history = trained[cell]
        assert history.losses[-1, 0] < history.losses[0, 0] / 2
        assert {tensor.device.type for tensor in codec.state_dict().values()} == {"cpu"}
        assert codec.finite
        assert not codec.training
        assert not any(parameter.requires_grad for parameter in codec.parameters())


@pytest.mark.parametrize("device", DEVICES)
def test_a_fold_is_pulled_on_a_device(device: str, points: Points, config: MakeConfig) -> None:
    codec, history = fit([FOLDED], points, config(engine="torch", steps=100), device)[FOLDED]
    assert codec.finite
    assert history.losses[-1, 0] < history.losses[0, 0] / 2
