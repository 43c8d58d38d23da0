"""Evaluation: every codec is measured on held-out points, and the selected codecs generate points.

Codecs are measured in float64. Processors and libraries round in different ways, and in float64 the
difference is far below the six digits of a table.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from snrvae.codecs.channels import Latents
from snrvae.codecs.codec import PASS, Codec
from snrvae.codecs.losses import kl_nats
from snrvae.limit import gaussian as gaussian_law
from snrvae.limit import of_source, shannon
from snrvae.limit.shannon import RateDistortionTable
from snrvae.measurement import density, generation, information, measures
from snrvae.measurement.records import (
    CodecMetrics,
    ConditionalGeneration,
    Estimate,
    Generation,
    HeldOut,
    Limit,
)
from snrvae.measurement.samples import LATENTS, POINTS
from snrvae.measurement.store import Kept
from snrvae.settings.grid import Cell
from snrvae.settings.randomness import numpy_stream, stream_seed
from snrvae.sources import dataset
from snrvae.sources.domain import Domain, Labels, Split
from snrvae.sources.source import Source

NOISE_DRAWS = 4  # transmissions of each validation and test point
GENERATIONS = 8  # draws, each of as many generated points as test points
FITTED_GENERATIONS = 3  # the same, from a fitted density
QUERIES = 2000  # test points whose latents' information is estimated

Result = TypeVar("Result", bound=HeldOut)


@dataclass(frozen=True)
class Evaluation:
    """The measurements of a grid: of each codec, and, by cell, of the selected codecs.

    generated  with z ~ N(0, I);  fitted  with z from a fitted density;  limits  for noisy cells
    """

    results: list[CodecMetrics]
    selected: list[CodecMetrics]
    generated: dict[Cell, Generation]
    fitted: dict[Cell, Generation]
    limits: dict[Cell, Limit]


def evaluate(
    codecs: Mapping[Cell, Codec],
    splits: Mapping[str, Split],
    source: Source,
    table: RateDistortionTable,
    seed: int,
    threads: int,
    entries: MutableMapping[str, bytes],
) -> Evaluation:
    """Measure every codec, each on one core whatever runs beside it, and the selected codecs in full.

    entries  earlier measurements by name; new ones are added
    table    R(D) of the source; for conditional codecs, of the source given the label
    """
    test, validation = splits["test"], splits["validation"]
    kept = Kept(entries, splits, source, table, seed)

    def measured(codec: Codec) -> CodecMetrics:
        return kept.find(
            "codec", codec, CodecMetrics, partial(measure, codec, source, validation, test, seed)
        )

    def job(what: str, cell: Cell, record: type[Any], function: Callable[..., Any], *given: Any) -> Any:
        return partial(kept.find, what, codecs[cell], record, partial(function, codecs[cell], *given, seed))

    torch.set_num_threads(1)
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        compared = pool.submit(
            kept.find, "reference", None, _Compared, partial(_compared, source, test, seed)
        )
        results = list(pool.map(measured, codecs.values()))
        selected = select(results)
        reference = generation.reference(source, test, *vars(compared.result()).values())
        uniform = [r.cell for r in reversed(selected) if r.cell.noise != "learned"]  # longest fits first
        noisy = [result for result in selected if result.kl_bits is not None]
        jobs: list[Callable[[], Any]] = [
            *(job("fitted", c, Generation, generate_fitted, splits["train"], reference) for c in uniform),
            *(job("generated", r.cell, Generation, generate, reference) for r in selected),
            *(job("limit", r.cell, Limit, limit, r, test, source, table) for r in noisy),
        ]
        done = pool.map(lambda job: job(), jobs)  # in the order of the jobs; each line below takes its part
        fitted = dict(zip(uniform, done, strict=False))
        generated = dict(zip((r.cell for r in selected), done, strict=False))
        limits = dict(zip((r.cell for r in noisy), done, strict=True))
    return Evaluation(results, selected, generated, fitted, limits)


@dataclass(frozen=True)
class _Compared:
    """The computed part of generation's reference."""

    radius: NDArray[np.floating]
    ideal: NDArray[np.floating]


def _compared(source: Source, test: Split, seed: int) -> _Compared:
    return _Compared(*generation.compared(source, test, numpy_stream(seed, "ideal samples")))


def measure(codec: Codec, source: Source, validation: Split, test: Split, seed: int) -> CodecMetrics:
    """Measure a codec on held-out points. Raises ValueError if its latents or outputs are not finite.

    The channel's noise depends on (seed, latent_dim) alone: cells of one latent_dim get the same draws.
    """
    cell = codec.architecture.cell
    validation_mse, error, first = _held_out(codec, validation, test, seed)
    return CodecMetrics(
        cell,
        validation_mse,
        measures.estimate(error),
        measures.linear_mse(cell, source, codec.architecture.num_classes > 0),
        None if first.kl_bits is None else measures.estimate(first.kl_bits),
        measures.latent_kl_bits(first.latents),
        measures.latent_shape_kl_bits(first.latents),
        first.latents[:LATENTS],
        first.reconstructed[:POINTS],
        None if first.noise_share is None else first.noise_share[:LATENTS],
    )


def errors(codec: Codec, validation: Split, test: Split, seed: int) -> HeldOut:
    """Only the errors of a codec, as `measure` finds them."""
    validation_mse, error, _ = _held_out(codec, validation, test, seed)
    return HeldOut(codec.architecture.cell, validation_mse, measures.estimate(error))


def _held_out(
    codec: Codec, validation: Split, test: Split, seed: int
) -> tuple[float, NDArray[np.floating], "_Received"]:
    """The mse on validation points, the error of each test point [n], and their first transmission."""
    _check_finite(codec, test)
    codec, dim = _exact(codec), codec.architecture.cell.latent_dim
    validation_error, _ = _errors(codec, validation, _generator(seed, "validation noise", dim))
    error, first = _errors(codec, test, _generator(seed, "test noise", dim))
    return float(validation_error.mean()), error, first


def select(results: Iterable[Result]) -> list[Result]:
    """The best repeat of each cell by validation mse, in the order of the first repeats."""
    best: dict[tuple[str, str], Result] = {}
    for result in results:
        name = (result.cell.model, result.cell.key)
        if name not in best or result.validation_mse < best[name].validation_mse:
            best[name] = result
    return list(best.values())


def generate(codec: Codec, reference: generation.Reference, seed: int) -> Generation:
    """Decode z ~ N(0, I), and compare with the source and its test points.

    A conditional codec receives random labels.
    """
    dim, count = codec.architecture.cell.latent_dim, len(reference.points.points)
    generator = _generator(seed, "generation", dim)
    draws = [_normal(count, dim, generator) for _ in range(GENERATIONS)]
    return _judge(_exact(codec), draws, reference, seed)


def generate_fitted(codec: Codec, train: Split, reference: generation.Reference, seed: int) -> Generation:
    """As `generate`, but z is drawn from a density fitted to the latents of training points."""
    dim, count = codec.architecture.cell.latent_dim, len(reference.points.points)
    seen = Split(train.points[: density.POINTS], train.label[: density.POINTS])
    codec = _exact(codec)
    (sent,) = _transmit(codec, seen, _generator(seed, "fitted noise", dim), 1)
    mixture = density.fit(sent.latents, stream_seed(seed, "fit", dim))
    rng = numpy_stream(seed, "fitted generation", dim)
    draws = [torch.from_numpy(mixture.sample(count, rng)) for _ in range(FITTED_GENERATIONS)]
    return _judge(codec, draws, reference, seed)


def _judge(codec: Codec, draws: Sequence[Tensor], reference: generation.Reference, seed: int) -> Generation:
    """Measure several decoded draws of latents [n, d]; p, coverage and points are of the first draw."""
    source, test, rng = reference.source, reference.points, numpy_stream(seed, "faces asked for")
    classes = codec.architecture.num_classes
    asked = [_requests(source.domain, classes, len(z), rng) for z in draws]
    clouds = [_decoded(codec, z, label) for z, label in zip(draws, asked, strict=True)]
    excess = [generation.excess(points, reference.law) for points in clouds]
    judged = np.concatenate(clouds if source.exact else clouds[:1])  # a search takes long
    distance = None if source.distance is None else source.distance(judged)
    ratios = [generation.generation_ratio(each, len(test.points)) for each in excess]
    nearest = generation.nearest_distance(clouds[0], test.points).mean() if source.domain.finite else None
    return Generation(
        None if distance is None else float(distance.mean()),
        None if distance is None else float(np.quantile(distance, 0.95)),
        None if nearest is None else float(nearest),
        measures.face_error(judged, source),
        measures.estimate(np.array(ratios)),
        generation.p_value(excess[0], reference.ideal) if source.exact else None,
        generation.coverage(test.points, reference.radius, clouds[0]),
        clouds[0][:POINTS],
        conditional(clouds, asked, reference) if classes else None,
    )


def _requests(domain: Domain, classes: int, count: int, rng: np.random.Generator) -> Labels:
    """Random labels [n] to request, each as often as in the data."""
    if domain.shares and classes:
        return rng.choice(classes, count, p=np.array(domain.shares)).astype(np.uint8)
    return rng.integers(max(classes, 1), size=count, dtype=np.uint8)


def _decoded(codec: Codec, z: Tensor, asked: Labels) -> NDArray[np.float64]:
    """Points [n, k] from latents [n, d], with the requested labels [n] if the codec is conditional."""
    label = _one_hot(codec, asked)
    parts = [codec.decode(z[p], None if label is None else label[p]) for p in _passes(len(z))]
    return torch.cat(parts).numpy()


def conditional(
    clouds: Sequence[NDArray[np.float64]], labels: Sequence[Labels], reference: generation.Reference
) -> ConditionalGeneration:
    """Compare several draws of points [n, k] with their requested labels [n]."""
    source, test = reference.source, reference.points
    points, asked, distance, real = np.concatenate(clouds), np.concatenate(labels), None, None
    if source.faces:
        distances = source.faces.distances(points)
        own = distances[np.arange(len(asked)), asked]
        distance, right = float(own.mean()), own <= distances.min(1)
    else:
        right = source.nearest(points) == asked
        real = float((source.nearest(test.points) == test.label).mean())
    ratios = np.array(
        [generation.part_ratios(*draw, reference.parts) for draw in zip(clouds, labels, strict=True)]
    )  # [draw, l]
    return ConditionalGeneration(
        distance,
        float(right.mean()),
        real,
        measures.estimate(np.nanmean(ratios, 1)),  # NaN: a label with fewer than two points in a draw
        float(np.nanmean(ratios[:, np.isfinite(ratios).any(0)], 0).max()),
        labels[0],
    )


def limit(
    codec: Codec, result: CodecMetrics, test: Split, source: Source, table: RateDistortionTable, seed: int
) -> Limit:
    """Compare a noisy codec, measured as `result` on test points, with its limit."""
    cell, conditional, codec = codec.architecture.cell, codec.architecture.num_classes > 0, _exact(codec)
    latents = codec.encode(torch.from_numpy(test.points).double(), _one_hot(codec, test.label))
    generator = _generator(seed, "information noise", cell.latent_dim)
    z = latents.transmit(_normal(len(test.points), cell.latent_dim, generator))
    assert latents.log_noise_power is not None
    assert result.kl_bits is not None
    mean, log_noise_power = latents.mean.T, latents.log_noise_power.T
    classes = test.label if conditional else np.zeros(len(test.label), np.uint8)
    passed = information.conditional_information(mean, log_noise_power, z.T, QUERIES, classes)
    capacity = gaussian = None
    rate = result.kl_bits.value
    if cell.noise == "isotropic":
        assert cell.snr is not None
        rate = capacity = shannon.capacity_bits(cell.latent_dim, cell.snr)
        gaussian = information.gaussian_information_bits(mean, float(log_noise_power.exp()))
    saturated = table.saturated_at(rate)
    least = None if saturated else least_mse(rate, source, table, conditional)
    variances, shares = measures.moments(source, conditional)
    return Limit(
        capacity,
        passed.lower,
        passed.upper,
        passed.saturated,
        gaussian,
        least,
        table.certainty_at(rate),
        saturated,
        gaussian_law.distortion(variances, rate, shares) / source.coordinates,
        None if least is None else gap_db(result.mse, least),
    )


def least_mse(rate_bits: float, source: Source, table: RateDistortionTable, conditional: bool) -> float:
    """The limit: the least mse that a rate allows, for a rate at which the table is not saturated.

    It is never 0, since mse is divided by it: a cell that nearly diverged can have thousands of bits.
    """
    distortion = shannon.distortion_at_rate(table.tangents, rate_bits, of_source.law(source, conditional))
    return max(float(distortion) / source.coordinates, 1e-200)


def gap_db(mse: Estimate, least: float) -> Estimate:
    """How far an mse lies above the least mse, in dB."""
    return Estimate(float(10 * np.log10(mse.value / least)), float(10 / np.log(10) * mse.stderr / mse.value))


@dataclass(frozen=True)
class _Received:
    latents: NDArray[np.float64]  # [n, d]
    reconstructed: NDArray[np.float64]  # [n, k]
    kl_bits: NDArray[np.float64] | None  # [n]
    noise_share: NDArray[np.float64] | None  # [n, d]


def _errors(codec: Codec, split: Split, generator: torch.Generator) -> tuple[NDArray[np.floating], _Received]:
    """Squared error [n], a mean over the noise, and the first transmission."""
    times = 1 if codec.architecture.cell.noise == "none" else NOISE_DRAWS
    draws = _transmit(codec, split, generator, times)
    errors = [measures.squared_error(split.points, draw.reconstructed) for draw in draws]
    return np.mean(errors, axis=0), draws[0]


def _transmit(codec: Codec, split: Split, generator: torch.Generator, times: int) -> list[_Received]:
    """Transmissions of points that are encoded once and sent several `times`."""
    x, label = torch.from_numpy(split.points).double(), _one_hot(codec, split.label)
    labels = [None if label is None else label[p] for p in _passes(len(x))]
    encoded = [codec.encode(x[p], own) for p, own in zip(_passes(len(x)), labels, strict=True)]
    return [_received(codec, encoded, labels, generator) for _ in range(times)]


def _received(
    codec: Codec, encoded: Sequence[Latents], labels: Sequence[Tensor | None], generator: torch.Generator
) -> _Received:
    sent = [
        latents.transmit(_normal(len(latents.mean), latents.mean.shape[1], generator)) for latents in encoded
    ]
    reconstructed = torch.cat([codec.decode(z, label) for z, label in zip(sent, labels, strict=True)])
    kl = share = None
    if encoded[0].log_noise_power is not None:
        kl = torch.cat([kl_nats(latents) for latents in encoded])
    if codec.architecture.cell.noise == "learned":
        power = torch.cat([latents.log_noise_power for latents in encoded]).exp()  # type: ignore[misc]
        share = (power * codec.channel.snr / codec.channel.signal_power).numpy()
    bits = None if kl is None else kl.numpy() / np.log(2)
    return _Received(torch.cat(sent).numpy(), reconstructed.numpy(), bits, share)


def _check_finite(codec: Codec, split: Split) -> None:
    """Raise ValueError unless the codec, in its own float32, gives finite numbers for the points."""
    noise = torch.zeros(1, codec.architecture.cell.latent_dim)
    for p in _passes(len(split.points)):
        label = None if (label := _one_hot(codec, split.label[p])) is None else label.float()
        sent = codec(torch.from_numpy(split.points[p]), noise, label)
        kl = sent.reconstruction if sent.latents.log_noise_power is None else kl_nats(sent.latents)
        if not all(part.isfinite().all() for part in (sent.z, sent.reconstruction, kl)):
            name = codec.architecture.cell.name
            raise ValueError(f"{name}: latents or reconstructions that are not finite; is the model damaged?")


def _exact(codec: Codec) -> Codec:
    """A copy of the codec that computes in float64."""
    return copy.deepcopy(codec).double()


def _one_hot(codec: Codec, label: Labels) -> Tensor | None:
    """Labels [n] as a conditional codec receives them, one-hot [n, l]; None for a codec without labels."""
    classes = codec.architecture.num_classes
    return torch.from_numpy(dataset.one_hot(label, classes)).double() if classes else None


def _passes(count: int) -> list[slice]:
    """Slices of `count` points that go through a network one after the other."""
    return [slice(start, start + PASS) for start in range(0, count, PASS)]


def _normal(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """ε [n, d] ~ N(0, I), drawn dimension by dimension."""
    return torch.randn(dim, count, generator=generator).double().T.contiguous()


def _generator(seed: int, *name: object) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed(seed, *name))
