"""Where compiled code is kept."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from numba import config

from snrvae.training.compiled import adam, cache, channel, kernel, network, penalty, step

SOURCE = "from numba import njit\n\n@njit(cache=True)\ndef twice(x):\n    return x + x\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's cache is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(config, "CACHE_DIR", "")
    return tmp_path / "home"


def cache_of(folder: Path, source: str = SOURCE) -> Path:
    """Where Numba keeps what it compiles of a module in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "module.py").write_text(source)
    spec = spec_from_file_location("module", folder / "module.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.twice(2) == 4
    path = Path(module.twice.stats.cache_path)
    assert list(path.glob("module.twice-*.nbi"))
    return path


def test_a_copy_finds_what_another_folder_has_compiled(tmp_path: Path, home: Path) -> None:
    one, other = cache_of(tmp_path / "one"), cache_of(tmp_path / "other")
    assert one == other
    assert one.parent == home / "numba"


def test_what_another_content_of_the_engines_folder_compiled_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = cache_of(tmp_path / "one")
    monkeypatch.setattr(cache, "_CODE", cache._CODE + b"\n")
    assert cache_of(tmp_path / "one") != one
    folder = Path(cache.__file__).parent
    for module in (adam, channel, kernel, network, penalty, step):
        assert Path(module.__file__ or "").parent == folder
        assert Path(module.__file__ or "").read_bytes() in cache._CODE


def test_what_is_for_another_processor_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cache_of(tmp_path / "one")
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    assert cache_of(tmp_path / "one") != here


def test_a_folder_by_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "named"))
    assert cache_of(tmp_path / "one").parent == tmp_path / "named"


def test_without_a_cache_of_the_user_it_is_beside_the_source(tmp_path: Path, home: Path) -> None:
    home.write_text("a file, in which no folder can be made")
    assert cache_of(tmp_path / "one") == tmp_path / "one" / "__pycache__"


def test_the_step_is_kept_so() -> None:
    assert Path(step.train.stats.cache_path).name.startswith("snrvae_")  # type: ignore[attr-defined]
