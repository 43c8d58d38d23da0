"""The report's page, whatever grid was run."""

import copy
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from snrvae.limit import shannon
from snrvae.measurement import metrics
from snrvae.reporting import gains, glossary, lines, report
from snrvae.settings import params, tables
from snrvae.sources import cube

ROOT = Path(__file__).parents[2]
SETTINGS = params.from_yaml((ROOT / "params.yaml").read_text())
CELLS = tables.from_csv((ROOT / "reports" / "cells.csv").read_bytes())
LIMIT = shannon.table_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes())
CLOSER = gains.from_csv((ROOT / "tests" / "closer.csv").read_bytes())
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
    noise: tuple[str, ...] = BOTH,
    dims: tuple[int, ...] = (1, 2, 3),
    tree: dict[str, Any] | None = None,
    closer: pd.DataFrame = CLOSER,
    current: str = "of another day",
    table: pd.DataFrame = CELLS,
) -> str:
    """The page of a part of the committed grid, with every figure that such a grid has."""
    settings = SETTINGS.model_copy(update={"noise": noise, "latent_dim": dims})
    cells = table[table.noise.isin(["none", *noise]) & table.latent_dim.isin(dims)]
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
        closer,
        current,
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
    captions = re.split(r"\*\*Figure \d+\.\*\*", text)[1:]
    assert all("*To see:*" in caption.split("\n\n")[0] for caption in captions)
    plain = {"data.png", "learned_noise.svg"}  # what would contradict these is plain
    contradicted = [name for (_, name, _), caption in zip(shown, captions, strict=True)
                    if "*Contradicted by:*" in caption.split("\n\n")[0]]  # fmt: skip
    assert contradicted == [name for name in expected if name not in plain]
    assert all(len(alt) >= 40 for alt, _, _ in shown)
    assert not re.search(r"\{\{|\{%|\bnan\b|\bNone\b", text)


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


# How long it is


def tables_of(text: str) -> int:
    return len(re.findall(r"^\|[-|]+\|$", text, flags=re.MULTILINE))


def words(text: str) -> int:
    """Words outside tables and blocks of code."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return len(" ".join(line for line in prose.splitlines() if not line.startswith("|")).split())


@GRIDS
def test_the_report_is_short(noise: tuple[str, ...], dims: tuple[int, ...]) -> None:
    text = page(noise, dims)
    assert words(text) <= 1600
    body, _ = text.split("## Appendix: ", 1)
    assert tables_of(body) <= 5
    assert tables_of(text) <= 11
    assert "## " not in re.sub(r"## Appendix: [a-z ]+\n|### ", "", text[len(body) :])


def test_the_first_screen_has_a_table_of_mse_kl_and_gap() -> None:
    screen, _ = page().split("## The data", 1)
    assert screen.index("](figures/rate_distortion.svg)") < screen.index("\n| d | SNR | mse [edge²] |")
    assert tables_of(screen) == 1
    assert len(re.findall(r"^\| \d ", screen, flags=re.MULTILINE)) == 12


# What brings a codec closer to the limit


def section(text: str) -> str:
    (found,) = re.findall(r"^## Closer to the limit\n(.*?)^## ", text, flags=re.DOTALL | re.MULTILINE)
    return str(found)


def rows_of_gains(text: str) -> list[str]:
    """The rows of the section's table of ingredients."""
    _, table = section(text).split("plain gap [dB]", 1)
    return re.findall(r"^\| \d.*$", table, flags=re.MULTILINE)


def test_ingredients_are_compared_with_the_plain_codec_of_the_same_seed() -> None:
    rows = rows_of_gains(page())
    assert rows == ["| 1 | 1000 | 3.62 | −2.13 | – |", "| 3 | 1000 | 10.7 | −0.21 | −1.37 |"]
    assert "| d | SNR | plain gap [dB] | 4 candidates [dB] | fold [dB] |" in section(page())
    assert "means over 2 seeds (standard deviations: at most 0.14 dB)" in " ".join(section(page()).split())


def test_without_a_limit_the_change_is_still_known() -> None:
    rows = rows_of_gains(page(closer=CLOSER.assign(gap_db=np.nan)))
    assert rows == ["| 1 | 1000 | – | −2.13 | – |", "| 3 | 1000 | – | −0.21 | −1.37 |"]


def test_a_setting_without_the_plain_codec_beside_it_has_no_change() -> None:
    lost = CLOSER[(CLOSER.setting != "plain") | (CLOSER.latent_dim != 1)]
    rows = rows_of_gains(page(closer=lost))
    assert rows == ["| 1 | 1000 | – | – | – |", "| 3 | 1000 | 10.7 | −0.21 | −1.37 |"]


def test_settings_of_other_studies_are_not_shown() -> None:
    other = CLOSER[CLOSER.setting == "fold"].assign(setting="T weight 0.1", mse=1e-9)
    assert section(page(closer=pd.concat([CLOSER, other]))) == section(page())


def test_of_one_seed_no_deviation_is_given() -> None:
    text = section(page(closer=CLOSER[CLOSER.seed == 0]))
    assert "means over 1 seed;" in " ".join(text.split())


def test_rows_of_other_sources_and_noises_are_not_shown() -> None:
    alone = CLOSER[CLOSER.setting != "plain"]
    for other in (CLOSER.assign(source="sphere"), CLOSER.assign(noise="learned"), CLOSER[:0], alone):
        text = section(page(closer=other))
        assert "has no measurement of what they gain with this source" in text
        assert "seed" not in text


def test_gains_of_other_code_are_marked() -> None:
    assert "has changed" not in section(page())
    assert "The code has changed since these were measured" in section(page(current="of today"))


@pytest.mark.parametrize(
    ("encoder", "said"),
    [((1, False), "uses neither"), ((4, False), "uses candidates"), ((1, True), "uses the fold")],
)
def test_the_report_says_which_ingredients_the_run_has(
    encoder: tuple[int, bool], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = params.Encoder(candidates=encoder[0], folded_start=encoder[1])
    monkeypatch.setattr(sys.modules[__name__], "SETTINGS", SETTINGS.model_copy(update={"encoder": changed}))
    text = " ".join(page().split())
    assert f"This run {said}." in text
    assert ("offers 4 latents for each point" in text) is (encoder[0] == 4)
    assert ("Three latents start as a folded sheet." in text) is encoder[1]
    assert ("flattened and folded twice" in text) is encoder[1]


def test_a_gap_is_split_into_prices_if_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    gap = next(metric for metric in metrics.METRICS if metric.name == "gap_db")
    prices = [
        replace(gap, name=name, word=name, of="codec.validation_mse")
        for name in ("one_point_db", "network_db")
    ]
    others = [metric for metric in metrics.METRICS if metric.name not in ("one_point_db", "network_db")]
    monkeypatch.setattr(glossary, "METRICS", (*others, *prices))
    known = CELLS.assign(one_point_db=0.75, network_db=0.25)
    known.loc[known.latent_dim == 1, "one_point_db"] = np.nan
    assert "price" in section(page(table=known))
    rows = re.findall(r"^\| \d .*\| 0.750 \| 0.250 \|$", section(page(table=known)), flags=re.MULTILINE)
    assert len(rows) == 8
    assert words(page(table=known)) <= 1600
    assert "price" not in section(page(table=known.assign(one_point_db=np.nan)))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("setting", "sitting", "no column setting"),
        ("0.0149", "0", "mse: values that are not above 0"),
        ("0.0149", "much", "mse: values that are not numbers"),
        ("1,true,3,1000,1,", "1,true,3,1000,0,", "one row for each cell"),
    ],
)
def test_another_table_of_gains_is_refused(old: str, new: str, fault: str) -> None:
    text = (ROOT / "tests" / "closer.csv").read_text()
    assert old in text
    with pytest.raises(ValueError, match=re.escape(fault)):
        gains.from_csv(text.replace(old, new).encode())


# What is measured, in the words of METRICS

OTHER_HEADINGS = {"d", "SNR", "± s.e."}
OTHER_TABLES = (["word", "what it is", "unit"], ["file", "sha256"])


def heading(metric: metrics.Metric) -> str:
    return metric.word if metric.unit == "–" else f"{metric.word} [{metric.unit}]"


def headings(text: str) -> set[str]:
    """Of all tables of numbers in the page."""
    heads = re.findall(r"^\|(.*)\|\n\|[-|]+\|$", text, flags=re.MULTILINE)
    rows = [[name.strip() for name in head.split("|")] for head in heads]
    return {name for row in rows if row not in OTHER_TABLES and "plain gap [dB]" not in row for name in row}


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
