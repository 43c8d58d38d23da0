"""The grid's cells, and how they are put together into batches."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from snrvae.settings.params import Params

Noise = Literal["none", "isotropic", "learned"]

MODELS: dict[Noise, str] = {"none": "ae", "isotropic": "snr_vae", "learned": "snr_vae_learned"}


@dataclass(frozen=True)
class Cell:
    """One codec of the grid: its bottleneck, its channel, and which restart it is.

    `snr` is a linear power ratio; None for the autoencoder, whose channel is noiseless.
    """

    noise: Noise
    latent_dim: int
    snr: float | None
    repeat: int

    def __post_init__(self) -> None:
        whole = type(self.latent_dim) is int and type(self.repeat) is int  # a truth value is none
        silent = self.noise == "none" and self.snr is None
        noisy = self.noise in ("isotropic", "learned") and isinstance(self.snr, float) and self.snr > 0
        noisy = noisy and self.snr != math.inf
        if not (whole and self.latent_dim >= 1 and self.repeat >= 0 and (silent or noisy)):
            raise ValueError(f"no cell has {self.noise=}, {self.latent_dim=}, {self.snr=}, {self.repeat=}")

    @property
    def model(self) -> str:
        """The model's name in the tables: ae, snr_vae or snr_vae_learned."""
        return MODELS[self.noise]

    @property
    def key(self) -> str:
        """What the cell's repeats share, as metrics.json names it: d2, d2-snr10."""
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
    shapes: dict[tuple[Noise, int], list[Cell]] = {}
    for cell in cells:
        shapes.setdefault((cell.noise, cell.latent_dim), []).append(cell)
    return [tuple(group) for group in shapes.values()]
