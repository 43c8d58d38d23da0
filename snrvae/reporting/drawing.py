"""How pictures show a source: the places of its points, the part of space, and the lines of its shape.

Up to three coordinates are shown as they are, in the source's own unit; if there are more, the first three
principal components are shown. If there is one, points are piled up, so that a cloud is a histogram. Images
are shown as images. A source needs no entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import pi, sqrt
from pathlib import PurePosixPath

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from snrvae.sources.domain import Array
from snrvae.sources.registry import SETS
from snrvae.sources.source import Source

Corner = tuple[float, float, float]
Place = Callable[[Array], NDArray[np.float64]]
Ends = tuple[float, float]
MARGIN = 0.1  # of the distance between the bounds, at both ends
REACH = 3.9  # standard deviations to both sides of the mean, if there are no bounds
TAIL = 0.001  # share of a file's points, at both ends, that do not widen the picture
THINNEST = 0.1  # an axis is shown at least as wide as this part of the widest
BINS, PEAK, TOP = 60, 0.4, 0.7  # of a heap: its columns; its height, and the picture's, to its width
Y_UP = ".obj"  # by convention y points upwards; in other files z does


@dataclass(frozen=True)
class Drawing:
    """view     both ends of each axis of the picture: one for a plane's two, or space's three
    names    of these axes
    place    points x' [n, k] → their places in the picture [n, axes]
    ticks    of each axis
    outline  lines of the shape, each as the points that it joins
    corners  azimuth and elevation of each view
    """

    view: tuple[Ends, ...]
    names: tuple[str, ...]
    place: Place
    ticks: tuple[list[float] | list[int], ...]
    outline: tuple[tuple[Corner, ...], ...] = ()
    corners: tuple[Ends, ...] = ((35, 25), (215, -25))

    @property
    def space(self) -> bool:
        """Whether the picture has three axes."""
        return len(self.view) == 3

    @property
    def widths(self) -> NDArray[np.float64]:
        """The widths of the axes, in one scale."""
        return np.ptp(np.array(self.view), axis=1)


@lru_cache(1)
def of(source: Source) -> Drawing:
    """The drawing of a source."""
    name, k = source.domain.name, source.coordinates
    place: Place = source.domain.frame.restore
    names, order = ("x", "y", "z"), [0, 1, 2][:k]
    if k == 1:
        return _heap(source)
    if k > 3:  # the widest axis is horizontal
        names, order = ("component 1", "component 2", "component 3"), [1, 0, 2]
        place = _components(source)
    if source.triangles is not None and name.lower().endswith(Y_UP):
        order = [2, 0, 1]
    view = (VIEWS[name],) * k if name in VIEWS else default_view(source, place)
    return Drawing(
        view=tuple(view[axis] for axis in order),
        names=tuple(names[axis] for axis in order),
        place=lambda points: place(points)[:, order],
        ticks=tuple([*map(round, view[axis])] if name in VIEWS else _ticks(view[axis]) for axis in order),
        outline=OUTLINES.get(name, ()),
    )


def images(source: Source) -> bool:
    """Whether points are images."""
    return len(source.domain.shape) == 2


def flat(source: Source) -> bool:
    """Whether a picture has no depth."""
    return images(source) or not of(source).space


def ratio(source: Source) -> float:
    """The ratio of a picture's height to its width; at most what a page has room for."""
    if images(source):
        return source.domain.shape[0] / source.domain.shape[1]
    wide, high = of(source).widths[:2]
    return 1.0 if of(source).space else float(np.clip(high / wide, 0.3, 1.6))


def called(source: Source) -> tuple[str, str]:
    """A source's names in a heading and in a sentence: a cube, the cube; a file has its own name."""
    name = PurePosixPath(source.domain.name)
    if name.suffix:
        return name.name, name.name
    return ("the " if name.name in SETS else "a ") + source.noun, f"the {source.noun}"


def directions(source: Source) -> str:
    """The directions in which the side of the mean is a point's label."""
    if source.coordinates > 3:
        return "the first three principal components"
    return ", ".join("xyz"[: len(source.axes)])


def default_view(source: Source, place: Place) -> tuple[Ends, ...]:
    """The bounds of a source, or of nearly all known points, with a margin; else mean ± 3.9 deviations."""
    margin = MARGIN
    if source.domain.bounds is not None and source.coordinates <= 3:
        low, high = place(np.array(source.domain.bounds))
    elif source.known is not None:
        places = place(source.known.points)
        low, high = np.quantile(places, (TAIL, 1 - TAIL), axis=0)
        if not (high > low).any():  # nearly all points are the same
            low, high = places.min(0), places.max(0)
    else:
        reach = REACH * sqrt(source.variance) * np.array([[-1.0], [1.0]])
        (low, high), margin = place(np.array(source.domain.mean) + reach), 0.0
    middle, half = (low + high) / 2, (0.5 + margin) * (high - low)
    half = np.maximum(half, THINNEST * half.max())
    return tuple(zip((middle - half).tolist(), (middle + half).tolist(), strict=True))


def _components(source: Source) -> Place:
    """Principal components in the source's own unit, relative to the mean."""
    return lambda points: source.domain.factor * source.in_axes(points)


def _heap(source: Source) -> Drawing:
    """Points of one coordinate, piled up in columns."""
    restore = source.domain.frame.restore
    ((low, high),) = default_view(source, restore)
    width = high - low

    def pile(points: Array, scale: float) -> NDArray[np.float64]:
        values = restore(points)[:, 0]
        column = np.floor((values - low) / width * BINS)
        order = np.argsort(column, kind="stable")
        _, first, of_column = np.unique(column[order], return_index=True, return_inverse=True)
        below = np.empty(len(values))
        below[order] = np.arange(len(values)) - first[of_column]  # points of the same column
        return np.stack([values, scale * below / len(values)], 1)

    known = source.known
    highest = 4 / BINS if known is None else pile(known.points, 1.0)[:, 1].max()
    scale = PEAK * width / max(highest, 1e-9)
    view = ((low, high), (-0.02 * width, TOP * width))
    return Drawing(view, ("x", "how many"), lambda points: pile(points, scale), (_ticks(view[0]), []))


def _ticks(ends: Ends) -> list[float]:
    """A few round numbers within both ends."""
    return [tick for tick in map(float, MaxNLocator(3).tick_values(*ends)) if ends[0] <= tick <= ends[1]]


def _circle(first: int, second: int) -> tuple[Corner, ...]:
    """The unit circle through two axes."""
    around = np.zeros((73, 3))
    turn = np.linspace(0, 2 * pi, len(around))
    around[:, first], around[:, second] = np.cos(turn), np.sin(turn)
    return tuple((x, y, z) for x, y, z in around.tolist())


VIEWS: dict[str, Ends] = {
    "cube": (-0.1, 1.1),
    "sphere": (-1.2, 1.2),
    "square": (-0.1, 1.1),
    "circle": (-1.2, 1.2),
    "gaussian": (-1.0, 2.0),
}
OUTLINES: dict[str, tuple[tuple[Corner, ...], ...]] = {
    "cube": (
        ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 0),
         (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1), (0, 0, 1)),
        ((1, 0, 0), (1, 0, 1)),
        ((1, 1, 0), (1, 1, 1)),
        ((0, 1, 0), (0, 1, 1)),
    ),
    "sphere": (_circle(0, 1), _circle(1, 2), _circle(2, 0)),
    "square": (((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 0)),),
    "circle": (_circle(0, 1),),
}  # fmt: skip
