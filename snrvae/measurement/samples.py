"""Figure samples: clouds of points and latents of the selected cells, as one npz.

Arrays are named `model/key/kind`, e.g. snr_vae/d2-snr10/generated.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from snrvae.measurement.records import CodecMetrics, Generation
from snrvae.settings.grid import Cell
from snrvae.sources import dataset, npz

POINTS = 3000  # points in a cloud
LATENTS = 6000  # latents in a histogram
DIGITS = 2.0**20  # values keep about six decimals: finer than a figure, coarser than rounding errors


def to_bytes(
    selected: Sequence[CodecMetrics],
    generated: Mapping[Cell, Generation],
    fitted: Mapping[Cell, Generation],
    num_classes: int = 0,
) -> bytes:
    """The selected cells' reconstructed, generated and fitted [n, k], latents and noise_share [n, d].

    Conditional cells (num_classes > 0) also have the requested labels, one-hot: requested [n, l].
    """
    arrays = {}
    for result in selected:
        name = f"{result.cell.model}/{result.cell.key}"
        arrays[f"{name}/reconstructed"] = result.reconstructed[:POINTS]
        arrays[f"{name}/generated"] = generated[result.cell].points[:POINTS]
        if (asked := generated[result.cell].conditional) is not None:
            arrays[f"{name}/requested"] = dataset.one_hot(asked.label[:POINTS], num_classes)
        if result.cell in fitted:
            arrays[f"{name}/fitted"] = fitted[result.cell].points[:POINTS]
        arrays[f"{name}/latents"] = result.latents[:LATENTS]
        if result.noise_share is not None:
            arrays[f"{name}/noise_share"] = result.noise_share[:LATENTS]
    return npz.to_bytes({name: rounded(array) for name, array in arrays.items()})


def rounded(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Values in float32, to DIGITS."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * DIGITS) / DIGITS, exponent).astype(np.float32)


def from_bytes(
    data: bytes, cells: Iterable[Cell], test: tuple[int, int], num_classes: int = 0
) -> dict[str, NDArray[np.float64]]:
    """The arrays of these cells, with num_classes labels, for test points of shape `test`, in float64.

    Raises ValueError if `data` is anything else.
    """
    arrays = npz.from_bytes(data)
    shapes = {name: shape for cell in cells for name, shape in _shapes(cell, num_classes, *test).items()}
    if set(arrays) != set(shapes):
        raise ValueError(f"expected other arrays ({min(set(arrays) ^ set(shapes))!r})")
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.shape != shapes[name]:
            raise ValueError(
                f"{name}: expected float32 {list(shapes[name])}, found {array.dtype} {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: values that are not finite")
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def _shapes(cell: Cell, num_classes: int, count: int, coordinates: int) -> dict[str, tuple[int, int]]:
    """Shape of every array of a cell, by name."""
    name, points, latents = f"{cell.model}/{cell.key}", min(count, POINTS), min(count, LATENTS)
    shapes = {
        f"{name}/reconstructed": (points, coordinates),
        f"{name}/generated": (points, coordinates),
        f"{name}/latents": (latents, cell.latent_dim),
    }
    if num_classes:
        shapes[f"{name}/requested"] = (points, num_classes)
    if cell.noise == "learned":
        return shapes | {f"{name}/noise_share": (latents, cell.latent_dim)}
    return shapes | {f"{name}/fitted": (points, coordinates)}
