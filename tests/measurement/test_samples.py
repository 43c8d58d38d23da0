"""Figure samples: the selected cells' clouds, by model, key and kind."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from snrvae.measurement import samples
from snrvae.measurement.records import CodecMetrics, Estimate, Generation
from snrvae.settings.grid import Cell
from snrvae.sources import npz

COUNT = 7000
AE, LEARNED = Cell("none", 2, None, 1), Cell("learned", 2, 10.0, 0)


def records(cell: Cell) -> tuple[CodecMetrics, Generation]:
    rng = np.random.default_rng(cell.repeat)
    nothing = Estimate(0.0, 0.0)
    latents, reconstructed, generated = (rng.random((COUNT, n), np.float32) for n in (2, 3, 3))
    share = latents + 1 if cell.noise == "learned" else None
    return (
        CodecMetrics(cell, 0.0, nothing, 0.0, None, 0.0, 0.0, latents, reconstructed, share),
        Generation(0.0, 0.0, None, 0.0, nothing, 1.0, 0.0, generated),
    )


def put() -> tuple[bytes, dict[Cell, tuple[CodecMetrics, Generation]]]:
    made = {cell: records(cell) for cell in (AE, LEARNED)}
    generated = {cell: generation for cell, (_, generation) in made.items()}
    fitted = {AE: replace(made[AE][1], points=made[AE][1].points[::-1])}
    return samples.to_bytes([measured for measured, _ in made.values()], generated, fitted), made


def close(stored: np.ndarray, given: np.ndarray) -> bool:
    return stored.shape == given.shape and np.allclose(stored, given, rtol=1e-6, atol=0)


def test_the_file_gives_back_the_first_points_of_every_cloud() -> None:
    data, made = put()
    arrays = npz.from_bytes(data)
    for name, cell in (("ae/d2", AE), ("snr_vae_learned/d2-snr10", LEARNED)):
        measured, generated = made[cell]
        assert close(arrays[f"{name}/reconstructed"], measured.reconstructed[: samples.POINTS])
        assert close(arrays[f"{name}/generated"], generated.points[: samples.POINTS])
        assert close(arrays[f"{name}/latents"], measured.latents[: samples.LATENTS])
    assert close(arrays["snr_vae_learned/d2-snr10/noise_share"], made[LEARNED][0].noise_share[:6000])
    assert close(arrays["ae/d2/fitted"], made[AE][1].points[::-1][: samples.POINTS])
    assert len(arrays) == 8, "an autoencoder has no noise to share, and learned noise no fitted density"


def test_the_same_clouds_give_the_same_bytes() -> None:
    assert put()[0] == put()[0]


def test_clouds_that_differ_by_rounding_give_the_same_bytes() -> None:
    """Halfway between two numbers of float32 the last digit of a float64 would decide which one is stored."""
    short = samples.rounded(np.random.default_rng(0).normal(size=(1000, 3)))
    halfway = short + np.spacing(np.abs(short)).astype(np.float64) / 2
    below, above = halfway * (1 - 4e-16), halfway * (1 + 4e-16)
    assert not np.array_equal(below.astype(np.float32), above.astype(np.float32))
    assert np.array_equal(samples.rounded(below), samples.rounded(above))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ae/d2/latents.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", put()[0][:-30], put()[0][:1000], npy(np.zeros(3)), zipped(b"hello")],
    ids=["empty", "text", "truncated", "cut short", "one array", "text named as an array"],
)
def test_a_file_that_is_no_archive_of_arrays_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        npz.from_bytes(data)
    assert len(str(caught.value).splitlines()) == 1
