"""What is measured is kept: the same records, by whatever they follow from, and whole."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import yaml

from snrvae.codecs.codec import Codec
from snrvae.limit.shannon import RateDistortionTable
from snrvae.measurement import evaluation, store
from snrvae.settings import cache, fingerprint
from snrvae.settings.grid import Cell
from snrvae.sources import cube, sphere
from snrvae.sources.domain import Split

SEED = 3


@pytest.fixture(scope="module")
def some(codecs: dict[str, Codec]) -> dict[Cell, Codec]:
    """A codec with each noise, two repeats of one."""
    names = ("ae/d1/0", "snr_vae/d2-snr4/0", "snr_vae/d2-snr4/1", "snr_vae_learned/d2-snr4/0")
    return {codecs[name].architecture.cell: codecs[name] for name in names}


class Counted(dict[str, bytes]):
    """Entries, and how often something was found and written."""

    found = written = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.found += key in self
        return super().get(key, default)

    def __setitem__(self, key: str, value: bytes) -> None:
        self.written += 1
        super().__setitem__(key, value)


def evaluate(
    codecs: dict[Cell, Codec],
    splits: dict[str, Split],
    limits: RateDistortionTable,
    entries: dict[str, bytes],
    seed: int = SEED,
) -> tuple[Counted, bytes]:
    """What happened to the entries, and all that was found, as bytes."""
    counted = Counted(entries)
    found = evaluation.evaluate(codecs, splits, cube.SOURCE, limits, seed, 1, counted)
    records = [*found.results, *found.selected]
    for each in (found.generated, found.fitted, found.limits):
        records += [record for _, record in sorted(each.items(), key=lambda item: item[0].name)]
    return counted, b"".join(map(store.to_bytes, records))


@pytest.fixture(scope="module")
def full(
    some: dict[Cell, Codec], splits: dict[str, Split], limits: RateDistortionTable
) -> tuple[Counted, bytes]:
    return evaluate(some, splits, limits, {})


def test_what_is_kept_is_found_to_the_bit_and_nothing_is_measured_again(
    full: tuple[Counted, bytes],
    some: dict[Cell, Codec],
    splits: dict[str, Split],
    limits: RateDistortionTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries, expected = full
    assert (entries.found, entries.written) == (
        0,
        1 + 4 + 2 + 3 + 2,
    )  # reference, codecs, fitted, generated, limits
    for name in ("measure", "generate", "generate_fitted", "limit", "_compared"):
        monkeypatch.setattr(evaluation, name, lambda *_: pytest.fail("measured again"))
    counted, found = evaluate(some, splits, limits, entries)
    assert (counted.found, counted.written) == (12, 0)
    assert found == expected


def test_a_longer_grid_measures_what_is_new(
    full: tuple[Counted, bytes],
    some: dict[Cell, Codec],
    codecs: dict[str, Codec],
    splits: dict[str, Split],
    limits: RateDistortionTable,
) -> None:
    new = codecs["snr_vae/d2-snr100/0"]
    counted, _ = evaluate(some | {new.architecture.cell: new}, splits, limits, full[0])
    assert counted.written == 4


def test_what_measures_follow_from_is_in_the_name(
    some: dict[Cell, Codec],
    splits: dict[str, Split],
    limits: RateDistortionTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codec, other, *_ = some.values()

    def name(
        codec: Codec = codec,
        splits: dict[str, Split] = splits,
        source: Any = cube.SOURCE,
        limits: RateDistortionTable = limits,
        seed: int = SEED,
        what: str = "codec",
    ) -> str:
        entries: dict[str, bytes] = {}
        kept = store.Kept(entries, splits, source, limits, seed)
        kept.find(what, codec, evaluation._Compared, lambda: evaluation._Compared(np.ones(2), np.ones(2)))
        return next(iter(entries))

    test = splits["test"]
    moved = replace(test, points=test.points + np.float32(1e-6))
    relabelled = replace(test, label=test.label[::-1].copy())
    names = [
        name(),
        name(codec=other),
        name(splits=splits | {"test": moved}),
        name(splits=splits | {"test": relabelled}),
        name(splits=splits | {"test": splits["validation"], "validation": test}),
        name(source=sphere.SOURCE),
        name(limits=replace(limits, slope=limits.slope * 2)),
        name(seed=4),
        name(what="limit"),
    ]
    monkeypatch.setattr(store, "_CODE", "other")
    names.append(name())
    monkeypatch.setattr(fingerprint, "kind", lambda: "other")
    names.append(name())
    assert len(set(names)) == len(names)


def test_a_damaged_record_is_told_in_one_line_and_measured_again(
    full: tuple[Counted, bytes],
    some: dict[Cell, Codec],
    splits: dict[str, Split],
    limits: RateDistortionTable,
    caplog: pytest.LogCaptureFixture,
) -> None:
    entries, expected = dict(full[0]), full[1]
    damaged = list(entries)[::2]
    for place, name in enumerate(damaged):
        data = entries[name]
        arrays = safetensors.numpy.load(cache.unseal(name, data))
        entries[name] = (
            data[:-9],
            b"",
            bytes(range(256)) * 9,
            cache.seal(name, bytes(range(256)) * 9),
            cache.seal(name, safetensors.numpy.save(arrays, {"record": '{"value": 1}'})),
            cache.seal(name, safetensors.numpy.save(arrays, {})),
        )[place]
    counted, found = evaluate(some, splits, limits, entries)
    assert (found, counted.written) == (expected, 6)
    assert len(caplog.messages) == len(damaged) == 6
    for name in damaged:
        assert any(name in line for line in caplog.messages), name
    assert all("dropped, and measured again" in line and "\n" not in line for line in caplog.messages)
    assert dict(counted) == dict(full[0])


def test_the_rooms_are_those_that_evaluate_depends_on() -> None:
    stages = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())["stages"]
    listed = {dep.split("/")[1] for dep in stages["evaluate"]["deps"] if dep.startswith("snrvae/")}
    assert listed == {*store.ROOMS, "processor.py"}
