"""The report's page, whatever grid was run."""

from pathlib import Path

import pytest

from snrvae import metrics, params, report, tables
from snrvae.grid import Noise

ROOT = Path(__file__).parents[1]
FIGURES = sorted(path.stem for path in (ROOT / "reports" / "figures").glob("*.png"))


@pytest.mark.parametrize("noise", [("isotropic", "learned"), ("isotropic",), ("learned",)])
def test_every_figure_that_was_drawn_is_shown_whatever_noise_was_run(noise: tuple[Noise, ...]) -> None:
    settings = params.from_yaml((ROOT / "params.yaml").read_text()).model_copy(update={"noise": noise})
    table = tables.from_csv((ROOT / "reports" / "cells.csv").read_bytes())
    cells = table[table.noise.isin(["none", *noise])]
    versions = report.locked_versions((ROOT / "requirements.lock").read_bytes())
    drawn = [name for name in FIGURES if "learned" in noise or name != "8_learned_noise"]
    page = report.markdown(settings, cells, metrics.tree(cells), versions, drawn)
    assert [name for name in FIGURES if f"](figures/{name}.png)" in page] == drawn
    assert ("{{" in page, "{%" in page, "nan" in page) == (False, False, False)
