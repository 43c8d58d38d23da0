"""Arrays by name as an npz archive: the same arrays give the same bytes, and reading executes nothing."""

import io
import zipfile
import zlib
from collections.abc import Collection, Mapping
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


def to_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The archive of `arrays`."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def from_bytes(data: bytes) -> dict[str, NDArray[Any]]:
    """Inverse of to_bytes. Raises ValueError if `data` is anything else."""
    return from_file(io.BytesIO(data))


def from_file(file: BinaryIO, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of these names (None: all), read without a second copy of any in memory.

    Raises ValueError if `file` is not an archive that to_bytes can write.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = {_stem(member): member for member in archive.namelist()}
            wanted = members if names is None else [name for name in members if name in names]
            return {name: _array(archive, members[name]) for name in wanted}
    except (
        ValueError,
        EOFError,
        OSError,
        RuntimeError,
        MemoryError,
        OverflowError,
        TokenError,  # from a header that NumPy cannot read as Python
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"not a readable npz archive ({reason})") from None


def _stem(name: str) -> str:
    if not name.endswith(".npy"):
        raise ValueError(f"{name!r} is no array")
    return name.removesuffix(".npy")


def _array(archive: zipfile.ZipFile, member: str) -> NDArray[Any]:
    with archive.open(member) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read()  # to its end, where the checksum is compared
    return array
