"""Readers of the source and points that generate wrote, for stages that need more than training does."""

from pathlib import Path

from snrvae.settings.params import Params
from snrvae.sources import dataset, record
from snrvae.sources.domain import Split
from snrvae.sources.source import Source
from stages import files


def read_source(path: Path, settings: Params) -> Source:
    """The source in a source.npz. Raises ValueError if params.yaml has another."""
    found = files.read(path, record.from_bytes)
    files.of_settings(path, found.domain, settings)
    return found


def read_cube(path: Path, source: Source, settings: Params) -> dict[str, Split]:
    """The splits of a cube.npz. Raises ValueError if points or counts do not fit source and settings."""

    def decoded(data: bytes) -> dict[str, Split]:
        splits = dataset.from_bytes(source.domain, data, settings.data.counts)
        for name, split in splits.items():
            if not source.contains(split):
                raise ValueError(
                    f"{name}: points or labels that do not fit params.yaml, whose source is {source.title}"
                )
        return splits

    return files.read(path, decoded)
