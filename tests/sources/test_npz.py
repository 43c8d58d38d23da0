"""Arrays by name as one archive: the same bytes for the same arrays, and nothing but arrays."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from snrvae.sources import npz

names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9)
arrays = st.dictionaries(
    st.builds("{}/{}".format, names, names),
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.uint8, np.int64]),
        hnp.array_shapes(min_side=0, max_dims=3),
    ),
    max_size=4,
)


def zipped(ending: str = ".npy", **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}{ending}", content)
    return buffer.getvalue()


def npy(array: NDArray[np.generic], allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


@given(arrays)
def test_an_archive_gives_back_names_types_shapes_and_bits_in_their_order(
    put: dict[str, NDArray[np.generic]],
) -> None:
    found = npz.from_bytes(npz.to_bytes(put))
    assert list(found) == list(put)
    for name, array in put.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(arrays)
def test_the_same_arrays_give_the_same_bytes(put: dict[str, NDArray[np.generic]]) -> None:
    assert npz.to_bytes(put) == npz.to_bytes({name: array.copy() for name, array in put.items()})


def test_numpy_reads_what_is_written_and_is_read() -> None:
    array = np.arange(6.0).reshape(2, 3)
    with np.load(io.BytesIO(npz.to_bytes({"a": array}))) as archive:
        assert np.array_equal(archive["a"], array)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=array)
    assert np.array_equal(npz.from_bytes(buffer.getvalue())["a"], array)


MANY_FIELDS = np.zeros(1, [(f"field{number:05}", np.float32) for number in range(1000)])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        npy(np.zeros(3)),
        pickle.dumps([1]),
        zipped(a=b"hello"),
        zipped(a=b""),
        zipped(a=npy(np.zeros(1000))[:-8]),
        zipped(a=npy(np.array([{}], object), allow_pickle=True)),
        zipped(a=npy(np.zeros(3)), b=pickle.dumps([1])),
        zipped(".txt", a=npy(np.zeros(3))),
        zipped(a=npy(MANY_FIELDS)),
        zipped(a=npy(np.zeros((3, 3))).replace(b")", b"(")),
    ],
    ids=[
        *("empty", "text", "array", "pickle", "no array", "nothing", "short array", "objects", "one of two"),
        *("named as text", "thousand fields", "open bracket"),
    ],
)
def test_anything_else_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a readable npz archive") as caught:
        npz.from_bytes(data)
    assert len(str(caught.value).splitlines()) == 1


def test_a_damaged_byte_of_a_compressed_archive_is_refused_or_harmless() -> None:
    buffer, array = io.BytesIO(), np.arange(300.0)
    np.savez_compressed(buffer, a=array)
    refused = 0
    for place in range(len(buffer.getvalue())):
        data = bytearray(buffer.getvalue())
        data[place] ^= 0xFF
        try:
            found = npz.from_bytes(bytes(data))
        except ValueError:
            refused += 1
            continue
        assert all(np.array_equal(values, array) for values in found.values())
    assert refused > len(data) / 2
