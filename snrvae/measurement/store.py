"""The store of measurements: each is kept under a digest of codec, points, code and processor."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from snrvae.codecs import files
from snrvae.codecs.codec import Codec
from snrvae.limit import shannon
from snrvae.limit.shannon import RateDistortionTable
from snrvae.settings import cache, fingerprint
from snrvae.sources import record
from snrvae.sources.domain import Split
from snrvae.sources.source import Source

Record = TypeVar("Record")
Arrays = dict[str, NDArray[Any]]

KIND = "measure"
ROOMS = ("codecs", "limit", "measurement", "settings", "sources")
_CODE = cache.code(ROOMS)  # as it was loaded
_LOG = logging.getLogger(__name__)


class Kept:
    """Records that follow from these arguments, kept in `entries`, a mapping from names to bytes."""

    def __init__(
        self,
        entries: MutableMapping[str, bytes],
        splits: Mapping[str, Split],
        source: Source,
        table: RateDistortionTable,
        seed: int,
    ):
        said = [_CODE, fingerprint.kind(), version("scikit-learn"), shannon.to_csv(table), seed, *splits]
        digest = hashlib.sha256(json.dumps(said).encode() + record.to_bytes(source))
        for array in (array for split in splits.values() for array in (split.points, split.label)):
            digest.update(f"{array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
        self._entries, self._context = entries, digest.hexdigest()

    def find(
        self, what: str, codec: Codec | None, kind: type[Record], measure: Callable[[], Record]
    ) -> Record:
        """The kept record of a codec; if there is none, `measure` makes one, and it is kept."""
        named = b"" if codec is None else files.to_bytes({"": codec})
        name = f"{KIND}-{hashlib.sha256(f'{self._context} {what} '.encode() + named).hexdigest()}"
        if (data := self._entries.get(name)) is not None:
            try:
                return from_bytes(kind, cache.unseal(name, data))
            except ValueError as error:
                _LOG.warning("store: %s: %s; it is dropped, and measured again", name, error)
                del self._entries[name]
        found = measure()
        self._entries[name] = cache.seal(name, to_bytes(found))
        return found


def to_bytes(record: object) -> bytes:
    """A record as safetensors: its arrays, and its numbers as JSON."""
    arrays: Arrays = {}
    numbers = _numbers(record, "record", arrays)
    return safetensors.numpy.save(arrays, {"record": json.dumps(numbers, default=lambda value: value.item())})


def from_bytes(record: type[Record], data: bytes) -> Record:
    """Inverse of to_bytes. Raises ValueError if `data` is anything else."""
    try:
        arrays = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        numbers = json.loads(header["__metadata__"]["record"])
        found: Record = _record(record, numbers, "record", arrays)
    except (safetensors.SafetensorError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record ({error!r:.100})") from None
    return found


def _numbers(value: Any, path: str, arrays: Arrays) -> Any:
    """A value with each array replaced by its path; the arrays are put into `arrays`."""
    if isinstance(value, np.ndarray):
        arrays[path] = np.ascontiguousarray(value)
        return path
    if is_dataclass(value):
        return {f.name: _numbers(getattr(value, f.name), f"{path}/{f.name}", arrays) for f in fields(value)}
    return value


def _record(kind: Any, numbers: Any, path: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Inverse of _numbers, for a value of type `kind`."""
    if isinstance(numbers, dict):
        made: Any = next(each for each in (kind, *get_args(kind)) if is_dataclass(each))
        hints = get_type_hints(made)
        return made(**{n: _record(hints[n], v, f"{path}/{n}", arrays) for n, v in numbers.items()})
    return arrays[path] if numbers == path else numbers
