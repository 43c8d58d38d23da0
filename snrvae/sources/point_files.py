"""Readers of points: .npy, .npz and .csv. A header is believed only if the size agrees."""

import csv
import warnings
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = 2**27  # in a file, at most: 1 GiB of float64
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
KINDS = {"f": "floats", "i": "integers", "u": "integers", "b": "booleans"}
UNREADABLE = (
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Table:
    """The content of a file of points, not checked.

    points  [n, k] or images [n, h, w]
    words   the label of each point as text, or None
    place   (row, column; None: the label) → the place's name in the file; both count from 0
    """

    points: NDArray[Any]
    words: list[str] | None
    place: Callable[[int, int | None], str]


def npy(file: Path) -> Table:
    """The array of a .npy file. Raises ValueError."""
    with file.open("rb") as stream:
        return _of_arrays("array", _array(stream, file.stat().st_size, "array"), None)


def npz(file: Path) -> Table:
    """The array `points` of a .npz file, or its only array, and the array `label`. Raises ValueError."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            chosen = _chosen(names)
            label = _member(archive, "label") if "label" in names else None
            return _of_arrays(chosen, _member(archive, chosen), label)
    except UNREADABLE as error:
        raise ValueError(f"not a readable .npz archive ({error}); write it with numpy.savez") from None


def _chosen(names: set[str]) -> str:
    others = names - {"label"}
    if "points" in others:
        return "points"
    if len(others) != 1:
        found = ", ".join(sorted(others)) or "no array"
        raise ValueError(f"holds {found}; one array must have the name `points`")
    return others.pop()


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as stream:
        return _array(stream, member.file_size, name)


def _array(stream: IO[bytes], size: int, name: str) -> NDArray[Any]:
    """The array of a stream of `size` bytes, which is read only if its header agrees with the size."""
    try:
        with warnings.catch_warnings(action="error"):  # NumPy warns about a header that it repairs
            shape, _, dtype = HEADERS[np.lib.format.read_magic(stream)](stream)
    except (KeyError, ValueError, TokenError, Warning, *UNREADABLE) as error:
        raise ValueError(f"{name} is no array of numbers ({error}); write it with numpy.save") from None
    if dtype.kind not in KINDS and not (name == "label" and dtype.kind in "US"):
        raise ValueError(f"{name} holds {dtype}; it must hold real numbers, such as float64")
    if not 0 <= prod(shape) <= NUMBERS:
        raise ValueError(f"{name} has the shape {list(shape)}; at most {NUMBERS} numbers are possible")
    if stream.tell() + prod(shape) * dtype.itemsize != size:
        raise ValueError(
            f"{name} of {dtype} {list(shape)} takes {prod(shape) * dtype.itemsize} bytes, "
            f"but {size - stream.tell()} follow its header; is the file complete?"
        )
    stream.seek(0)
    values: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return values


def _of_arrays(name: str, points: NDArray[Any], label: NDArray[Any] | None) -> Table:
    if points.ndim not in (2, 3):
        raise ValueError(f"{name} has the shape {list(points.shape)}; points are [n, k] and images [n, h, w]")
    if label is not None and label.shape != points.shape[:1]:
        raise ValueError(
            f"label has the shape {list(label.shape)}; it must be [{len(points)}], as the points"
        )

    def place(row: int, column: int | None) -> str:
        if column is None:
            return f"label[{row}]"
        index = [row, *map(int, np.unravel_index(column, points.shape[1:]))]
        return f"{name}{index}"

    if label is None:
        return Table(points, None, place)
    words = label.astype(str) if label.dtype.kind in "US" else label
    return Table(points, [str(word) for word in words.tolist()], place)


def csv_table(file: Path) -> Table:
    """The numbers of a .csv file, and the words of its column `label`. Raises ValueError."""
    numbers, lines, words = array("d"), array("q"), list[str]()
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = _rows(stream)
        line, first = next(rows, (0, []))
        names = _header(line, first)
        if names is None:
            names, rows = [""] * len(first), _before(line, first, rows)
        labels = [place for place, name in enumerate(names) if name.lower() == "label"]
        if len(labels) > 1:
            raise ValueError(f"row {line}: {len(labels)} columns have the name label; only one may")
        for line, row in rows:
            if len(row) != len(names):
                raise ValueError(f"row {line}: {len(row)} columns; the first row has {len(names)}")
            if labels:
                words.append(row.pop(labels[0]).strip())
            numbers.extend(_numbers(row, line, labels))
            lines.append(line)
            if len(numbers) > NUMBERS:
                raise ValueError(f"row {line}: more than {NUMBERS} numbers; leave some rows out")
    if not lines:
        raise ValueError("no row of numbers; a .csv has a row for each point")
    points = np.frombuffer(numbers).reshape(len(lines), len(names) - len(labels))

    def place(row: int, column: int | None) -> str:
        return f"row {lines[row]}, column {_column(column, labels)}"

    return Table(points, words if labels else None, place)


def _rows(stream: IO[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with its line in the file."""
    reader = csv.reader(stream, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except UnicodeDecodeError:
        raise ValueError(f"row {reader.line_num + 1}: not UTF-8; a .csv is text in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"row {reader.line_num}: {error}; columns are separated by commas") from None


def _before(
    line: int, row: list[str], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    if row:
        yield line, row
    yield from rows


def _header(line: int, row: list[str]) -> list[str] | None:
    """The names of the columns, or None if the first row holds numbers."""
    names = [cell.strip() for cell in row]
    if names and not names[0]:
        raise ValueError(f"row {line}, column 1: no name; an index of rows is no coordinate, leave it out")
    if len(names) > 1 and names == [str(place) for place in range(len(names))]:
        raise ValueError(
            f"row {line}: {','.join(names[:3])},... may be names or a point; add a row of names such as x,y"
        )
    if "label" in [name.lower() for name in names]:
        return names
    return None if any(_is_number(name) for name in names) else names


def _numbers(row: list[str], line: int, labels: list[int]) -> list[float]:
    try:
        return [float(cell) for cell in row]
    except ValueError:
        column = next(place for place, cell in enumerate(row) if not _is_number(cell))
        raise ValueError(
            f"row {line}, column {_column(column, labels)}: {row[column][:40]!r} is no number; "
            "columns are separated by commas, and one of words has the name label"
        ) from None


def _column(coordinate: int | None, labels: list[int]) -> int:
    """The column of a coordinate, or of the label (None), counted from 1 in the file."""
    if coordinate is None:
        return labels[0] + 1
    return coordinate + 1 + bool(labels and coordinate >= labels[0])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
