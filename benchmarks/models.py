"""Other models on the same data: a β-VAE and a Wasserstein autoencoder beside this project's codecs.

Same networks, initialisation, points, batch, steps, schedule and optimiser; of each model's repeats the best
on validation points is measured on test points. The rows of AE and SNR-VAE are those of reports/cells.csv.

β-VAE: the encoder says the variance of every latent; mse + β·E KL (Higgins et al., ICLR 2017).
WAE-MMD: no noise; mse + λ·MMD² between the latents and N(0, I) (Tolstikhin et al., ICLR 2018).

`python -m benchmarks.models` takes about six minutes, prints the table and writes it to benchmarks/MODELS.md.
"""

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from snrvae.codecs.network import Network
from torch import Tensor

from benchmarks.tables import machine, table
from snrvae.codecs import channel, network, search
from snrvae.codecs.codec import Codecs, Latents, decoder_widths, project
from snrvae.limit import shannon
from snrvae.limit.rate_distortion import Tangents
from snrvae.measurement import evaluation, generation, measures
from snrvae.reporting.report import significant
from snrvae.settings import params
from snrvae.settings.grid import Cell
from snrvae.settings.params import Params
from snrvae.settings.randomness import numpy_stream, stream_seed
from snrvae.sources import cube, dataset
from snrvae.sources.source import DIMENSION, Split
from snrvae.training import loop, program

WEIGHTS: Mapping[str, tuple[float, ...]] = {"β-VAE": (1e-2, 1e-3, 1e-4), "WAE-MMD": (1e-2, 1e-1, 1.0)}
SYMBOL = {"β-VAE": "β", "WAE-MMD": "λ"}
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
class Models:
    """Models of one kind and latent_dim: a network of each weight and repeat, repeat by repeat."""

    kind: str
    latent_dim: int
    encoder: Network
    decoder: Network

    def select(self, index: int) -> "Models":
        return Models(self.kind, self.latent_dim, self.encoder.select([index]), self.decoder.select([index]))

    def encode(self, x: Tensor) -> Latents:
        """Latents of points [c, 3, n]."""
        return self._latents(self.encoder(x))

    def send(self, x: Tensor) -> Latents:
        """As `encode`, after the search of this project's encoders; the SNR is that of these points."""
        own = self.encode(x)
        noise = own.log_noise_power
        snr = None if noise is None else float(own.mean.square().mean() / noise.exp().mean())

        def decode(output: Tensor) -> Tensor:
            return project(self.decoder(output[:, : self.latent_dim]), cube.SOURCE.bounds)

        margins = torch.full((len(x),), search.margin(cube.SOURCE, snr))
        return self._latents(search.best_output(x, self.encoder, decode, margins))

    def _latents(self, output: Tensor) -> Latents:
        return Latents(output, None) if self.kind == "WAE-MMD" else Latents(*output.chunk(2, 1))


def losses(kind: str, latents: Latents, prior: Tensor, weight: Tensor) -> Tensor:
    """What a kind adds to the mse [c]; latents of a batch [c, d, b], and `prior` [c, d, b] ~ N(0, I)."""
    if kind == "β-VAE":
        assert latents.log_noise_power is not None
        return weight * channel.kl_nats(latents.mean, latents.log_noise_power).mean(1)
    return weight * mmd(latents.mean, prior)


def mmd(z: Tensor, prior: Tensor) -> Tensor:
    """MMD² [c] of latents [c, d, b] from samples of the prior, without bias.

    The kernel is the paper's inverse multiquadratic, C / (C + |z - z'|²) with C = 2d.
    """
    _, dims, batch = z.shape

    def mean_kernel(a: Tensor, b: Tensor, pairs: int, own: int) -> Tensor:
        square = (a.unsqueeze(3) - b.unsqueeze(2)).square().sum(1)  # [c, b, b]
        return ((2 * dims / (2 * dims + square)).sum((1, 2)) - own) / pairs

    others = batch * (batch - 1)
    within = mean_kernel(z, z, others, batch) + mean_kernel(prior, prior, others, batch)
    return within - 2 * mean_kernel(z, prior, batch * batch, 0)


def train(kind: str, latent_dim: int, points: Tensor, settings: Params) -> Models:
    """All weights and repeats of a kind as one batched program, by autograd."""
    recipe, repeats, weights = settings.train, settings.train.repeats, WEIGHTS[kind]
    hidden = (settings.network.hidden_units,) * settings.network.hidden_layers
    heads = 2 if kind == "β-VAE" else 1
    widths = [DIMENSION, *hidden, heads * latent_dim], decoder_widths(latent_dim, hidden)
    names = [(kind, latent_dim, weight, repeat) for repeat in range(repeats) for weight in weights]
    models = Models(kind, latent_dim, *(_zeros(len(names), each) for each in widths))
    for place, name in enumerate(names):
        generator = numpy_stream(settings.seed, "weights", *name)
        seen = points.numpy()[generator.integers(len(points), size=program.SEEN)].T
        latents = generator.standard_normal((latent_dim, program.SEEN), np.float32)
        for net, inputs in ((models.encoder, seen), (models.decoder, latents)):
            own = [w[place].numpy() for w in net.weights], [b[place, :, 0].numpy() for b in net.biases]
            network.initialise(*own, inputs, generator)
    networks = models.encoder, models.decoder
    parameters = [t.requires_grad_() for net in networks for t in (*net.weights, *net.biases)]
    adam, weight = torch.optim.Adam(parameters, fused=True), torch.tensor(weights).repeat(repeats)
    draws = [_generator(settings.seed, "draws", latent_dim, repeat) for repeat in range(repeats)]
    each, shape = len(weights), (latent_dim, recipe.batch_size)
    for step in range(recipe.steps):
        rows = [torch.randint(len(points), (recipe.batch_size,), generator=g) for g in draws]
        x = torch.stack([points[index].T for index in rows]).repeat_interleave(each, 0)
        noise = torch.stack([torch.randn(shape, generator=g) for g in draws]).repeat_interleave(each, 0)
        sent = models.encode(x)
        decoded = models.decoder(sent.transmit(noise))
        inside = project(decoded.detach().clone(), cube.SOURCE.bounds)
        projected = decoded + (inside - decoded.detach())  # straight through
        mse = (projected - x).square().mean((1, 2))
        adam.zero_grad()
        (mse + losses(kind, sent, noise, weight)).sum().backward()
        adam.param_groups[0]["lr"] = loop.learning_rate(step, recipe.steps, recipe.learning_rate)
        adam.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
    return models


def _zeros(cells: int, widths: Sequence[int]) -> Network:
    return Network(
        tuple(torch.zeros(cells, o, i) for i, o in itertools.pairwise(widths)),
        tuple(torch.zeros(cells, o, 1) for o in widths[1:]),
    )


def _generator(seed: int, *name: object) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed(seed, "models", *name))


def measure(
    model: Models, splits: Mapping[str, Split], reference: generation.Reference, lines: Tangents, seed: int
) -> dict[str, Any]:
    """One model on held-out points: the columns of cells.csv, and the mse on validation points.

    The gap is to the limit at the model's own E KL; without noise nothing bounds what passes.
    """
    generator = _generator(seed, "noise", model.latent_dim)
    validation_error, _, _ = _transmit(model, splits["validation"], generator)
    draws = [_transmit(model, splits["test"], generator) for _ in range(evaluation.NOISE_DRAWS)]
    _, z, kl = draws[0]
    mse = measures.estimate(np.mean([error for error, _, _ in draws], axis=0))
    bits = None if kl is None else float(kl.double().mean()) / np.log(2)
    least = np.nan if bits is None else float(shannon.distortion_at_rate(lines, bits)) / DIMENSION
    cell = Cell("none", model.latent_dim, None, 0)
    codec = Codecs((cell,), model.encoder, model.decoder, torch.ones(1), torch.zeros(1), "cube")
    generated = evaluation.generate(codec, reference, seed)
    return {
        "validation_mse": float(validation_error.mean()),
        "mse": mse.value,
        "mse_stderr": mse.stderr,
        "kl_bits": bits,
        "gap_db": 10 * np.log10(mse.value / least),
        "latent_kl_bits": measures.latent_kl_bits(z),
        "generated_surface_distance": generated.surface_distance,
        "generation_ratio": generated.ratio.value,
        "generation_ratio_stderr": generated.ratio.stderr,
        "generation_p_value": generated.p_value,
        "coverage": generated.coverage,
    }


def _transmit(
    model: Models, split: Split, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray, Tensor | None]:
    """Of each point: squared error [n], latents [n, d], and KL [n] in nats where there is noise."""
    sent = model.send(torch.from_numpy(split.points).T.unsqueeze(0))
    z = sent.transmit(torch.randn(sent.mean.shape, generator=generator))
    error = measures.squared_error(split.points, project(model.decoder(z), cube.SOURCE.bounds)[0].T.numpy())
    if sent.log_noise_power is None:
        return error, z[0].T.numpy(), None
    return error, z[0].T.numpy(), channel.kl_nats(sent.mean, sent.log_noise_power)[0]


def rows(settings: Params, splits: Mapping[str, Split], lines: Tangents) -> Iterator[dict[str, Any]]:
    """The best repeat of every kind, latent_dim and weight."""
    points = torch.from_numpy(splits["train"].points)
    ideal = numpy_stream(settings.seed, "ideal samples")
    reference = generation.reference(cube.SOURCE, splits["test"].points, ideal)
    for kind, latent_dim in itertools.product(WEIGHTS, settings.latent_dim):
        torch.set_flush_denormal(True)  # as in loop.fit
        models = train(kind, latent_dim, points, settings)
        torch.set_flush_denormal(False)  # SciPy's trees break where it is set
        count = len(WEIGHTS[kind])
        for place, weight in enumerate(WEIGHTS[kind]):
            repeats = range(place, count * settings.train.repeats, count)
            found = [measure(models.select(i), splits, reference, lines, settings.seed) for i in repeats]
            best = min(found, key=lambda row: row["validation_mse"])
            yield {"model": kind, "latent_dim": latent_dim, "setting": f"{SYMBOL[kind]} = {weight:g}"} | best


def committed(cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """AE and SNR-VAE of reports/cells.csv."""
    selected = cells[(cells.selected == 1) & (cells.diverged == 0) & (cells.noise != "learned")]
    for row in selected.to_dict("records"):
        noise = {"model": "SNR-VAE", "setting": f"SNR {row['snr']:g}"}
        numbers = {str(name): value for name, value in row.items()}
        yield numbers | ({"model": "AE", "setting": ""} if row["noise"] == "none" else noise)


def markdown(found: Sequence[Mapping[str, Any]], settings: Params) -> str:
    """The table, a model after the other for each latent_dim."""
    order = ["AE", "SNR-VAE", *WEIGHTS]

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
Every encoder sends a neighbour's latents where they are decoded better (`snrvae/codecs/search.py`).
An SNR-VAE with three latents at an SNR of 62 or more is pulled to a folded surface at first, no other model.

{table(["d", "model", *COLUMNS.values()], map(texts, in_order))}
"""


def main() -> None:
    torch.set_num_threads(1)  # blocks this small are slower on two
    argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__).parse_args()
    settings = params.from_yaml(Path("params.yaml").read_text())
    splits = dataset.generate(cube.SOURCE, settings.data.counts, settings.seed)
    lines = shannon.tangents_from_csv(Path("reports/rate_distortion.csv").read_bytes())
    found = [*committed(pd.read_csv("reports/cells.csv")), *rows(settings, splits, lines)]
    text = markdown(found, settings)
    print(text, end="")
    Path("benchmarks/MODELS.md").write_text(text)


if __name__ == "__main__":
    main()
