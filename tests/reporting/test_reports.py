"""The committed reports: within what theory allows, and every number the same wherever it stands."""

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from snrvae.codecs import files
from snrvae.codecs.codec import Codec
from snrvae.limit import shannon
from snrvae.settings import params
from snrvae.settings.grid import Cell
from snrvae.sources import cube, dataset
from snrvae.sources.domain import Split

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"
MODELS, CUBE = ROOT / "data" / "snr_vae.safetensors", ROOT / "data" / "cube.npz"
SIX_DIGITS = 5.1e-6  # half a unit of the sixth, relative

needs_models = pytest.mark.skipif(
    not (MODELS.exists() and CUBE.exists()),
    reason="no models in data/: `dvc pull` or `dvc repro` brings them",
)


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    return pd.read_csv(REPORTS / "cells.csv")


@pytest.fixture(scope="module")
def isotropic(cells: pd.DataFrame) -> pd.DataFrame:
    """The selected cells of the reference channel."""
    found = cells[(cells.selected == 1) & (cells.noise == "isotropic")]
    assert len(found) > 0
    assert found.gap_db.notna().all()
    return found


@pytest.fixture(scope="module")
def page() -> str:
    return (REPORTS / "README.md").read_text()


# Within what theory allows


def test_no_isotropic_cell_is_below_shannons_limit(isotropic: pd.DataFrame) -> None:
    assert (isotropic.gap_db_stderr > 0).all()
    assert (isotropic.gap_db >= -3 * isotropic.gap_db_stderr).all()
    assert (isotropic.mse >= isotropic.shannon_mse - 3 * isotropic.mse_stderr).all()


def test_the_capacity_is_that_of_the_channel(isotropic: pd.DataFrame) -> None:
    capacity = isotropic.latent_dim / 2 * np.log2(1 + isotropic.snr)
    assert isotropic.capacity_bits.to_numpy() == pytest.approx(capacity.to_numpy(), rel=SIX_DIGITS)
    assert isotropic.snr_db.to_numpy() == pytest.approx(10 * np.log10(isotropic.snr).to_numpy(), abs=1e-4)


def test_no_more_passes_than_the_channel_carries(isotropic: pd.DataFrame) -> None:
    assert (isotropic.information_bits_stderr > 0).all()
    assert (
        isotropic.information_bits <= isotropic.capacity_bits + 3 * isotropic.information_bits_stderr
    ).all()


def test_no_more_passes_than_the_e_kl(cells: pd.DataFrame) -> None:
    noisy = cells[(cells.selected == 1) & (cells.noise != "none")]
    assert noisy.information_bits.notna().all()
    error = np.hypot(noisy.information_bits_stderr, noisy.kl_bits_stderr)
    assert (noisy.information_bits <= noisy.kl_bits + 3 * error).all()


def test_the_two_ends_of_what_passes_are_in_order_and_saturated_where_they_part(cells: pd.DataFrame) -> None:
    noisy = cells[(cells.selected == 1) & (cells.noise != "none")]
    width = noisy.information_upper_bits - noisy.information_bits
    assert (width >= -1e-5).all()
    apart = noisy[(width - 0.1).abs() > 1e-3]
    said = apart.information_saturated.astype(str).str.lower() == "true"
    assert list(said) == list(width[apart.index] > 0.1)


def test_the_gaussian_sum_is_close_to_the_capacity(isotropic: pd.DataFrame) -> None:
    """It is below by as much as the powers differ, and off by the test points' own power."""
    excess = isotropic.gaussian_information_bits - isotropic.capacity_bits
    assert (excess.abs() < 0.05).all()


def test_every_snr_vae_beats_the_linear_codec(cells: pd.DataFrame) -> None:
    noisy = cells[cells.noise != "none"]
    assert len(noisy) > 0
    assert (noisy.mse < noisy.linear_mse).all()


def least_mse(rate_bits: float) -> float:
    lines = shannon.tangents_from_csv((REPORTS / "rate_distortion.csv").read_bytes())
    return float(shannon.distortion_at_rate(lines, rate_bits)) / 3


def test_the_limit_is_the_committed_tables_at_the_capacity(isotropic: pd.DataFrame) -> None:
    for row in isotropic.itertuples():
        capacity = row.latent_dim / 2 * math.log2(1 + row.snr)
        assert row.shannon_mse == pytest.approx(least_mse(capacity), rel=SIX_DIGITS)


def test_the_limit_under_learned_noise_is_the_committed_tables_at_the_e_kl(cells: pd.DataFrame) -> None:
    learned = cells[(cells.selected == 1) & (cells.noise == "learned")]
    for row in learned.itertuples():
        ends = [least_mse(row.kl_bits * (1 + sign * SIX_DIGITS)) for sign in (1, -1)]
        assert ends[0] * (1 - SIX_DIGITS) <= row.shannon_mse <= ends[1] * (1 + SIX_DIGITS)
    assert learned.capacity_bits.isna().all(), "the SNR does not bound what passes"


def test_the_gap_is_the_mse_over_the_limit_in_decibels(cells: pd.DataFrame) -> None:
    noisy = cells[(cells.selected == 1) & (cells.noise != "none")]
    gap = 10 * np.log10(noisy.mse / noisy.shannon_mse)
    assert noisy.gap_db.to_numpy() == pytest.approx(gap.to_numpy(), abs=1e-4)
    error = 10 / math.log(10) * noisy.mse_stderr / noisy.mse
    assert noisy.gap_db_stderr.to_numpy() == pytest.approx(error.to_numpy(), rel=3 * SIX_DIGITS)


def test_every_cell_has_one_selected_repeat_the_best_on_validation_points(cells: pd.DataFrame) -> None:
    for _, repeats in cells.groupby(["noise", "latent_dim", "snr"], dropna=False):
        assert repeats.selected.sum() == 1
        assert repeats.loc[repeats.selected.idxmax()].validation_mse == repeats.validation_mse.min()


# E KL against its closed form, with the signal power that the model file carries


def closed_form_bits(cell: Cell, power: float) -> float:
    assert cell.snr is not None
    nats = power * (1 + 1 / cell.snr) - 1 - math.log(power / cell.snr)
    return cell.latent_dim / 2 * nats / math.log(2)


def through(net: nn.Sequential, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outputs [o, n] in float64, by the layers written anew."""
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    for layer in linear:
        x = layer.weight.double().numpy() @ x + layer.bias.double().numpy()[:, None]
        if layer is not linear[-1]:
            x = np.maximum(x, 0)
    return x


def sent(model: Codec, points: NDArray[np.float32]) -> NDArray[np.float64]:
    """μ [d, n] of points, from an encoder that offers one candidate."""
    assert model.architecture.candidates == 1
    return through(model.encoder, points.T.astype(np.float64))


def cube_splits() -> dict[str, Split]:
    counts = params.from_yaml((ROOT / "params.yaml").read_text()).data.counts
    return dataset.from_bytes(cube.SOURCE.domain, CUBE.read_bytes(), counts)


@pytest.fixture(scope="module")
def models() -> list[Codec]:
    found = files.from_bytes(MODELS.read_bytes()).values()
    return [model for model in found if model.architecture.cell.noise == "isotropic"]


@pytest.mark.slow
@needs_models
def test_on_the_training_set_the_e_kl_is_its_closed_form(models: list[Codec]) -> None:
    points = cube_splits()["train"].points
    assert models
    for model in models:
        cell, power = model.architecture.cell, float(model.channel.signal_power)
        assert cell.snr is not None
        noise_power = power / cell.snr
        mean = sent(model, points)
        found = (mean**2 + noise_power - 1 - math.log(noise_power)).sum(0).mean() / 2 / math.log(2)
        expected = closed_form_bits(cell, power)
        assert found == pytest.approx(expected, rel=1e-6), cell.name


@needs_models
def test_on_the_test_points_the_reported_e_kl_is_near_its_closed_form(
    models: list[Codec], cells: pd.DataFrame
) -> None:
    reported = cells[cells.noise == "isotropic"].set_index(["latent_dim", "snr", "repeat"]).kl_bits
    assert len(reported) == len(models)
    for model in models:
        cell = model.architecture.cell
        expected = closed_form_bits(cell, float(model.channel.signal_power))
        assert reported[cell.latent_dim, cell.snr, cell.repeat] == pytest.approx(expected, abs=0.05), (
            cell.name
        )


@needs_models
def test_the_models_are_those_that_were_reported(models: list[Codec], isotropic: pd.DataFrame) -> None:
    """Decoding their own noisy latents anew gives the reported mse within its error."""
    test = cube_splits()["test"].points
    rows = isotropic.set_index(["latent_dim", "snr", "repeat"])
    tried = 0
    for model in models:
        cell = model.architecture.cell
        if (cell.latent_dim, cell.snr, cell.repeat) in rows.index and cell.snr is not None:
            row = rows.loc[(cell.latent_dim, cell.snr, cell.repeat)]
            mean = torch.from_numpy(sent(model, test)).float()
            noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
            z = mean + (model.channel.signal_power / cell.snr) ** 0.5 * noise
            error = (model.decode(z.T).numpy() - test) ** 2
            assert error.mean() == pytest.approx(row.mse, abs=6 * row.mse_stderr), cell.name
            tried += 1
    assert tried == len(isotropic)


# The same number wherever it stands


def test_the_tree_of_metrics_holds_the_selected_cells(cells: pd.DataFrame) -> None:
    tree = json.loads((REPORTS / "metrics.json").read_text())
    seen = 0
    for row in cells[cells.selected == 1].to_dict("records"):
        model = {"none": "ae", "isotropic": "snr_vae", "learned": "snr_vae_learned"}[row["noise"]]
        key = f"d{row['latent_dim']}" + ("" if pd.isna(row["snr"]) else f"-snr{row['snr']:g}")
        leaves = tree[model][key]
        assert {"mse", "latent_kl_bits", "generation_ratio"} <= set(leaves)
        assert leaves == {name: row[name] for name in leaves}
        seen += 1
    assert seen == sum(len(part) for name, part in tree.items() if name != "summary")


def test_the_summary_is_that_of_the_table(cells: pd.DataFrame, isotropic: pd.DataFrame) -> None:
    summary = json.loads((REPORTS / "metrics.json").read_text())["summary"]
    assert summary.pop("mean_gap_db") == pytest.approx(isotropic.gap_db.mean(), rel=1e-5)
    assert summary == {
        "ae_best_mse": cells[(cells.selected == 1) & (cells.noise == "none")].mse.min(),
        "snr_vae_best_mse": isotropic.mse.min(),
        "worst_gap_db": isotropic.gap_db.max(),
        "generation_ratio": isotropic.generation_ratio.min(),
        "fitted_ratio": isotropic.fitted_ratio.min(),
    }


def shows(text: str, value: float, digits: int) -> bool:
    """Whether a text is the number to so many digits: off by at most half a unit of the last."""
    number = float(text.replace(",", ""))
    if value == 0:
        return number == 0
    last = min(math.floor(math.log10(abs(value))) - digits + 1, 0)
    return abs(number - value) <= 0.5000001 * 10.0**last


@pytest.mark.parametrize(
    ("text", "value", "digits", "right"),
    [
        ("0.0128", 0.0128093, 3, True),
        ("0.0129", 0.0128093, 3, False),
        ("1,833", 1833.03, 3, True),
        ("1,830", 1833.03, 3, False),
        ("4.19e-05", 4.18583e-05, 3, True),
        ("4.2e-05", 4.18583e-05, 3, False),
        ("10", 10.02, 3, True),
        ("10", 10.06, 3, False),
        ("0", 0.0, 3, True),
        ("0.1", 0.0, 3, False),
    ],
)
def test_shown_numbers_are_held_to_their_digits(text: str, value: float, digits: int, right: bool) -> None:
    assert shows(text, value, digits) is right


COLUMNS = {
    "d": ("latent_dim", 6),
    "SNR": ("snr", 6),
    "mse [edge²]": ("mse", 3),
    "mse [edge²] ± s.e.": ("mse_stderr", 2),
    "linear mse [edge²]": ("linear_mse", 3),
    "latent KL [bit/dim]": ("latent_kl_bits", 3),
    "KL of the shape [bit/dim]": ("latent_shape_kl_bits", 3),
    "distance [edge]": ("generated_surface_distance", 3),
    "95 % [edge]": ("generated_surface_p95", 3),
    "share error": ("generated_face_error", 3),
    "generation ratio": ("generation_ratio", 3),
    "generation ratio ± s.e.": ("generation_ratio_stderr", 2),
    "p": ("generation_p_value", 2),
    "coverage": ("coverage", 3),
    "ratio with N(0, I)": ("generation_ratio", 3),
    "ratio with N(0, I) ± s.e.": ("generation_ratio_stderr", 2),
    "ratio with the fit": ("fitted_ratio", 3),
    "ratio with the fit ± s.e.": ("fitted_ratio_stderr", 2),
    "p with the fit": ("fitted_p_value", 2),
    "distance with the fit [edge]": ("fitted_surface_distance", 3),
    "E KL [bit]": ("kl_bits", 4),
    "E KL [bit] ± s.e.": ("kl_bits_stderr", 2),
    "capacity [bit]": ("capacity_bits", 4),
    "I(x; z) from below [bit]": ("information_bits", 4),
    "I(x; z) from below [bit] ± s.e.": ("information_bits_stderr", 2),
    "from above [bit]": ("information_upper_bits", 4),
    "from above [bit] ± s.e.": ("information_upper_bits_stderr", 2),
    "Σ ½·log2(1 + P_j/σ²) [bit]": ("gaussian_information_bits", 4),
    "normal mse [edge²]": ("gaussian_mse", 3),
    "least mse [edge²]": ("shannon_mse", 3),
    "gap [dB]": ("gap_db", 3),
    "gap [dB] ± s.e.": ("gap_db_stderr", 2),
}
NOISE = {
    "In short": "isotropic",
    "Basic autoencoder": "none",
    "Reconstruction and generation": "isotropic",
    "Appendix: learned noise": "learned",
    "What learned noise generates": "learned",
    "Appendix: capacity": "isotropic",
    "What the capacity allows": "isotropic",
}
GAINS = "Closer to the limit"
OTHER_TABLES = (GAINS, "Appendix: glossary", "Appendix: provenance")


def markdown_tables(page: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Every table of a page with the section that it stands in; `± s.e.` is named after its column."""
    section, table = "", list[list[str]]()
    for line in [*page.splitlines(), ""]:
        if line.startswith("#"):
            section = line.lstrip("# ")
        if line.startswith("|"):
            table.append([text.strip() for text in re.split(r"(?<!\\)\|", line.strip("|"))])
        elif table:
            header, rule, *rows = table
            assert all(set(mark) == {"-"} for mark in rule)
            names = [f"{header[i - 1]} {name}" if name == "± s.e." else name for i, name in enumerate(header)]
            assert len(set(names)) == len(names)
            yield section, [dict(zip(names, row, strict=True)) for row in rows]
            table = []


def test_every_number_of_the_reports_tables_is_that_of_the_table_of_cells(
    page: str, cells: pd.DataFrame
) -> None:
    selected = cells[cells.selected == 1]
    seen = []
    for section, rows in markdown_tables(page):
        if section in OTHER_TABLES:
            continue
        seen.append(section)
        found = selected[selected.noise == NOISE[section]].sort_values(["latent_dim", "snr"])
        assert len(rows) == len(found) > 0
        for shown, row in zip(rows, found.to_dict("records"), strict=True):
            for name, text in shown.items():
                column, digits = COLUMNS[name]
                number = text.removesuffix(" (saturated)")
                assert shows(number, row[column], digits), (section, shown, name)
                if name == "from above [bit]":
                    assert (number != text) == (str(row["information_saturated"]).lower() == "true")
    noises = set(selected.noise)
    assert set(seen) == {section for section, noise in NOISE.items() if noise in noises}
    assert len(seen) == len(set(seen))


def test_the_gains_of_the_report_are_those_of_their_table(page: str) -> None:
    """Of the plain gap and the changes of the mse, seed by seed, written anew."""
    with (REPORTS / "closer.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["source"], row["noise"]) == ("cube", "isotropic")]
    mse = {
        (int(row["latent_dim"]), float(row["snr"]), row["setting"], row["seed"]): float(row["mse"])
        for row in rows
    }
    (shown,) = [
        table for section, table in markdown_tables(page) if section == GAINS and "plain gap [dB]" in table[0]
    ]
    assert len(shown) == len({key[:2] for key in mse})
    for line in shown:
        cell = int(line["d"]), float(line["SNR"])
        for name, text in line.items():
            words = name.removesuffix(" [dB]")
            setting = {"fold": "fold", "both": "candidates and fold"}.get(words)
            setting = "candidates" if words.endswith(" candidates") else setting
            if setting is None:
                continue
            changes = [
                10 * math.log10(mse[*cell, setting, seed] / mse[*cell, "plain", seed])
                for *key, seed in mse
                if key == [*cell, setting]
            ]
            assert (text == "–") is (not changes)
            if changes:
                assert float(text.replace("−", "-")) == pytest.approx(np.mean(changes), abs=0.00501)


def test_the_numbers_in_the_reports_text_are_those_of_the_metrics(page: str) -> None:
    summary = json.loads((REPORTS / "metrics.json").read_text())["summary"]
    flat = " ".join(page.split())
    for pattern, name in (
        (r"mean squared error \(mse, [^)]*\) of \*\*(\S+)\*\*\.", "ae_best_mse"),
        (r"its mse ranges from \*\*\S+\*\* \([^)]*\) to \*\*(\S+)\*\*", "snr_vae_best_mse"),
        (r"a generation ratio \([^)]*\) of \*\*(\S+)\*\*;", "generation_ratio"),
        (r"fitted to the latents it has \*\*(\S+)\*\*\.", "fitted_ratio"),
        (r"On average its mse lies \*\*(\S+) dB\*\* above Shannon's limit", "mean_gap_db"),
        (r"and at worst \*\*(\S+) dB\*\*", "worst_gap_db"),
        (r"The widest gap, (\S+) dB, is at", "worst_gap_db"),
    ):
        (text,) = re.findall(pattern, flat)
        assert shows(text, summary[name], 3), name


def test_the_report_shows_the_committed_settings_and_what_they_ask_for_was_run(
    page: str, cells: pd.DataFrame
) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    committed = yaml.safe_load((ROOT / "params.yaml").read_text())
    listed = {
        key: committed[key] if isinstance(committed[key], list) else [committed[key]]
        for key in ("noise", "latent_dim", "snr")
    }
    assert yaml.safe_load(shown) == committed | listed
    repeats = range(committed["train"]["repeats"])
    expected = {("none", d, None, r) for d in listed["latent_dim"] for r in repeats} | {
        (noise, d, float(snr), r)
        for noise in listed["noise"]
        for d in listed["latent_dim"]
        for snr in listed["snr"]
        for r in repeats
    }
    assert expected == {
        (row.noise, row.latent_dim, None if pd.isna(row.snr) else row.snr, row.repeat)
        for row in cells.itertuples()
    }


# Figures and plain numbers


def test_every_figure_is_small_whole_and_shown_with_a_text_in_its_place(page: str) -> None:
    shown = dict(re.findall(r"!\[([^\]]*)\]\(figures/([^)]+)\)", page))
    names = set(shown.values())
    assert len(names) == page.count("![") >= 7
    assert names == {path.name for path in (REPORTS / "figures").iterdir()}
    for alt, name in shown.items():
        assert len(alt) >= 40, name
        path = REPORTS / "figures" / name
        assert path.stat().st_size <= 300_000, name
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("}svg")
        else:
            with Image.open(path) as image:
                image.load()
                assert image.format == "PNG"
                assert min(image.size) > 100


@needs_models
def test_the_report_names_the_bytes_of_data_and_models(page: str) -> None:
    digests = dict(re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|$", page, flags=re.MULTILINE))
    assert list(digests) == ["data/cube.npz", "data/ae.safetensors", "data/snr_vae.safetensors"]
    for name, digest in digests.items():
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest, name


TABLES = sorted(REPORTS.glob("*.csv"))


@pytest.mark.parametrize("path", TABLES, ids=[path.name for path in TABLES])
def test_no_committed_table_says_nan_or_infinite(path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert rows
    texts = {"model", "noise", "source", "information_saturated", "limit", "limit_saturated"}
    texts |= {"method", "certainty", "setting", "folded_start", "code"}
    for row in rows:
        for name, text in row.items():
            assert text is not None, "a row is shorter than the header"
            if name in texts:
                assert text.lower() not in {"nan", "none", "inf"} or (name, text) == ("noise", "none")
            elif text:
                assert math.isfinite(float(text)), (name, row)


def test_neither_the_metrics_nor_the_report_say_nan_or_infinite(page: str) -> None:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no number of JSON")

    tree: Any = json.loads((REPORTS / "metrics.json").read_text(), parse_constant=refuse)
    assert all(
        math.isfinite(leaf)
        for model in tree.values()
        for cell in model.values()
        for leaf in (cell.values() if isinstance(cell, dict) else [cell])
    )
    assert not re.search(r"(?<!\w)[-+]?(nan|inf|infinity)(?!\w)", page, flags=re.IGNORECASE)
    assert "None" not in page


def test_every_table_that_stages_write_is_committed() -> None:
    assert {path.name for path in TABLES} >= {
        "cells.csv",
        "rate_distortion.csv",
        "training_ae.csv",
        "training_vae.csv",
    }
