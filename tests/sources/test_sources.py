"""Sources: samplers against their moments and closed forms, R(D) against certificates, and a run of each."""

import csv
import importlib
import json
import math
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import draw_splits
from numpy.typing import NDArray
from scipy import stats

from snrvae.codecs.codec import Codec
from snrvae.codecs.files import of_run as models_of
from snrvae.limit import shannon
from snrvae.measurement import evaluation, measures, metrics
from snrvae.settings import grid, params
from snrvae.settings.grid import Cell
from snrvae.sources import circle, dataset, gaussian, sphere, square
from snrvae.sources.domain import Split
from snrvae.sources.registry import SOURCES
from snrvae.sources.source import Source
from snrvae.training.config import of_params
from snrvae.training.pool import Pool
from stages import files, sources
from tests.repository import ONE_POINT, STAGES

ROOT = Path(__file__).parents[2]
COUNT = 200_000
SIGMAS = 5  # a tolerance in standard errors
EXACT = [name for name, source in SOURCES.items() if source.tangent]
OTHERS = [name for name in SOURCES if name != "cube"]

Array = NDArray[np.float64]


def drawn(name: str, count: int = COUNT, seed: int = 0) -> Array:
    return SOURCES[name].sample(count, np.random.default_rng(seed))


def law(name: str) -> shannon.RateDistortion:
    return shannon.law(SOURCES[name])


# The law of a point


@pytest.mark.parametrize("name", SOURCES)
def test_coordinates_have_the_mean_and_the_variance_that_the_source_says(name: str) -> None:
    source, points = SOURCES[name], drawn(name)
    centred = points - np.array(source.domain.mean)
    products = centred[:, :, None] * centred[:, None, :]  # [n, k, k]
    varies = np.arange(source.coordinates) < source.components
    assert not centred[:, ~varies].any()
    tolerance = SIGMAS * products.std(axis=0) / math.sqrt(COUNT) + 1e-12
    assert (abs(products.mean(axis=0) - np.diag(varies * source.variance)) < tolerance).all()
    assert (abs(centred.mean(axis=0)) <= SIGMAS * math.sqrt(source.variance / COUNT)).all()


@pytest.mark.parametrize("name", SOURCES)
def test_a_sample_is_where_the_source_lives_with_every_label_equally_often(name: str) -> None:
    source = SOURCES[name]
    split = source.split(60_000, np.random.default_rng(1))
    assert split.points.dtype == np.float32
    assert split.points.shape == (60_000, source.coordinates)
    assert split.label.dtype == np.uint8
    assert source.contains(split)
    low, high = source.domain.bounds or (-np.inf, np.inf)
    assert ((split.points >= low) & (split.points <= high)).all()
    shares = np.bincount(split.label, minlength=len(source.labels))
    assert len(shares) == len(source.labels)
    assert stats.chisquare(shares).pvalue > 1e-4


@pytest.mark.parametrize("name", SOURCES)
def test_points_elsewhere_are_not_held_to_be_of_the_source(name: str) -> None:
    source = SOURCES[name]
    split = source.split(600, np.random.default_rng(2))
    for wrong in (np.nan, np.inf):
        damaged = split.points.copy()
        damaged[-1, 0] = wrong
        assert not source.contains(Split(damaged, split.label))
    moved = split.points.copy()
    away = np.float32([0.001, 0.002, 0.003])[: source.coordinates]
    moved[-1] += np.sign(moved[-1] - np.float32(source.domain.mean)) * away
    moved[-1, source.components :] += np.float32(0.003)
    assert source.contains(Split(moved, split.label)) is (source.distance is None)
    labels = (split.label + 1) % len(source.labels)
    assert not source.contains(Split(split.points, labels.astype(np.uint8)))
    assert not source.contains(Split(split.points, split.label + np.uint8(len(source.labels))))


@pytest.mark.parametrize(
    ("name", "other"),
    [pair for pair in permutations(SOURCES, 2) if pair != ("gaussian", "square")],  # which might be drawn
)
def test_points_of_another_source_are_refused_in_a_line(name: str, other: str, tmp_path: Path) -> None:
    settings, path = settings_of(name), tmp_path / "cube.npz"
    path.write_bytes(dataset.to_bytes(draw_splits(SOURCES[other], settings.data.counts)))
    with pytest.raises(ValueError) as caught:
        sources.read_cube(path, SOURCES[name], settings)
    given, expected = SOURCES[other].coordinates, SOURCES[name].coordinates
    if given != expected:
        what = f"train: expected float32 [n, {expected}], found float32 [1200, {given}]"
        assert str(caught.value) == f"{path}: {what}"
        return
    right = f"do not fit params.yaml, whose source is {SOURCES[name].title}"
    assert str(caught.value) == f"{path}: train: points or labels that {right}"
    path.write_bytes(dataset.to_bytes(draw_splits(SOURCES[name], settings.data.counts)))
    assert list(sources.read_cube(path, SOURCES[name], settings)) == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("source", "point", "distance"),
    [
        (sphere.SOURCE, (0, 0, 0), 1.0),
        (sphere.SOURCE, (0, 0.5, 0), 0.5),
        (sphere.SOURCE, (3, 0, 4), 4.0),
        (square.SOURCE, (0.2, 0.9, 0), 0.0),
        (square.SOURCE, (0.2, 0.9, -0.5), 0.5),
        (square.SOURCE, (4, 0.5, 4), 5.0),
        (square.SOURCE, (-1, -1, 0), math.sqrt(2)),
        (circle.SOURCE, (0, 0), 1.0),
        (circle.SOURCE, (3, 4), 4.0),
    ],
)
def test_the_distance_to_a_surface_is_exact_where_it_is_known(
    source: Source, point: tuple[float, ...], distance: float
) -> None:
    assert source.distance is not None
    assert source.distance(np.array([point], np.float32))[0] == pytest.approx(distance, abs=1e-6)


@pytest.mark.parametrize("name", SOURCES)
def test_the_mean_distance_to_the_law_is_that_to_its_points(name: str) -> None:
    source, points = SOURCES[name], drawn(name)
    places = np.random.default_rng(3).normal(source.domain.mean, 0.8, (6, source.coordinates))
    for place, found in zip(places, source.mean_distance(places), strict=True):
        distances = np.linalg.norm(points - place, axis=1)
        assert abs(found - distances.mean()) < SIGMAS * distances.std() / math.sqrt(COUNT)
    assert source.mean_distance(np.array([source.domain.mean])) == pytest.approx(
        np.linalg.norm(points - np.array(source.domain.mean), axis=1).mean(), rel=0.01
    )


@pytest.mark.parametrize("name", SOURCES)
def test_the_mean_distance_within_the_law_is_the_mean_of_that_to_it(name: str) -> None:
    source = SOURCES[name]
    distances = source.mean_distance(drawn(name, seed=4))
    assert (
        abs(source.mean_pair_distance - distances.mean())
        < SIGMAS * distances.std() / math.sqrt(COUNT) + 1e-12
    )


# R(D)


@pytest.mark.parametrize("name", EXACT)
def test_the_slope_of_a_closed_form_is_what_it_was_asked_for(name: str) -> None:
    tangent = SOURCES[name].tangent
    assert tangent is not None
    least = 1 / (2 * SOURCES[name].variance)
    for slope in least * np.array([1.01, 1.3, 2.0, 10.0, 1e3, 1e6]):
        (near, rate), (far, less) = (tangent(float(slope * factor)) for factor in (1 + 1e-5, 1 - 1e-5))
        assert (rate - less) / (far - near) == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("name", EXACT)
def test_no_bit_is_sent_where_the_mean_alone_is_best(name: str) -> None:
    source = SOURCES[name]
    assert source.tangent is not None
    distortion, nats = source.tangent((1 + 1e-4) / (2 * source.variance))
    assert distortion == pytest.approx(source.components * source.variance, rel=2e-3)
    assert 0 <= nats < 1e-3


def test_a_normal_source_has_the_rate_of_three_normal_coordinates() -> None:
    for slope in (4.0, 20.0, 1e4):
        distortion, nats = gaussian.tangent(slope)
        assert nats == pytest.approx(3 * 0.5 * math.log(gaussian.VARIANCE / (distortion / 3)))


def test_the_rate_of_a_sphere_is_certified_by_its_dual() -> None:
    """α constant with G(y) = α·E exp(−λ|x−y|²) ≤ 1 for all y: R ≥ ln α − λD, with equality (Csiszár 1974)."""
    r = np.linspace(1e-6, 1.2, 200_001)
    for slope in (1.6, 2.0, 10.0, 200.0):
        log_mean = -slope * (1 + r**2) + np.log(np.sinh(2 * slope * r) / (2 * slope * r))
        distortion, nats = sphere.tangent(slope)
        assert nats + slope * distortion == pytest.approx(-log_mean.max(), abs=1e-8)


@pytest.mark.parametrize("name", EXACT)
def test_at_a_high_rate_a_closed_form_is_shannons_lower_bound(name: str) -> None:
    tangent = SOURCES[name].tangent
    assert tangent is not None
    distortion, nats = tangent(1e5)
    m, volume = SOURCES[name].dimension, SOURCES[name].volume
    bound = m / (2 * math.pi * math.e) * (volume / math.exp(nats)) ** (2 / m)
    assert distortion == pytest.approx(bound, rel=1e-4)


@pytest.mark.parametrize("name", EXACT)
def test_the_limit_from_the_table_is_the_closed_form_within_a_hundredth_of_a_decibel(name: str) -> None:
    tangent = SOURCES[name].tangent
    assert tangent is not None
    lines = shannon.tangents_from_csv(
        shannon.to_csv(shannon.rate_distortion_table(law(name))).encode(), law(name)
    )
    least = 1 / (2 * SOURCES[name].variance)
    for slope in least * np.geomspace(1.02, 1e7, 60):
        distortion, nats = tangent(float(slope))
        found = float(shannon.distortion_at_rate(lines, nats / math.log(2), law(name)))
        assert found <= distortion * (1 + 1e-6)
        assert 10 * math.log10(distortion / found) < 0.01


@pytest.mark.parametrize("name", EXACT)
def test_far_beyond_the_table_the_limit_is_still_a_bound_and_still_sharp(name: str) -> None:
    lines = shannon.rate_distortion_table(law(name)).tangents
    m, volume = SOURCES[name].dimension, SOURCES[name].volume
    for bits in (50.0, 100.0, 300.0):
        bound = m / (2 * math.pi * math.e) * (volume / 2**bits) ** (2 / m)
        found = float(shannon.distortion_at_rate(lines, bits, law(name)))
        assert abs(found / bound - 1) < 1e-6


@pytest.mark.parametrize("name", OTHERS)
def test_the_table_of_a_source_is_a_bracket_from_zero_to_eleven_bits_a_dimension(name: str) -> None:
    table = shannon.rate_distortion_table(law(name))
    source = SOURCES[name]
    assert (table.rate_lower_bits <= table.rate_upper_bits).all()
    assert table.distortion[0] == pytest.approx(source.components * source.variance)
    assert table.rate_upper_bits[0] == 0
    assert table.rate_upper_bits[-1] > 11 * source.dimension
    read = shannon.table_from_csv(shannon.to_csv(table).encode(), law(name))
    assert np.array_equal(read.slope, table.slope)
    with pytest.raises(ValueError, match="cut short, or another's"):
        shannon.table_from_csv(shannon.to_csv(table).encode())


def test_the_limit_of_a_square_is_that_of_a_known_face() -> None:
    assert law("square") is shannon.UNIT_SQUARE
    assert SOURCES["cube"].conditional_source(True) is square.SOURCE
    assert SOURCES["cube"].conditional_source(False) is SOURCES["cube"]


def test_a_source_of_which_no_rate_is_known_is_refused_by_name() -> None:
    torus = replace(sphere.SOURCE.domain, name="torus", title="a torus")
    unknown = replace(sphere.SOURCE, domain=torus, tangent=None)
    with pytest.raises(ValueError, match=r"no R\(D\) is known of a torus"):
        shannon.law(unknown)


def test_a_linear_code_of_a_normal_source_reaches_the_limit_at_every_snr() -> None:
    lines = shannon.rate_distortion_table(law("gaussian")).tangents
    for snr in (0.1, 1.0, 30.0, 1e4):
        rate = shannon.capacity_bits(3, snr)
        least = float(shannon.distortion_at_rate(lines, rate, law("gaussian")))
        linear = 3 * measures.linear_mse(Cell("isotropic", 3, float(snr), 0), gaussian.SOURCE, False)
        assert 0 <= linear / least - 1 < 1e-3
    asymptote = shannon.point_by_point_distortion(3, 1e6, law("gaussian"))
    assert asymptote == pytest.approx(
        3 * measures.linear_mse(Cell("isotropic", 3, 1e6, 0), gaussian.SOURCE, False), rel=1e-5
    )


@pytest.mark.slow
def test_training_reaches_the_limit_of_a_normal_source() -> None:
    """With d = 3 a linear map is optimal: what is missing to the closed form is the trainer's own."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree |= {"source": "gaussian", "latent_dim": 3, "noise": "isotropic"}
    tree["network"]["hidden_layers"] = 1
    settings = params.from_yaml(yaml.safe_dump(tree))
    splits = draw_splits(gaussian.SOURCE, settings.data.counts, settings.seed)
    pool = Pool(splits["train"].points, of_params(settings, gaussian.SOURCE.domain), 2)
    trained = pool.fit(grid.snr_vaes(settings), lambda *_: None)
    alone = {codec.architecture.cell: codec for codec, _ in trained}
    validation, test = splits["validation"], splits["test"]
    source, table = gaussian.SOURCE, shannon.rate_distortion_table(law("gaussian"))
    measured = [evaluation.measure(each, source, validation, test, 0) for each in alone.values()]
    for result in evaluation.select(measured):
        gap = evaluation.limit(alone[result.cell], result, test, source, table, 0).gap_db
        assert -3 * gap.stderr < gap.value < 0.1 + 2 * gap.stderr, result.cell.name


# A whole run


def settings_of(name: str) -> params.Params:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree |= {"source": name, "latent_dim": [1, 2, 3], "snr": [10, 100]}
    tree["data"] = {"train_points": 1200, "validation_points": 600, "test_points": 600}
    tree["network"] |= {"hidden_units": 16, "hidden_layers": 1}
    tree["train"] |= {"steps": 60, "repeats": 1}
    return params.from_yaml(yaml.safe_dump(tree))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each source but the cube, in which every stage but the last ran."""
    folders = {}
    for name in OTHERS:
        folders[name] = folder = tmp_path_factory.mktemp(name)
        files.write(folder / ONE_POINT, (ROOT / ONE_POINT).read_bytes())
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for stage in [*STAGES][:-1]:
                module, paths = importlib.import_module(f"stages.{stage}"), STAGES[stage]["cmd"].split()[3:]
                getattr(module, stage)(settings_of(name), *map(Path, paths))
    return folders


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "reports" / "cells.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_run_says_its_source_and_leaves_empty_what_it_has_no_meaning_for(
    name: str, runs: dict[str, Path]
) -> None:
    source = SOURCES[name]
    tree: dict[str, Any] = json.loads((runs[name] / "reports" / "metrics.json").read_text())
    for row in rows(runs[name]):
        assert row["source"] == name
        assert row["generated_face_error"] == row["requested_face_share"] == ""
        assert (row["generated_surface_distance"] == "") is (source.distance is None)
        assert (row["generated_surface_p95"] == "") is (source.distance is None)
        assert float(row["generation_ratio"]) > 0.5
        if row["noise"] == "isotropic":
            assert float(row["gap_db"]) > 0
            assert float(row["shannon_mse"]) < float(row["linear_mse"])
    assert ("generated_surface_distance" in tree["snr_vae"]["d2-snr10"]) is (source.distance is not None)


@pytest.mark.slow
def test_models_and_tables_of_another_source_are_refused(runs: dict[str, Path]) -> None:
    folder, every = runs["sphere"], settings_of("sphere")
    models = (folder / "data" / "ae.safetensors").read_bytes()
    of_sphere, of_cube = sphere.SOURCE.domain, SOURCES["cube"].domain
    read = models_of(models, ("none",), of_sphere, 0)
    assert {each.architecture.source for each in read} == {of_sphere}
    with pytest.raises(
        ValueError, match=r"holds ae/d1/0 of sphere, but params.yaml and the data are of cube"
    ):
        models_of(models, ("none",), of_cube, 0)
    moved = replace(of_sphere, factor=2.0)
    with pytest.raises(ValueError, match=r"holds ae/d1/0 of sphere, but .* are of sphere"):
        models_of(models, ("none",), moved, 0)
    cells = grid.autoencoders(every) + grid.snr_vaes(every)
    table = (folder / "reports" / "cells.csv").read_bytes()
    assert len(metrics.from_csv(table, cells, sphere.SOURCE)) == len(cells)
    with pytest.raises(ValueError, match=r"source: params.yaml has cube, but a row has another"):
        metrics.from_csv(table, cells, SOURCES["cube"])
    header, first, *rest = table.decode().splitlines()
    shares = first.split(",")
    shares[header.split(",").index("generated_face_error")] = "0.5"
    meaningless = "\n".join([header, ",".join(shares), *rest, ""]).encode()
    with pytest.raises(ValueError, match="generated_face_error: numbers that have no meaning here"):
        metrics.from_csv(meaningless, cells, sphere.SOURCE)


def test_a_codec_answers_within_the_bounds_of_its_source(codecs: dict[str, Codec]) -> None:
    codec, far = codecs["ae/d1/0"], torch.full((4, 1), 1e4)
    assert codec.decode(far).min() >= 0
    assert codec.decode(far).max() <= 1
    free = Codec(replace(codec.architecture, source=gaussian.SOURCE.domain)).eval()
    free.load_state_dict(codec.state_dict())
    assert free.decode(far).abs().max() > 10
