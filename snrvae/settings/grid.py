"""The grid's cells, and groups of cells of one shape."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from snrvae.settings.params import Params

NO_SNR = ("none", "free")  # without an SNR: there is no noise, or the encoder chooses its power


@dataclass(frozen=True)
class Cell:
    """One codec of the grid: its channel's noise, its bottleneck, and which restart it is.

    noise  none (the autoencoder), isotropic, learned, or another channel of snrvae/codecs/channels.py
    snr    a linear power ratio; None if no SNR sets the noise
    """

    noise: str
    latent_dim: int
    snr: float | None
    repeat: int

    def __post_init__(self) -> None:
        whole = type(self.latent_dim) is int and type(self.repeat) is int  # which True is not
        named = isinstance(self.noise, str) and self.noise.isidentifier()
        if self.noise in NO_SNR:
            right = self.snr is None
        else:
            right = isinstance(self.snr, float) and 0 < self.snr < math.inf
        if not (whole and named and self.latent_dim >= 1 and self.repeat >= 0 and right):
            raise ValueError(f"no cell has {self.noise=}, {self.latent_dim=}, {self.snr=}, {self.repeat=}")

    @property
    def model(self) -> str:
        """The model's name in metrics.json: ae, snr_vae, snr_vae_learned or snr_vae_NOISE."""
        plain = {"none": "ae", "isotropic": "snr_vae"}
        return plain.get(self.noise, f"snr_vae_{self.noise}")

    @property
    def key(self) -> str:
        """The name that the cell's repeats share in metrics.json: d2, d2-snr10."""
        return f"d{self.latent_dim}" if self.snr is None else f"d{self.latent_dim}-snr{self.snr:g}"

    @property
    def name(self) -> str:
        """The cell's full name: snr_vae/d2-snr10/0."""
        return f"{self.model}/{self.key}/{self.repeat}"


def autoencoders(params: Params) -> list[Cell]:
    """The basic autoencoders: one for each latent_dim and repeat."""
    return [
        Cell("none", latent_dim, None, repeat)
        for latent_dim in params.latent_dim
        for repeat in range(params.train.repeats)
    ]


def snr_vaes(params: Params) -> list[Cell]:
    """The SNR-VAEs: one for each noise, latent_dim, SNR and repeat."""
    return [
        Cell(noise, latent_dim, snr, repeat)
        for noise in params.noise
        for latent_dim in params.latent_dim
        for snr in params.snr
        for repeat in range(params.train.repeats)
    ]


def groups(cells: Iterable[Cell]) -> list[tuple[Cell, ...]]:
    """Cells of one shape together: those with the same noise and latent_dim, in the order given."""
    shapes: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        shapes.setdefault((cell.noise, cell.latent_dim), []).append(cell)
    return [tuple(group) for group in shapes.values()]
