"""The facts that a codec needs about its source (`Domain`, kept in source.npz), and points (`Split`).

Codecs receive x' = (x - centre) / factor, so that a file's unit and position do not matter. For a built-in
source the centre is 0 and the factor 1.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from snrvae.sources import npz
from snrvae.sources.normalisation import Frame

Array = NDArray[np.floating]
Points = NDArray[np.float32]  # [n, k]
Labels = NDArray[np.uint8]  # [n]
Bounds = tuple[tuple[float, ...], tuple[float, ...]]

SHOWN = 3  # axes of space that are drawn, at most


@dataclass(frozen=True)
class Split:
    """Points x' [n, k] of a source and the label [n] that each was drawn with."""

    points: Points
    label: Labels


@dataclass(frozen=True)
class Domain:
    """A source as codecs know it. All lengths but centre and factor are in the unit of x'.

    name      as params.yaml has it
    title     its name in a sentence;  noun  its name in a heading
    unit      unit of length of x
    centre    of x [k];  factor  the length of x' = 1 in the unit of x
    shape     of a point: (k,), or (h, w) of an image, whose rows follow each other
    mean      of x' [k]
    bounds    lowest and highest value of each coordinate, to which reconstructions are clipped; None without
    spread    E|x' - E x'|²;  left_open  its mean within a label
    labels    names of the labels;  shares  their shares of the points, if these are not equal
    labelled  whether a codec may receive the labels; if not, they only name sides of the mean
    closed    whether points lie on a closed surface around their mean
    finite    whether there is a finite set of points
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    name: str
    title: str
    noun: str
    unit: str
    centre: tuple[float, ...]
    factor: float
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    bounds: Bounds | None
    spread: float
    left_open: float
    labels: tuple[str, ...]
    shares: tuple[float, ...] = ()
    labelled: bool = False
    closed: bool = False
    finite: bool = False

    def __post_init__(self) -> None:
        rows = [self.centre, self.mean, *(self.bounds or ())]
        sizes = {len(row) for row in rows} | {math.prod(self.shape)}
        numbers = [self.factor, self.spread, *(value for row in rows for value in row)]
        if len(sizes) != 1 or not all(map(math.isfinite, numbers)) or not self.factor > 0 or not self.labels:
            raise ValueError("sizes that differ, or numbers that are not finite")
        if not all(map(str.isprintable, [self.name, self.title, self.noun, self.unit, *self.labels])):
            raise ValueError("a name with a character that cannot be printed")

    @property
    def coordinates(self) -> int:
        """Coordinates of a point, k."""
        return len(self.mean)

    @cached_property
    def frame(self) -> Frame:
        """The frame that converts x to x' and back."""
        return Frame(np.array(self.centre), self.factor)

    def num_classes(self, conditional: bool) -> int:
        """Labels that a codec receives. Raises ValueError if a conditional one would receive none."""
        if conditional and not self.labelled:
            raise ValueError(
                f"params.yaml: conditional: source {self.name} has no labels; expected false, "
                "or a source with labels, such as cube or digits"
            )
        return len(self.labels) if conditional else 0

    def contains(self, split: Split) -> bool:
        """Whether this source can have such points and labels."""
        points, label = split.points, split.label
        if not np.isfinite(points).all() or label.max() >= len(self.labels):
            return False
        if self.bounds is None:
            return True
        low, high = np.array(self.bounds, np.float32)
        return bool((points >= low).all() and (points <= high).all())


class Words(NamedTuple):
    """What a source is called, and its unit of length; as in Domain."""

    name: str
    title: str
    noun: str
    unit: str

    def domain(self, frame: Frame, **more: Any) -> Domain:
        """The domain of a source with these words in a frame."""
        return Domain(**self._asdict(), centre=tuple(frame.centre.tolist()), factor=frame.factor, **more)


def law(mean: tuple[float, ...], bounds: tuple[float, float] | None, spread: float, **more: Any) -> Domain:
    """The domain of a built-in source with the same bounds for every coordinate; x' is x."""
    k = len(mean)
    every = None if bounds is None else ((bounds[0],) * k, (bounds[1],) * k)
    place: dict[str, Any] = {
        "centre": (0.0,) * k,
        "factor": 1.0,
        "shape": (k,),
        "mean": mean,
        "bounds": every,
    }
    return Domain(**place, **({"spread": spread, "left_open": spread} | more))


def sides(axes: int) -> tuple[str, ...]:
    """The names of the parts of space about the mean, the first of the axes changing fastest."""
    return tuple(" ".join(reversed(signs)) for signs in product("−+", repeat=axes))


SCHEMA = TypeAdapter(Domain)


def to_json(domain: Domain) -> bytes:
    """A domain as JSON."""
    return SCHEMA.dump_json(domain)


def from_json(text: str | bytes) -> Domain:
    """Inverse of to_json. Raises ValueError if the text is anything else."""
    try:
        return SCHEMA.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"describes no source ({place}: {first['msg']})") from None


def from_archive(archive: BinaryIO) -> Domain:
    """The domain in a source.npz, without its other arrays. Raises ValueError if there is none."""
    return of_arrays(npz.from_file(archive, ("domain",)))


def of_arrays(arrays: dict[str, NDArray[Any]]) -> Domain:
    """The domain among the arrays of a source.npz. Raises ValueError if there is none."""
    if "domain" not in arrays or arrays["domain"].dtype != np.uint8:
        raise ValueError("describes no source")
    return from_json(arrays["domain"].tobytes())
