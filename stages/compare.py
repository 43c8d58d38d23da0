"""Compare runs: `python -m stages.compare REV [REV ...]` → compare/compare.md, compare/compare.png.

A REV is any revision that DVC accepts: a commit, branch, tag, name of an experiment, or `workspace`.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml
from dvc.exceptions import DvcException
from dvc.scm import SCM, resolve_rev
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scmrepo.exceptions import SCMError

from snrvae.reporting import report
from snrvae.reporting.figures.style import DIMS, INK, MARKERS, style
from snrvae.settings import tables
from stages import files

FOLDER = Path("compare")
MEASURES = ("mse", "kl_bits", "gap_db")
ABSENT = "–"
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))

Tree = Mapping[str, Any]
Content = TypeVar("Content")


def compare(revisions: Sequence[str]) -> str:
    """Write the table and the figure of the revisions; return the table."""
    commits = {rev: _commit(rev) for rev in revisions}
    params = {rev: _read(rev, commit, "params.yaml", _params) for rev, commit in commits.items()}
    metrics = {rev: _read(rev, commit, "reports/metrics.json", _metrics) for rev, commit in commits.items()}
    cells = {rev: _read(rev, commit, "reports/cells.csv", _table) for rev, commit in commits.items()}
    table = markdown(params, metrics)
    with style():
        image = report.png(figure(cells))
    files.write(FOLDER / "compare.md", table)
    files.write(FOLDER / "compare.png", image)
    return table


def markdown(params: Mapping[str, Tree], metrics: Mapping[str, Tree]) -> str:
    """A column per revision; rows: parameters that differ, the summary, then the cells."""
    rows = [*_different(params), *_summary(metrics), *_cells(metrics)]
    head = f"| | {' | '.join(metrics)} |\n|---|{'---:|' * len(metrics)}\n"
    return head + "".join(f"| {name} | {' | '.join(map(_shown, values))} |\n" for name, values in rows)


def figure(cells: Mapping[str, pd.DataFrame]) -> Figure:
    """MSE and gap against SNR: colour shows latent_dim; line style and marker show the revision."""
    chosen = {rev: table[(table.selected == 1) & table.snr.notna()] for rev, table in cells.items()}
    everything = pd.concat(chosen.values())
    noises, dims = list(dict.fromkeys(everything.noise)), sorted(everything.latent_dim.unique())
    drawn = Figure(figsize=(11, 3.8 * len(noises) + 1), layout="constrained")
    for axes_row, noise in zip(drawn.subplots(len(noises), 2, squeeze=False), noises, strict=True):
        for axes, measure, label in zip(
            axes_row, ("mse", "gap_db"), ("mse (per coordinate)", "gap [dB]"), strict=True
        ):
            axes.set(xscale="log", yscale="log" if measure == "mse" else "linear")
            for index, table in enumerate(chosen.values()):
                rows = table[table.noise == noise].sort_values("snr")
                for latent_dim, line in rows.groupby("latent_dim"):
                    if measure in line:  # older runs do not have it
                        axes.plot(line.snr, line[measure], color=_colour(latent_dim), **_look(index))
            axes.set(xlabel="SNR (power ratio)", ylabel=label, title=f"{noise} noise")
    handles = [Line2D([], [], color=INK, **_look(index)) for index in range(len(chosen))]
    handles += [Line2D([], [], color=_colour(latent_dim), lw=4) for latent_dim in dims]
    labels = [*chosen, *(f"d = {latent_dim}" for latent_dim in dims)]
    drawn.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6))
    return drawn


def _commit(revision: str) -> str | None:
    """The commit of a revision; None for the workspace."""
    if revision == "workspace":
        return None
    _git("rev-parse", "--git-dir")  # fails with one line, where DVC would print a traceback
    return resolve_rev(SCM("."), revision)


def _read(revision: str, commit: str | None, path: str, decode: Callable[[bytes], Content]) -> Content:
    try:
        # git, not DVC's file system: it knows subfolders, and fetches what a partial clone lacks
        return decode(_git("cat-file", "blob", f"{commit}:./{path}") if commit else Path(path).read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{revision}: has no {path}") from None
    except ValueError as error:
        raise ValueError(f"{revision}: {path}: {' '.join(str(error).split())}") from None


def _git(*arguments: str) -> bytes:
    """The output of a git command. Raises ValueError with git's message if it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        raise ValueError(" ".join(done.stderr.decode(errors="replace").split()).removeprefix("fatal: "))
    return done.stdout


def _params(data: bytes) -> Tree:
    """Settings, of any version of the project. Raises ValueError if `data` is no set of keys."""
    try:
        tree = yaml.safe_load(data)
        json.dumps(tree, default=str, skipkeys=True)  # raises if a list contains itself
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"not YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ValueError("not a set of keys")
    return tree


def _metrics(data: bytes) -> Tree:
    """Metrics, of any version of the project. Raises ValueError if `data` is no tree of metrics."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("summary"), dict):
        raise ValueError("has no summary")
    models = [cells for name, cells in tree.items() if name != "summary"]
    if not all(isinstance(cells, dict) for cells in models):
        raise ValueError("a model without cells")
    cells = [cell for model in models for cell in model.items()]
    for key, measures in (*cells, ("summary", tree["summary"])):
        if key != "summary":
            _place(key)
        if not isinstance(measures, dict) or not all(type(v) in (int, float) for v in measures.values()):
            raise ValueError(f"{key}: values that are not numbers")
    return tree


def _table(data: bytes) -> pd.DataFrame:
    """The table of cells, of any version of the project. Raises ValueError if `data` is no such table."""
    table = tables.from_csv(data)
    names = ["selected", "latent_dim", "snr", "mse", *({"gap_db"} & set(table))]
    tables.numbers(table, names)
    if "noise" not in table:
        raise ValueError("has no column noise")
    if not (table.latent_dim >= 1).all() or (table.snr <= 0).any():
        raise ValueError("latent_dim or snr: values that no cell has")
    if not ((table.selected == 1) & table.snr.notna()).any():
        raise ValueError("has no row of an SNR-VAE that is selected")
    return table


def _different(params: Mapping[str, Tree]) -> list[tuple[str, list[Any]]]:
    flat = [_flat(tree) for tree in params.values()]
    rows = [(name, [tree.get(name) for tree in flat]) for name in dict.fromkeys(n for t in flat for n in t)]
    return [(f"params.{name}", values) for name, values in rows if any(v != values[0] for v in values)]


def _flat(tree: Tree, prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves


def _summary(metrics: Mapping[str, Tree]) -> list[tuple[str, list[Any]]]:
    summaries = [tree["summary"] for tree in metrics.values()]
    names = dict.fromkeys(name for summary in summaries for name in summary)
    return [(f"summary.{name}", [summary.get(name) for summary in summaries]) for name in names]


def _cells(metrics: Mapping[str, Tree]) -> list[tuple[str, list[Any]]]:
    trees = [{name: cells for name, cells in tree.items() if name != "summary"} for tree in metrics.values()]
    rows = []
    for model in dict.fromkeys(model for tree in trees for model in tree):
        sides = [tree.get(model, {}) for tree in trees]
        for key in sorted({key for side in sides for key in side}, key=_place):
            for measure in MEASURES:
                values = [side.get(key, {}).get(measure) for side in sides]
                if any(value is not None for value in values):
                    rows.append((f"{model}.{key}.{measure}", values))
    return rows


def _place(key: str) -> tuple[float, float]:
    """Sorts d2, d2-snr10, d10-snr1e+06 by their numbers."""
    found = re.fullmatch(r"d(\d+)(?:-snr(.+))?", key)
    if found is None:
        raise ValueError(f"no cell is called {key}")
    return float(found[1]), float(found[2] or 0)


def _shown(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _colour(latent_dim: Any) -> Any:
    return DIMS[(int(latent_dim) - 1) % len(DIMS)]


def _look(index: int) -> dict[str, Any]:
    """Line style and marker of a revision; markers grow, so that equal points show as rings."""
    return {
        "ls": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5 + 3 * index,
        "markerfacecolor": "none",
    }


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit('compare: names of experiments or commits are missing: make compare REVS="main workspace"')
    try:
        files.show(compare(list(dict.fromkeys(sys.argv[1:]))))
    except (ValueError, OSError, DvcException, SCMError) as error:
        files.fail("compare", error)
