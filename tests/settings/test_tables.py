"""Tables and their CSV: plain numbers, six significant digits, empty where nothing applies."""

import csv
import io
import math

import numpy as np
import pandas as pd
import pytest

from snrvae.settings import tables
from snrvae.settings.grid import Cell
from snrvae.training import history
from snrvae.training.history import History

VAE, AE = Cell("isotropic", 2, 10.0, 1), Cell("none", 3, None, 0)


def of(cell: Cell, records: int = 2, first: float = 1) -> History:
    losses = np.arange(first, first + records * 3, dtype=np.float32).reshape(records, 3) / 7
    return History(cell, np.arange(1, records + 1) * 10, np.linspace(0.01, 0.002, records), losses)


def rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """The rows of the CSV, as text."""
    return list(csv.DictReader(io.StringIO(tables.to_csv(table))))


def test_a_row_says_which_cell_it_is_about() -> None:
    assert tables.cell_columns(Cell("learned", 2, 100.0, 1)) == {
        "model": "snr_vae",
        "noise": "learned",
        "latent_dim": 2,
        "snr": 100.0,
        "snr_db": pytest.approx(20),
        "repeat": 1,
    }
    autoencoder = tables.cell_columns(AE)
    assert (autoencoder["model"], autoencoder["noise"]) == ("ae", "none")
    assert autoencoder["snr"] is autoencoder["snr_db"] is None


def test_training_has_a_row_for_each_record_of_each_cell_with_kl_in_bits() -> None:
    one = of(Cell("isotropic", 2, 10.0, 0), 3, 10)
    table = history.to_table([of(VAE, 3), one, of(AE)])
    assert len(table) == 3 * 2 + 2
    row = table[(table.noise == "isotropic") & (table.repeat == 0) & (table.step == 20)].iloc[0]
    mse, kl_nats, gaussianity = one.losses[1]
    assert row.mse == pytest.approx(mse)
    assert row.kl_bits == pytest.approx(kl_nats / math.log(2))
    assert row.gaussianity == pytest.approx(gaussianity)
    assert row.learning_rate == pytest.approx(one.learning_rate[1])


def test_an_autoencoder_has_no_kl_no_gaussianity_and_no_snr() -> None:
    for row in rows(history.to_table([of(VAE), of(AE)])):
        empty = {name for name, text in row.items() if not text}
        assert empty == (set() if row["model"] == "snr_vae" else {"snr", "snr_db", "kl_bits", "gaussianity"})


def test_numbers_have_six_significant_digits() -> None:
    values = [math.pi, -math.pi * 1e-9, math.pi * 1e12, 1 / 3, 1e-300, 2.0]
    written = [row["x"] for row in rows(pd.DataFrame({"x": values}))]
    assert written == [f"{value:.6g}" for value in values]
    assert [float(text) for text in written] == pytest.approx(values, rel=5e-6)


def test_what_does_not_apply_is_empty() -> None:
    assert rows(pd.DataFrame({"x": [1.5, None, np.nan]})) == [{"x": "1.5"}, {"x": ""}, {"x": ""}]


def test_lines_end_the_same_on_every_system() -> None:
    text = tables.to_csv(history.to_table([of(VAE)]))
    assert "\r" not in text
    assert text.endswith("\n")


def test_a_table_comes_back_from_its_csv() -> None:
    table = history.to_table([of(VAE), of(AE)])
    back = tables.from_csv(tables.to_csv(table).encode())
    assert list(back.columns) == list(table.columns)
    assert tables.to_csv(back) == tables.to_csv(table)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"a,b\n1,2,3\n1,2,3,4\n", b"\xff\xfe\x00", b'"'])
def test_a_file_that_is_no_table_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        tables.from_csv(data)
    assert type(caught.value) is ValueError
    (line,) = str(caught.value).strip().splitlines()
    assert "not a CSV table" in line


def test_a_cell_whose_loss_is_not_finite_ends_with_an_empty_row_that_is_read_back_if_it_diverged() -> None:
    sound, bad = of(VAE, 3), of(AE, 3)
    bad.losses[1:] = np.nan
    table = history.to_table([sound, bad])
    data = tables.to_csv(table).encode()
    found = [(row["model"], row["step"], row["mse"] == "") for row in rows(table)]
    assert found[2:] == [("snr_vae", "30", False), ("ae", "10", False), ("ae", "20", True)]
    assert b"nan" not in data
    assert len(history.from_csv(data, [VAE, AE], [AE])) == 5
    for diverged in ([], [VAE]):
        with pytest.raises(ValueError, match="rows without step or mse"):
            history.from_csv(data, [VAE, AE], diverged)
