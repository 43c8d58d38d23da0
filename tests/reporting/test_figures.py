"""Figures: the same bytes for the same input, legible in grey, whatever grid was run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import draw_splits
from matplotlib.figure import Figure

from snrvae.limit import shannon
from snrvae.reporting import lines, report
from snrvae.reporting.figures import clouds, curves, latents, style
from snrvae.settings import tables
from snrvae.sources import cube
from snrvae.sources.domain import Split

ROOT = Path(__file__).parents[2]
CELLS = tables.from_csv((ROOT / "reports" / "cells.csv").read_bytes())
CELLS["one_point_db"] = CELLS.gap_db.where((CELLS.noise == "isotropic") & (CELLS.latent_dim < 3)) - 1
LIMIT = shannon.table_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes())
LINES = lines.of(CELLS, LIMIT, cube.SOURCE, False, ())


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style.style():
        yield


@pytest.fixture(scope="module")
def split() -> Split:
    return draw_splits(cube.SOURCE, {"test": 600}, seed=0)["test"]


def samples(test: Split, model: str = "snr_vae", snr: float = 1000) -> dict[str, np.ndarray]:
    """Clouds as if a codec of d dimensions sent the first d coordinates."""
    arrays = {}
    for latent_dim in (1, 2, 3):
        name = f"{model}/d{latent_dim}-snr{snr:g}"
        arrays[f"{name}/latents"] = test.points[:, :latent_dim]
        arrays[f"{name}/reconstructed"] = test.points[:300]
    return arrays


def grid_of(
    dims: tuple[int, ...], noise: str = "isotropic", snrs: tuple[float, ...] = (1, 1000)
) -> pd.DataFrame:
    rows = [{"noise": noise, "latent_dim": d, "snr": float(snr), "selected": 1} for d in dims for snr in snrs]
    return pd.DataFrame(rows)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


@pytest.mark.parametrize(
    ("dims", "panels"),
    [
        ((1, 2, 3), ["d = 1", "d = 2", "d = 3", "d = 3"]),
        ((1,), ["d = 1"]),
        ((2, 16), ["d = 2"]),
        ((3,), ["d = 3", "d = 3"]),
    ],
)
def test_the_codes_have_a_panel_for_each_small_d_that_was_run(
    dims: tuple[int, ...], panels: list[str], split: Split
) -> None:
    figure = latents.codes(grid_of(dims), samples(split), split, cube.SOURCE)
    assert [title.split(":")[0] for title in titles(figure)] == panels


def test_of_each_d_the_codec_that_generates_best_stands_beside_real_points(split: Split) -> None:
    cells = grid_of((1, 3)).assign(diverged=0, generation_ratio=20.0, fitted_ratio=[3.0, 4.0, 9.0, 2.0])
    names = [
        f"snr_vae/d{d}-snr{s}/{kind}" for d, s in ((1, 1), (3, 1000)) for kind in ("generated", "fitted")
    ]
    figure = clouds.generated(cells, dict.fromkeys(names, split.points), split, cube.SOURCE)
    assert [axes.texts[-1].get_text() for axes in figure.axes if axes.texts] == [
        "generation ratio 20",
        "generation ratio 3",
        "generation ratio 20",
        "generation ratio 2",
    ]
    labels = [text.get_text() for text in figure.texts]
    assert [label for label in labels if label.startswith("d =")] == ["d = 1, SNR 1", "d = 3, SNR 1000"]


def test_where_every_cell_diverged_the_figure_of_generated_points_says_so(split: Split) -> None:
    (axes,) = clouds.generated(grid_of((1,)).assign(diverged=1), {}, split, cube.SOURCE).axes
    assert [text.get_text() for text in axes.texts] == [style.DIVERGED]


def test_the_codes_are_those_of_the_highest_snr_whatever_noise_was_run(split: Split) -> None:
    cells = grid_of((1, 2), "learned", (0.5, 7.5))
    figure = latents.codes(cells, samples(split, "snr_vae_learned", 7.5), split, cube.SOURCE)
    assert "SNR 7.5" in figure.get_suptitle()


def test_the_curve_joins_reconstructions_in_the_order_of_z(split: Split) -> None:
    figure = latents.codes(grid_of((1,)), samples(split), split, cube.SOURCE)
    (pieces,) = (
        c for c in figure.axes[0].collections if hasattr(c, "_segments3d") and len(c._segments3d) == 299
    )
    starts = np.array([segment[0] for segment in pieces._segments3d])
    assert (np.diff(starts[:, 0]) >= 0).all()  # z is the first coordinate here
    assert sorted(starts[:, 0])[0] == pytest.approx(split.points[:300, 0].min())


def test_the_map_names_each_face_where_it_lies(split: Split) -> None:
    figure = latents.codes(grid_of((2,)), samples(split), split, cube.SOURCE)
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert set(places) == set(cube.FACE_NAMES)
    assert places["x = 0"][0] == 0
    assert places["y = 1"][1] == 1


def test_a_slice_shows_the_latents_near_the_middle_of_one_axis_by_the_other_two(split: Split) -> None:
    figure = latents.codes(grid_of((3,)), samples(split), split, cube.SOURCE)
    points = split.points
    for axes, cut, across in zip(figure.axes, (1, 0), ((0, 2), (1, 2)), strict=True):
        along = points[:, cut]
        near = points[np.abs(along - np.median(along)) < latents.SLICE * along.std()]
        drawn = np.concatenate([np.asarray(each.get_offsets()) for each in axes.collections])
        assert sorted(map(tuple, drawn)) == sorted(map(tuple, near[:, across].astype(float)))
        assert axes.get_xlabel().endswith(latents.LATENT[across[0]])
        assert axes.get_ylabel().endswith("z₃")


def test_an_svg_drawn_twice_has_the_same_bytes_and_no_date() -> None:
    first, second = (report.svg(curves.rate_distortion(CELLS, LINES)) for _ in range(2))
    assert first == second
    assert b"<dc:date>" not in first
    assert b"<text" not in first, "glyphs stand in the file: no font of the reader's is asked for"


SETTINGS = {
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "figure.titlesize": 40,
    "figure.dpi": 30,
    "font.size": 3,
    "axes.prop_cycle": mpl.cycler(color="r"),
    "axes.formatter.use_mathtext": True,
    "axes3d.grid": False,
    "lines.markeredgewidth": 5,
    "mathtext.fontset": "stix",
    "svg.fonttype": "none",
    "text.usetex": True,
}


def test_a_users_own_settings_change_no_figure(split: Split) -> None:
    def drawn() -> list[bytes]:
        with style.style():
            curve = report.svg(curves.rate_distortion(CELLS, LINES))
            return [curve, report.png(latents.codes(grid_of((1, 2)), samples(split), split, cube.SOURCE))]

    expected = drawn()
    with mpl.rc_context(SETTINGS):
        assert drawn() == expected


@pytest.mark.slow
def test_settings_that_matplotlib_cannot_read_keep_no_stage_from_starting(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"savefig.bbox: t\xffght")
    variables = {"MATPLOTLIBRC": str(tmp_path), "MPLCONFIGDIR": str(tmp_path), "MPLBACKEND": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-c", "import stages.render, stages.compare"],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_coordinates_of_paths_are_short_and_scales_whole() -> None:
    text = report.svg(curves.grid(CELLS)).decode()
    paths = re.findall(r' d="([^"]+)"', text)
    assert paths
    assert not any(re.search(r"\.\d{3}", path) for path in paths)
    assert "scale(0.015625)" in text


def test_training_curves_of_two_snrs_differ_in_more_than_colour() -> None:
    names = ("noise", "latent_dim", "snr", "repeat", "step", "mse")
    rows = [("isotropic", 2, snr, 0, step, 0.1) for snr in (1.0, 10.0, 100.0, 1000.0) for step in (1, 2)]
    figure = curves.training(pd.DataFrame(rows, columns=list(names)))
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in figure.axes[0].lines}) == 4


def test_each_codec_in_the_plane_of_bits_and_mse_carries_its_d() -> None:
    axes = curves.rate_distortion(CELLS, LINES).axes[0]
    selected = CELLS[(CELLS.selected == 1) & (CELLS.noise != "none")]
    digits = sorted(text.get_text() for text in axes.texts if text.get_text().isdigit())
    assert digits == sorted(selected.latent_dim.astype(str))


def test_codes_for_one_point_at_a_time_are_marked_below_the_codecs_that_have_a_price() -> None:
    axes = curves.rate_distortion(CELLS, LINES).axes[0]
    marks = [line.get_xydata() for line in axes.lines if line.get_marker() == "_"]
    priced = CELLS[CELLS.one_point_db.notna() & (CELLS.selected == 1)]
    expected = np.c_[priced.capacity_bits, priced.mse / 10**0.1]
    assert np.sort(np.concatenate(marks), 0) == pytest.approx(np.sort(expected, 0), rel=1e-4)


def test_without_a_price_nothing_is_marked() -> None:
    plain = CELLS.assign(one_point_db=np.nan)
    axes = curves.rate_distortion(plain, lines.of(plain, LIMIT, cube.SOURCE, False, ())).axes[0]
    assert "_" not in {line.get_marker() for line in axes.lines}


def test_a_codec_beyond_the_frame_leaves_the_figure_its_size() -> None:
    """A warning that the layout collapsed would be an error here."""
    drawn = report.svg(curves.rate_distortion(CELLS.assign(mse=CELLS.mse * 1e4), LINES))
    assert drawn.startswith(b"<?xml")
