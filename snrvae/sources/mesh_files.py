"""Readers of surfaces: .obj, .off, .ply and .stl. Errors name the place of a fault.

They read positions and faces, and skip normals, colours, textures, materials and groups.
"""

from array import array
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np

from snrvae.sources import ply
from snrvae.sources.polygons import Polygons

OFF = {
    f"{texture}{colour}{normal}OFF" for texture in ("", "ST") for colour in ("", "C") for normal in ("", "N")
}
FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
STL_HEADER = 84  # bytes, the last four of which count the facets


def obj(data: bytes) -> Polygons:
    """Wavefront OBJ: `v x y z` and `f i/t/n ...`, vertices count from 1, or back from −1, the last."""
    vertices, sizes, corners = array("d"), array("q"), array("q")
    for line, (word, *rest) in _lines(data.replace(b"\\\n", b"  ").replace(b"\\\r\n", b"   ")):
        if word == "v":
            vertices.extend(_position(rest, line))
        elif word == "f":
            face = [_integer(corner.partition("/")[0], line) for corner in rest]
            last = len(vertices) // 3
            corners.extend(i - 1 if i > 0 else last + i if i < 0 else -1 for i in face)
            sizes.append(len(face))
    return _polygons(vertices, sizes, corners)


def off(data: bytes) -> Polygons:
    """Object File Format: the numbers of vertices and faces, then a line for each of them."""
    lines = _lines(data)
    line, (word, *words) = next(lines, (1, [""]))
    if word not in OFF:
        raise ValueError(f"line {line}: {word[:40]!r}; a .off file begins with OFF")
    if not words:
        line, words = next(lines, (line, []))
    counts = [_integer(word, line) for word in words[:2]]
    if len(counts) < 2 or min(counts) < 0:
        raise ValueError(f"line {line}: the numbers of vertices and faces must follow OFF")
    vertices, sizes, corners = array("d"), array("q"), array("q")
    rows = 0
    for rows, (line, words) in enumerate(lines, 1):
        if rows <= counts[0]:
            vertices.extend(_position(words, line))
            continue
        size = _integer(words[0], line)
        if not 0 <= size < len(words):
            raise ValueError(f"line {line}: {size} corners, but {len(words) - 1} numbers follow")
        sizes.append(size)
        corners.extend(_integer(word, line) for word in words[1 : size + 1])
    if rows != sum(counts):
        raise ValueError(
            f"line {line}: the file ends after {rows} rows; {counts[0]} vertices and {counts[1]} faces "
            "need one each: is it complete?"
        )
    return _polygons(vertices, sizes, corners)


def stl(data: bytes) -> Polygons:
    """Stereolithography: binary if the size fits the number of facets in the header, or else text."""
    claimed = int.from_bytes(data[STL_HEADER - 4 : STL_HEADER], "little")
    if len(data) == STL_HEADER + claimed * FACET.itemsize:
        vertices = np.frombuffer(data, FACET, offset=STL_HEADER)["corners"].reshape(-1, 3)
    elif data[:5].lower() == b"solid":
        vertices = np.array(_stl_text(data), np.float64).reshape(-1, 3)
    else:
        raise ValueError(
            f"{len(data)} bytes; a binary .stl of {claimed} facets, as the header counts, "
            f"has {STL_HEADER + claimed * FACET.itemsize}, and text begins with solid"
        )
    sizes = np.full(len(vertices) // 3, 3)
    return Polygons(vertices.astype(np.float64), sizes, np.arange(len(vertices)))


def _stl_text(data: bytes) -> "array[float]":
    vertices = array("d")
    facets, word, line = 0, "", 1
    for line, (word, *rest) in _lines(data, comments=False):
        word = word.lower()  # noqa: PLW2901
        if word == "vertex":
            vertices.extend(_position(rest, line))
        elif word == "endfacet":
            facets += 1
            if len(vertices) != 9 * facets:
                raise ValueError(f"line {line}: facet {facets} has not three corners")
    if word != "endsolid" or len(vertices) != 9 * facets:
        raise ValueError(f"line {line}: the file ends; its last line must be endsolid: is it complete?")
    return vertices


def _lines(data: bytes, comments: bool = True) -> Iterator[tuple[int, list[str]]]:
    """The words of each line that is not empty, with its number in the file."""
    for number, line in enumerate(BytesIO(data), 1):
        text = line.decode("latin-1")
        words = (text.partition("#")[0] if comments else text).split()
        if words:
            yield number, words


def _position(words: list[str], line: int) -> list[float]:
    try:
        x, y, z = map(float, words[:3])
    except ValueError:
        found = " ".join(words)[:40]
        raise ValueError(f"line {line}: a vertex at {found!r}; it needs three numbers") from None
    return [x, y, z]


def _integer(word: str, line: int) -> int:
    try:
        value = int(word)
    except ValueError:
        value = 2**63
    if abs(value) >= 2**62:
        raise ValueError(f"line {line}: {word[:40]!r}; vertices are numbered by integers") from None
    return value


def _polygons(vertices: "array[float]", sizes: "array[int]", corners: "array[int]") -> Polygons:
    positions = np.array(vertices, np.float64).reshape(-1, 3)
    return Polygons(positions, np.array(sizes, np.int64), np.array(corners, np.int64))


READERS: dict[str, Callable[[bytes], Polygons]] = {".ply": ply.read, ".obj": obj, ".stl": stl, ".off": off}
