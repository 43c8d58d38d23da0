"""The file source.npz: all that later stages need to know about a source."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snrvae.sources import domain, finite, mesh, npz
from snrvae.sources.domain import Split
from snrvae.sources.registry import SOURCES
from snrvae.sources.source import Source


def to_bytes(source: Source) -> bytes:
    """The domain as JSON, with a mesh's triangles x', or an unknown law's training points x' and labels."""
    arrays: dict[str, NDArray[Any]] = {"domain": np.frombuffer(domain.to_json(source.domain), np.uint8)}
    if source.triangles is not None:
        arrays["triangles"] = source.triangles
    if source.known is not None:
        arrays |= {"points": source.known.points, "label": source.known.label}
    return npz.to_bytes(arrays)


def from_bytes(data: bytes) -> Source:
    """Inverse of to_bytes. Raises ValueError if `data` is anything else."""
    arrays = npz.from_bytes(data)
    found = domain.of_arrays(arrays)
    match sorted(set(arrays) - {"domain"}):
        case [] if found.name in SOURCES and SOURCES[found.name].domain == found:
            return SOURCES[found.name]
        case ["triangles"] if not found.finite and _is(arrays["triangles"], np.float64, (3, 3)):
            return mesh.source(found, arrays["triangles"])
        case ["label", "points"] if found.finite and _is(arrays["points"], np.float32, (found.coordinates,)):
            known = Split(arrays["points"], arrays["label"])
            labelled = known.label.dtype == np.uint8 and known.label.shape == known.points.shape[:1]
            if labelled and found.contains(known):
                return finite.source(found, known)
    raise ValueError(f"lacks arrays of {found.title}, or has others")


def _is(array: NDArray[Any], kind: type, shape: tuple[int, ...]) -> bool:
    """Whether an array holds finite numbers of this kind, in rows of this shape."""
    return bool(array.dtype == kind and array.shape[1:] == shape and len(array) and np.isfinite(array).all())
