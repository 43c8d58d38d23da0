"""What figures show of the selected cells: clouds of points and latents, as one npz.

Arrays are named `model/key/kind`, e.g. snr_vae/d2-snr10/generated.
"""

from collections.abc import Mapping, Sequence

from snrvae import npz
from snrvae.grid import Cell
from snrvae.records import Fidelity, Generation

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
    return npz.to_bytes(arrays)
