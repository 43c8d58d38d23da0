"""The cache of compiled functions, by source code and processor.

Clones, and the copies in which DVC runs experiments, find there the functions that another folder has
compiled, and machines of different kinds that share a home do not disturb each other. Numba's own cache is
beside the source, and Numba trusts every file in it.
"""

import hashlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

from numba import config
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserWideCacheLocator,
)
from numba.core.registry import cpu_target

from snrvae.settings.cache import VARIABLE, seal, unseal
from snrvae.settings.cache import folder as user_folder

_LOG = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., object])


def kept(function: Function) -> Function:
    """Cache a function that Numba compiles, if there is a folder that can be written."""
    dispatcher: Any = function
    if not vars(config)["DISABLE_JIT"] and folder(_room(dispatcher.py_func)):
        dispatcher._cache = _Kept(dispatcher.py_func)
    return function


@cache
def folder(room: Path) -> Path | None:
    """Where the functions of a room are kept, by what the room holds and by the processor.

    It is below the first of these that can be written: NUMBA_CACHE_DIR, the user's cache, and a folder beside
    this module. A function contains those of other modules that it calls: so the key covers the whole room.
    """
    code = b"".join(path.read_bytes() for path in sorted(room.glob("*.py")))
    processor: tuple[Any, ...] = cpu_target.target_context.codegen().magic_tuple()
    name = f"snrvae_{hashlib.sha256(code + repr(processor).encode()).hexdigest()[:16]}"
    users = user_folder()
    roots = [vars(config)["CACHE_DIR"], users and users / "compiled", Path(__file__).with_name("__pycache__")]
    for root in filter(None, roots):
        with suppress(OSError):
            path = Path(root) / name
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
            return path
    _tell()
    return None


@cache
def _tell() -> None:
    _LOG.warning("no folder for compiled code can be written: each run compiles; %s names one", VARIABLE)


def _room(function: Callable[..., object]) -> Path:
    return Path(function.__code__.co_filename).parent


class _Locator(UserWideCacheLocator):
    """Leads Numba to the folder."""

    def __init__(self, function: Callable[..., object], file: str):
        super().__init__(function, file)
        self._cache_path = str(folder(_room(function)))

    def ensure_cache_path(self) -> None:
        """Nothing: `folder` has made it, and saving says if it is gone."""


class _InFolder(CompileResultCacheImpl):
    _locator_classes: list[type[object]] = [_Locator]  # noqa: RUF012


class _Kept(FunctionCache):
    _impl_class = _InFolder

    def __init__(self, function: Callable[..., object]):
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _Checked(self._cache_path, self._impl.filename_base, stamp)


class _Checked(IndexDataCacheFile):
    """Numba's files, with digests at their ends: a file that does not fit its digest is not unpickled."""

    def save(self, key: object, data: object) -> None:
        """As Numba's, but a full disk does not end the run."""
        self._key = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        try:
            super().save(key, data)
        except OSError as error:
            _LOG.warning("%s: cannot be written (%s): each run compiles", self._index_path, error.strerror)

    def _data_name(self, number: int) -> str:  # noqa: ARG002
        """By what was compiled: the numbers of two processes that save at once can be the same."""
        return f"{self._index_name.removesuffix('.nbi')}.{self._key}.nbc"

    def _load_index(self) -> dict[object, str]:
        return super()._load_index() if _sound(self._index_path) else {}

    def _load_data(self, name: str) -> object:
        if not _sound(self._data_path(name)):
            raise FileNotFoundError
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[IO[bytes]]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(seal(_name(filepath), content.getvalue()))  # unpickling ignores the digest at the end


def _name(path: str) -> str:
    """The name under which a file is sealed: its folder and its own name."""
    return "/".join(Path(path).parts[-2:])


def _sound(path: str) -> bool:
    """Whether a file exists and fits its digest."""
    try:
        unseal(_name(path), Path(path).read_bytes())
    except OSError:
        return False
    except ValueError as error:
        _LOG.warning("%s: %s; it is made again", path, error)
        return False
    return True
