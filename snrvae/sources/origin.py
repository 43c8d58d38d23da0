"""Where points come from: a built-in law, a set that comes with the project, or a user's file.

`draw` gives a run's source and splits. All later code works in x', the normalised unit (normalisation.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from snrvae.sources import finite, mesh, normalisation, reading
from snrvae.sources.domain import Split, Words
from snrvae.sources.reading import Mesh, PointSet
from snrvae.sources.registry import SETS, SOURCES
from snrvae.sources.source import Rng, Source

LEAST_TEST = 600  # test points of a law: fewer measure generation too badly


def draw(
    name: str, counts: Mapping[str, int], stream: Callable[[str], Rng], raw: Path
) -> tuple[Source, dict[str, Split]]:
    """The source with this name in params.yaml (a file's path is below the folder `raw`), and its splits.

    Each split uses the random stream of its name: the size of one never changes another. A finite set that
    is smaller than the counts is split in their proportions. Raises ValueError, in one line, if the name, a
    count or a file is wrong.
    """
    if name in SOURCES:
        return SOURCES[name], _sampled(SOURCES[name], counts, stream)
    words, found = _opened(name, raw)
    if isinstance(found, Mesh):
        domain = mesh.domain(words, found.triangles)
        triangles = (found.triangles - domain.frame.centre) / domain.factor
        source = mesh.source(domain, triangles)
        return source, _sampled(source, counts, stream)
    return _split(words, found, counts, stream("order"))


def _opened(name: str, raw: Path) -> tuple[Words, PointSet | Mesh]:
    """The words for a set or a file, and its content. Raises ValueError."""
    if name in SETS:
        return Words(name, SETS[name].title, name, SETS[name].unit), SETS[name].open()
    path = PurePosixPath(name)
    if path.suffix.lower() not in reading.SUFFIXES:
        known = ", ".join([*SOURCES, *SETS])
        raise ValueError(
            f"params.yaml: source: {name} is wrong; expected {known}, or the path of a file below "
            f"{raw}/ ({', '.join(reading.SUFFIXES)})"
        )
    found = reading.read(raw / path, raw)
    images = isinstance(found, PointSet) and len(found.shape) > 1
    what = "surface" if isinstance(found, Mesh) else "images" if images else "points"
    return Words(name, f"the {what} in {name}", path.stem, "unit"), found


def _sampled(source: Source, counts: Mapping[str, int], stream: Callable[[str], Rng]) -> dict[str, Split]:
    if counts["test"] < LEAST_TEST:
        raise ValueError(
            f"params.yaml: data.test_points: {counts['test']} is wrong; "
            f"expected at least {LEAST_TEST} for {source.title}"
        )
    splits = {}
    for name, count in counts.items():
        try:
            splits[name] = source.split(count, stream(name))
        except ValueError as error:
            raise ValueError(f"params.yaml: data.{name}_points: {error}") from None
    return splits


def _split(
    words: Words, found: PointSet, counts: Mapping[str, int], rng: Rng
) -> tuple[Source, dict[str, Split]]:
    if len(found.names) == 1:  # a single label distinguishes nothing
        found = replace(found, label=None, names=())
    given = np.zeros(len(found.points), np.uint8) if found.label is None else found.label
    try:
        places = finite.split(given, found.names, finite.counts(len(found.points), counts), rng)
        frame = normalisation.of_points(found.points[places["train"]])
    except ValueError as error:
        raise ValueError(f"{words.name}: {error}") from None
    splits = {one: Split(frame.normalise(found.points[at]), given[at]) for one, at in places.items()}
    domain = finite.domain(words, found, frame, splits["train"])
    source = finite.source(domain, splits["train"])
    if found.label is None:  # labels are then sides of the mean
        splits = {one: Split(split.points, source.nearest(split.points)) for one, split in splits.items()}
        source = replace(source, known=splits["train"])
    return source, splits
