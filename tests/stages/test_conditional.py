"""Codecs that are told each point's face: training, files, limit, measures, and every stage of such a run."""

import csv
import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import MakeConfig, reference_of
from scipy.special import erf
from torch import Tensor

from snrvae.codecs import files as models
from snrvae.codecs.codec import Codec
from snrvae.limit import segments, shannon
from snrvae.limit.shannon import CUBE_SURFACE, UNIT_SQUARE, RateDistortionTable
from snrvae.measurement import evaluation, generation, information, measures
from snrvae.reporting import glossary
from snrvae.settings import memory, params
from snrvae.settings.grid import Cell
from snrvae.sources import cube, dataset, square
from snrvae.sources.domain import Split
from snrvae.sources.source import Source
from snrvae.training import schedule
from snrvae.training.compiled import engine
from stages import files
from tests.repository import CLOSER, ONE_POINT, STAGES

ROOT = Path(__file__).parents[2]
assert cube.SOURCE.faces is not None
FACES = cube.SOURCE.faces


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def inputs(splits: dict[str, Split]) -> Tensor:
    return torch.from_numpy(dataset.inputs(splits["train"], 6))


# Training


def test_only_without_labels_the_latent_penalty_is_strong_at_first(
    inputs: Tensor, config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(points: Tensor) -> bytes:
        settings = config(16, 1, steps=20)
        codec, _ = engine.fit(Cell("isotropic", 2, 10.0, 0), points.numpy(), settings, lambda *_: None)
        return models.to_bytes({"one": codec})

    before = trained(inputs), trained(inputs[:, :3])
    monkeypatch.setattr(schedule, "EARLY", 1.0)
    assert trained(inputs) == before[0]
    assert trained(inputs[:, :3]) != before[1]


@pytest.fixture(scope="module")
def trained(config: MakeConfig, inputs: Tensor) -> dict[str, Codec]:
    """An autoencoder, and SNR-VAEs with both noises, d = 2, well enough trained to know the faces apart."""
    cells: dict[str, Cell] = {
        "none": Cell("none", 2, None, 0),
        "isotropic": Cell("isotropic", 2, 100.0, 0),
        "learned": Cell("learned", 2, 100.0, 0),
    }
    settings = config(32, 2, steps=1500, gaussianity_weight=1e-2)
    return {n: engine.fit(cell, inputs.numpy(), settings, lambda *_: None)[0] for n, cell in cells.items()}


@pytest.mark.parametrize("noise", ["none", "isotropic", "learned"])
def test_the_power_stored_is_of_what_is_sent_for_each_point_and_its_face(
    trained: dict[str, Codec], inputs: Tensor, noise: str
) -> None:
    sent = trained[noise].encode(inputs[:, :3], inputs[:, 3:]).mean
    power = trained[noise].channel.signal_power
    assert float(power) == pytest.approx(float(sent.square().mean()), rel=1e-5)


# Codecs and their file


def test_a_file_keeps_conditional_codecs_as_they_are(trained: dict[str, Codec], inputs: Tensor) -> None:
    data = models.to_bytes(trained)
    back = models.from_bytes(data)
    assert models.to_bytes(back) == data
    for name, codec in trained.items():
        assert back[name].architecture.num_classes == codec.architecture.num_classes == 6
        found, expected = (each.encode(inputs[:, :3], inputs[:, 3:]).mean for each in (back[name], codec))
        assert torch.equal(found, expected)


def test_labels_that_a_codec_was_not_trained_with_are_refused(
    trained: dict[str, Codec], codecs: dict[str, Codec], inputs: Tensor
) -> None:
    z = torch.zeros(5, 2)
    with pytest.raises(ValueError, match=r"snr_vae/d2-snr100/0: trained with 6 labels, not 0"):
        trained["isotropic"].decode(z)
    with pytest.raises(ValueError, match="trained with 6 labels, not 7"):
        trained["isotropic"].decode(z, torch.zeros(5, 7))
    with pytest.raises(ValueError, match="trained with 6 labels, not 0"):
        trained["none"].encode(inputs[:, :3])
    with pytest.raises(ValueError, match="trained with 0 labels, not 6"):
        codecs["ae/d2/0"].decode(z, torch.zeros(5, 6))


def test_models_of_the_other_kind_are_refused(trained: dict[str, Codec], codecs: dict[str, Codec]) -> None:
    conditional = models.to_bytes({"one": trained["none"]})
    plain = models.to_bytes({"one": codecs["ae/d2/0"]})
    with pytest.raises(ValueError, match=r"trained with 6 labels, but expected 0.*differ in conditional"):
        models.of_run(conditional, ("none",), cube.SOURCE.domain, 0)
    with pytest.raises(ValueError, match=r"trained with 0 labels, but expected 6.*differ in conditional"):
        models.of_run(plain, ("none",), cube.SOURCE.domain, 6)
    assert len(models.of_run(conditional, ("none",), cube.SOURCE.domain, 6)) == 1


def test_a_file_with_another_number_of_labels_than_its_tensors_is_refused(
    trained: dict[str, Codec],
) -> None:
    data = models.to_bytes({"one": trained["isotropic"]})
    for wrong in (b'\\"num_classes\\": 5', b'\\"num_classes\\":-6'):
        damaged = data.replace(b'\\"num_classes\\": 6', wrong)
        assert damaged != data
        with pytest.raises(ValueError, match=r"one: -?[56] labels, but cube has 6"):
            models.from_bytes(damaged)


# The source


def test_inputs_are_points_with_their_faces_one_hot(splits: dict[str, Split]) -> None:
    split = splits["test"]
    given = dataset.inputs(split, 6)
    assert given.dtype == np.float32
    assert np.array_equal(given[:, :3], split.points)
    assert np.array_equal(given[:, 3:].argmax(1), split.label)
    assert np.array_equal(given[:, 3:].sum(1), np.ones(len(given)))
    assert dataset.inputs(split, 0) is split.points


def test_a_point_has_no_distance_to_its_own_face_and_its_heights_to_the_others() -> None:
    (distances,) = FACES.distances(np.array([[0.25, 0.5, 0.0]]))
    assert distances == pytest.approx([0.25, 0.75, 0.5, 0.5, 0.0, 1.0])
    (beyond,) = FACES.distances(np.array([[0.5, 0.5, 3.0]]))
    assert beyond[5] == pytest.approx(2)
    assert beyond[0] == pytest.approx(math.hypot(0.5, 2))


# The limit


@pytest.fixture(scope="module")
def table() -> RateDistortionTable:
    return shannon.rate_distortion_table(UNIT_SQUARE)


def test_the_bracket_of_a_face_is_narrow_at_every_rate(table: RateDistortionTable) -> None:
    width = table.rate_upper_bits - table.rate_lower_bits
    assert (width >= 0).all()
    assert width[table.rate_upper_bits < 10].max() < 0.001
    assert width.max() < 0.011
    assert table.rate_upper_bits[-1] > 22


def test_the_limit_of_a_face_is_between_shannons_lower_bound_and_a_normal_source(
    table: RateDistortionTable,
) -> None:
    """h(X) - log2(πeD) from below; normal coordinates of variance 1/12 from above (Berger, section 4.3)."""
    rates = np.linspace(0.1, 22, 50)
    least = shannon.distortion_at_rate(table.tangents, rates, UNIT_SQUARE)
    assert (least >= 2.0**-rates / (math.pi * math.e) * (1 - 1e-3)).all()
    assert (least <= 2.0**-rates / 6).all()
    assert least[-1] == pytest.approx(2.0**-22 / (math.pi * math.e), rel=1e-3)
    assert shannon.distortion_at_rate(table.tangents, 0.0, UNIT_SQUARE) == pytest.approx(1 / 6)
    far = float(shannon.distortion_at_rate(table.tangents, 40.0, UNIT_SQUARE))
    assert far == pytest.approx(2.0**-40 / (math.pi * math.e), rel=1e-9)


def test_the_label_is_worth_at_most_its_own_bits(table: RateDistortionTable) -> None:
    """R(D) of the point ≤ log2 6 + R(D) of the point on its face ≤ log2 6 + R(D) of the point."""
    lines = shannon.tangents_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes())
    for distortion in (0.1, 0.01, 0.001, 1e-4):
        known = float(table.tangents.rate_bits(distortion))
        unknown = float(lines.rate_bits(distortion))
        assert known <= unknown + 0.011
        assert unknown <= known + math.log2(6) + 0.011


def test_the_search_and_the_closed_form_agree_where_they_meet() -> None:
    *_, found = segments.searched(9.0 * 2.0 ** np.arange(12))
    slope = found.slope
    closed = segments.bound(slope)
    assert 0 <= found.intercept - closed.intercept < 0.012
    top, other = (b.rate_upper_bits + slope * b.distortion for b in (found, closed))
    assert top <= other + 1e-9
    assert other - top < 1e-3
    with pytest.raises(ValueError, match="needs a slope ≥ 200"):
        segments.bound(100.0)


def test_the_constant_certificate_of_a_segment_never_exceeds_one() -> None:
    """G(y) = √(λ/π)·∫₀¹ exp(-λ(x - y)²) dx for α = √(λ/π)."""
    y = np.linspace(-0.5, 1.5, 4001)
    for lam in (10.0, 1e3, 1e6):
        load = (erf(math.sqrt(lam) * (1 - y)) + erf(math.sqrt(lam) * y)) / 2
        assert load.max() <= 1
        slope = lam / math.log(2)
        assert segments.intercept(slope) == pytest.approx(2 * math.log2(math.sqrt(lam / math.pi)))


def test_the_mean_alone_is_optimal_up_to_the_first_slope() -> None:
    """G(y) = exp(-λy²)·sinh(λy)/(λy) ≤ 1 where λ ≤ 6: the zero-rate line's λ is less."""
    zero = UNIT_SQUARE.zero_rate
    lam = zero.slope * math.log(2)
    assert lam < 6 < UNIT_SQUARE.first * math.log(2)
    y = np.linspace(1e-3, 1, 1000)
    assert (np.exp(-lam * y**2) * np.sinh(lam * y) / (lam * y)).max() <= 1
    assert zero.intercept == pytest.approx(zero.slope * zero.distortion)


def test_a_table_is_read_back_and_another_laws_is_refused(table: RateDistortionTable) -> None:
    data = shannon.to_csv(table).encode()
    back = shannon.table_from_csv(data, UNIT_SQUARE)
    assert np.array_equal(back.intercept, table.intercept)
    with pytest.raises(ValueError, match="another's"):
        shannon.table_from_csv(data, CUBE_SURFACE)
    with pytest.raises(ValueError, match="another's"):
        shannon.tangents_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes(), UNIT_SQUARE)


def test_asymptotes_scale_with_the_area() -> None:
    for latent_dim in (1, 2):
        whole = shannon.point_by_point_distortion(latent_dim, 1e6)
        assert shannon.point_by_point_distortion(latent_dim, 1e6, UNIT_SQUARE) == pytest.approx(whole / 6)
        bits, distortion = shannon.point_by_point_curve(latent_dim, 20, UNIT_SQUARE)
        least = 2.0**-bits / (math.pi * math.e)
        loss = 10 * math.log10(distortion[-1] / least[-1])
        assert loss == pytest.approx({1: 1.33, 2: 0.82}[latent_dim], abs=0.02)
    with pytest.raises(ValueError, match="latent_dim of 1, 2"):
        shannon.point_by_point_distortion(3, 10, UNIT_SQUARE)


def test_the_linear_codec_of_a_known_face_is_that_of_two_uniform_coordinates(
    splits: dict[str, Split],
) -> None:
    on_face = splits["train"].points[splits["train"].label == 4][:, :2].astype(np.float64)
    assert np.cov(on_face.T) == pytest.approx(np.eye(2) / 12, abs=0.02)
    for source, conditional in ((square.SOURCE, False), (cube.SOURCE, True)):

        def linear_mse(
            latent_dim: int, snr: float | None, known: tuple[Source, bool] = (source, conditional)
        ) -> float:
            cell = Cell("none" if snr is None else "isotropic", latent_dim, snr, 0)
            return measures.linear_mse(cell, *known)

        assert linear_mse(3, None) == 0
        assert linear_mse(1, None) == pytest.approx(1 / 36)
        assert linear_mse(2, 10.0) == pytest.approx(2 / 36 / 11)
        assert linear_mse(3, 10.0) == pytest.approx(2 / 36 / 16)


# Measures


def test_information_given_a_label_is_the_mean_over_labels() -> None:
    mean = torch.randn(2, 600, generator=generator())
    power = torch.full((1, 1), math.log(0.1))
    z = mean + 0.1**0.5 * torch.randn(2, 600, generator=generator(1))
    whole = information.mutual_information(mean, power, z[:, :300])
    same = information.conditional_information(mean, power, z, 300, np.zeros(600, int))
    assert same.lower.value == pytest.approx(whole.lower.value)
    assert same.upper.stderr == pytest.approx(whole.upper.stderr)
    label = np.arange(600) % 3
    parts = [information.mutual_information(mean[:, i::3], power, z[:, i::3][:, :100]) for i in range(3)]
    given = information.conditional_information(mean, power, z, 300, label)
    assert given.lower.value == pytest.approx(np.mean([p.lower.value for p in parts]))
    assert given.lower.stderr == pytest.approx(math.sqrt(sum(p.lower.stderr**2 for p in parts)) / 3)


def test_what_a_label_says_is_no_information_that_passes() -> None:
    """Latents that tell the label and nothing else: all bits without it, none with it."""
    label = np.arange(1200) % 6
    mean = torch.from_numpy(10.0 * label).float().unsqueeze(0)
    power = torch.zeros(1, 1)
    z = mean + torch.randn(1, 1200, generator=generator())
    assert information.mutual_information(mean, power, z).lower.value == pytest.approx(math.log2(6), abs=0.05)
    assert information.conditional_information(mean, power, z, 1200, label).upper.value < 0.01


def test_the_mean_distance_to_a_face_is_that_of_its_points() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 1.5, (5, 3))
    on_face = rng.random((400_000, 3))
    on_face[:, 0] = 1.0
    for point, found in zip(points, square.mean_distance(cube.to_square(points, 1)), strict=True):
        assert found == pytest.approx(np.linalg.norm(on_face - point, axis=1).mean(), abs=2e-3)
    root = math.sqrt(2)
    assert square.SOURCE.mean_pair_distance == pytest.approx((2 + root + 5 * math.log(1 + root)) / 15)


def test_points_on_the_faces_asked_for_have_a_ratio_of_one_and_others_more() -> None:
    rng, ratios = np.random.default_rng(0), []
    parts = generation.parts(cube.SOURCE, cube.SOURCE.split(600, rng))
    for _ in range(40):
        split = cube.SOURCE.split(1200, rng)
        ratios.append(generation.part_ratios(split.points, split.label, parts))
    means = np.array(ratios).mean(1)
    assert abs(means.mean() - 1) < 4 * means.std() / math.sqrt(len(means))
    split = cube.SOURCE.split(1200, rng)
    inward = 0.5 + 0.8 * (split.points - 0.5)
    assert generation.part_ratios(inward, split.label, parts).min() > 3


def test_points_are_held_against_the_faces_that_were_asked_for() -> None:
    split = cube.SOURCE.split(6000, np.random.default_rng(0))
    reference = reference_of(cube.SOURCE, split)
    found = evaluation.conditional([split.points] * 2, [split.label] * 2, reference)
    assert found.distance == pytest.approx(0, abs=1e-7)
    assert found.share == 1
    assert found.real_share is None
    assert found.ratio.value == pytest.approx(1, abs=0.6)
    assert found.worst_ratio >= found.ratio.value
    asked = (split.label + 1) % 6
    wrong = evaluation.conditional([split.points] * 2, [asked] * 2, reference)
    assert np.array_equal(wrong.label, asked)
    assert wrong.distance > 0.4
    assert wrong.share < 0.01
    assert wrong.ratio.value > 100


def test_a_codec_that_knows_the_faces_generates_on_demand(
    trained: dict[str, Codec], splits: dict[str, Split]
) -> None:
    reference = reference_of(cube.SOURCE, splits["test"])
    found = evaluation.generate(trained["isotropic"], reference, 0)
    assert found.conditional is not None
    assert found.conditional.share > 0.9
    assert found.conditional.distance < 0.05
    assert found.conditional.label.shape == (len(found.points),)
    assert len(np.unique(found.conditional.label)) == 6
    nearest = cube.SOURCE.nearest(found.points)
    assert (nearest == found.conditional.label).mean() > 0.85
    again = evaluation.generate(trained["isotropic"], reference, 0)
    assert np.array_equal(again.points, found.points)


def test_a_conditional_codec_is_held_against_the_limit_of_a_face(
    trained: dict[str, Codec], splits: dict[str, Split], table: RateDistortionTable
) -> None:
    validation, test = splits["validation"], splits["test"]
    for name in ("isotropic", "learned"):
        result = evaluation.measure(trained[name], cube.SOURCE, validation, test, 0)
        limit = evaluation.limit(trained[name], result, test, cube.SOURCE, table, 0)
        linear = measures.linear_mse(Cell("isotropic", 2, 100.0, 0), square.SOURCE, False)
        assert result.linear_mse == pytest.approx(linear, rel=1e-12)
        assert limit.gap_db.value > 0
        assert limit.information_bits.value < result.kl_bits.value + 0.05
        rate = limit.capacity_bits if name == "isotropic" else result.kl_bits.value
        least = shannon.distortion_at_rate(table.tangents, rate, UNIT_SQUARE) / 3
        assert limit.shannon_mse == pytest.approx(float(least))


# A whole run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage ran, small and conditional."""
    folder = tmp_path_factory.mktemp("conditional")
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree |= {"conditional": True, "latent_dim": [1, 2], "snr": [10, 100]}
    tree["data"] = {"train_points": 1200, "validation_points": 600, "test_points": 1200}
    tree["network"] |= {"hidden_units": 32, "hidden_layers": 2}
    tree["train"] |= {"steps": 400, "repeats": 1}
    settings = params.from_yaml(yaml.safe_dump(tree))
    files.write(folder / "requirements.lock", (ROOT / "requirements.lock").read_bytes())
    files.write(folder / ONE_POINT, (ROOT / ONE_POINT).read_bytes())
    files.write(folder / CLOSER, (ROOT / "tests" / "closer.csv").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage, entry in STAGES.items():
            module = importlib.import_module(f"stages.{stage}")
            getattr(module, stage)(settings, *map(Path, entry["cmd"].split()[3:]))
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "reports" / "cells.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_tables_and_metrics_of_a_conditional_run_say_what_is_generated_on_demand(run: Path) -> None:
    tree: dict[str, Any] = json.loads((run / "reports" / "metrics.json").read_text())
    for row in rows(run):
        assert row["conditional"] == "1"
        assert 0 <= float(row["requested_face_share"]) <= 1
        assert float(row["requested_face_worst_ratio"]) >= float(row["requested_face_ratio"])
    assert tree["snr_vae"]["d2-snr100"]["requested_face_share"] > 0.6
    limits = {float(row["shannon_mse"]) for row in rows(run) if row["noise"] == "isotropic"}
    assert max(limits) < 1 / 18


@pytest.mark.slow
def test_the_report_of_a_conditional_run_has_a_section_and_a_figure_of_its_own(run: Path) -> None:
    text = (run / "reports" / "README.md").read_text()
    assert "This run is **conditional**" in text
    assert "## Generation on demand" in text
    metrics = glossary.of_run(cube.SOURCE, conditional=True)
    requested = [metrics[name] for name in metrics if name.startswith("requested_face")]
    assert len(requested) == 4
    assert all(f"| {metric.word} | {metric.meaning} | {metric.unit} |" in text for metric in requested)
    assert "(figures/requested.png)" in text
    assert (run / "reports" / "figures" / "requested.png").stat().st_size < 300_000
    assert "codes.png" not in text
    page = (run / "reports" / "report.html").read_text()
    assert "coloured by the face asked for." in page
    assert "the decoder can be asked for one" in page
    plain = (ROOT / "reports" / "README.md").read_text()
    assert "conditional**" not in plain
    assert "on demand" not in plain


@pytest.mark.slow
def test_a_table_of_the_other_kind_is_refused_by_the_report(run: Path) -> None:
    settings = params.from_yaml((ROOT / "params.yaml").read_text())
    cells = {
        "latent_dim": (1, 2),
        "snr": (10.0, 100.0),
        "train": settings.train.model_copy(update={"repeats": 1}),
    }
    render = importlib.import_module("stages.render").render
    paths = [run / path for path in STAGES["render"]["cmd"].split()[3:]]
    data = settings.data.model_copy(
        update={"train_points": 1200, "validation_points": 600, "test_points": 1200}
    )
    before = paths[-2].read_bytes()
    with pytest.raises(ValueError, match=r"cells.csv: conditional: params.yaml has false"):
        render(settings.model_copy(update=cells | {"data": data}), *paths)
    assert paths[-2].read_bytes() == before


def test_a_conditional_run_needs_more_memory_for_its_inputs() -> None:
    plain = params.from_yaml((ROOT / "params.yaml").read_text())
    many = plain.model_copy(update={"data": plain.data.model_copy(update={"train_points": 6 * 10**7})})
    told = many.model_copy(update={"conditional": True})
    size = memory.Size(3, 6)
    for stage in ("train_ae", "train_vae", "evaluate"):
        more = memory.estimate(told, stage, 2, size) - memory.estimate(many, stage, 2)
        assert 24 * 6e7 <= more < 3 * 24 * 6e7
    assert memory.estimate(told, "generate", 2, size) == memory.estimate(many, "generate", 2)


@pytest.mark.parametrize("value", [1, 0, "yes", "true", None, [True], "on demand"])
def test_conditional_is_true_or_false(value: object) -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"conditional": value}
    with pytest.raises(ValueError, match=r"conditional: .* is wrong; expected true or false"):
        params.from_yaml(yaml.safe_dump(tree))


def test_the_law_of_a_run_follows_from_conditional() -> None:
    assert shannon.law(cube.SOURCE.conditional_source(True)) is UNIT_SQUARE
    assert shannon.law(cube.SOURCE.conditional_source(False)) is CUBE_SURFACE
