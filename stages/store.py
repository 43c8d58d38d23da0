"""The store: a folder that keeps trained and measured cells.

python -m stages.store           prints what is in it
python -m stages.store --clear   empties it
"""

import argparse
import os
import shutil
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

from snrvae.settings import cache
from stages import files

ENTRIES, COMPILED = "entries", "compiled"  # folders in the cache folder
TEMPORARY = ".part"
BOUND = "SNRVAE_CACHE_GB"
DEFAULT = 2.0
ROOM = 0.9  # share of the bound that stays full after the store exceeds it, so that the next entry has room


class Store(MutableMapping[str, bytes]):
    """Bytes by name, in files; if they exceed the bound, the least recently used are removed.

    A file is written under a temporary name and moved. A folder that cannot be read counts as empty.
    One that cannot be written is reported in a line on stderr, and stops nothing. Without a folder, nothing
    is kept.
    """

    def __init__(self, folder: Path | None, bound: float = DEFAULT * 1e9):
        self._folder, self._bound = folder, bound
        self._size: int | None = None  # bytes, once something is written
        self._lock = Lock()  # cells are measured in threads
        self._silent = folder is None

    def __getitem__(self, name: str) -> bytes:
        if self._folder is None:
            raise KeyError(name)
        path = self._folder / name
        try:
            data = path.read_bytes()
        except OSError:
            raise KeyError(name) from None
        with suppress(OSError):
            os.utime(path)  # used now
        return data

    def __setitem__(self, name: str, data: bytes) -> None:
        if self._folder is None:
            return
        temporary = self._folder / f"{name}.{uuid.uuid4().hex}{TEMPORARY}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(self._folder / name)
            with self._lock:
                self._bind(name, len(data))
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink()
            if not isinstance(error, OSError):
                raise
            self._report(error)

    def __delitem__(self, name: str) -> None:
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / name).unlink()

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in self.files())

    def __len__(self) -> int:
        return len(self.files())

    def files(self) -> list[os.DirEntry[str]]:
        """Every file, including partial files that killed processes left."""
        if self._folder is None:
            return []
        with suppress(OSError), os.scandir(self._folder) as entries:
            return [entry for entry in entries if entry.is_file()]
        return []

    def _bind(self, name: str, more: int) -> None:
        """Add `more` bytes, written under a name, to the size, and remove others if it exceeds the bound."""
        if self._size is None:
            self._size = sum(status.st_size for _, status in self._by_use())
        else:
            self._size += more
        if self._size > self._bound:
            by_use = self._by_use()
            self._size = sum(status.st_size for _, status in by_use)
            for path, status in by_use:
                if self._size <= ROOM * self._bound:
                    break
                if Path(path).name == name:  # by another clock it may look old
                    continue
                with suppress(OSError):
                    Path(path).unlink()
                    self._size -= status.st_size

    def _by_use(self) -> list[tuple[str, os.stat_result]]:
        """Paths and sizes, least recently used first."""
        found = []
        for entry in self.files():
            with suppress(FileNotFoundError):  # another process made room
                found.append((entry.path, entry.stat()))
        return sorted(found, key=lambda one: one[1].st_mtime_ns)

    def _report(self, error: OSError) -> None:
        if not self._silent:
            self._silent = True
            print(
                f"{self._folder}: cannot be written ({error.strerror}): cells are not kept; "
                f"{cache.VARIABLE} names another folder, or is {cache.OFF}",
                file=sys.stderr,
            )


def open_store() -> Store:
    """The user's store. Raises ValueError if its bound is no number."""
    folder, given = cache.folder(), os.environ.get(BOUND, f"{DEFAULT:g}")
    try:
        gigabytes = float(given)
        if not gigabytes >= 0:
            raise ValueError
    except ValueError:
        raise ValueError(f"{BOUND}: {given!r} is wrong; expected gigabytes, such as {DEFAULT:g}") from None
    return Store(None if folder is None else folder / ENTRIES, gigabytes * 1e9)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.store", description="What is kept between runs.")
    parser.add_argument("--clear", action="store_true", help="remove all of it")
    clear, folder = parser.parse_args().clear, cache.folder()
    if folder is None:
        sys.exit(f"nothing is kept: {cache.VARIABLE} is {cache.OFF}, or there is no home")
    kinds: dict[str, list[int]] = defaultdict(list)
    for entry in open_store().files():
        kind = "unfinished" if entry.name.endswith(TEMPORARY) else entry.name.partition("-")[0]
        kinds[kind].append(entry.stat().st_size)
    kinds["compiled"] = [path.stat().st_size for path in (folder / COMPILED).rglob("*") if path.is_file()]
    files.show(f"{folder}\n")
    for kind, sizes in sorted(kinds.items()):
        files.show(f"{kind:12}{len(sizes):8} files{sum(sizes) / 1e6:10.1f} MB\n")
    if clear:
        for part in filter(Path.exists, (folder / ENTRIES, folder / COMPILED)):
            shutil.rmtree(part)
        files.show("cleared\n")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"store: {error}")
