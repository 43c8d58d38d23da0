"""Trained cells that are kept: found again if nothing changed that their bytes follow from, and whole."""

import json
import pickle
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import yaml
from conftest import MakeConfig, draw_splits

from snrvae.settings import cache, fingerprint
from snrvae.settings.grid import Cell
from snrvae.settings.params import Encoder, Network, Train
from snrvae.sources import dataset
from snrvae.sources.domain import Points, Split
from snrvae.sources.registry import SOURCES
from snrvae.training import digest, store
from snrvae.training.autograd import Autograd
from snrvae.training.config import DivergedError, TrainConfig
from snrvae.training.pool import Pool
from snrvae.training.store import Kept
from snrvae.training.trainer import Trained

CELLS = [
    Cell("none", 1, None, 0),
    Cell("isotropic", 2, 10.0, 0),
    Cell("learned", 2, 10.0, 1),
]
FOLDS = Cell("isotropic", 3, 1000.0, 0)
NOT_TRAINED_WITH = {"train.repeats", "train.on_divergence"}
PENALTIES = {"train.kl_weight", "train.gaussianity_weight"}
OTHER: dict[str, Any] = {  # another value of every setting that a trainer is given
    "network.kind": "residual",
    "network.activation": "silu",
    "network.hidden_units": 32,
    "network.hidden_layers": 1,
    "encoder.candidates": 2,
    "encoder.folded_start": True,
    "train.steps": 21,
    "train.batch_size": 32,
    "train.learning_rate": 0.011,
    "train.repeats": 3,
    "train.kl_weight": 1e-3,
    "train.gaussianity_weight": 1e-2,
    "train.mmd_weight": 1.0,
    "train.engine": "torch",
    "train.on_divergence": "keep",
    "seed": 1,
    "source": SOURCES["sphere"].domain,
}


def kept_of(
    entries: dict[str, bytes],
    inputs: Points,
    config: TrainConfig,
    cells: Sequence[Cell] = CELLS,
    made_on: str = "here",
) -> Kept:
    return Kept(entries, cells, inputs, config, [made_on])


def trained(inputs: Points, config: TrainConfig, cells: Sequence[Cell] = CELLS) -> list[Trained]:
    engine = Pool(inputs, config, 1) if config.train.engine == "compiled" else Autograd(inputs, config)
    return engine.fit(cells, lambda *_: None)


def bits(trained: Trained) -> bytes:
    return store.to_bytes(trained)


@pytest.fixture(scope="module")
def inputs(splits: dict[str, Split]) -> Points:
    return splits["train"].points


@pytest.fixture(scope="module")
def full(inputs: Points, config: MakeConfig) -> dict[str, bytes]:
    """Entries of all the cells."""
    entries: dict[str, bytes] = {}
    for one in trained(inputs, config()):
        kept_of(entries, inputs, config()).keep(one, "here")
    return entries


def test_what_is_kept_is_found_to_the_bit(inputs: Points, config: MakeConfig, full: dict[str, bytes]) -> None:
    found = kept_of(full, inputs, config()).find()
    assert list(found) == CELLS
    for one in trained(inputs, config()):
        again = found[one[0].architecture.cell]
        assert bits(again) == bits(one)
        assert again[1].cell == one[1].cell
        assert not again[0].training
        assert not any(parameter.requires_grad for parameter in again[0].parameters())


def changed(config: TrainConfig, key: str, value: Any) -> TrainConfig:
    section, _, name = key.rpartition(".")
    if not section:
        return replace(config, **{name: value})
    return replace(config, **{section: getattr(config, section).model_copy(update={name: value})})


def test_every_setting_of_training_has_another_value_here() -> None:
    sections = {"network": Network, "encoder": Encoder, "train": Train}
    leaves = {f"{name}.{key}" for name, model in sections.items() for key in model.model_fields}
    assert set(OTHER) == leaves | {"seed", "source"}
    assert set(TrainConfig.__dataclass_fields__) == {*sections, "seed", "source"}


@pytest.fixture(scope="module")
def as_set(inputs: Points, config: MakeConfig) -> dict[Cell, bytes]:
    """Each cell as the engine torch trains it, which trains everything."""
    settings = config(engine="torch", steps=20)
    return {cell: bits(*trained(inputs, settings, [cell])) for cell in (*CELLS, FOLDS)}


@pytest.mark.parametrize("cell", [*CELLS, FOLDS], ids=lambda cell: f"{cell.noise}-{cell.latent_dim}")
@pytest.mark.parametrize("key", OTHER)
def test_a_setting_changes_the_name_if_it_changes_the_bytes(
    key: str, cell: Cell, inputs: Points, config: MakeConfig, as_set: dict[Cell, bytes]
) -> None:
    """And else it does not: a sweep finds what it had."""
    one = config(engine="torch", steps=20)
    other = changed(one, key, "compiled" if key == "train.engine" else OTHER[key])
    alike = key in NOT_TRAINED_WITH or (cell.noise == "none" and key in PENALTIES)
    alike = alike or (cell.latent_dim < 3 and key == "encoder.folded_start")
    names = {kept_of({}, inputs, c, [cell]).name(cell, "here") for c in (one, other)}
    assert (len(names) == 1) == alike
    assert (bits(*trained(inputs, other, [cell])) == as_set[cell]) == alike


@pytest.mark.parametrize("key", ["train.repeats", "train.on_divergence", *sorted(PENALTIES)])
def test_the_compiled_engine_agrees(key: str, inputs: Points, config: MakeConfig) -> None:
    other = changed(config(), key, OTHER[key])
    for one, two in zip(trained(inputs, config()), trained(inputs, other), strict=True):
        cell = one[0].architecture.cell
        names = {kept_of({}, inputs, c).name(cell, "here") for c in (config(), other)}
        assert (len(names) == 1) == (bits(one) == bits(two))


def test_the_cell_the_inputs_the_processor_and_the_code_are_in_the_name(
    inputs: Points, config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = draw_splits(SOURCES["cube"], {"train": 1200, "validation": 600, "test": 600})
    labelled = dataset.one_hot(splits["train"].label, 6)
    moved = inputs.copy()
    moved[7, 1] = np.nextafter(moved[7, 1], np.float32(2))
    cells = [*CELLS, replace(CELLS[1], snr=10.5), replace(CELLS[1], repeat=1), Cell("isotropic", 1, 10.0, 0)]
    names = [kept_of({}, inputs, config(), cells).name(cell, "here") for cell in cells]
    for points in (moved, inputs[:-6], inputs[::-1], np.hstack([inputs, labelled[: len(inputs)]])):
        names += [kept_of({}, points, config()).name(CELLS[1], "here")]
    names += [kept_of({}, inputs, config()).name(CELLS[1], "there")]
    monkeypatch.setattr(digest, "CODE", "other")
    names += [kept_of({}, inputs, config()).name(CELLS[1], "here")]
    assert len(set(names)) == len(names)


def test_a_longer_grid_finds_the_shorter_ones_cells(
    inputs: Points, config: MakeConfig, full: dict[str, bytes]
) -> None:
    more = [replace(CELLS[1], snr=3.0), *reversed(CELLS), replace(CELLS[1], repeat=1)]
    assert set(kept_of(dict(full), inputs, config(repeats=9), more).find()) == set(CELLS)


def test_of_cells_that_are_trained_together_all_or_none_are_found(inputs: Points, config: MakeConfig) -> None:
    """Their bytes follow from the group, as the engine torch promises."""
    settings = config(engine="torch", steps=5)
    cells = [*CELLS, replace(CELLS[1], snr=3.0)]
    entries: dict[str, bytes] = {}
    for one in trained(inputs, settings, cells):
        kept_of(entries, inputs, settings, cells).keep(one, "here")
    assert list(kept_of(entries, inputs, settings, cells).find()) == [CELLS[0], CELLS[1], cells[3], CELLS[2]]
    assert list(kept_of(entries, inputs, settings).find()) == [CELLS[0], CELLS[2]]
    del entries[kept_of(entries, inputs, settings, cells).name(CELLS[1], "here")]
    assert list(kept_of(entries, inputs, settings, cells).find()) == [CELLS[0], CELLS[2]]


def test_threads_and_device_count_for_engines_that_train_together(monkeypatch: pytest.MonkeyPatch) -> None:
    one = fingerprint.device("torch")
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    assert fingerprint.device("torch") != one
    assert fingerprint.device("compiled") == []


@pytest.mark.parametrize("name", ["MKL_CBWR", "OPENBLAS_CORETYPE", "NUMBA_CPU_NAME", "ATEN_CPU_CAPABILITY"])
def test_a_setting_of_the_libraries_makes_another_kind_of_processor(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fingerprint.kind.__wrapped__()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "set by PyTorch on the way")
    assert fingerprint.kind.__wrapped__() == one
    monkeypatch.setenv(name, "other")
    assert fingerprint.kind.__wrapped__() != one


def test_the_kinds_of_a_clusters_workers_are_found(
    inputs: Points, config: MakeConfig, full: dict[str, bytes]
) -> None:
    for kinds, count in ((["here"], 3), (["there"], 0), (["there", "here"], 3)):
        assert len(Kept(dict(full), CELLS, inputs, config(), kinds).find()) == count


def test_a_diverged_cell_is_kept_as_diverged(inputs: Points, config: MakeConfig) -> None:
    settings, entries = config(learning_rate=1e30, on_divergence="keep"), dict[str, bytes]()
    for one in trained(inputs, settings):
        assert one[0].diverged
        kept_of(entries, inputs, settings).keep(one, "here")
    for codec, history in kept_of(entries, inputs, settings).find().values():
        assert codec.diverged
        assert history.diverged is not None
    with pytest.raises(DivergedError, match="ae/d1/0"):
        kept_of(entries, inputs, config(learning_rate=1e30)).find()


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('executed')",)


def repacked(change: Callable[[dict[str, Any]], Any]) -> Callable[[str, bytes, random.Random], bytes]:
    """Damage under the right digest."""

    def damage(name: str, data: bytes, _: random.Random) -> bytes:
        arrays = safetensors.numpy.load(cache.unseal(name, data))
        change(arrays)
        return cache.seal(name, safetensors.numpy.save(arrays))

    return damage


def model(change: Callable[[dict[str, Any]], Any]) -> Callable[[str, bytes, random.Random], bytes]:
    """Damage of the model file under the right digest."""

    def of_arrays(arrays: dict[str, Any]) -> None:
        data = arrays["model"].tobytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        tensors = safetensors.numpy.load(data)
        change(tensors)
        made = safetensors.numpy.save(tensors, header["__metadata__"])
        arrays["model"] = np.frombuffer(made, np.uint8)

    return repacked(of_arrays)


def first(tensors: dict[str, Any]) -> str:
    return min(key for key in tensors if key.endswith("weight"))


DAMAGE: dict[str, Callable[[str, bytes, random.Random], bytes]] = {
    "empty": lambda *_: b"",
    "a byte": lambda *_: b"\0",
    "a digest's length": lambda _, data, __: data[-32:],
    "no digest": lambda _, data, __: data[:-32],
    "the last byte missing": lambda _, data, __: data[:-1],
    "the first byte missing": lambda _, data, __: data[1:],
    "cut": lambda _, data, chance: data[: chance.randrange(len(data))],
    "half": lambda _, data, __: data[: len(data) // 2],
    "twice": lambda _, data, __: data + data,
    "longer": lambda _, data, __: data + b"\0",
    "zeros": lambda _, data, __: bytes(len(data)),
    "noise": lambda _, data, chance: chance.randbytes(len(data)),
    "a bit": lambda _, data, chance: flipped(data, chance.randrange(len(data))),
    "a bit of the header": lambda _, data, __: flipped(data, 11),
    "a bit of the digest": lambda _, data, __: flipped(data, len(data) - 5),
    "a hole": lambda _, data, __: data[:500] + bytes(512) + data[1012:],
    "text": lambda *_: b"<html>404</html>",
    "a pickle": lambda *_: pickle.dumps(Hostile()),
    "under another's name": lambda _, data, __: cache.seal("another", data[:-32]),
    "a sealed pickle": lambda name, *_: cache.seal(name, pickle.dumps(Hostile())),
    "sealed noise": lambda name, _, chance: cache.seal(name, chance.randbytes(999)),
    "nothing, sealed": lambda name, *_: cache.seal(name, b""),
    "a header that claims much": lambda name, *_: cache.seal(name, b"\xff" * 7 + b"\x7f{}"),
    "no model": repacked(lambda arrays: arrays.pop("model")),
    "no losses": repacked(lambda arrays: arrays.pop("losses")),
    "fewer losses": repacked(lambda arrays: arrays.update(losses=arrays["losses"][:-1])),
    "losses of another type": repacked(lambda a: a.update(losses=a["losses"].astype(np.float64))),
    "rates of another shape": repacked(lambda a: a.update(learning_rate=a["learning_rate"][None])),
    "other steps": repacked(lambda a: a.update(step=a["step"] + 1)),
    "steps in a table": repacked(lambda a: a.update(step=a["step"][None])),
    "said to have diverged": repacked(lambda a: a.update(diverged=np.array([3]))),
    "model of something else": repacked(lambda a: a.update(model=np.zeros(100, np.uint8))),
    "a tensor missing": model(lambda tensors: tensors.pop(first(tensors))),
    "a tensor of another shape": model(lambda t: t.update({first(t): t[first(t)][:-1]})),
    "a tensor of another type": model(lambda t: t.update({first(t): t[first(t)].astype(np.float64)})),
    "a tensor with nan": model(lambda t: t.update({first(t): t[first(t)] * np.float32("nan")})),
}


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_told_in_one_line_dropped_and_made_again(
    damage: str,
    inputs: Points,
    config: MakeConfig,
    full: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    entries, cell = dict(full), CELLS[1]
    kept = kept_of(entries, inputs, config())
    name = kept.name(cell, "here")
    entries[name] = DAMAGE[damage](name, full[name], random.Random(0))
    assert entries[name] != full[name]
    assert list(kept.find()) == [CELLS[0], CELLS[2]]
    (line,) = caplog.messages
    assert name in line
    assert f"{cell.name} trained again" in line
    assert "\n" not in line
    assert name not in entries
    for one in trained(inputs, config(), [cell]):
        kept.keep(one, "here")
    assert entries == full


def test_the_entry_of_another_cell_is_foreign(
    inputs: Points, config: MakeConfig, full: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    kept = kept_of({}, inputs, config())
    one, other = (kept.name(cell, "here") for cell in CELLS[:2])
    sealed = cache.seal(one, cache.unseal(other, full[other]))
    for entry in (full[other], sealed):
        assert list(kept_of({one: entry}, inputs, config()).find()) == []
    assert len(caplog.messages) == 2


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, whose code is asked for."""
    root = Path(cache.__file__).parents[1]
    shutil.copytree(root, tmp_path / "snrvae", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "snrvae" / "settings" / "cache.py"))
    return tmp_path / "snrvae"


def test_a_change_of_code_in_a_room_of_training_misses_and_in_reporting_it_does_not(copied: Path) -> None:
    assert cache.code(digest.ROOMS) == digest.CODE
    for path in copied.rglob("*.py"):
        whole = path.read_bytes()
        path.write_bytes(whole + b"#")
        name = path.relative_to(copied)
        rooms = {name.parts[0], name.as_posix()}  # of sources, single files
        used = bool(rooms & {*digest.ROOMS, "__init__.py", "processor.py"})
        assert (cache.code(digest.ROOMS) != digest.CODE) == used, path
        path.write_bytes(whole)


def test_the_rooms_are_those_that_training_depends_on() -> None:
    stages = yaml.safe_load((Path(cache.__file__).parents[2] / "dvc.yaml").read_text())["stages"]
    deps = stages["train_vae"]["deps"]
    listed = {dep.removeprefix("snrvae/") for dep in deps if dep.startswith("snrvae/")}
    assert listed == {*digest.ROOMS, "processor.py"}


@pytest.mark.slow
def test_no_edit_of_a_thousand_hits_wrongly(copied: Path) -> None:
    """Bytes flipped, inserted and deleted, lines moved within and between files, files renamed and added."""
    chance, seen = random.Random(0), {cache.code(digest.ROOMS)}
    for number in range(1000):
        rooms = [copied / room for room in digest.ROOMS if not room.endswith(".py")]
        every = sorted(path for room in rooms for path in room.rglob("*.py"))
        alone = [copied / room for room in digest.ROOMS if room.endswith(".py")]
        every += alone if number % 6 < 4 else []  # what has another name is no file of training
        files = [path for path in every if path.stat().st_size > 100]  # in a few bytes, edits undo each other
        path, other = chance.sample(files, 2)
        data, place = path.read_bytes(), chance.randrange(1, path.stat().st_size)
        match number % 6:
            case 0:
                path.write_bytes(flipped(data, place))
            case 1:
                path.write_bytes(data[:place] + b"\n" + data[place:])
            case 2:
                path.write_bytes(data[: place - 1] + data[place:])
            case 3:  # the end of one file to the start of another: their bytes in a row may stay the same
                other.write_bytes(data[place:] + other.read_bytes())
                path.write_bytes(data[:place])
            case 4:
                path.rename(path.with_name(f"{path.stem}_{number}.py"))
            case 5:
                path.with_name(f"added_{number}.py").write_bytes(b"#")
        now = cache.code(digest.ROOMS)
        assert now not in seen, (number, path)
        seen.add(now)
