"""Runs side by side: what one of them never measured is left out, and the rest is shown."""

import pandas as pd

from stages import compare

ROW = {"noise": "isotropic", "latent_dim": 2, "snr": 10.0, "selected": 1, "mse": 0.02}
NOW = pd.DataFrame([ROW | {"gap_db": 1.5}])
BEFORE = pd.DataFrame([ROW])


def test_a_run_from_before_a_measure_is_drawn_without_it() -> None:
    mse, gap = compare.figure({"now": NOW, "before": BEFORE}).axes
    assert (len(mse.lines), len(gap.lines)) == (2, 1)


def test_a_run_from_before_a_measure_stands_beside_a_dash() -> None:
    now = {"snr_vae": {"d2-snr10": {"mse": 0.02, "gap_db": 1.5}}, "summary": {"mean_gap_db": 1.5}}
    before = {"snr_vae": {"d2-snr10": {"mse": 0.02}}, "summary": {}}
    table = compare.markdown({"now": {}, "before": {}}, {"now": now, "before": before})
    assert "| summary.mean_gap_db | 1.5 | – |" in table
    assert "| snr_vae.d2-snr10.mse | 0.02 | 0.02 |" in table
