"""The table of cells and the tree of metrics: which columns and keys, and never a number that is none."""

import csv
import io
import json
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest

from snrvae import evaluation, generation, metrics, tables
from snrvae.codec import Codecs
from snrvae.cube import Split
from snrvae.grid import Cell
from snrvae.records import Estimate, Fidelity, Generation

COLUMNS = {
    *("model", "noise", "latent_dim", "snr", "snr_db", "repeat", "selected"),
    *("mse", "mse_stderr", "kl_bits", "latent_kl_bits", "latent_shape_kl_bits", "linear_mse"),
    *("generated_surface_distance", "generated_surface_p95", "generated_face_error"),
    *("generation_ratio", "generation_ratio_stderr", "coverage"),
}
OF_NOISE = {"snr", "snr_db", "kl_bits", "kl_bits_stderr"}
OF_SELECTED = {name for name in COLUMNS if name.startswith("generat")} | {"coverage"}


@pytest.fixture(scope="module")
def measured(codecs: list[Codecs], splits: dict[str, Split]) -> tuple[list[Fidelity], dict[Cell, Generation]]:
    test, validation = splits["test"], splits["validation"].points
    alone = {codec.cells[0]: codec for codec in evaluation.single(codecs)}
    results = [evaluation.fidelity(codec, validation, test.points, 0) for codec in alone.values()]
    radius = generation.neighbour_radius(test.points)
    chosen = evaluation.select(results)
    return results, {r.cell: evaluation.generate(alone[r.cell], test, radius, 0) for r in chosen}


@pytest.fixture(scope="module")
def table(measured: tuple[list[Fidelity], dict[Cell, Generation]]) -> pd.DataFrame:
    return metrics.cells(*measured)


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
    assert set(rows[0]) >= COLUMNS
    found = [(r["noise"], r["latent_dim"], r["snr"], r["repeat"]) for r in rows]
    assert sorted(found) == sorted(
        (c.noise, str(c.latent_dim), "" if c.snr is None else f"{c.snr:g}", str(c.repeat)) for c in cells
    )


def test_exactly_what_does_not_apply_is_empty(rows: list[dict[str, str]]) -> None:
    for row in rows:
        empty = {name for name, text in row.items() if not text}
        expected = OF_NOISE if row["model"] == "ae" else set()
        assert empty == expected | (OF_SELECTED if row["selected"] == "0" else set())


def test_no_field_says_nan_or_infinite_and_numbers_have_six_digits(rows: list[dict[str, str]]) -> None:
    for row in rows:
        for name, text in row.items():
            if text and name not in {"model", "noise"}:
                assert np.isfinite(float(text))
                assert text == f"{float(text):.6g}"


def test_one_repeat_of_each_cell_is_selected_the_best_on_validation_points(table: pd.DataFrame) -> None:
    for _, repeats in table.groupby(["noise", "latent_dim", "snr"], dropna=False):
        assert repeats.selected.sum() == 1
        chosen = repeats[repeats.selected == 1].iloc[0]
        assert chosen.validation_mse == repeats.validation_mse.min()


def test_a_row_holds_the_numbers_of_its_cell(
    measured: tuple[list[Fidelity], dict[Cell, Generation]], table: pd.DataFrame
) -> None:
    results, generations = measured
    for result, row in zip(results, table.to_dict("records"), strict=True):
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
            assert row["coverage"] == generated.coverage


def test_the_tree_has_the_selected_cells_by_model_and_key(table: pd.DataFrame) -> None:
    tree = strictly(metrics.to_json(metrics.tree(table)))
    keys = {"d2-snr4", "d2-snr100"}
    assert {model: set(cells) for model, cells in tree.items() if model != "summary"} == {
        "ae": {"d1", "d2"},
        "snr_vae": keys,
        "snr_vae_learned": keys,
    }
    generated = {"generated_surface_distance", "generation_ratio", "coverage"}
    assert set(tree["ae"]["d2"]) == {"mse", "latent_kl_bits"} | generated
    assert set(tree["snr_vae"]["d2-snr4"]) == {"mse", "kl_bits", "latent_kl_bits"} | generated


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
    assert summary["generation_ratio"] == pytest.approx(reference.generation_ratio.min(), rel=1e-5)


def test_without_the_reference_channel_the_summary_leaves_it_out(table: pd.DataFrame) -> None:
    summary = metrics.tree(table[table.noise != "isotropic"])["summary"]
    assert set(summary) == {"ae_best_mse"}


def test_a_table_read_from_its_csv_gives_the_same_tree(table: pd.DataFrame) -> None:
    assert metrics.tree(tables.from_csv(tables.to_csv(table).encode())) == metrics.tree(table)


def test_a_number_that_is_none_never_reaches_the_file(
    measured: tuple[list[Fidelity], dict[Cell, Generation]],
) -> None:
    results, generations = measured
    broken = [replace(result, mse=Estimate(float("inf"), 0.0)) for result in results]
    with pytest.raises(ValueError):
        metrics.to_json(metrics.tree(metrics.cells(broken, generations)))
