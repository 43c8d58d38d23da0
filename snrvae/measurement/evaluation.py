"""Evaluation: what every cell does on held-out points, and what the selected ones generate."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrvae.codecs import channel
from snrvae.codecs.codec import Codecs, Latents, label_of
from snrvae.formats import dataset
from snrvae.limit import shannon
from snrvae.limit.rate_distortion import Lines
from snrvae.measurement import density, generation, information, measures
from snrvae.measurement.records import CodecMetrics, ConditionalGeneration, Estimate, Generation, Limit
from snrvae.settings.randomness import numpy_stream, stream_seed
from snrvae.sources.known import SOURCES
from snrvae.sources.source import DIMENSION, Faces, Labels, Points, Source

NOISE_DRAWS = 4  # transmissions of each validation and test point
GENERATIONS = 8  # draws of as many generated points as there are test points
FITTED_GENERATIONS = 3  # the same, from a fitted density
QUERIES = 2000  # test points whose latents are asked what they carry
PASS = 8192  # points that go through a network at once: a few MB of activations


def measure(codec: Codecs, validation: Points, test: Points, seed: int) -> CodecMetrics:
    """Measure a codec of one cell on inputs [n, 3 + l]. Raises ValueError where it gives what is not finite.

    The channel's noise is that of (seed, latent_dim): cells of one latent_dim are compared on the same draws.
    """
    (cell,) = codec.cells
    validation_error, _ = _errors(codec, validation, _generator(seed, "validation noise", cell.latent_dim))
    error, first = _errors(codec, test, _generator(seed, "test noise", cell.latent_dim))
    return CodecMetrics(
        cell,
        float(validation_error.mean()),
        measures.estimate(error),
        measures.linear_mse(cell.latent_dim, cell.snr, _left_open(codec)),
        None if first.kl_bits is None else measures.estimate(first.kl_bits),
        measures.latent_kl_bits(first.latents),
        measures.latent_shape_kl_bits(first.latents),
        first.latents,
        first.reconstructed,
        first.noise_share,
    )


def select(results: Iterable[CodecMetrics]) -> list[CodecMetrics]:
    """The best repeat of each cell by validation mse, in the order of the first repeats."""
    best: dict[tuple[str, str], CodecMetrics] = {}
    for result in results:
        name = (result.cell.model, result.cell.key)
        if name not in best or result.validation_mse < best[name].validation_mse:
            best[name] = result
    return list(best.values())


def generate(codec: Codecs, reference: generation.Reference, seed: int) -> Generation:
    """Decode z ~ N(0, I) by a codec of one cell, and compare with the source and its test points.

    A conditional codec is asked for faces at random.
    """
    generator = _generator(seed, "generation", codec.latent_dim)
    shape = 1, codec.latent_dim, len(reference.points)
    draws = [torch.randn(shape, generator=generator) for _ in range(GENERATIONS)]
    return _judge(codec, draws, reference, seed)


def generate_fitted(codec: Codecs, train: Points, reference: generation.Reference, seed: int) -> Generation:
    """As `generate`, but z is drawn from a density fitted to the latents of training inputs [n, 3 + l]."""
    dim, count = codec.latent_dim, len(reference.points)
    (sent,) = _transmit(codec, train[: density.POINTS], _generator(seed, "fitted noise", dim), 1)
    mixture = density.fit(sent.latents, stream_seed(seed, "fit", dim))
    rng = numpy_stream(seed, "fitted generation", dim)
    draws = [torch.from_numpy(mixture.sample(count, rng)).T.unsqueeze(0) for _ in range(FITTED_GENERATIONS)]
    return _judge(codec, draws, reference, seed)


def _judge(codec: Codecs, draws: Sequence[Tensor], reference: generation.Reference, seed: int) -> Generation:
    """Several draws of latents [1, d, n], decoded; p, coverage and points are those of the first."""
    source, rng = reference.source, numpy_stream(seed, "faces asked for")
    asked = [rng.integers(max(codec.labels, 1), size=z.shape[2], dtype=np.uint8) for z in draws]
    clouds = [_decoded(codec, z, label) for z, label in zip(draws, asked, strict=True)]
    excess = [generation.excess(points, source) for points in clouds]
    distance = None if source.distance is None else source.distance(np.concatenate(clouds))
    ratios = [generation.generation_ratio(each, len(reference.points)) for each in excess]
    return Generation(
        None if distance is None else float(distance.mean()),
        None if distance is None else float(np.quantile(distance, 0.95)),
        measures.face_error(np.concatenate(clouds), source),
        measures.estimate(np.array(ratios)),
        generation.p_value(excess[0], reference.ideal),
        generation.coverage(reference.points, reference.radius, clouds[0]),
        clouds[0],
        conditional(clouds, asked, source.faces) if codec.labels and source.faces else None,
    )


def _decoded(codec: Codecs, z: Tensor, asked: Labels) -> Points:
    """Points [n, 3] from latents [1, d, n], with the labels [n] asked for if the codec can be asked."""
    if not codec.labels:
        parts = [codec.decode(part) for part in z.split(PASS, 2)]
    else:
        label = torch.from_numpy(dataset.one_hot(asked, codec.labels)).T
        both = zip(z.split(PASS, 2), label.split(PASS, 1), strict=True)
        parts = [codec.decode(part, one) for part, one in both]
    return torch.cat(parts, 1)[0].numpy()


def conditional(clouds: Sequence[Points], labels: Sequence[Labels], faces: Faces) -> ConditionalGeneration:
    """Several draws of points [n, 3] against the faces [n] that they were asked to lie on."""
    distances, asked = faces.distances(np.concatenate(clouds)), np.concatenate(labels)
    own = distances[np.arange(len(asked)), asked]
    ratios = np.array(
        [generation.face_ratios(*draw, faces) for draw in zip(clouds, labels, strict=True)]
    )  # [draw, l]
    return ConditionalGeneration(
        float(own.mean()),
        float((own <= distances.min(1)).mean()),
        measures.estimate(ratios.mean(1)),
        float(ratios.mean(0).max()),
        labels[0],
    )


def limit(codec: Codecs, result: CodecMetrics, test: Points, lines: Lines, seed: int) -> Limit:
    """Hold a noisy codec of one cell, measured as `result` on test inputs [n, 3 + l], against its limit.

    lines  certified below R(D): the source's, or for a conditional codec that of what the label leaves open
    """
    (cell,) = codec.cells
    latents = codec.encode(torch.from_numpy(test))
    generator = _generator(seed, "information noise", cell.latent_dim)
    z = latents.transmit(torch.randn(latents.mean.shape, generator=generator))
    assert latents.log_noise_power is not None
    assert cell.snr is not None
    assert result.kl_bits is not None
    mean, log_noise_power = latents.mean[0], latents.log_noise_power[0]
    passed = information.conditional_information(mean, log_noise_power, z[0], QUERIES, _labels(test))
    capacity = gaussian = None
    rate = result.kl_bits.value
    if cell.noise == "isotropic":
        rate = capacity = shannon.capacity_bits(cell.latent_dim, cell.snr)
        gaussian = information.gaussian_information_bits(mean, float(log_noise_power.exp()))
    law = shannon.law(_left_open(codec))
    least = float(shannon.distortion_at_rate(lines, rate, law)) / DIMENSION
    least = max(least, 1e-200)  # a cell that all but diverged can have thousands of bits: still to divide by
    gap = 10 * np.log10(result.mse.value / least)
    stderr = 10 / np.log(10) * result.mse.stderr / result.mse.value
    return Limit(
        capacity,
        passed.lower,
        passed.upper,
        passed.saturated,
        gaussian,
        least,
        Estimate(float(gap), float(stderr)),
    )


@dataclass(frozen=True)
class _Transmission:
    latents: Points  # [n, d]
    reconstructed: Points  # [n, 3]
    kl_bits: NDArray[np.float64] | None  # [n]
    noise_share: Points | None  # [n, d]


def _left_open(codec: Codecs) -> Source:
    """What a codec has to say of a point."""
    return SOURCES[codec.source].left_open(codec.labels > 0)


def _points(inputs: Points) -> Points:
    return inputs[:, :DIMENSION]


def _labels(inputs: Points) -> NDArray[np.intp]:
    """Which label [n] each of inputs [n, 3 + l] has; 0 where there are none."""
    label = inputs[:, DIMENSION:]
    return label.argmax(1) if label.shape[1] else np.zeros(len(label), np.intp)


def _errors(
    codec: Codecs, inputs: Points, generator: torch.Generator
) -> tuple[NDArray[np.floating], _Transmission]:
    """Squared error [n] of a codec of one cell, a mean over the noise, and the first transmission."""
    times = NOISE_DRAWS if codec.cells[0].snr else 1
    draws = _transmit(codec, inputs, generator, times)
    errors = [measures.squared_error(_points(inputs), draw.reconstructed) for draw in draws]
    return np.mean(errors, axis=0), draws[0]


def _transmit(codec: Codecs, inputs: Points, generator: torch.Generator, times: int) -> list[_Transmission]:
    """Inputs [n, 3 + l] encoded once and sent so many times by a codec of one cell."""
    chunks = torch.from_numpy(inputs).split(PASS)
    encoded = [codec.encode(chunk) for chunk in chunks]
    return [_received(codec, chunks, encoded, generator) for _ in range(times)]


def _received(
    codec: Codecs, chunks: Sequence[Tensor], encoded: Sequence[Latents], generator: torch.Generator
) -> _Transmission:
    parts = [_pass(codec, *chunk, generator) for chunk in zip(chunks, encoded, strict=True)]
    z, reconstructed, kl_nats, share = zip(*parts, strict=True)
    for part in (*z, *reconstructed, *kl_nats):
        if part is not None and not part.isfinite().all():
            name = codec.cells[0].name
            raise ValueError(f"{name}: latents or reconstructions that are not finite: a damaged model?")
    return _Transmission(
        torch.cat(z).numpy(),
        torch.cat(reconstructed).numpy(),
        None if kl_nats[0] is None else torch.cat(kl_nats).double().numpy() / np.log(2),
        None if share[0] is None else torch.cat(share).numpy(),
    )


def _pass(
    codec: Codecs, inputs: Tensor, latents: Latents, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    z = latents.transmit(torch.randn(latents.mean.shape, generator=generator))
    reconstructed = codec.decode(z, label_of(inputs.T))[0]
    if latents.log_noise_power is None:
        return z[0].T, reconstructed, None, None
    kl = channel.kl_nats(latents.mean, latents.log_noise_power)[0]
    if codec.noise == "isotropic":
        return z[0].T, reconstructed, kl, None
    snr = codec.cells[0].snr or 1.0
    share = latents.log_noise_power[0].exp() * snr / codec.signal_power
    return z[0].T, reconstructed, kl, share.T


def _generator(seed: int, *name: object) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed(seed, *name))


def single(codecs: Sequence[Codecs]) -> list[Codecs]:
    """Every cell as a codec of its own."""
    return [batch.select([i]) for batch in codecs for i in range(len(batch.cells))]
