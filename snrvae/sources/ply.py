"""The Polygon File Format: a header that describes elements and their properties, then numbers or bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snrvae.sources.polygons import TRIANGLES, Polygons

SCALARS = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
ORDERS = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
CORNERS = ("vertex_indices", "vertex_index")

Columns = Mapping[str, NDArray[Any] | list[NDArray[Any]]]


@dataclass
class Element:
    """`count` rows of properties: by name their type; for a list, the types of its length and its items."""

    name: str
    count: int
    properties: dict[str, tuple[str, ...]]


class Text:
    """A body of numbers as text; their types do not matter."""

    def __init__(self, body: bytes, line: int) -> None:
        """`line` is the number of the body's first line."""
        self.at = 0
        try:
            self.numbers = np.fromstring(body, sep=" ")
        except ValueError:
            raise ValueError(_no_number(body, line)) from None

    def take(self, _: str, count: int) -> NDArray[np.float64]:
        """The next `count` numbers. Raises EOFError."""
        values = self.numbers[self.at : self.at + count]
        if len(values) < count:
            raise EOFError
        self.at += count
        return values

    def left(self) -> str:
        """The numbers or bytes that are left, as a phrase for a message."""
        count = len(self.numbers) - self.at
        return f"{count} numbers" if count else ""

    def table(self, kinds: list[str], count: int) -> list[NDArray[np.float64]]:
        """The next `count` rows of a number of each kind, as columns."""
        return list(self.take("", count * len(kinds)).reshape(count, len(kinds)).T)


class Binary:
    """The body as bytes."""

    def __init__(self, body: bytes, order: str) -> None:
        """`order` is the byte order, < or >."""
        self.at, self.body, self.order = 0, body, order

    def take(self, kind: str | np.dtype[Any], count: int) -> NDArray[Any]:
        """The next `count` numbers of a kind. Raises EOFError."""
        dtype = np.dtype(self.order + kind) if isinstance(kind, str) else kind
        if count * dtype.itemsize > len(self.body) - self.at:
            raise EOFError
        values = np.frombuffer(self.body, dtype, count, self.at)
        self.at += values.nbytes
        return values

    def left(self) -> str:
        """The numbers or bytes that are left, as a phrase for a message."""
        count = len(self.body) - self.at
        return f"{count} bytes" if count else ""

    def table(self, kinds: list[str], count: int) -> list[NDArray[Any]]:
        """The next `count` rows of a number of each kind, as columns."""
        dtype = np.dtype([(str(place), self.order + kind) for place, kind in enumerate(kinds)])
        rows = self.take(dtype, count)
        return [rows[name] for name in dtype.names or ()]


def read(data: bytes) -> Polygons:
    """The vertices and faces of a .ply file; a file of points has no faces. Raises ValueError."""
    elements, form, body, line = _header(data)
    order = ORDERS[form]
    reader = Text(body, line) if order is None else Binary(body, order)
    vertices, sizes, corners = np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros(0, np.int64)
    for element in elements:
        columns = _columns(element, reader)
        if element.name == "vertex":
            vertices = _vertices(columns)
        elif element.name == "face" and element.count:
            sizes, corners = _faces(columns)
    if reader.left():
        raise ValueError(f"{reader.left()} more than the header describes; does it count every row?")
    return Polygons(vertices, sizes, corners)


def _header(data: bytes) -> tuple[list[Element], str, bytes, int]:
    """The elements, the format, the body, and the number of the body's first line."""
    elements: list[Element] = []
    form, at, line = "", 0, 0
    while True:
        end = data.find(b"\n", at)
        words = data[at:end].decode("latin-1").split() if end >= 0 else []
        at, line = end + 1, line + 1
        match words:
            case ["ply"] if line == 1:
                continue
            case _ if line == 1:
                raise ValueError("line 1: a .ply file begins with ply")
            case ["comment" | "obj_info", *_]:
                continue
            case ["format", found, *_] if found in ORDERS:
                form = found
            case ["element", name, count] if count.isdecimal() and len(count) < 20:
                elements.append(Element(name, int(count), {}))
            case ["property", "list", length, item, name] if elements and {length, item} <= SCALARS.keys():
                elements[-1].properties[name] = (SCALARS[length], SCALARS[item])
            case ["property", kind, name] if elements and kind in SCALARS:
                elements[-1].properties[name] = (SCALARS[kind],)
            case ["end_header"] if form:
                return elements, form, data[at:], line + 1
            case _:
                raise ValueError(
                    f"line {line}: {' '.join(words)[:60]!r}; a header has the lines format, element, "
                    "property with types of the format, and end_header"
                )


def _columns(element: Element, reader: Text | Binary) -> Columns:
    """The values of every property of an element: an array, or for a list an array in each row."""
    kinds, place = element.properties, element.name
    if element.count and not kinds:
        raise ValueError(f"element {element.name}: no property; a row needs one")
    try:
        if all(len(kind) == 1 for kind in kinds.values()):
            table = reader.table([kind for (kind,) in kinds.values()], element.count)
            return dict(zip(kinds, table, strict=True))
        if element.count > TRIANGLES:
            raise ValueError(f"{element.count} rows of {element.name}; at most {TRIANGLES} are possible")
        lists: dict[str, list[NDArray[Any]]] = {name: [] for name in kinds}
        for row in range(element.count):
            place = f"{element.name} {row + 1}"
            for name, kind in kinds.items():
                length = float(reader.take(kind[0], 1)[0]) if len(kind) == 2 else 1.0
                if length < 0 or not length.is_integer():
                    raise ValueError(f"{place}: a list of {length:g} items; is a number missing?")
                lists[name].append(reader.take(kind[-1], int(length)))
    except EOFError:
        raise ValueError(
            f"{place}: the file ends before the {element.count} rows of this element; is it complete?"
        ) from None
    return lists


def _vertices(columns: Columns) -> NDArray[np.float64]:
    missing = [name for name in "xyz" if not isinstance(columns.get(name), np.ndarray)]
    if missing:
        raise ValueError(f"vertex: no property {missing[0]}; a vertex needs x, y and z")
    return np.stack([np.asarray(columns[name], np.float64) for name in "xyz"], 1)


def _faces(columns: Columns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = next((columns[name] for name in CORNERS if name in columns), None)
    if not isinstance(rows, list):
        raise ValueError("face: no list vertex_indices; a face needs one")
    sizes = np.array([len(row) for row in rows])
    corners = np.concatenate(rows).astype(np.float64)
    wrong = (corners != np.rint(corners)) | (np.abs(corners) > 2.0**53)  # NaN is
    if wrong.any():
        face = int(np.searchsorted(np.cumsum(sizes), wrong.argmax(), side="right"))
        raise ValueError(f"face {face + 1}: {corners[wrong][0]:g}; vertices are numbered by integers")
    return sizes, corners.astype(np.int64)


def _no_number(body: bytes, first: int) -> str:
    for line, text in enumerate(body.decode("latin-1").split("\n"), first):
        for word in text.split():
            try:
                float(word)
            except ValueError:
                return f"line {line}: {word[:40]!r} is no number"
    return "the numbers after the header are not readable"
