"""Where compiled code is kept, and that what is damaged there or cannot be written does no harm."""

import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numba import config, njit

from snrvae.limit import kernels
from snrvae.settings import cache, machine_code
from snrvae.sources import mesh_distance
from snrvae.training.compiled import step
from tests.repository import ROOT

EXAMPLE = """
import sys
from tests.settings.test_machine_code import made
print(made().stats.cache_path)
"""


def twice(x: int) -> int:
    return x + x


def made() -> Any:
    """A function that is compiled or read."""
    function: Any = machine_code.kept(njit(twice))
    assert function(2) == 4
    return function


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What SNRVAE_CACHE names."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(config, "CACHE_DIR", "")
    anew(monkeypatch)
    return tmp_path / "home"


def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    monkeypatch.setattr(machine_code, "folder", machine_code.folder.__wrapped__)
    machine_code._tell.cache_clear()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_another_process_finds_what_one_has_compiled(home: Path) -> None:
    function = made()
    assert function.stats.cache_misses
    path = Path(function.stats.cache_path)
    assert path.parent == home / "compiled"
    assert {file.suffix for file in files(path)} == {".nbi", ".nbc"}
    again = made()
    assert (again.stats.cache_path, again.stats.cache_misses) == (str(path), {})


def test_another_content_of_the_functions_room_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.py").write_text("x = 1")
    found = [machine_code.folder(tmp_path)]
    (tmp_path / "other.py").write_text("y = 1")
    found.append(machine_code.folder(tmp_path))
    (tmp_path / "one.py").write_text("x = 2")
    found.append(machine_code.folder(tmp_path))
    assert len({*found}) == 3
    monkeypatch.setattr(
        machine_code, "folder", lambda room: tmp_path if room == Path(__file__).parent else None
    )
    assert made().stats.cache_path == str(tmp_path)


def test_what_is_for_another_processor_is_kept_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    here = made().stats.cache_path
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    assert made().stats.cache_path != here


def test_a_folder_by_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "named"))
    assert Path(made().stats.cache_path).parent == tmp_path / "named"


def test_by_default_it_is_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    assert Path(made().stats.cache_path).parent == tmp_path / "users" / "snr-vae" / "compiled"


def test_whatever_the_project_compiles_is_kept_so() -> None:
    for function in (step.train, kernels._add, mesh_distance._search):
        assert Path(function.stats.cache_path).name.startswith("snrvae_")  # type: ignore[attr-defined]
    for file in (ROOT / "snrvae").rglob("*.py"):
        code = file.read_text()
        assert len(re.findall(r"[@(]njit\b", code)) == len(re.findall(r"kept\(njit|@kept\n@njit", code)), file


@pytest.mark.parametrize("value", ["off", "OFF", " off "])
def test_off_keeps_it_beside_the_source(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, value)
    assert cache.folder() is None
    found = machine_code.folder(Path(step.__file__ or "").parent)
    assert found is not None
    assert found.parent == Path(machine_code.__file__).with_name("__pycache__")
    if not any(found.iterdir()):  # a run without the store has put its step there
        found.rmdir()


def in_the_way(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file, in which no folder can be made")


def test_where_no_folder_can_be_written_it_works_and_says_in_one_line_what_to_set(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way(home)
    in_the_way(tmp_path / "code" / "__pycache__")
    in_the_way(tmp_path / "named")
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "named"))
    monkeypatch.setattr(machine_code, "__file__", str(tmp_path / "code" / "machine_code.py"))
    assert made().stats.cache_path is None
    assert machine_code.folder(Path(kernels.__file__).parent) is None
    (line,) = caplog.messages
    assert cache.VARIABLE in line
    assert "\n" not in line


def test_what_is_in_the_way_of_one_room_is_passed_over(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that several users share, another user may own what is there for this room."""
    one = made().stats.cache_path
    shutil.rmtree(one)
    in_the_way(Path(one))
    monkeypatch.setattr(machine_code, "__file__", str(tmp_path / "code" / "machine_code.py"))
    assert Path(made().stats.cache_path).parent == tmp_path / "code" / "__pycache__"
    assert Path(one).parent == home / "compiled"


def test_a_folder_that_goes_after_the_start_ends_nothing(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    function: Any = machine_code.kept(njit(twice))
    shutil.rmtree(home)
    in_the_way(home)
    assert function(2) == 4
    (line,) = caplog.messages
    assert "cannot be written" in line


def test_two_processes_that_save_different_signatures_at_once_do_not_mix_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each finds an empty index, since the other has not written its own yet."""
    whole, real = made(), machine_code._Checked._load_index
    monkeypatch.setattr(machine_code._Checked, "_load_index", lambda _: {})
    index = [path.read_bytes() for path in home.rglob("*.nbi")]
    other: Any = machine_code.kept(njit(twice))
    assert other(0.5) == 1
    monkeypatch.setattr(machine_code._Checked, "_load_index", real)
    (file,) = home.rglob("*.nbi")
    for content in (*index, file.read_bytes()):
        file.write_bytes(content)
        again: Any = machine_code.kept(njit(twice))
        assert (repr(again(2)), repr(again(0.5))) == ("4", "1.0")
    assert whole(2) == 4


def test_numba_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    assert machine_code.kept(njit(twice)) is twice


def test_a_user_without_a_home_gets_no_folder_called_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user that the system has not
    monkeypatch.chdir(tmp_path)
    assert cache.folder() is None


def truncated(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def emptied(_: bytes, __: random.Random) -> bytes:
    return b""


def noise(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(len(data))


def flipped(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def hostile(_: bytes, __: random.Random) -> bytes:
    return pickle.dumps(Hostile())


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [truncated, emptied, noise, flipped, hostile])
def test_a_damaged_file_is_told_in_one_line_and_made_again(
    suffix: str,
    damage: Callable[[bytes, random.Random], bytes],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    made()
    (file,) = home.rglob(f"*{suffix}")
    whole, chance = file.read_bytes(), random.Random(0)
    for _ in range(1 if damage in (emptied, hostile) else 10):
        file.write_bytes(damage(whole, chance))
        caplog.clear()
        made()
        assert [line for line in caplog.messages if str(file) not in line] == []
        assert len(caplog.messages) in (1, 2)  # an index is read to find code, and again to save it
        assert not Path("executed").exists()
        assert not made().stats.cache_misses, "it is whole again"


def test_the_file_of_another_function_is_foreign(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    made()
    (file,) = home.rglob("*.nbc")
    thrice = machine_code.kept(njit(lambda x: 3 * x))
    assert thrice(2) == 6
    (other,) = set(home.rglob("*.nbc")) - {file}
    shutil.copy(other, file)
    made()
    assert caplog.messages == [f"{file}: damaged or foreign; it is made again"]


def test_a_full_disk_ends_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine_code.IndexDataCacheFile, "_save_data", full)
    made()
    (line,) = caplog.messages
    assert "No space left on device" in line


@pytest.mark.skipif(os.getuid() == 0, reason="root can write anywhere")
def test_a_home_that_cannot_be_written_is_passed_over(home: Path) -> None:
    home.mkdir(mode=0o500)
    assert Path(made().stats.cache_path).parent == Path(machine_code.__file__).with_name("__pycache__")


@pytest.mark.slow
def test_in_a_process_the_line_comes_on_stderr(home: Path) -> None:
    environment = os.environ | {cache.VARIABLE: str(home), "NUMBA_CACHE_DIR": ""}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", EXAMPLE],
            cwd=ROOT,
            env=environment,
            text=True,
            check=True,
            capture_output=True,
        )

    assert run().stderr == ""
    (file,) = (path for path in home.rglob("*.nbc") if "twice" in path.name)
    file.write_bytes(b"")
    (line,) = run().stderr.splitlines()
    assert line == f"{file}: damaged or foreign; it is made again"
    assert run().stderr == ""
