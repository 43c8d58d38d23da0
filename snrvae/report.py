"""The report: reports/README.md, filled from tables and settings alone, and figures as PNG."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from snrvae.params import Params

COLOURS = 128  # of a figure's palette: a third of the bytes, no difference to the eye
SHOWN_VERSIONS = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "dvc",
    "pydantic",
    "safetensors",
    "matplotlib",
    "seaborn",
)


def png(figure: Figure) -> bytes:
    """The figure as a PNG with a palette; the same figure gives the same bytes."""
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    image = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def locked_versions(data: bytes) -> dict[str, str]:
    """Versions by package from requirements.lock: what ran is what is locked, on every machine.

    Raises ValueError where one that the report shows is not pinned to a version (PEP 440's characters).
    """
    pinned = re.findall(r"^([\w.-]+)==([\w.!+-]+)(?=[ ;]|$)", data.decode(), flags=re.MULTILINE | re.ASCII)
    missing = set(SHOWN_VERSIONS) - set(dict(pinned))
    if missing:
        raise ValueError(f"pins no version of {', '.join(sorted(missing))}")
    return dict(pinned)


def markdown(
    params: Params,
    cells: pd.DataFrame,
    metrics: Mapping[str, Any],
    versions: Mapping[str, str],
    figures: Sequence[str],
) -> str:
    """The report's Markdown page.

    cells    the table cells.csv;  metrics  the tree metrics.json
    figures  file names, without suffix, of what stands in figures/
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"g": significant, "label": "{:g}".format, "number": lambda value: f"{value:,}"}
    selected = cells[cells.selected == 1].astype(object).where(cells.notna(), None)
    rows = selected.sort_values(["latent_dim", "snr"]).to_dict("records")
    return environment.get_template("report.md").render(
        params=params,
        settings=yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, default_flow_style=None),
        metrics=metrics,
        autoencoders=[row for row in rows if row["noise"] == "none"],
        grids={
            noise: sorted(
                (row for row in rows if row["noise"] == noise), key=lambda r: (r["latent_dim"], r["snr"])
            )
            for noise in params.noise
        },
        versions={name: versions[name] for name in SHOWN_VERSIONS},
        figures=figures,
    )


def significant(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits; – where there is none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".rstrip(".")
