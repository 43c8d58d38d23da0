"""A gap in two parts: what one point at a time costs, and what the network costs."""

from math import log10

import pytest

from snrvae.measurement import prices
from snrvae.measurement.records import Estimate, Limit
from snrvae.settings.grid import Cell

HEAD = "source,latent_dim,snr,mse\n"
LEAST, GAP, KNOWN = 0.01, Estimate(1.5, 0.1), {(2, 10.0): 0.012}


def limit(least: float | None = LEAST) -> Limit:
    bits = Estimate(1.0, 0.1)
    gap = None if least is None else GAP
    return Limit(1.0, bits, bits, False, 1.0, least, "certified", least is None, 0.1, gap)


def test_both_prices_add_up_to_the_gap() -> None:
    cell = Cell("isotropic", 2, 10.0, 1)
    found = prices.priced({cell: limit()}, KNOWN)[cell]
    assert found.one_point_db == pytest.approx(10 * log10(1.2))
    assert found.one_point_db + found.network_db == pytest.approx(GAP.value)


@pytest.mark.parametrize(
    ("cell", "least"),
    [
        (Cell("learned", 2, 10.0, 0), LEAST),
        (Cell("isotropic", 2, 11.0, 0), LEAST),
        (Cell("isotropic", 3, 10.0, 0), LEAST),
        (Cell("isotropic", 2, 10.0, 0), None),
    ],
)
def test_what_the_table_does_not_have_has_no_price(cell: Cell, least: float | None) -> None:
    assert prices.priced({cell: limit(least)}, KNOWN) == {cell: limit(least)}


def test_a_table_is_read_for_its_source() -> None:
    data = f"{HEAD}cube,2,10,0.012\nsphere,2,10,0.3\n".encode()
    assert prices.from_csv(data, "cube") == KNOWN
    assert prices.from_csv(data, "square") == {}


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("source,latent_dim,snr\ncube,2,10\n", "no column mse"),
        ("latent_dim,snr,mse\n2,10,0.1\n", "no column source"),
        (f"{HEAD}cube,2,10,\n", "missing, or not above 0"),
        (f"{HEAD}cube,2,10,-1\n", "missing, or not above 0"),
        (f"{HEAD}cube,2,10,a\n", "mse: values that are not numbers"),
        (f"{HEAD}cube,2,10,0.1\ncube,2,10,0.2\n", "two rows of cube"),
    ],
)
def test_another_table_is_refused(rows: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        prices.from_csv(rows.encode(), "cube")
