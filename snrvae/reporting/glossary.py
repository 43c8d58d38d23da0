"""METRICS in words: the names and definitions of metrics in the report, and docs/metrics.md.

`python -m snrvae.reporting.glossary > docs/metrics.md` writes that page again.
"""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

from snrvae.measurement.metrics import EVERY, METRICS, SUMMARY, Metric
from snrvae.sources.source import Source

CELL = {  # the columns that say which cell a row is about, with their unit and meaning
    "model": ("–", "ae or snr_vae"),
    "noise": ("–", "none, isotropic or learned"),
    "latent_dim": ("dimensions", "d"),
    "snr": ("power ratio", "SNR; empty without noise"),
    "snr_db": ("dB", "10·log10(SNR)"),
    "repeat": ("–", "number of the repeat, from 0"),
    "source": ("–", "what points are drawn from, as in params.yaml"),
    "conditional": ("–", "1 if encoder and decoder receive the label, else 0"),
    "selected": ("–", "1 for one repeat of each cell, the best on validation points, else 0"),
    "diverged": ("–", "1 if training diverged, so that the row has no numbers, else 0"),
}
NEEDS = {
    "": "",
    "surface": ", if points lie on a surface or a curve that is known",
    "set": ", if the source is a finite set",
    "labels": ", if the source has labels",
    "law": ", if the exact distribution is known",
    "conditional": ", in conditional runs",
    "whole": ", unless the run is conditional",
    "faces": ", in conditional runs whose labels are faces",
    "classes": ", in conditional runs whose labels are not faces",
}
REAL = {True: "the exact distribution of real points", False: "held-out real points"}  # by Source.exact
TAKEN = {"min": "smallest", "mean": "mean", "max": "largest"}
PAGE = """# Metrics

`python -m snrvae.reporting.glossary > docs/metrics.md` writes this page from `snrvae/measurement/metrics.py`.
[Parameters](parameters.md#the-chain) explains its symbols, and [theory](theory.md) why each number is
measured.

## The columns of cells.csv

`reports/cells.csv` has a row for each repeat of each cell. A cell is one setting of noise, d and SNR. Numbers
have six significant digits. A column is empty if it does not apply. In the column of units, *unit* is the
source's unit of length: for the cube its edge, for a file the file's own unit. *Generated points* are decoded
from z ~ N(0, I). The *fitted density* is a mixture of 32 normal distributions, fitted to the latents of
training points; for numbers "with the fit", z is drawn from it instead of N(0, I).

{columns}

## The keys of metrics.json

The numbers are those of the run that `params.yaml` sets: by default with one candidate and no fold.
`reports/closer.csv` has the numbers with candidates and with the fold.

`reports/metrics.json` has some of these numbers for the selected repeat of each cell, by its model (ae,
snr_vae or snr_vae_learned) and its name (d2, d2-snr10):
{keys}.
If every repeat of a cell diverged, the cell has only `diverged: 1`. `summary` has these keys, each if the run
has such cells:

{summary}
"""


def of_run(source: Source, conditional: bool) -> dict[str, Metric]:
    """The metrics that apply in a run, by name, with its source and unit in their words."""
    words = {"source": source.title, "unit": source.unit, "part": source.part, "law": REAL[source.exact]}
    return {metric.name: _worded(metric, words) for metric in METRICS if metric.applies(source, conditional)}


def page() -> str:
    """docs/metrics.md."""
    columns = [(f"`{name}`", "", unit, meaning, "every row") for name, (unit, meaning) in CELL.items()]
    words = {"source": "the source", "unit": "unit", "part": "label"}
    words["law"] = f"{REAL[True]} (if that is not known, {REAL[False]})"
    for metric in (_worded(metric, words) for metric in METRICS):
        name, *stderr = (f"`{column}`" for column in metric.columns)
        columns.append((name, metric.word, metric.unit, metric.meaning, _scope(metric)))
        columns += [(e, "± s.e.", metric.unit, f"standard error of {name}", _scope(metric)) for e in stderr]
    summary = [
        (f"`{key}`", f"{TAKEN[how]} `{column}` of the selected cells with {_noise([noise])}")
        for key, (noise, column, how) in SUMMARY.items()
    ]
    summary.append(("`diverged_cells`", "number of repeats (not cells) that diverged; absent if none did"))
    return PAGE.format(
        columns=_table(("column", "in the report", "unit", "meaning", "applies to"), columns),
        keys=textwrap.fill(", ".join(f"`{metric.name}`" for metric in METRICS if metric.in_json), 110),
        summary=_table(("key", "meaning"), summary),
    )


def _worded(metric: Metric, words: Mapping[str, str]) -> Metric:
    """The metric with `words` filled into the fields of its own words."""
    word, unit, meaning = (text.format(**words) for text in (metric.word, metric.unit, metric.meaning))
    return replace(metric, word=word, unit=unit, meaning=meaning)


def _scope(metric: Metric) -> str:
    """The rows that have a metric, in words."""
    repeats = "all repeats" if metric.of.startswith("codec.") else "selected repeats"
    cells = "all cells" if metric.noises == EVERY else f"cells with {_noise(metric.noises)}"
    return f"{repeats} of {cells}{NEEDS[metric.needs]}"


def _noise(noises: Sequence[str]) -> str:
    return " or ".join("no" if noise == "none" else noise for noise in noises) + " noise"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    escaped = [[entry.replace("|", r"\|") for entry in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *escaped])


if __name__ == "__main__":
    sys.stdout.buffer.write(page().encode())  # a file, whatever the terminal's encoding
