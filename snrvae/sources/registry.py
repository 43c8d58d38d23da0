"""The sources that come with the project, by their names in params.yaml.

A built-in law is a module of this folder with a SOURCE. A new law is a new module, and a line here.
"""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from snrvae.sources import digits, terrain
from snrvae.sources.reading import Mesh, PointSet
from snrvae.sources.source import Source


class Set(NamedTuple):
    """Points or a surface that come with the project's packages: a title, the unit of length, the content."""

    title: str
    unit: str
    open: Callable[[], PointSet | Mesh]


NAMES = (
    "cube",
    "sphere",
    "square",
    "gaussian",
    "circle",
)
SOURCES: dict[str, Source] = {name: import_module(f"snrvae.sources.{name}").SOURCE for name in NAMES}
SETS = {
    "digits": Set("handwritten digits of 8 × 8 pixels", "grey level", digits.points),
    "terrain": Set(
        "the land around Jacksboro, Tennessee, its heights five times as high", "metre", terrain.surface
    ),
}
