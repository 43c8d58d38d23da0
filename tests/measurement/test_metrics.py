"""The table of cells and the tree of metrics: which columns and keys, and never a number that is none."""

import csv
import io
import json
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from conftest import reference_of

from snrvae.codecs.codec import Codec
from snrvae.limit.shannon import RateDistortionTable
from snrvae.measurement import evaluation, metrics, prices
from snrvae.measurement.records import CodecMetrics, Estimate, Generation, Limit
from snrvae.settings import tables
from snrvae.settings.grid import Cell
from snrvae.sources import cube
from snrvae.sources.domain import Split

COLUMNS = {
    *("model", "noise", "latent_dim", "snr", "snr_db", "repeat", "source", "selected", "diverged"),
    *("mse", "mse_stderr", "kl_bits", "latent_kl_bits", "latent_shape_kl_bits", "linear_mse"),
    *("generated_surface_distance", "generated_surface_p95", "generated_face_error"),
    *("generation_ratio", "generation_ratio_stderr", "generation_p_value", "coverage"),
    *("fitted_surface_distance", "fitted_ratio", "fitted_ratio_stderr", "fitted_p_value"),
}
OF_ISOTROPIC = {"capacity_bits", "gaussian_information_bits", "one_point_db", "network_db"}
KNOWN = {(2, 4.0): 0.03, (2, 100.0): 0.003}  # mse of codes for one point at a time
OF_LIMIT = OF_ISOTROPIC | {
    *("information_bits", "information_bits_stderr"),
    *("information_upper_bits", "information_upper_bits_stderr", "information_saturated"),
    *("shannon_mse", "gap_db", "gap_db_stderr", "gaussian_mse", "limit", "limit_saturated"),
}
OF_NOISE = {"snr", "snr_db", "kl_bits", "kl_bits_stderr"}
OF_CONDITIONAL = {
    *("requested_face_distance", "requested_face_share", "requested_face_worst_ratio"),
    *("requested_face_ratio", "requested_face_ratio_stderr"),
}
OF_FILES = {"generated_nearest_distance", "real_face_share"}
OF_FITTED = {name for name in COLUMNS if name.startswith("fitted")}
OF_SELECTED = {name for name in COLUMNS if name.startswith("generat")} | {"coverage"} | OF_FITTED
TEXTS = {"model", "noise", "source", "information_saturated", "limit", "limit_saturated"}

Generations = dict[Cell, Generation]
Measured = tuple[dict[Cell, CodecMetrics | None], Generations, Generations, dict[Cell, Limit]]


@pytest.fixture(scope="module")
def measured(codecs: dict[str, Codec], splits: dict[str, Split], limits: RateDistortionTable) -> Measured:
    test, validation = splits["test"], splits["validation"]
    alone = {codec.architecture.cell: codec for codec in codecs.values()}
    results = [evaluation.measure(codec, cube.SOURCE, validation, test, 0) for codec in alone.values()]
    reference = reference_of(cube.SOURCE, test)
    chosen = evaluation.select(results)
    return (
        {result.cell: result for result in results},
        {r.cell: evaluation.generate(alone[r.cell], reference, 0) for r in chosen},
        {
            r.cell: evaluation.generate_fitted(alone[r.cell], splits["train"], reference, 0)
            for r in chosen
            if r.cell.noise != "learned"
        },
        prices.priced(
            {
                r.cell: evaluation.limit(alone[r.cell], r, test, cube.SOURCE, limits, 0)
                for r in chosen
                if r.kl_bits
            },
            KNOWN,
        ),
    )


def cells_of(measured: Measured) -> pd.DataFrame:
    return metrics.cells(*measured, cube.SOURCE.domain)


@pytest.fixture(scope="module")
def table(measured: Measured) -> pd.DataFrame:
    return cells_of(measured)


@pytest.fixture(scope="module")
def rows(table: pd.DataFrame) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(tables.to_csv(table))))


def strictly(text: str) -> Any:
    """JSON as the standard has it, without NaN and Infinity."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no number of JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_table_has_the_columns_of_the_design_and_a_row_per_cell_and_repeat(
    rows: list[dict[str, str]], cells: list[Cell]
) -> None:
    assert set(rows[0]) >= COLUMNS | OF_LIMIT
    found = [(r["noise"], r["latent_dim"], r["snr"], r["repeat"]) for r in rows]
    assert sorted(found) == sorted(
        (c.noise, str(c.latent_dim), "" if c.snr is None else f"{c.snr:g}", str(c.repeat)) for c in cells
    )


def test_exactly_what_does_not_apply_is_empty(rows: list[dict[str, str]]) -> None:
    for row in rows:
        empty = {name for name, text in row.items() if not text}
        expected = OF_SELECTED | OF_LIMIT if row["selected"] == "0" else set()
        expected = expected | OF_CONDITIONAL | OF_FILES
        match row["noise"]:
            case "none":
                expected = expected | OF_NOISE | OF_LIMIT
            case "learned":
                expected = expected | OF_ISOTROPIC | OF_FITTED
        assert empty == expected


def test_no_field_says_nan_or_infinite_and_numbers_have_six_digits(rows: list[dict[str, str]]) -> None:
    for row in rows:
        for name, text in row.items():
            if text and name not in TEXTS:
                assert np.isfinite(float(text))
                assert text == f"{float(text):.6g}"


def test_whether_the_sample_carries_the_rate_is_true_or_false(
    measured: Measured, rows: list[dict[str, str]]
) -> None:
    *_, limits = measured
    said = [row["information_saturated"] for row in rows if row["information_saturated"]]
    assert set(said) <= {"true", "false"}
    assert said.count("true") == sum(limit.information_saturated for limit in limits.values())
    assert len(said) == len(limits) == 4


def test_the_limit_of_a_known_law_is_certified_at_every_rate(rows: list[dict[str, str]]) -> None:
    said = [(row["limit"], row["limit_saturated"]) for row in rows if row["shannon_mse"]]
    assert said == [("certified", "false")] * 4


def test_one_repeat_of_each_cell_is_selected_the_best_on_validation_points(table: pd.DataFrame) -> None:
    for _, repeats in table.groupby(["noise", "latent_dim", "snr"], dropna=False):
        assert repeats.selected.sum() == 1
        chosen = repeats[repeats.selected == 1].iloc[0]
        assert chosen.validation_mse == repeats.validation_mse.min()


def test_a_row_holds_the_numbers_of_its_cell(measured: Measured, table: pd.DataFrame) -> None:
    results, generations, fitted, limits = measured
    for result, row in zip(results.values(), table.to_dict("records"), strict=True):
        assert (row["mse"], row["mse_stderr"]) == (result.mse.value, result.mse.stderr)
        assert row["validation_mse"] == result.validation_mse
        assert row["latent_kl_bits"] == result.latent_kl_bits
        assert row["latent_shape_kl_bits"] == result.latent_shape_kl_bits
        assert row["linear_mse"] == result.linear_mse
        if result.kl_bits:
            assert (row["kl_bits"], row["kl_bits_stderr"]) == (result.kl_bits.value, result.kl_bits.stderr)
        if generated := generations.get(result.cell):
            assert row["generated_surface_distance"] == generated.surface_distance
            assert row["generated_surface_p95"] == generated.surface_p95
            assert row["generated_face_error"] == generated.face_error
            assert row["generation_ratio"] == generated.ratio.value
            assert row["generation_ratio_stderr"] == generated.ratio.stderr
            assert row["generation_p_value"] == generated.p_value
            assert row["coverage"] == generated.coverage
        if again := fitted.get(result.cell):
            assert row["fitted_surface_distance"] == again.surface_distance
            assert (row["fitted_ratio"], row["fitted_ratio_stderr"]) == (
                again.ratio.value,
                again.ratio.stderr,
            )
            assert row["fitted_p_value"] == again.p_value
        if limit := limits.get(result.cell):
            assert (row["information_bits"], row["information_bits_stderr"]) == (
                limit.information_bits.value,
                limit.information_bits.stderr,
            )
            assert (row["information_upper_bits"], row["information_upper_bits_stderr"]) == (
                limit.information_upper_bits.value,
                limit.information_upper_bits.stderr,
            )
            assert row["shannon_mse"] == limit.shannon_mse
            assert row["gaussian_mse"] == limit.gaussian_mse
            assert (row["gap_db"], row["gap_db_stderr"]) == (limit.gap_db.value, limit.gap_db.stderr)
            if result.cell.noise == "isotropic":
                assert row["capacity_bits"] == limit.capacity_bits
                assert row["one_point_db"] + row["network_db"] == pytest.approx(row["gap_db"])
                assert row["gaussian_information_bits"] == limit.gaussian_information_bits


def test_the_tree_has_the_selected_cells_by_model_and_key(table: pd.DataFrame) -> None:
    tree = strictly(metrics.to_json(metrics.tree(table)))
    keys = {"d2-snr4", "d2-snr100"}
    assert {model: set(cells) for model, cells in tree.items() if model != "summary"} == {
        "ae": {"d1", "d2"},
        "snr_vae": keys,
        "snr_vae_learned": keys,
    }
    always = {"mse", "latent_kl_bits", "generated_surface_distance", "generation_ratio", "coverage"}
    assert set(tree["ae"]["d2"]) == always | {"fitted_ratio"}
    for key in keys:
        assert set(tree["snr_vae"][key]) == always | {"kl_bits", "gap_db", "fitted_ratio"}
        assert set(tree["snr_vae_learned"][key]) == always | {"kl_bits", "gap_db"}


def test_the_tree_shows_the_numbers_of_the_selected_repeat_to_six_digits(table: pd.DataFrame) -> None:
    tree = metrics.tree(table)
    chosen = table[(table.selected == 1) & (table.noise == "learned") & (table.snr == 4)].iloc[0]
    for name, value in tree["snr_vae_learned"]["d2-snr4"].items():
        assert value == float(f"{chosen[name]:.6g}")


def test_the_summary_is_the_best_of_the_selected_cells_of_the_reference_channel(table: pd.DataFrame) -> None:
    summary = metrics.tree(table)["summary"]
    selected = table[table.selected == 1]
    reference = selected[selected.noise == "isotropic"]
    assert summary["ae_best_mse"] == pytest.approx(selected[selected.noise == "none"].mse.min(), rel=1e-5)
    assert summary["snr_vae_best_mse"] == pytest.approx(reference.mse.min(), rel=1e-5)
    assert summary["mean_gap_db"] == pytest.approx(reference.gap_db.mean(), rel=1e-5)
    assert summary["worst_gap_db"] == pytest.approx(reference.gap_db.max(), rel=1e-5)
    assert summary["mean_gap_db"] < summary["worst_gap_db"]
    assert summary["generation_ratio"] == pytest.approx(reference.generation_ratio.min(), rel=1e-5)


def test_without_the_reference_channel_the_summary_leaves_it_out(table: pd.DataFrame) -> None:
    summary = metrics.tree(table[table.noise != "isotropic"])["summary"]
    assert set(summary) == {"ae_best_mse"}


def test_a_table_read_from_its_csv_gives_the_same_tree(table: pd.DataFrame) -> None:
    read = metrics.tree(tables.from_csv(tables.to_csv(table).encode()))
    tree = metrics.tree(table)
    # the mean of rounded numbers is rounded twice
    assert read["summary"].pop("mean_gap_db") == pytest.approx(tree["summary"].pop("mean_gap_db"), abs=1e-4)
    assert read == tree


def test_a_number_that_is_none_never_reaches_the_file(
    measured: Measured,
) -> None:
    results, generations, fitted, limits = measured
    broken = {cell: replace(one, mse=Estimate(float("inf"), 0.0)) for cell, one in results.items()}
    with pytest.raises(ValueError):
        metrics.to_json(metrics.tree(cells_of((broken, generations, fitted, limits))))
    endless = {cell: replace(limit, gap_db=Estimate(float("inf"), 0.0)) for cell, limit in limits.items()}
    with pytest.raises(ValueError):
        metrics.to_json(metrics.tree(cells_of((results, generations, fitted, endless))))


def test_a_cell_that_the_table_of_codes_lacks_is_read_without_their_price(
    measured: Measured, cells: list[Cell]
) -> None:
    table = cells_of(measured)
    table.loc[table.snr == 4, ["one_point_db", "network_db"]] = None
    read = metrics.from_csv(tables.to_csv(table).encode(), cells, cube.SOURCE)
    assert set(read[read.network_db.notna()].snr) == {100}


# Cells that diverged


def without(measured: Measured, diverged: set[Cell]) -> Measured:
    """The same grid, of which these cells diverged; whether another repeat were selected is left aside."""
    results, generations, fitted, limits = measured
    return (
        {cell: None if cell in diverged else result for cell, result in results.items()},
        {cell: found for cell, found in generations.items() if cell not in diverged},
        {cell: found for cell, found in fitted.items() if cell not in diverged},
        {cell: found for cell, found in limits.items() if cell not in diverged},
    )


def test_a_repeat_that_diverged_has_an_empty_row_and_is_not_selected_beside_another(
    measured: Measured, cells: list[Cell]
) -> None:
    bad = next(cell for cell in cells if cell not in measured[1])
    table = cells_of(without(measured, {bad}))
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(table))))
    assert [row["diverged"] for row in rows] == [str(int(cell == bad)) for cell in cells]
    row = rows[cells.index(bad)]
    assert row["selected"] == "0"
    assert not any(row[name] for name in [*metrics.NUMBERS, "information_saturated"])
    before = metrics.tree(cells_of(measured))
    before["summary"]["diverged_cells"] = 1
    assert metrics.tree(table) == before


def test_a_cell_of_which_every_repeat_diverged_is_marked_and_counted(
    measured: Measured, cells: list[Cell]
) -> None:
    lost = {cell for cell in cells if cell.noise == "isotropic" and cell.snr == 4.0}
    table = cells_of(without(measured, lost))
    assert set(table[(table.diverged == 1) & (table.selected == 1)].repeat) == {0}
    tree = strictly(metrics.to_json(metrics.tree(table)))
    other = metrics.tree(cells_of(measured))
    assert tree["snr_vae"] == {"d2-snr4": {"diverged": 1}, "d2-snr100": other["snr_vae"]["d2-snr100"]}
    assert tree["snr_vae_learned"] == other["snr_vae_learned"]
    assert tree["summary"]["mean_gap_db"] == tree["snr_vae"]["d2-snr100"]["gap_db"]
    assert tree["summary"]["diverged_cells"] == len(lost) == 2
    read = metrics.from_csv(tables.to_csv(table).encode(), cells, cube.SOURCE)
    assert metrics.from_json(json.dumps(tree).encode(), read) == tree


def test_a_grid_of_which_every_cell_diverged_still_has_its_table(
    measured: Measured, cells: list[Cell]
) -> None:
    table = cells_of(without(measured, set(cells)))
    assert set(table) >= COLUMNS | OF_LIMIT
    assert metrics.tree(table)["summary"] == {"diverged_cells": len(cells)}
    assert len(metrics.from_csv(tables.to_csv(table).encode(), cells, cube.SOURCE)) == len(cells)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"diverged": 2}, "neither 0 nor 1"),
        ({"mse": 0.5}, "numbers in a row that diverged"),
        ({"diverged": 0}, "missing in a row that is selected"),
    ],
)
def test_a_row_that_diverged_has_no_numbers_and_another_has(
    measured: Measured, cells: list[Cell], change: dict[str, float], what: str
) -> None:
    table = cells_of(without(measured, {cell for cell in cells if cell.noise == "none"}))
    for name, value in change.items():
        table.loc[0, name] = value
    with pytest.raises(ValueError, match=what):
        metrics.from_csv(tables.to_csv(table).encode(), cells, cube.SOURCE)


def test_a_repeat_that_diverged_is_not_to_be_selected_beside_another(
    measured: Measured, cells: list[Cell]
) -> None:
    bad = next(cell for cell in cells if cell not in measured[1])
    table = cells_of(without(measured, {bad}))
    pair = [place for place, cell in enumerate(cells) if (cell.model, cell.key) == (bad.model, bad.key)]
    table.loc[pair, "selected"] = [int(cells[place] == bad) for place in pair]
    with pytest.raises(ValueError, match="another did not"):
        metrics.from_csv(tables.to_csv(table).encode(), cells, cube.SOURCE)


# Each metric is stated once


def test_the_columns_are_those_of_the_metrics_whatever_diverged(
    measured: Measured, table: pd.DataFrame, cells: list[Cell]
) -> None:
    columns = [column for metric in metrics.METRICS for column in metric.columns]
    assert list(table)[-len(columns) :] == columns
    assert len(set(table)) == len(list(table))
    for noise in ("none", "isotropic", "learned"):
        lost = {cell for cell in cells if cell.noise == noise}
        assert list(cells_of(without(measured, lost))) == list(table)
    assert list(cells_of(without(measured, set(cells)))) == list(table)


def test_only_an_estimate_has_a_second_column_its_standard_error(rows: list[dict[str, str]]) -> None:
    twice = {metric.name for metric in metrics.METRICS if metric.kind is Estimate}
    assert twice >= {"mse", "kl_bits", "generation_ratio", "fitted_ratio", "information_bits", "gap_db"}
    assert {name.removesuffix("_stderr") for name in rows[0] if name.endswith("_stderr")} == twice


@pytest.mark.parametrize("metric", metrics.METRICS, ids=[metric.name for metric in metrics.METRICS])
def test_a_metric_stands_in_exactly_the_rows_that_it_applies_to(
    metric: metrics.Metric, rows: list[dict[str, str]]
) -> None:
    for row in rows:
        meant = metric.applies(cube.SOURCE, conditional=False) and row["noise"] in metric.noises
        measured = metric.of.startswith("codec.") or row["selected"] == "1"
        assert all(bool(row[column]) == (meant and measured) for column in metric.columns)


def test_one_entry_is_enough_for_a_new_metric(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    new = metrics.Metric(
        "upper_bits", "upper", "bit", "limit.information_upper_bits", metrics.NOISY, "a test", in_json=True
    )
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, new))
    table = cells_of(measured)
    assert list(table)[-2:] == ["upper_bits", "upper_bits_stderr"]
    for name in new.columns:
        old = name.replace("upper", "information_upper")
        pd.testing.assert_series_equal(table[name], table[old], check_names=False)
    chosen = table[(table.selected == 1) & (table.noise == "learned") & (table.snr == 4)].iloc[0]
    tree = metrics.tree(table)
    assert tree["snr_vae_learned"]["d2-snr4"]["upper_bits"] == float(f"{chosen['upper_bits']:.6g}")
    assert "upper_bits" not in tree["ae"]["d2"]


@pytest.mark.parametrize("path", ["codec.accuracy", "limits.gap_db", "gap_db"])
def test_a_path_that_leads_to_no_field_is_an_error(path: str) -> None:
    with pytest.raises(KeyError):
        _ = metrics.Metric("name", "word", "–", path, metrics.EVERY, "a test").columns


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("coverage", np.nan, "coverage: missing in a row that is selected"),
        ("gap_db_stderr", np.nan, "gap_db_stderr: missing in a row that is selected"),
        ("requested_face_share", 0.5, "requested_face_share: numbers that have no meaning here"),
        ("linear_mse", -1.0, "linear_mse: values below 0"),
        ("generation_ratio_stderr", -1.0, "generation_ratio_stderr: values below 0"),
        ("mse", 0.0, "mse: values that are not above 0"),
        ("coverage", 1e101, "coverage: values that are not finite"),
    ],
)
def test_a_table_with_a_wrong_number_is_refused_in_words_that_name_its_column(
    name: str, value: float, what: str, table: pd.DataFrame, cells: list[Cell]
) -> None:
    place = table.index[(table.selected == 1) & (table.noise == "isotropic")][0]
    changed = table.copy()
    changed[name] = changed[name].astype(float)
    changed.loc[place, name] = value
    with pytest.raises(ValueError) as caught:
        metrics.from_csv(tables.to_csv(changed).encode(), cells, cube.SOURCE)
    assert str(caught.value) == what


def test_lengths_and_their_squares_are_in_the_unit_of_the_file(measured: Measured) -> None:
    one = metrics.cells(*measured, cube.SOURCE.domain)
    other = metrics.cells(*measured, replace(cube.SOURCE.domain, factor=40.0))
    powers = {
        **dict.fromkeys(
            ("validation_mse", "mse", "mse_stderr", "linear_mse", "shannon_mse", "gaussian_mse"), 2
        ),
        **dict.fromkeys(
            ("generated_surface_distance", "generated_surface_p95", "fitted_surface_distance"), 1
        ),
    }
    for name in metrics.NUMBERS:
        if one[name].notna().any():
            expected = one[name].astype(float) * 40 ** powers.get(name, 0)
            np.testing.assert_allclose(other[name].astype(float), expected, rtol=1e-12, err_msg=name)
