"""What figures show of the selected cells: clouds of points and latents, as one npz.

Arrays are named `model/key/kind`, e.g. snr_vae/d2-snr10/generated.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from snrvae.grid import Cell
from snrvae.records import Fidelity, Generation

Arrays = Mapping[str, NDArray[np.floating]]

POINTS = 3000  # of a cloud
LATENTS = 6000  # of a histogram


def to_bytes(selected: Sequence[Fidelity], generated: Mapping[Cell, Generation]) -> bytes:
    """The selected cells' reconstructed and generated [n, 3], latents and noise_share [n, d]."""
    arrays = {}
    for result in selected:
        name = f"{result.cell.model}/{result.cell.key}"
        arrays[f"{name}/reconstructed"] = result.reconstructed[:POINTS]
        arrays[f"{name}/generated"] = generated[result.cell].points[:POINTS]
        arrays[f"{name}/latents"] = result.latents[:LATENTS]
        if result.noise_share is not None:
            arrays[f"{name}/noise_share"] = result.noise_share[:LATENTS]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def from_bytes(data: bytes) -> Arrays:
    """Inverse of to_bytes. Raises ValueError where `data` is no npz archive."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"not a readable npz archive ({error})") from None
