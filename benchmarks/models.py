"""Other models on the same data: a β-VAE and a Wasserstein autoencoder beside this project's codecs.

Both are codecs of this project: a channel, the weights of a loss, the engine torch. Networks, initialisation,
points, batch, steps, schedule and optimiser are the same; of each model's repeats the best on validation
points is measured on test points. The rows of AE and SNR-VAE are those of reports/cells.csv.

β-VAE: the encoder says the variance of every latent; mse + β·E KL (Higgins et al., ICLR 2017).
WAE-MMD: no noise; mse + λ·MMD² between the latents and N(0, I) (Tolstikhin et al., ICLR 2018).

`python -m benchmarks.models` takes tens of minutes, prints the table and writes it to
benchmarks/MODELS.md.
"""

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.tables import machine, table
from snrvae.codecs.codec import Codec
from snrvae.limit import shannon
from snrvae.limit.shannon import RateDistortionTable
from snrvae.measurement import evaluation, generation
from snrvae.measurement.metrics import METRICS
from snrvae.measurement.records import Measured
from snrvae.reporting.report import significant
from snrvae.settings import params
from snrvae.settings.grid import Cell
from snrvae.settings.params import Params
from snrvae.settings.randomness import numpy_stream
from snrvae.sources import cube, origin
from snrvae.sources.domain import Points, Split
from snrvae.training.autograd import Autograd
from snrvae.training.config import TrainConfig, of_params
from stages import files

COLUMNS = {  # of the table, by column of cells.csv
    "mse": "mse",
    "mse_stderr": "± s.e.",
    "kl_bits": "E KL [bit]",
    "gap_db": "gap [dB]",
    "latent_kl_bits": "latent KL [bit/dim]",
    "generated_surface_distance": "distance [edge]",
    "generation_ratio": "generation ratio",
    "generation_ratio_stderr": "± s.e.",
    "generation_p_value": "p",
    "coverage": "coverage",
}


@dataclass(frozen=True)
class Model:
    """A channel, and the only weight of the loss that is not 0, with its values."""

    name: str
    noise: str
    weight: str
    symbol: str
    tried: tuple[float, ...]

    def config(self, value: float, settings: Params) -> TrainConfig:
        """The settings with which it is trained."""
        weights = {name: 0.0 for name, _ in settings.train if name.endswith("_weight")}
        train = settings.train.model_copy(update=weights | {self.weight: value, "engine": "torch"})
        return of_params(settings.model_copy(update={"train": train}), cube.SOURCE.domain)


MODELS = (
    Model("β-VAE", "free", "kl_weight", "β", (1e-2, 1e-3, 1e-4)),
    Model("WAE-MMD", "none", "mmd_weight", "λ", (1e-2, 1e-1, 1.0)),
)


def train(model: Model, value: float, latent_dim: int, points: Points, settings: Params) -> list[Codec]:
    """The repeats of a model."""
    cells = [Cell(model.noise, latent_dim, None, repeat) for repeat in range(settings.train.repeats)]
    trainer = Autograd(points, model.config(value, settings))
    return [codec for codec, _ in trainer.fit(cells, lambda *_: None)]


def measure(
    codecs: Sequence[Codec],
    splits: Mapping[str, Split],
    reference: generation.Reference,
    limits: RateDistortionTable,
    seed: int,
) -> dict[str, Any]:
    """The best of a model's repeats on held-out points: the columns of cells.csv.

    The gap is to the limit at the model's own E KL; without noise, nothing bounds the rate.
    """
    source, validation, test = cube.SOURCE, splits["validation"], splits["test"]
    measured = (evaluation.measure(codec, source, validation, test, seed) for codec in codecs)
    (best,) = evaluation.select(measured)
    codec = codecs[best.cell.repeat]
    limit = None if best.kl_bits is None else evaluation.limit(codec, best, test, source, limits, seed)
    found = Measured(best, evaluation.generate(codec, reference, seed), None, limit)
    return {name: entry for metric in METRICS for name, entry in metric.entries(found, 1.0).items()}


def rows(
    settings: Params, splits: Mapping[str, Split], limits: RateDistortionTable
) -> Iterator[dict[str, Any]]:
    """The best repeat of every model, latent_dim and weight."""
    source, test = cube.SOURCE, splits["test"]
    compared = generation.compared(source, test, numpy_stream(settings.seed, "ideal samples"))
    reference = generation.reference(source, test, *compared)
    for model, latent_dim in itertools.product(MODELS, settings.latent_dim):
        for value in model.tried:
            codecs = train(model, value, latent_dim, splits["train"].points, settings)
            found = measure(codecs, splits, reference, limits, settings.seed)
            named = {"model": model.name, "setting": f"{model.symbol} = {value:g}"}
            yield named | {"latent_dim": latent_dim} | found


def committed(cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """AE and SNR-VAE of reports/cells.csv."""
    selected = cells[(cells.selected == 1) & (cells.diverged == 0) & (cells.noise != "learned")]
    for row in selected.to_dict("records"):
        noise = {"model": "SNR-VAE", "setting": f"SNR {row['snr']:g}"}
        numbers = {str(name): value for name, value in row.items()}
        yield numbers | ({"model": "AE", "setting": ""} if row["noise"] == "none" else noise)


def markdown(found: Sequence[Mapping[str, Any]], settings: Params) -> str:
    """The table, a model after the other for each latent_dim."""
    order = ["AE", "SNR-VAE", *(model.name for model in MODELS)]

    def texts(row: Mapping[str, Any]) -> list[str]:
        numbers = (None if pd.isna(row[name]) else row[name] for name in COLUMNS)
        digits = (2 if name.endswith("stderr") else 3 for name in COLUMNS)
        return [
            str(row["latent_dim"]),
            f"{row['model']} {row['setting']}".strip(),
            *map(significant, numbers, digits),
        ]

    in_order = sorted(found, key=lambda row: (row["latent_dim"], order.index(row["model"])))
    train = settings.train
    return f"""# Other models on the same data

Written by `python -m benchmarks.models`. {machine()}

AE and SNR-VAE are those of [the report](../reports/README.md), where every column is explained. A β-VAE
lets the encoder say the variance of every latent and minimises mse + β·E KL, nothing else; a WAE-MMD has no
noise and minimises mse + λ·MMD² between its latents and N(0, I). All have the same networks, initialisation
and {train.steps:,} steps of {train.batch_size} points;
of {train.repeats} repeats the best on validation points is shown.
*gap*: to Shannon's limit at the capacity (SNR-VAE) or at the model's own E KL (β-VAE).
All encoders offer as many candidates as params.yaml says ({settings.encoder.candidates}).

{table(["d", "model", *COLUMNS.values()], map(texts, in_order))}
"""


def main() -> None:
    torch.set_num_threads(1)  # blocks this small are slower on two threads
    argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__).parse_args()
    settings = params.from_yaml(Path("params.yaml").read_text("utf-8"))
    stream = partial(numpy_stream, settings.seed, "data")
    _, splits = origin.draw("cube", settings.data.counts, stream, Path("data/raw"))
    limits = shannon.table_from_csv(Path("reports/rate_distortion.csv").read_bytes())
    found = [*committed(pd.read_csv("reports/cells.csv")), *rows(settings, splits, limits)]
    text = markdown(found, settings)
    files.show(text)
    files.write(Path("benchmarks/MODELS.md"), text)


if __name__ == "__main__":
    main()
