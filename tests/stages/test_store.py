"""The store of trained cells: a folder of files, and stages that take from it what need not be trained.

Whatever is in it, results are the bytes of a run without it.
"""

import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import safetensors.numpy

from snrvae.settings import cache
from snrvae.settings.params import from_yaml
from stages import files, store
from stages.store import BOUND, DEFAULT, ENTRIES, Store
from stages.train_vae import train_vae
from tests import apart
from tests.processes import begin, said
from tests.repository import ROOT, TINY, Repository, configure, create

INPUTS = ("data/source.npz", "data/cube.npz")
TRAIN = ("python", "-m", "stages.train_vae", *INPUTS)
OUTPUTS = ("data/snr_vae.safetensors", "reports/training_vae.csv")


def sizes(kept: Store) -> dict[str, int]:
    return {entry.name: entry.stat().st_size for entry in kept.files()}


def test_what_one_process_writes_another_reads(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "new" / "folder"), Store(tmp_path / "new" / "folder")
    one["a"] = b"1"
    one["a"] = b"2"
    assert (other["a"], other.get("b"), list(other), len(other)) == (b"2", None, ["a"], 1)
    del other["a"]
    del other["a"]
    assert one.get("a") is None


def test_what_was_used_least_recently_goes(tmp_path: Path) -> None:
    kept = Store(tmp_path, bound=100)
    for age, name in enumerate("edcba"):
        kept[name] = bytes(20)
        os.utime(tmp_path / name, (1e9 + age, 1e9 + age))
    assert kept["e"] == bytes(20)  # used now
    kept["f"] = bytes(20)
    assert set(kept) == {"e", "b", "a", "f"}
    kept["g"] = bytes(99)
    assert set(kept) == {"g"}
    kept["h"] = bytes(500)
    assert set(kept) == {"h"}, "what is larger than the bound is kept until the next comes"


def test_a_clock_that_goes_backwards_costs_entries_and_nothing_else(tmp_path: Path) -> None:
    kept, chance = Store(tmp_path, bound=1000), random.Random(0)
    for number in range(200):
        kept[f"{number % 40}"] = bytes(60)
        future = time.time() + chance.uniform(-1e6, 1e6)
        os.utime(tmp_path / f"{number % 40}", (future, future))
        assert sum(sizes(kept).values()) <= 1000
        assert len(kept) >= min(number + 1, 14)
        assert kept[f"{number % 40}"] == bytes(60)


def test_a_file_that_another_process_removes_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Store(tmp_path, bound=100)
    kept["a"] = kept["b"] = bytes(40)
    files = kept.files()
    (tmp_path / "a").unlink()
    monkeypatch.setattr(kept, "files", lambda: files)
    kept["c"] = bytes(90)
    assert kept["c"] == bytes(90)
    assert capsys.readouterr().err == ""


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("moment", ["write_bytes", "replace"])
def test_a_full_disk_is_told_once_and_ends_nothing(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Store(tmp_path)
    kept["a"] = b"whole"

    def full(path: Path, _: bytes | Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, moment, full)
    kept["a"] = kept["b"] = b"other"
    line = only_line(capsys)
    assert "cannot be written (No space left on device)" in line
    assert f"{cache.VARIABLE} names another folder, or is off" in line
    assert {name: kept[name] for name in kept} == {"a": b"whole"}


def test_a_folder_that_cannot_be_made_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    kept = Store(tmp_path / "file" / "folder")
    kept["a"] = kept["b"] = b"1"
    assert only_line(capsys).startswith(f"{tmp_path / 'file' / 'folder'}: cannot be written")
    assert (kept.get("a"), list(kept)) == (None, [])


def test_off_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, "off")
    kept = store.open_store()
    kept["a"] = b"1"
    del kept["a"]
    assert (kept.get("a"), list(kept)) == (None, [])


def test_the_bound_can_be_set_and_a_wrong_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    assert store.open_store()._bound == DEFAULT * 1e9
    monkeypatch.setenv(BOUND, "1e-7")
    kept = store.open_store()
    kept["a"] = kept["b"] = bytes(60)
    assert list(kept) == ["b"]
    for wrong in ("", "many", "-1", "nan"):
        monkeypatch.setenv(BOUND, wrong)
        with pytest.raises(ValueError, match=f"^{BOUND}: '{wrong}' is wrong; expected gigabytes, such as 2$"):
            store.open_store()


def test_a_command_shows_what_is_kept_and_removes_that_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    kept = store.open_store()
    kept["cell-1"] = kept["cell-2"] = kept["measure-1"] = bytes(150_000)
    (tmp_path / ENTRIES / "cell-3.abc.part").write_bytes(b"cut off by a kill")
    (tmp_path / "mine").write_text("a person's own file")
    monkeypatch.setattr(sys, "argv", ["store"])
    store.main()
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cell", "2", "files", "0.3", "MB"] in shown
    assert ["measure", "1", "files", "0.1", "MB"] in shown or ["measure", "1", "files", "0.2", "MB"] in shown
    assert ["unfinished", "1", "files", "0.0", "MB"] in shown
    monkeypatch.setattr(sys, "argv", ["store", "--clear"])
    store.main()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    monkeypatch.setenv(cache.VARIABLE, "off")
    with pytest.raises(SystemExit, match="nothing is kept"):
        store.main()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with data and trained cells, without a store."""
    made = create(tmp_path_factory.mktemp("whole"), TINY)
    made.run("python", "-m", "stages.generate", "data/raw", "data/cube.npz", "data/source.npz")
    train(made, "off")
    return made


def train(
    made: Repository, folder: Path | str, settings: Mapping[str, object] = TINY
) -> tuple[str, dict[str, bytes]]:
    """What training with a store said, and its bytes."""
    configure(made.path, settings)
    process = begin_training(made, folder)
    process.join()
    assert process.exitcode == 0, said(made.path)
    return said(made.path), outputs(made)


def begin_training(made: Repository, folder: Path | str) -> ForkServerProcess:
    return begin("train_vae", made.path, **{cache.VARIABLE: str(folder)})


def outputs(made: Repository) -> dict[str, bytes]:
    return {name: (made.path / name).read_bytes() for name in OUTPUTS}


@pytest.fixture
def copy(whole: Repository, tmp_path: Path) -> Repository:
    shutil.copytree(whole.path, tmp_path / "copy")
    return Repository(tmp_path / "copy")


@pytest.mark.slow
def test_bytes_are_those_without_a_store_be_it_empty_full_or_partly_filled(
    whole: Repository,
    copy: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected, folder, chance = outputs(whole), tmp_path / "store", random.Random(0)
    monkeypatch.setenv(cache.VARIABLE, str(folder))

    def told(**settings: object) -> str:
        train_here(copy, settings)
        assert settings or outputs(copy) == expected
        return capsys.readouterr().err

    assert told() == ""
    assert told() == "16 of 16 cells from the store\n"
    entries = sorted((folder / ENTRIES).iterdir())
    assert len(entries) == 16
    for entry in chance.sample(entries, 7):
        entry.unlink()
    assert told() == "9 of 16 cells from the store\n"
    (damaged,) = chance.sample(entries, 1)
    damaged.write_bytes(b"damaged")
    assert told() == "15 of 16 cells from the store\n"
    (message,) = caplog.messages
    assert re.fullmatch(f"store: {damaged.name}: damaged or foreign; it is dropped, and .* again", message)
    assert told(snr=[10, 3, 1], noise=["learned"]) == "8 of 12 cells from the store\n"


def train_here(made: Repository, settings: Mapping[str, object]) -> None:
    """The stage in this process."""
    configure(made.path, TINY | settings)
    params = from_yaml((made.path / "params.yaml").read_text())
    train_vae(params, *(made.path / name for name in (*INPUTS, *OUTPUTS)))


@pytest.mark.slow
def test_two_processes_that_want_the_same_cells_do_no_harm(
    whole: Repository, copy: Repository, tmp_path: Path
) -> None:
    folder, second = tmp_path / "store", tmp_path / "second"
    shutil.copytree(copy.path, second)
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        both = copy, Repository(second)
        for made, process in [(made, begin_training(made, folder)) for made in both]:
            process.join()
            assert process.exitcode == 0, said(made.path)
            assert "damaged" not in said(made.path)
        assert outputs(copy) == outputs(Repository(second)) == outputs(whole)
        assert train(copy, folder) == ("16 of 16 cells from the store\n", outputs(whole))


@pytest.mark.slow
def test_killed_ten_times_it_goes_on_where_it_was(copy: Repository, tmp_path: Path) -> None:
    """At most the cell at work is lost each time: what was kept before is not trained again."""
    longer = TINY | {"train": TINY["train"] | {"steps": 2000}}
    folder, chance = tmp_path / "store", random.Random(0)
    _, expected = train(copy, "off", longer)
    seen = 0
    for number in range(10):
        process = begin_training(copy, folder)
        while process.is_alive() and whole_entries(folder) == seen:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        assert process.pid is not None
        with suppress(ProcessLookupError):  # it has ended
            os.kill(process.pid, signal.SIGINT if number % 2 else signal.SIGKILL)
        process.join()
        told = said(copy.path)
        assert (f"{seen} of 16 cells from the store\n" in told) == (seen > 0)
        if process.exitcode == files.INTERRUPTED:
            assert told.endswith(
                "train_vae: interrupted; `dvc repro` goes on, without the cells that are done\n"
            )
        assert whole_entries(folder) > seen
        seen = whole_entries(folder)
        if seen > 14:
            break
    assert train(copy, folder, longer) == (f"{seen} of 16 cells from the store\n", expected)


def whole_entries(folder: Path) -> int:
    return len([path for path in folder.glob(f"{ENTRIES}/*") if path.suffix != store.TEMPORARY])


@pytest.mark.slow
def test_a_folder_that_takes_nothing_costs_the_store_and_not_the_run(
    whole: Repository,
    copy: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / ENTRIES).write_text("a file, in which no folder can be made")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    train_here(copy, {})
    assert outputs(copy) == outputs(whole)
    assert only_line(capsys).startswith(f"{tmp_path / ENTRIES}: cannot be written")


def poisoned(folder: Path) -> None:
    """Every entry holds another's numbers, under the right digests: what nothing but training can tell."""
    for path in (folder / ENTRIES).iterdir():
        arrays = safetensors.numpy.load(cache.unseal(path.name, path.read_bytes()))
        arrays["losses"] = arrays["losses"] + 1
        path.write_bytes(cache.seal(path.name, safetensors.numpy.save(arrays)))


@pytest.mark.slow
def test_a_poisoned_store_in_the_users_home_answers_no_check(
    whole: Repository, copy: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests, CI and benchmarks do not look into it; a run that does believes it."""
    users = tmp_path / "users" / "snr-vae"
    train(copy, users)
    poisoned(users)
    monkeypatch.setenv("XDG_CACHE_HOME", str(users.parent))
    copy.run(*TRAIN, *OUTPUTS)  # as every test runs a command
    assert outputs(copy) == outputs(whole)
    monkeypatch.delenv(cache.VARIABLE)
    assert "16 of 16" in copy.run(*TRAIN, *OUTPUTS), "what a user's run does"
    assert outputs(copy) != outputs(whole)


def test_every_way_to_check_turns_the_store_off() -> None:
    assert os.environ[cache.VARIABLE] == "off", "by tests/apart.py, before anything else is imported"
    first = next(
        line for line in (ROOT / "tests" / "conftest.py").read_text().splitlines() if "import" in line
    )
    assert first.startswith("from tests import apart")
    assert apart.COMPILED.is_relative_to(ROOT)
    steps = (ROOT / ".ci" / "run").read_text().splitlines()
    assert steps.index("export SNRVAE_CACHE=off  # no check is answered by what another run has kept") < min(
        number for number, line in enumerate(steps) if line.startswith(("make", "if ! plan"))
    )
    for line in (ROOT / "Makefile").read_text().splitlines():
        if "python -m benchmarks" in line:
            assert line.startswith("\tSNRVAE_CACHE=off "), line


@pytest.mark.slow
def test_experiments_train_only_what_no_run_has_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the workspace, in a copy, from the queue, in another clone; and forced, without the store."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "store"))
    (tmp_path / "made").mkdir()
    made = create(tmp_path / "made", TINY)
    train = ("train_ae", "train_vae")
    assert "cells from the store" not in made.run("dvc", "repro", *train)
    whole = made.bytes()
    made.run("git", "add", ".")
    made.run("git", "commit", "-q", "-m", "first")
    said = made.run("dvc", "exp", "run", "-S", "snr=10", *train)
    assert re.findall("(.*) cells from the store", said) == ["8 of 8"]
    said = made.run("dvc", "exp", "run", "--temp", "-S", "snr=[10,3]", *train)
    assert re.findall("(.*) cells from the store", said) == ["8 of 16"]
    made.run("git", "checkout", "-q", ".")
    made.run("dvc", "exp", "run", "--queue", "-n", "queued", "-S", "snr=[3,1]", *train)
    made.run("dvc", "exp", "run", "--run-all")
    assert re.findall("(.*) cells from the store", made.run("dvc", "queue", "logs", "queued")) == ["16 of 16"]
    made.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    other = Repository(tmp_path / "clone")
    said = other.run("dvc", "repro", *train)
    assert sorted(re.findall("(.*) cells from the store", said)) == ["16 of 16", "4 of 4"]
    assert other.bytes() == whole
    monkeypatch.setenv(cache.VARIABLE, "off")
    assert "cells from the store" not in other.run("dvc", "repro", "--force", "--single-item", "train_vae")
    assert other.bytes() == whole
