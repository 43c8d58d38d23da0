"""How pictures show a source: the part of space, and the lines of its shape.

A source needs no entry here: by default a picture shows its bounds with a margin, and no lines.
"""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

from snrvae.sources.domain import Array
from snrvae.sources.source import Source

Place = tuple[float, float, float]
MARGIN = 0.1  # of the distance between the bounds, at both ends
REACH = 3.9  # standard deviations to both sides of the mean, if there are no bounds


@dataclass(frozen=True)
class Drawing:
    """view     both ends of each axis of space
    outline  lines of the shape, each as the points that it joins
    corners  azimuth and elevation of the views from which it is looked at
    """

    view: tuple[float, float]
    outline: tuple[tuple[Place, ...], ...] = ()
    corners: tuple[tuple[float, float], ...] = ((35, 25), (215, -25))


def of(source: Source) -> Drawing:
    """How pictures show a source."""
    corners = Drawing.corners if source.coordinates == 3 else ((-90, 90),)
    return DRAWINGS.get(source.domain.name) or Drawing(default_view(source), corners=corners)


def in_space(points: Array) -> Array:
    """Points [n, k], k at most 3, as [n, 3]: a plane and a line lie in space."""
    return np.pad(points, ((0, 0), (0, 3 - points.shape[1])))


def default_view(source: Source) -> tuple[float, float]:
    """The bounds of a source with a margin; without finite bounds its mean ± 3.9 standard deviations."""
    if source.domain.bounds is not None:
        low, high = min(source.domain.bounds[0]), max(source.domain.bounds[1])
        margin = MARGIN * (high - low)
        return low - margin, high + margin
    reach = REACH * sqrt(source.variance)
    return min(source.domain.mean) - reach, max(source.domain.mean) + reach


def _circle(first: int, second: int) -> tuple[Place, ...]:
    """The unit circle through two axes."""
    around = np.zeros((73, 3))
    turn = np.linspace(0, 2 * pi, len(around))
    around[:, first], around[:, second] = np.cos(turn), np.sin(turn)
    return tuple((x, y, z) for x, y, z in around.tolist())


DRAWINGS = {
    "cube": Drawing(
        view=(-0.1, 1.1),
        outline=(
            ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 0),
             (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1), (0, 0, 1)),
            ((1, 0, 0), (1, 0, 1)),
            ((1, 1, 0), (1, 1, 1)),
            ((0, 1, 0), (0, 1, 1)),
        ),
    ),
    "sphere": Drawing(view=(-1.2, 1.2), outline=(_circle(0, 1), _circle(1, 2), _circle(2, 0))),
    "square": Drawing(
        view=(-0.1, 1.1),
        outline=(((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 0)),),
    ),
    "gaussian": Drawing(view=(-1.0, 2.0)),
}  # fmt: skip
