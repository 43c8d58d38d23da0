"""The files kept between runs: in one folder for all clones of a user, each with a digest."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import platformdirs

VARIABLE = "SNRVAE_CACHE"
OFF = "off"


def folder() -> Path | None:
    """The folder SNRVAE_CACHE, or `snr-vae` in the user's cache; None if it is `off` or there is no home."""
    named = os.environ.get(VARIABLE, "")
    if named.strip().lower() == OFF:
        return None
    try:
        if named:
            return Path(named).expanduser().absolute()
        return platformdirs.user_cache_path("snr-vae", appauthor=False)
    except RuntimeError:  # no home
        return None


def code(rooms: Iterable[str]) -> str:
    """A digest of the paths and contents of these folders and files, and of snrvae's top-level modules."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    named = [root / room for room in rooms]
    files = [file for path in named for file in ([path] if path.suffix else path.rglob("*.py"))]
    for path in sorted([*root.glob("*.py"), *files]):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)} ".encode() + content)
    return digest.hexdigest()


def seal(name: str, data: bytes) -> bytes:
    """The bytes to keep under a name: the data, and a digest of name and data."""
    return data + hashlib.sha256(name.encode() + b"\0" + data).digest()


def unseal(name: str, kept: bytes) -> bytes:
    """Inverse of seal. Raises ValueError for anything else, before any of it is interpreted."""
    data = kept[: -hashlib.sha256().digest_size]
    if seal(name, data) != kept:
        raise ValueError("damaged or foreign")
    return data
