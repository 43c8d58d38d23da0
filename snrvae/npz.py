"""Arrays by name as an npz archive: the same arrays give the same bytes, and reading executes nothing."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The archive of `arrays`."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def from_bytes(data: bytes) -> dict[str, NDArray[Any]]:
    """Inverse of to_bytes. Raises ValueError where `data` is anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {_stem(name): _array(archive.read(name)) for name in archive.namelist()}
    except (
        ValueError,
        EOFError,
        OSError,
        RuntimeError,
        MemoryError,
        OverflowError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"not a readable npz archive ({reason})") from None


def _stem(name: str) -> str:
    if not name.endswith(".npy"):
        raise ValueError(f"{name!r} is no array")
    return name.removesuffix(".npy")


def _array(data: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return array
