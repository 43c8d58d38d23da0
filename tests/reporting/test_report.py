"""The report's page, whatever grid was run."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from snrvae.limit import shannon
from snrvae.measurement import metrics
from snrvae.reporting import glossary, lines, report
from snrvae.settings import params, tables
from snrvae.sources import cube

ROOT = Path(__file__).parents[2]
SETTINGS = params.from_yaml((ROOT / "params.yaml").read_text())
CELLS = tables.from_csv((ROOT / "reports" / "cells.csv").read_bytes())
LIMIT = shannon.table_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes())
VERSIONS = report.locked_versions((ROOT / "requirements.lock").read_bytes())
DIGESTS = {"data/cube.npz": "0" * 64, "data/ae.safetensors": "1" * 64}
FIGURES = ["rate_distortion.svg", "data.png", "autoencoder_latents.svg", "grid.svg", "controlled_latents.svg",
           "clouds.png", "generated.png", "codes.png", "learned_noise.svg", "training.svg"]  # fmt: skip
BOTH: tuple[str, ...] = ("isotropic", "learned")
CONSTANTS = ("(10 dB: ten times the limit)", "a perfect generator has 1")  # of units, not of results
NUMBER = r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?"


def drawn(noise: tuple[str, ...], dims: tuple[int, ...]) -> list[str]:
    """The figures of a grid."""
    left_out = set() if "learned" in noise else {"learned_noise.svg"}
    left_out |= set() if "isotropic" in noise else {"generated.png"}
    left_out |= set() if {1, 2} & set(dims) else {"codes.png"}
    return [name for name in FIGURES if name not in left_out]


def page(
    noise: tuple[str, ...] = BOTH, dims: tuple[int, ...] = (1, 2, 3), tree: dict[str, Any] | None = None
) -> str:
    """The page of a part of the committed grid, with every figure that such a grid has."""
    settings = SETTINGS.model_copy(update={"noise": noise, "latent_dim": dims})
    cells: pd.DataFrame = CELLS[CELLS.noise.isin(["none", *noise]) & CELLS.latent_dim.isin(dims)]
    known = tree or metrics.tree(cells)
    drawn_lines = lines.of(cells, LIMIT, cube.SOURCE, False, dims)
    provenance = VERSIONS, DIGESTS, "Haswell"
    return report.markdown(
        settings,
        cube.SOURCE,
        cells,
        known,
        *provenance,
        drawn(noise, dims),
        settings.data.counts,
        drawn_lines,
    )


def summary(text: str) -> list[str]:
    """The sentences that a page opens with, without the constants of units."""
    (section,) = re.findall(r"## In short\n\n(.*?)\n\n!\[", text, flags=re.DOTALL)
    flat = " ".join(section.split())
    for constant in CONSTANTS:
        flat = flat.replace(constant, "")
    return re.split(r"(?:^| )\d\. (?=[A-Z])", flat)[1:]


def leaves(tree: Any) -> list[float]:
    return [leaf for part in tree.values() for leaf in leaves(part)] if isinstance(tree, dict) else [tree]


GRIDS = pytest.mark.parametrize(
    ("noise", "dims"),
    [
        (BOTH, (1, 2, 3)),
        (("isotropic",), (1, 2, 3)),
        (("learned",), (2,)),
        (BOTH, (3,)),
        (("isotropic",), (1,)),
    ],
)


@GRIDS
def test_every_figure_is_shown_and_numbered_in_its_order_whatever_was_run(
    noise: tuple[str, ...], dims: tuple[int, ...]
) -> None:
    text = page(noise, dims)
    shown = re.findall(r"!\[([^\]]*)\]\(figures/([^)]+)\)\n\n\*\*Figure (\d+)\.\*\*", text)
    expected = drawn(noise, dims)
    assert [name for _, name, _ in shown] == expected
    assert [number for _, _, number in shown] == [str(i) for i in range(1, len(expected) + 1)]
    assert text.count("![") == len(shown)
    assert " ".join(text.split()).count("What would contradict it") == len(shown)
    assert all(len(alt) >= 40 for alt, _, _ in shown)
    assert ("{{" in text, "{%" in text, "nan" in text, "None" in text) == (False, False, False, False)


@GRIDS
def test_every_number_of_the_summary_is_one_of_the_metrics(
    noise: tuple[str, ...], dims: tuple[int, ...]
) -> None:
    tree = metrics.tree(CELLS[CELLS.noise.isin(["none", *noise]) & CELLS.latent_dim.isin(dims)])
    allowed = {report.significant(value) for value in leaves(tree)}
    named = {number for model in tree.values() for key in model for number in re.findall(NUMBER, key[1:])}
    for sentence in summary(page(noise, dims)):
        named_here = re.findall(r"d = (\d+)(?:, SNR (\S+?)(?=[ ),.]))?", sentence)
        without = re.sub(r"d = \d+(, SNR [\d.e+-]+)?", "", sentence)
        found = re.findall(NUMBER, without)
        assert found, sentence
        assert set(found) <= allowed, sentence
        for latent_dim, snr in named_here:
            key = f"d{latent_dim}" + (f"-snr{snr}" if snr else "")
            assert any(key in model for model in tree.values()), (key, named)


def test_the_summary_has_five_sentences_of_the_whole_grid() -> None:
    sentences = summary(page())
    assert len(sentences) == 5
    assert all(sentence.endswith(".") for sentence in sentences)


def test_the_summary_follows_the_metrics() -> None:
    tree = metrics.tree(CELLS)
    other = copy.deepcopy(tree)
    other["summary"] |= {"ae_best_mse": 0.777, "mean_gap_db": 7.77, "worst_gap_db": 77.7}
    changed = " ".join(summary(page(tree=other)))
    assert all(text in changed for text in ("**0.777**", "**7.77 dB**", "**77.7 dB**"))
    assert json.dumps(other) != json.dumps(tree)


def test_the_provenance_names_every_digest_and_setting() -> None:
    text = page()
    assert all(f"| `{name}` | `{digest}` |" in text for name, digest in DIGESTS.items())
    assert f"seed: {SETTINGS.seed}" in text
    assert f"torch {VERSIONS['torch']}" in text


# What is measured, in the words of METRICS

OTHER_HEADINGS = {"d", "SNR", "± s.e.", "ratio with N(0, I)"}
OTHER_TABLES = (["word", "what it is", "unit"], ["split", "points", "used for"], ["file", "sha256"])


def heading(metric: metrics.Metric) -> str:
    return metric.word if metric.unit == "–" else f"{metric.word} [{metric.unit}]"


def headings(text: str) -> set[str]:
    """Of all tables of numbers in the page."""
    heads = re.findall(r"^\|(.*)\|\n\|[-|]+\|$", text, flags=re.MULTILINE)
    rows = [[name.strip() for name in head.split("|")] for head in heads]
    return {name for row in rows if row not in OTHER_TABLES and "steps × batch" not in row for name in row}


@GRIDS
def test_every_column_of_a_table_is_called_and_defined_as_its_metric(
    noise: tuple[str, ...], dims: tuple[int, ...]
) -> None:
    text, known = page(noise, dims), glossary.of_run(cube.SOURCE, conditional=False)
    columns = headings(text) - OTHER_HEADINGS
    assert {"mse [edge²]", "latent KL [bit/dim]", "generation ratio", "distance [edge]"} <= columns
    assert columns <= {heading(metric) for metric in known.values()}
    for metric in known.values():
        if heading(metric) in columns:
            row = f"| {metric.word} | {metric.meaning} | {metric.unit} |".replace("(z|x)", r"(z\|x)")
            assert row in text or f"- *{metric.word}*: {metric.meaning}." in text, metric.name


def test_the_words_of_the_report_follow_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tuple(
        replace(metric, word=f"{metric.word} anew", meaning=f"another thing of {metric.name}", unit="pint")
        for metric in metrics.METRICS
    )
    before = page()
    monkeypatch.setattr(glossary, "METRICS", changed)
    after = page()
    assert headings(after) - OTHER_HEADINGS == {
        f"{word.split(' [')[0]} anew [pint]" for word in headings(before) - OTHER_HEADINGS
    }
    for metric in metrics.METRICS:
        defined = f"- *{metric.word}*:" in before or f"\n| {metric.word} | " in before
        here = metric.applies(cube.SOURCE, conditional=False)
        assert (f"another thing of {metric.name}" in after) == (defined and here), metric.name
