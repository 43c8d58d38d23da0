"""docs/metrics.md: every column of cells.csv and every key of metrics.json, as METRICS states them."""

import json
import re
from pathlib import Path

import pytest

from snrvae.measurement import metrics
from snrvae.reporting import glossary
from snrvae.sources.registry import SOURCES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
COLUMNS, KEYS = PAGE.split("## The keys of metrics.json")


def entries(part: str) -> list[list[str]]:
    """The rows of a part's table, without its head."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in part.splitlines() if line.startswith("| ")]
    return [[entry.strip() for entry in row] for row in rows[2:]]


def test_the_page_is_the_one_that_the_metrics_give() -> None:
    """Where this fails: python -m snrvae.reporting.glossary > docs/metrics.md"""
    assert glossary.page() == PAGE


def test_the_page_has_every_column_of_the_committed_table_in_its_order() -> None:
    header = (ROOT / "reports" / "cells.csv").read_text().splitlines()[0].split(",")
    assert [name.strip("`") for name, *_ in entries(COLUMNS)] == header


def test_every_row_has_a_unit_a_meaning_and_what_it_applies_to() -> None:
    for name, _, unit, meaning, applies in entries(COLUMNS):
        assert unit, name
        assert meaning, name
        assert applies, name
        assert "{" not in unit + meaning, name


def test_the_page_has_every_key_of_the_committed_metrics() -> None:
    tree = json.loads((ROOT / "reports" / "metrics.json").read_text())
    used = {
        name
        for model, cells in tree.items()
        if model != "summary"
        for cell in cells.values()
        for name in cell
    }
    sentence = KEYS.split("d2-snr10):")[1].split(".\n")[0]
    named = re.findall(r"`(\w+)`", sentence)
    assert used < set(named)
    others = {name for name in named if name.startswith("requested_face")} | {"generated_nearest_distance"}
    assert set(named) - used == others
    assert [name.strip("`") for name, _ in entries(KEYS)] == [*tree["summary"], "diverged_cells"]


@pytest.mark.parametrize(
    ("name", "applies"),
    [
        ("validation_mse", "all repeats of all cells"),
        ("kl_bits_stderr", "all repeats of cells with isotropic or learned noise"),
        ("generated_face_error", "selected repeats of all cells, if the source has labels"),
        ("requested_face_ratio", "selected repeats of all cells, in conditional runs"),
        (
            "fitted_surface_distance",
            "selected repeats of cells with no or isotropic noise, "
            "if points lie on a surface or a curve that is known",
        ),
        ("capacity_bits", "selected repeats of cells with isotropic noise"),
    ],
)
def test_the_page_says_which_rows_have_a_metric(name: str, applies: str) -> None:
    (found,) = [row[-1] for row in entries(COLUMNS) if row[0] == f"`{name}`"]
    assert found == applies


@pytest.mark.parametrize("name", SOURCES)
def test_a_run_has_the_metrics_that_apply_to_its_source_in_its_words(name: str) -> None:
    source = SOURCES[name]
    plain, conditional = (glossary.of_run(source, each) for each in (False, True))
    added = {name for name in conditional if name.startswith("requested_face")} - {"requested_face_distance"}
    added |= {"requested_face_distance"} if source.faces else {"real_face_share"}
    assert set(conditional) - set(plain) == added
    assert ("generation_p_value" in plain) is source.exact
    assert glossary.REAL[source.exact] in plain["generation_ratio"].meaning
    assert ("generated_surface_distance" in plain) is (source.distance is not None)
    assert ("generated_face_error" in plain) is (source.faces is not None)
    assert plain["mse"].unit == f"{source.unit}²"
    if source.distance is not None:
        assert source.title in plain["generated_surface_distance"].meaning


def test_a_new_metric_stands_in_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    new = metrics.Metric(
        "new", "fresh", "bit", "limit.gap_db", metrics.NOISY, "P(a|b) of {source}", in_json=True
    )
    monkeypatch.setattr(glossary, "METRICS", (*metrics.METRICS, new))
    page = glossary.page()
    rows = "selected repeats of cells with isotropic or learned noise"
    assert f"| `new` | fresh | bit | P(a\\|b) of the source | {rows} |" in page
    assert f"| `new_stderr` | ± s.e. | bit | standard error of `new` | {rows} |" in page
    assert "`new`." in page.split("## The keys")[1]
