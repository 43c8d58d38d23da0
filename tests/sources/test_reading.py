"""Files of users: every format is read as it is meant, and every fault is one line with its place."""

import io
import os
import pickle
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from snrvae.sources.reading import Mesh, PointSet, read

POINTS = np.arange(12.0).reshape(4, 3) ** 2
VERTICES = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
OFF = "OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n"
PLY_VERTICES = "element vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
PLY_FACES = "element face 2\nproperty list uchar int vertex_indices\n"
PLY_BODY = "0 0 0\n1 0 0\n0 1 0\n0 0 1\n"
PLY = f"ply\nformat ascii 1.0\n{PLY_VERTICES}{PLY_FACES}end_header\n{PLY_BODY}3 0 1 2\n3 0 1 3\n"
BOX = trimesh.creation.box()
STL = trimesh.exchange.stl.export_stl_ascii(BOX)
BINARY_STL = trimesh.exchange.stl.export_stl(BOX)
BINARY_PLY = trimesh.exchange.ply.export_ply(BOX)

TRIANGLES = [[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [1, 0, 0], [0, 0, 1]]]


def npy(array: NDArray[np.generic], allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def npz(**arrays: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def claim(shape: str) -> bytes:
    """A header alone, which claims an array of this shape."""
    return npy(np.zeros((4, 3))).replace(b"(4, 3), }" + b" " * (len(shape) - 6), f"{shape}, }}".encode())[
        :128
    ]


def big_endian(*faces: list[int]) -> bytes:
    body = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], ">f4").tobytes()
    body += b"".join(bytes([len(face)]) + np.array(face, ">i4").tobytes() for face in faces)
    return f"ply\nformat binary_big_endian 1.0\n{PLY_VERTICES}{PLY_FACES}end_header\n".encode() + body


class Bomb:
    """Pickled: removes the file `victim` when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.remove, ("victim",)


def load(folder: Path, name: str, data: str | bytes) -> PointSet | Mesh:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read(path, folder)


def points_of(folder: Path, name: str, data: str | bytes) -> PointSet:
    found = load(folder, name, data)
    assert isinstance(found, PointSet)
    return found


def triangles_of(folder: Path, name: str, data: str | bytes) -> NDArray[np.float64]:
    found = load(folder, name, data)
    assert isinstance(found, Mesh)
    return found.triangles


# Points


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<f2", "<i4", ">u2", "i1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_any_real_type_is_points(tmp_path: Path, dtype: str, order: str) -> None:
    found = points_of(tmp_path, "a.npy", npy(np.asarray(POINTS, dtype, order=order)))  # type: ignore[call-overload]
    assert found.points.dtype == np.float64
    assert np.array_equal(found.points, POINTS)
    assert (found.label, found.names, found.shape) == (None, (), (3,))


def test_images_keep_their_shape_and_have_their_rows_one_after_another(tmp_path: Path) -> None:
    images = np.arange(24.0).reshape(4, 2, 3)
    found = points_of(tmp_path, "a.npy", npy(images))
    assert found.shape == (2, 3)
    assert np.array_equal(found.points, images.reshape(4, 6))


@pytest.mark.parametrize(
    ("label", "names", "expected"),
    [
        (np.array([10, 9, 10, -1]), ("-1", "9", "10"), [2, 1, 2, 0]),
        (np.array([0.5, 2, 2, 0.5]), ("0.5", "2"), [0, 1, 1, 0]),
        (np.array(["b", "a", "é", "b"]), ("a", "b", "é"), [1, 0, 2, 1]),
        (np.array([b"b", b"a", b"a", b"b"]), ("a", "b"), [1, 0, 0, 1]),
    ],
)
def test_labels_are_numbers_or_words_in_their_order(
    tmp_path: Path, label: NDArray[np.generic], names: tuple[str, ...], expected: list[int]
) -> None:
    found = points_of(tmp_path, "a.npz", npz(points=POINTS, label=label, other=np.zeros(7)))
    assert found.names == names
    assert found.label is not None
    assert found.label.dtype == np.uint8
    assert found.label.tolist() == expected


def test_the_only_array_of_an_archive_needs_no_name(tmp_path: Path) -> None:
    assert np.array_equal(points_of(tmp_path, "a.npz", npz(x=POINTS)).points, POINTS)


@pytest.mark.parametrize(
    "text",
    [
        "0,1.5\n2,3e2\n",
        "x,y\n0,1.5\n2,3e2",
        "\ufeffx,y\r\n\r\n0, 1.5\r\n2,+300\r\n",
        '"x","y"\n"0","1.5"\n"2","300"\n',
        "# x, y\n0,1.5\n2,300\n",
    ],
)
def test_a_table_has_a_header_or_none(tmp_path: Path, text: str) -> None:
    assert points_of(tmp_path, "a.csv", text).points.tolist() == [[0, 1.5], [2, 300]]


@pytest.mark.parametrize("header", ["label,0,1", "Label,x,y"])
def test_the_column_label_of_a_table_is_no_coordinate(tmp_path: Path, header: str) -> None:
    found = points_of(tmp_path, "a.csv", f"{header}\ncat,0,1\ndog,2,3\ncat,4,5\n")
    assert found.points.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert found.names == ("cat", "dog")
    assert found.label is not None
    assert found.label.tolist() == [0, 1, 0]


@given(
    points=hnp.arrays(
        np.float64, st.tuples(st.integers(2, 6), st.integers(1, 5)), elements=st.floats(-1e9, 1e9)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_formats_give_the_same_points(tmp_path: Path, points: NDArray[np.float64]) -> None:
    points[0, 0] = 0.5 + points[1, 0]  # not all alike, and no row of names
    named = ",".join(f"x{column}" for column in range(points.shape[1]))
    text = "\n".join([named, *(",".join(map(repr, row)) for row in points.tolist())])
    files: dict[str, str | bytes] = {"a.npy": npy(points), "a.npz": npz(a=points), "a.csv": text}
    for name, data in files.items():
        assert points_of(tmp_path, name, data).points.tobytes() == points.tobytes()


def test_a_constant_column_among_others_is_kept(tmp_path: Path) -> None:
    assert points_of(tmp_path, "a.csv", "1,0\n2,0\n").points.tolist() == [[1, 0], [2, 0]]


# Meshes


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "a.obj": VERTICES + "f 1 2 3\nf 1 2 4\n",
        "textures.obj": VERTICES + "vt 0 0\nvn 0 0 1\nf 1/1/1 2/1/1 3/1/1\nf 1//1 2//1 4//1 # seen\n",
        "tabs.OBJ": VERTICES.replace(" ", "\t") + "  f\t1 2 \\\n3\r\nf 1 2 4",
        "relative.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 0 0 1\nf -4 -3 -1\n",
        "materials.obj": "mtllib a.mtl\no a\nusemtl a\n" + VERTICES + "g b\nf 1 2 3\nusemtl b\nf 1 2 4\n",
        "a.off": OFF,
        "line.off": OFF.replace("OFF\n", "# shape\nOFF "),
        "colour.off": OFF.replace("OFF", "COFF")
        .replace("0 0 1\n", "0 0 1 255 0 0 1\n")
        .replace("1 3", "1 3 9 9 9"),
        "a.ply": PLY,
        "comment.ply": PLY.replace("element face", "comment hi\nelement face").replace("\n", "\r\n"),
        "big.ply": big_endian([0, 1, 2], [0, 1, 3]),
    }.items(),
)
def test_every_spelling_of_a_mesh_is_the_same_triangles(tmp_path: Path, name: str, data: str | bytes) -> None:
    assert triangles_of(tmp_path, name, data).tolist() == TRIANGLES


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "a.obj": VERTICES + "f 1 2 3 4\nf 1 2 4\n",
        "a.off": OFF.replace("3 0 1 2", "4 0 1 2 3"),
        "a.ply": PLY.replace("3 0 1 2", "4 0 1 2 3"),
        "binary.ply": big_endian([0, 1, 2, 3], [0, 1, 3]),
    }.items(),
)
def test_quads_among_triangles_are_split(tmp_path: Path, name: str, data: str | bytes) -> None:
    quad = [[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 1]]]
    assert triangles_of(tmp_path, name, data).tolist() == [*quad, TRIANGLES[1]]


@pytest.mark.parametrize("kind", ["obj", "off", "ply", "stl", "ply_ascii", "stl_ascii"])
def test_what_trimesh_writes_is_read_as_trimesh_reads_it(tmp_path: Path, kind: str) -> None:
    shape = trimesh.creation.icosphere(2)
    write = {
        "ply_ascii": lambda: trimesh.exchange.ply.export_ply(shape, encoding="ascii"),
        "stl_ascii": lambda: trimesh.exchange.stl.export_stl_ascii(shape),
    }
    data = write.get(kind, lambda: shape.export(file_type=kind))()
    path = tmp_path / f"a.{kind[:3]}"
    found = triangles_of(tmp_path, path.name, data)
    reference = trimesh.load_mesh(path, process=False, maintain_order=True)
    assert np.array_equal(found.astype(np.float32), reference.triangles.astype(np.float32))


def test_a_ply_without_faces_is_points(tmp_path: Path) -> None:
    text = f"ply\nformat ascii 1.0\n{PLY_VERTICES}end_header\n{PLY_BODY}"
    assert points_of(tmp_path, "a.ply", text).points.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert points_of(tmp_path, "b.ply", text.replace("end_", f"{PLY_FACES}end_").replace("face 2", "face 0"))


def test_other_properties_of_a_ply_are_left_out(tmp_path: Path) -> None:
    text = PLY.replace("property float z\n", "property uchar red\nproperty double z\n")
    text = text.replace(PLY_BODY, "0 0 9 0\n1 0 9 0\n0 1 9 0\n0 0 9 1\n")
    text = text.replace("property list", "property float weight\nproperty list")
    text = text.replace("3 0 1 2\n3 0 1 3", "0.5 3 0 1 2\n0.5 3 0 1 3")
    assert triangles_of(tmp_path, "a.ply", text).tolist() == TRIANGLES


def test_what_has_no_area_and_what_no_face_uses_is_left_out(tmp_path: Path) -> None:
    text = VERTICES + "v nan 1e300 0\nf 1 2 3\nf 1 1 2\nf 1 2 4\n"
    assert triangles_of(tmp_path, "a.obj", text).tolist() == TRIANGLES


# Faults

FAULTS: dict[str, tuple[str | bytes, str]] = {  # a file, and what the message must contain
    "empty.npy": (b"", "array is no array of numbers"),
    "text.npy": ("1,2\n3,4\n", "write it with numpy.save"),
    "truncated.npy": (npy(POINTS)[:-8], r"takes 96 bytes, but 88 follow"),
    "longer.npy": (npy(POINTS) + b"1", r"takes 96 bytes, but 97 follow"),
    "half-header.npy": (npy(POINTS)[:40], "array is no array of numbers"),
    "claim.npy": (claim("(1000000000000, 3)"), r"shape \[1000000000000, 3\]; at most"),
    "claim-less.npy": (claim("(100000000, 1)"), "takes 800000000 bytes, but 0 follow"),
    "negative.npy": (claim("(-4, 3)"), "at most"),
    "objects.npy": (npy(np.array([[Bomb()]], object), allow_pickle=True), "holds object"),
    "pickle.npy": (pickle.dumps(Bomb()), "array is no array of numbers"),
    "complex.npy": (npy(POINTS + 1j), "holds complex128; it must hold real numbers"),
    "words.npy": (npy(np.array([["a"], ["b"]])), "holds <U1"),
    "fields.npy": (npy(np.zeros(4, [("x", float)])), "it must hold real numbers"),
    "dates.npy": (npy(np.zeros((4, 2), "M8[s]")), "holds datetime64"),
    "flat.npy": (npy(np.arange(5.0)), r"shape \[5\]; points are \[n, k\]"),
    "scalar.npy": (npy(np.array(5.0)), r"shape \[\]"),
    "colour.npy": (npy(np.zeros((4, 2, 2, 3))), r"images \[n, h, w\]"),
    "one.npy": (npy(POINTS[:1]), "1 points; at least two"),
    "none.npy": (npy(POINTS[:0]), "0 points"),
    "no-column.npy": (npy(POINTS[:, :0]), "0 coordinates; from 1 to 1024"),
    "wide.npy": (npy(np.zeros((2, 1025))), "1025 coordinates; from 1 to 1024"),
    "large-images.npy": (npy(np.zeros((2, 33, 32))), "1056 coordinates"),
    "same.npy": (npy(np.ones((4, 3))), "every point is the same"),
    "subnormal.npy": (npy(POINTS * 1e-320), "every point is the same"),
    "nan.npy": (npy(np.array([[1, 2], [3, np.nan]])), r"array\[1, 1\]: nan; a coordinate must be a number"),
    "inf.npy": (npy(np.array([[1, 2], [-np.inf, 4]])), r"array\[1, 0\]: -inf"),
    "huge.npy": (npy(np.array([[1, 2], [1e300, 4]])), r"array\[1, 0\]: 1e\+300; .* at most 1e\+60"),
    "nan-image.npy": (npy(np.full((2, 2, 2), np.nan)), r"array\[0, 0, 0\]: nan"),
    "empty.npz": (b"", "not a readable .npz archive"),
    "array.npz": (npy(POINTS), "not a readable .npz archive"),
    "truncated.npz": (npz(points=POINTS)[:-30], "not a readable .npz archive"),
    "damaged.npz": (npz(points=POINTS).replace(POINTS.tobytes(), POINTS[::-1].tobytes()), "Bad CRC"),
    "checksum.npz": (
        zipped("a.npy", npy(POINTS)).replace(zlib.crc32(npy(POINTS)).to_bytes(4, "little"), b"1234"),
        "Bad CRC",
    ),
    "several.npz": (npz(a=POINTS, b=POINTS), "holds a, b; one array must have the name `points`"),
    "label-alone.npz": (npz(label=POINTS), "holds no array"),
    "text.npz": (zipped("a.txt", b"1"), "holds no array"),
    "bomb.npz": (
        zipped("a.npy", claim("(100000000, 1)") + bytes(1000)),
        "takes 800000000 bytes, but 1000 follow",
    ),
    "objects.npz": (npz(points=np.array([[Bomb()]], object)), "points holds object"),
    "object-label.npz": (npz(points=POINTS, label=np.array([Bomb()] * 4)), "label holds object"),
    "short-label.npz": (
        npz(points=POINTS, label=np.arange(3)),
        r"label has the shape \[3\]; it must be \[4\]",
    ),
    "nan-label.npz": (
        npz(points=POINTS, label=np.array([1, 2, np.nan, 1])),
        r"label\[2\]: 'nan' is no label",
    ),
    "empty-label.npz": (npz(points=POINTS, label=np.array(["a", "", "b", "b"])), r"label\[1\]: ''"),
    "control-label.npz": (npz(points=POINTS, label=np.array(["a\n", "b", "b", "b"])), r"label\[0\]"),
    "long-label.npz": (npz(points=POINTS, label=np.array(["a" * 41] * 4)), "from 1 to 40 printable"),
    "many-labels.npz": (npz(points=np.eye(256), label=np.arange(256)), "256 different labels; at most 255"),
    "empty.csv": ("", "no row of numbers"),
    "header.csv": ("x,y\n", "no row of numbers"),
    "long-row.csv": ("1,2\n3,4,5\n", "row 2: 3 columns; the first row has 2"),
    "short-row.csv": ("x,y\n1,2\n\n3\n", "row 4: 1 columns"),
    "words.csv": ("x,y\n1,2\n3,four\n", "row 3, column 2: 'four' is no number; .* label"),
    "blank.csv": ("x,y\n1,2\n3,\n", "row 3, column 2: '' is no number"),
    "words-and-label.csv": ("label,y\n1,2\n3,four\n", "row 3, column 2: 'four'"),
    "semicolons.csv": ("1;2\n3;4\n", "row 2, column 1: '3;4' is no number; .* commas"),
    "mixed-header.csv": ("x,2\n3,4\n", "row 1, column 1: 'x' is no number"),
    "index.csv": (",x,y\n0,1,2\n", "row 1, column 1: no name"),
    "counted.csv": ("0,1,2\n3,4,5\n4,5,6\n", "row 1: 0,1,2,... may be names or a point"),
    "two-labels.csv": ("label,x,label\n1,2,3\n", "row 1: 2 columns have the name label"),
    "nan.csv": ("x,y\n1,2\nnan,3\n", "row 3, column 1: nan"),
    "inf.csv": ("label,x\na,2\nb,inf\n", "row 3, column 2: inf"),
    "huge.csv": ("1,2\n1,-1e300\n", r"row 2, column 2: -1e\+300"),
    "no-label.csv": ("x,label\n1,a\n2,\n", "row 3, column 2: '' is no label"),
    "one.csv": ("1,2\n", "1 points"),
    "same.csv": ("1,2\n1,2\n", "every point is the same"),
    "latin.csv": (b"x,y\n1,2\n\xe9,1\n", "not UTF-8"),
    "open-quote.csv": ('x,y\n1,"2\n', "row 2: unexpected end of data"),
    "binary.csv": (npy(POINTS), "row 1"),
    "long-cell.csv": ("1,2\n" + "1" * 200_000 + ",2\n", "row 2: field larger than field limit"),
    "empty.obj": ("", "no face"),
    "no-face.obj": (VERTICES, "no face; a surface needs at least one"),
    "range.obj": (VERTICES + "f 1 2 3\nf 1 2 9\n", "face 2: a corner is none of the 4 vertices"),
    "zero.obj": (VERTICES + "f 0 1 2\n", "face 1: a corner is none of"),
    "before.obj": (VERTICES + "f -1 -2 -5\n", "face 1: a corner is none of"),
    "endless.obj": (VERTICES + "f 1 2 99999999999999999999\n", "line 5: '99999999999999999999'"),
    "two-corners.obj": (VERTICES + "f 1 2\n", "face 1: 2 corners; a face has three or more"),
    "no-corner.obj": (VERTICES + "f\n", "face 1: 0 corners"),
    "word-vertex.obj": (VERTICES + "v 1 b 2\n", "line 5: a vertex at '1 b 2'; it needs three numbers"),
    "short-vertex.obj": (VERTICES + "v 1 2\n", "line 5: a vertex at '1 2'"),
    "word-face.obj": (VERTICES + "f 1 2 x\n", "line 5: 'x'; vertices are numbered by integers"),
    "nan.obj": (VERTICES + "v nan 0 0\nf 1 2 3\nf 1 2 5\n", "face 2: a corner is at no number"),
    "huge.obj": (VERTICES + "v 1e300 0 0\nf 1 2 3\nf 1 3 5\n", r"face 2: .* beyond 1e\+60"),
    "flat.obj": (VERTICES + "f 1 1 2\nf 3 3 3\n", "no face has an area"),
    "ply-named.obj": (PLY, "no face"),
    "empty.off": ("", "line 1: ''; a .off file begins with OFF"),
    "no-counts.off": ("OFF\n", "the numbers of vertices and faces must follow OFF"),
    "truncated.off": (OFF[:-8], "line 7: the file ends after 5 rows; 4 vertices and 2 faces"),
    "half-face.off": (OFF[:-3], "line 8: 3 corners, but 2 numbers follow"),
    "longer.off": (OFF + "3 0 1 2\n", "ends after 7 rows"),
    "claim.off": (OFF.replace("4 2", "4 1000000000000"), "1000000000000 faces need one each"),
    "negative.off": (OFF.replace("4 2", "-4 2"), "line 2: the numbers of vertices"),
    "range.off": (OFF.replace("1 3\n", "1 4\n"), "face 2: a corner is none of"),
    "four.off": ("4" + OFF, "begins with OFF"),
    "empty.ply": ("", "line 1: a .ply file begins with ply"),
    "header.ply": (PLY[:80], "a header has the lines format"),
    "type.ply": (PLY.replace("float y", "real y"), "line 5: 'property real y'"),
    "format.ply": (PLY.replace("ascii", "utf-8"), "line 2: 'format utf-8 1.0'"),
    "truncated.ply": (PLY[:-5], "face 2: the file ends before the 2 rows"),
    "longer.ply": (PLY + "3 0 1 2\n", "4 numbers more than the header describes"),
    "claim.ply": (PLY.replace("vertex 4", "vertex 1000000000000"), "vertex: the file ends before"),
    "claim-faces.ply": (PLY.replace("face 2", "face 1000000000000"), "1000000000000 rows of face; at most"),
    "claim-nothing.ply": (PLY.replace("end_", "element x 1000000000000\nend_"), "element x: no property"),
    "claim-binary.ply": (BINARY_PLY.replace(b"vertex 8", b"vertex 9000000000"), "vertex: the file ends"),
    "claim-list.ply": (big_endian([0, 1, 2]) + b"\xff", "face 2: the file ends"),
    "truncated-binary.ply": (BINARY_PLY[:-3], "face 12: the file ends"),
    "word.ply": (PLY.replace("0 0 1\n", "0 0 a\n"), "line 13: 'a' is no number"),
    "fraction.ply": (PLY.replace("1 3\n", "1 2.5\n"), "face 2: 2.5; vertices are numbered"),
    "fraction-list.ply": (PLY.replace("3 0 1 3", "3.5 0 1 3"), "face 2: a list of 3.5 items"),
    "negative.ply": (PLY.replace("1 3\n", "1 -1\n"), "face 2: a corner is none of"),
    "plane.ply": (PLY.replace("float z", "float w"), "vertex: no property z"),
    "strips.ply": (PLY.replace("vertex_indices", "strips"), "face: no list vertex_indices"),
    "nan.ply": (PLY.replace("0 0 1\n", "0 0 nan\n"), "face 2: a corner is at no number"),
    "nan-points.ply": (
        f"ply\nformat ascii 1.0\n{PLY_VERTICES}end_header\n{PLY_BODY}".replace("1 0 0", "1 inf 0"),
        "vertex 2: inf",
    ),
    "empty.stl": (b"", "0 bytes; a binary .stl of 0 facets"),
    "truncated-binary.stl": (BINARY_STL[:-7], "677 bytes; a binary .stl of 12 facets, .*, has 684"),
    "claim.stl": (BINARY_STL[:80] + b"\xff\xff\xff\xff" + BINARY_STL[84:], "of 4294967295 facets"),
    "no-facet.stl": (bytes(84), "no face"),
    "truncated.stl": (STL[:-10], "the file ends; its last line must be endsolid"),
    "corner-lost.stl": (STL.replace("vertex", "apex", 1), "facet 1 has not three corners"),
    "word.stl": (STL.replace("vertex 0.5", "vertex a", 1), "line 11: a vertex at 'a"),
    "nan.stl": (STL.replace("vertex 0.5", "vertex nan", 1), "face 2: a corner is at no number"),
    "data.txt": ("1 2\n3 4\n", "the suffix must be one of .npy, .npz, .csv, .ply, .obj, .stl, .off"),
    "data": (npy(POINTS), "the suffix must be one of"),
    "data.pkl": (pickle.dumps(Bomb()), "the suffix must be one of"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_with_the_file_and_the_place(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, expected = FAULTS[name]
    monkeypatch.chdir(tmp_path)
    Path("victim").touch()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=expected) as caught:
            load(tmp_path, name, data)
        assert tracemalloc.get_traced_memory()[1] < 2e7
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"victim", name})


WHOLE: dict[str, bytes] = {
    "a.npy": npy(POINTS),
    "a.npz": npz(points=POINTS, label=np.arange(4)),
    "a.csv": b"label,x,y\na,1,2\nb,3,4\nb,5,6\n",
    "a.obj": (VERTICES + "f 1 2 3\nf 1 2 4\n").encode(),
    "a.off": OFF.encode(),
    "a.ply": PLY.encode(),
    "b.ply": BINARY_PLY,
    "a.stl": STL.encode(),
    "b.stl": BINARY_STL,
}


@given(damage=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_in_one_line_or_read_as_numbers(
    tmp_path: Path, damage: st.DataObject
) -> None:
    damaged_file_is_refused_or_read(tmp_path, damage)


@pytest.mark.slow
@given(damage=st.data())
@settings(max_examples=1500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_so_is_a_file_that_is_damaged_in_many_more_ways(tmp_path: Path, damage: st.DataObject) -> None:
    damaged_file_is_refused_or_read(tmp_path, damage)


def damaged_file_is_refused_or_read(tmp_path: Path, damage: st.DataObject) -> None:
    name = damage.draw(st.sampled_from(sorted(WHOLE)))
    edits = damage.draw(st.lists(st.tuples(st.integers(0), st.binary(max_size=3)), max_size=3))
    cut = damage.draw(st.integers(0))
    data = WHOLE[name]
    for place, piece in edits:
        at = place % len(data) if data else 0
        data = data[:at] + piece + data[at + len(piece) :]
    data = data[: len(data) - cut % (len(data) + 1)] if cut % 3 else data
    try:
        found = load(tmp_path, name, data)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
        return
    values = found.triangles if isinstance(found, Mesh) else found.points
    assert np.isfinite(values).all()


# Places


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """data/raw in a project that has a cache of DVC, with a file beside it."""
    folder = tmp_path / "project" / "data" / "raw"
    folder.mkdir(parents=True)
    (tmp_path / "outside.npy").write_bytes(npy(POINTS))
    return folder


def test_a_file_in_a_folder_below_is_found(root: Path) -> None:
    (root / "deep").mkdir()
    assert load(root, "deep/a.npy", npy(POINTS))


def test_a_link_within_the_folder_is_followed(root: Path) -> None:
    load(root, "a.npy", npy(POINTS))
    (root / "b.npy").symlink_to("a.npy")
    assert read(root / "b.npy", root)


@pytest.mark.parametrize("layout", ["files/md5/ab", "ab"])
def test_a_link_into_the_cache_of_dvc_is_followed(root: Path, layout: str) -> None:
    folder = root.parents[1] / ".dvc" / "cache" / layout
    folder.mkdir(parents=True)
    (folder / ("c" * 30)).write_bytes(npy(POINTS))
    (root / "a.npy").symlink_to(folder / ("c" * 30))
    assert read(root / "a.npy", root)


@pytest.mark.parametrize("name", ["../../../outside.npy", "link.npy", "folder/outside.npy", "other.npy"])
def test_a_path_that_leads_elsewhere_is_refused(root: Path, tmp_path: Path, name: str) -> None:
    (root / "link.npy").symlink_to(tmp_path / "outside.npy")
    (root / "folder").symlink_to(tmp_path)
    (root.parents[1] / ".dvc" / "cache").mkdir(parents=True)
    (root.parents[1] / ".dvc" / "cache" / "other.npy").write_bytes(npy(POINTS))
    (root / "other.npy").symlink_to(root.parents[1] / ".dvc" / "cache" / "other.npy")
    with pytest.raises(ValueError, match="leads out of raw; copy the file into that folder"):
        read(root / name, root)


def test_what_is_no_file_is_refused(root: Path) -> None:
    (root / "folder.npy").mkdir()
    os.mkfifo(root / "pipe.npy")
    (root / "loop.npy").symlink_to("loop.npy")
    (root / "gone.npy").symlink_to("nowhere.npy")
    for name in ("folder.npy", "pipe.npy", "loop.npy", "gone.npy", "missing.npy", "nul\0.npy"):
        with pytest.raises(ValueError, match=r"file|null byte") as caught:
            read(root / name, root)
        assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_too_large_is_not_opened(root: Path) -> None:
    for name, size in (("a.npy", 2**31), ("a.csv", 2**31), ("a.obj", 2**28), ("a.ply", 2**28)):
        with (root / name).open("wb") as stream:
            stream.truncate(size + 1)  # without a block on the disk
        with pytest.raises(ValueError, match=f"{size + 1} bytes; at most {size} are possible"):
            read(root / name, root)
