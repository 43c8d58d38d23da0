"""The source and its points, as generate wrote them, for stages that ask for more than training does."""

from pathlib import Path

from snrvae.settings.params import Params
from snrvae.sources import dataset, record
from snrvae.sources.domain import Split
from snrvae.sources.source import Source
from stages import files


def read_source(path: Path, settings: Params) -> Source:
    """The source in a source.npz, if it is the settings'."""
    found = files.read(path, record.from_bytes)
    files.of_settings(path, found.domain, settings)
    return found


def read_cube(path: Path, source: Source, settings: Params) -> dict[str, Split]:
    """The splits of a cube.npz, if their points are the source's, and as many as the settings say."""

    def decoded(data: bytes) -> dict[str, Split]:
        splits = dataset.from_bytes(source.domain, data, settings.data.counts)
        for name, split in splits.items():
            if not source.contains(split):
                raise ValueError(
                    f"{name}: points or labels that do not fit params.yaml, whose source is {source.title}"
                )
        return splits

    return files.read(path, decoded)
